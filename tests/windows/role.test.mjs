// Enabling Hyper-V by the shipped programs for Windows, under Wine, against a double of Windows' servicing (tests/doubles/dism) and of its WMI:
// `vmrecoverd setup`, POST /v1/host/enable-hyperv, `vmrecover enable-hyperv`. tests/windows/hyperv.sh makes the prefix.
import nodeTest, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Api } from '../e2e/lib/api.mjs';
import { buildDir, root, start, tempDir, waitFor } from '../e2e/lib/util.mjs';

const windows = (file) => `Z:${file.replaceAll('/', '\\')}`;
const system32 = path.join(process.env.WINEPREFIX, 'drive_c/windows/system32/dismapi.dll');
const PENDING = 'HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending';
// Without VMX or SVM nothing is enabled unless it is forced; where this machine has it, the refusal cannot be seen.
const canRun = /\b(vmx|svm)\b/.test(fs.readFileSync('/proc/cpuinfo', 'utf8'));
let dir, steering, daemon, api;

const STAGED = 2, REMOVED = 3, ON = 4, PENDING_ON = 5;
// Server: the role and one below it; nothing of a client.
function steer(state, { more = [], restart = 1, slow = 0, below = state } = {}) {
    fs.writeFileSync(steering, [`feature Microsoft-Hyper-V ${state}`, `feature Microsoft-Hyper-V-Online ${below} Microsoft-Hyper-V`,
        `restart ${restart}`, `slow ${slow}`, ...more, ''].join('\n'));
    fs.rmSync(`${steering}.log`, { force: true });
}
const called = () => { try { return fs.readFileSync(`${steering}.log`, 'utf8'); } catch { return ''; } };
const states = () => [...fs.readFileSync(steering, 'utf8').matchAll(/^feature \S+ (\d)/gm)].map((m) => Number(m[1]));
// Each session that was opened is closed, what servicing gave is given back, and nothing was called wrongly.
function clean(log = called()) {
    assert.doesNotMatch(log, /^BAD/m);
    assert.equal(log.match(/^DismInitialize$/gm)?.length ?? 0, log.match(/^DismShutdown/gm)?.length ?? 0, log);
    for (const line of log.match(/^DismShutdown.*/gm) ?? []) assert.equal(line, 'DismShutdown sessions 0 objects 0', log);
}

const env = (more = {}) => ({ ...process.env, VMR_DISM_DOUBLE: windows(steering), VMR_DOUBLE_DIR: windows(path.join(dir, 'double')),
    WMI_SCHEMA: windows(path.join(root, 'tests/doubles/wmi/schema.json')), ...more });

// A program to its end; its output goes to a file, as Wine wants it.
async function wine(program, args, more = {}) {
    const log = path.join(dir, 'out');
    const out = fs.openSync(log, 'w'), none = fs.openSync('/dev/null', 'r');
    const p = start('wine', [program, ...args], { stdio: [none, out, out], env: env(more), cwd: dir });
    const { code } = await p.exited;
    fs.closeSync(out);
    fs.closeSync(none);
    return { code, said: fs.readFileSync(log, 'utf8').replaceAll('\r', '') };
}
const setup = (...args) => wine(path.join(buildDir, 'vmrecoverd.exe'), ['setup', ...args]);

before(() => {
    dir = tempDir('role');
    steering = path.join(dir, 'dism');
    fs.mkdirSync(path.join(dir, 'double'));
});
after(() => { daemon?.kill('SIGKILL'); });

const test = (name, fn) => nodeTest(name, { timeout: 180_000 }, fn);

// ---- vmrecoverd setup ----

test('setup: enabled with the parents, a restart due; after it, it finds itself again', async () => {
    steer(STAGED);
    let ran = await setup('--force');
    assert.equal(ran.code, 3, ran.said);
    assert.match(ran.said, /^enabling Hyper-V: 0 %\n(enabling Hyper-V: \d+ %\n)+enabling Hyper-V: 100 %\nHyper-V is enabled from the next restart on/);
    assert.match(called(), /^DismEnableFeature Microsoft-Hyper-V all 1 limit 0 cancel 1$/m);
    assert.deepEqual(states(), [PENDING_ON, PENDING_ON]);
    clean();
    fs.rmSync(`${steering}.log`);
    ran = await setup('--force');                        // not restarted yet
    assert.equal(ran.code, 3, ran.said);
    assert.doesNotMatch(called(), /DismEnableFeature/);
    clean();
    steer(ON);                                           // restarted; Wine is no hypervisor's root, so there is more to say
    ran = await setup('--force');
    assert.equal(ran.code, 1, ran.said);
    assert.match(ran.said, /^vmrecoverd: Hyper-V is enabled, but no virtual machine can run yet\n +Hyper-V's hypervisor does not run/);
    assert.doesNotMatch(called(), /DismEnableFeature/);
    clean();
});

test('setup: what was left out of the role is enabled too', async () => {
    steer(ON, { below: STAGED, restart: 0 });
    const ran = await setup('--force');
    assert.equal(ran.code, 1, ran.said);                 // no hypervisor in Wine
    assert.match(called(), /^DismEnableFeature Microsoft-Hyper-V-Online all 1/m);
    assert.deepEqual(states(), [ON, ON]);
    clean();
});

test('setup: where no VM could run it is not enabled', { skip: canRun && 'this processor has VMX or SVM' }, async () => {
    steer(STAGED);
    const ran = await setup();
    assert.equal(ran.code, 1, ran.said);
    assert.match(ran.said, /would be of no use here/);
    assert.match(ran.said, /--force/);
    assert.equal(called(), '');
});

test('setup: each refusal of servicing says what to do', async () => {
    const cases = [
        ['DismEnableFeature', 0x800F0902, /installs something else right now/, /Wait/],
        ['DismEnableFeature', 0x800F0806, /waits for a restart/, /Restart the host/],
        ['DismEnableFeature', 0x800F0954, /update server does not have its files/, /\/source/],
        ['DismEnableFeature', 0x800F081F, /files are not on this host/, /\/source/],
        ['DismEnableFeature', 0xC004000D, /a feature above it/, /\/all/],
        ['DismEnableFeature', 0x80004005, /Der Vorgang schlug fehl/, /dism\.log/],
        ['DismOpenSession', 0x800702E4, /may not do that/, /elevated/],
        ['DismInitialize', 0x80070005, /may not do that/, /elevated/],
        ['DismGetFeatureInfo', 0x80070422, /service that it needs is disabled/, /TrustedInstaller/],
    ];
    for (const [call, code, what, hint] of cases) {
        const hex = `0x${code.toString(16).toUpperCase().padStart(8, '0')}`;
        steer(STAGED, { more: [`fail ${call} ${hex} Der Vorgang schlug fehl.`] });
        const { code: exit, said } = await setup('--force');
        assert.equal(exit, 1, said);
        assert.match(said, what);
        assert.match(said, hint);
        assert.ok(said.includes(hex), said);
        clean();
    }
    fs.writeFileSync(steering, 'restart 1\n');           // a Windows without it
    const { code, said } = await setup('--force');
    assert.equal(code, 1, said);
    assert.match(said, /this Windows has no feature Microsoft-Hyper-V\n +Use Windows Server, or/);
    clean();
});

test('setup: only the dismapi.dll of Windows is ever loaded', async () => {
    assert.ok(fs.existsSync(path.join(buildDir, 'dismapi.dll')), 'one lies beside the program');
    fs.copyFileSync(system32, path.join(dir, 'dismapi.dll'));       // and one in the working folder
    fs.renameSync(system32, `${system32}.away`);
    try {
        steer(STAGED);
        const { code, said } = await setup('--force');
        assert.equal(code, 1, said);
        assert.match(said, /\(dismapi\.dll\) cannot be loaded/);
        assert.match(said, /dism \/online/);
        assert.equal(called(), '');
    } finally {
        fs.renameSync(`${system32}.away`, system32);
        fs.rmSync(path.join(dir, 'dismapi.dll'));
    }
});

test('setup: wrong usage', async () => {
    for (const args of [['--bogus'], ['word']]) {
        const { code, said } = await setup(...args);
        assert.equal(code, 2, said);
        assert.match(said, /usage: vmrecoverd setup/);
    }
});

// ---- the service ----

async function launch(more) {
    const data = path.join(dir, 'data');
    fs.rmSync(path.join(data, 'address'), { force: true });
    const log = fs.openSync(path.join(dir, 'log'), 'a'), none = fs.openSync('/dev/null', 'r');
    daemon = start('wine', [path.join(buildDir, 'vmrecoverd.exe'), 'run', '--data-dir', windows(data), '--listen=127.0.0.1:0'],
        { stdio: [none, log, log], env: env(more) });
    const said = () => fs.readFileSync(path.join(dir, 'log'), 'utf8');
    let over = null;
    daemon.exited.then((r) => { over = r; });
    const address = await waitFor(() => `the daemon listens:\n${said()}`, () => {
        if (over) throw new Error(`the daemon ended (${JSON.stringify(over)}):\n${said()}`);
        try { return fs.readFileSync(path.join(data, 'address'), 'utf8').trim().split('\n')[0]; } catch { return null; }
    });
    api = new Api(address, fs.readFileSync(path.join(data, 'token'), 'utf8').trim());
}
async function stop() {
    daemon.kill('SIGINT');
    assert.equal((await daemon.exited).code, 0);
}
const role = async () => (await api.get('/v1/host')).role;
const row = async () => (await api.get('/v1/host')).checks.find((c) => c.check === 'hyperv_role');
const until = (...wanted) => waitFor(`the role is ${wanted}`, async () => { const r = await role(); return wanted.includes(r.state) && r; }, { interval: 200 });

test('the service: enabled in the background, once at a time, with progress', async () => {
    steer(STAGED, { slow: 300 });
    await launch({ VMR_DOUBLE_NO_ROLE: '1' });
    assert.deepEqual(await role(), { state: 'disabled', percent: null, error: null });
    assert.match((await row()).remedy, canRun ? /vmrecover enable-hyperv/ : /nested_virtualization/);
    if (!canRun) {
        const refused = await api.request({ method: 'POST', path: '/v1/host/enable-hyperv' });
        assert.equal(refused.status, 409);
        assert.match(refused.json.detail, /would be of no use here/);
        assert.equal(called(), '');
    }
    const begun = await api.request({ method: 'POST', path: '/v1/host/enable-hyperv', json: { force: true } });
    assert.equal(begun.status, 202, begun.text);
    assert.deepEqual(begun.json, { state: 'enabling', percent: 0, error: null });
    const again = await api.request({ method: 'POST', path: '/v1/host/enable-hyperv' });
    assert.equal(again.status, 409);
    assert.match(again.json.detail, /already/);
    const middle = await waitFor('it gets on', async () => { const r = await role(); return r.percent > 0 && r; }, { interval: 50 });
    assert.equal(middle.state, 'enabling');
    assert.ok(middle.percent < 100);
    assert.match((await row()).detail, /being enabled: \d+ %/);
    assert.deepEqual(await until('restart_needed'), { state: 'restart_needed', percent: null, error: null });
    assert.match((await row()).remedy, /Restart the host/);
    clean();
    assert.deepEqual(states(), [PENDING_ON, PENDING_ON]);
    await stop();
});

test('the service: after a restart of its own the registry tells what is due, after one of the host it is enabled', async () => {
    await wine('reg', ['add', PENDING, '/f']);
    await launch();
    assert.equal((await role()).state, 'restart_needed');
    await wine('reg', ['delete', PENDING, '/f']);
    assert.equal((await role()).state, 'enabled');
    assert.equal((await row()).status, 'ok');
    await stop();
});

test('the client: progress, the end, its exit status; a failure with servicing\'s own code', async () => {
    await launch({ VMR_DOUBLE_NO_ROLE: '1' });
    const client = (...args) => wine(path.join(buildDir, 'vmrecover.exe'), ['enable-hyperv', ...args],
        { VMRECOVER_URL: `http://${api.host}:${api.port}`, VMRECOVER_TOKEN_FILE: windows(path.join(dir, 'data/token')) });
    steer(STAGED, { more: ['fail DismEnableFeature 0x800F0954 Die Quelle fehlt.'] });
    let ran = await client('--force');
    assert.equal(ran.code, 1, ran.said);
    assert.match(ran.said, /0x800F0954/);
    assert.match(ran.said, /\/source/);
    const failed = await role();
    assert.equal(failed.state, 'failed');
    assert.deepEqual([failed.error.code, failed.error.upstream.service, failed.error.upstream.code], ['upstream_refused', 'dism', '0x800F0954']);
    clean();
    steer(REMOVED, { slow: 500 });                       // its files come from elsewhere: servicing's business
    ran = await client('--force');
    assert.equal(ran.code, 0, ran.said);
    assert.match(ran.said, /^(enabling Hyper-V: \d+ %\n)+Hyper-V is enabled from the next restart of the host on/);
    clean();
    steer(STAGED, { slow: 60_000 });
    ran = await client('--force', '--no-wait', '--json');
    assert.equal(ran.code, 0, ran.said);
    assert.equal(JSON.parse(ran.said).state, 'enabling');
    await until('enabling');
    const begun = Date.now();
    await stop();                                        // a stop gives it up, and leaves nothing open
    assert.ok(Date.now() - begun < 15_000, `${Date.now() - begun} ms`);
    assert.match(called(), /^DismEnableFeature 0x800704C7$/m);
    assert.deepEqual(states(), [STAGED, STAGED]);
    clean();
});
