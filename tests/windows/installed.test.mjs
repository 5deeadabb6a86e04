// The Windows build as an administrator meets it, under Wine: installed by the MSI, a service, downloads over http and https, cut off in every
// way and gone on, upgraded, removed. Driven from this side through the API, and from that side by typing commands: those of README.md's
// chapter among them, all of which must have been run at the end. Environment: BUILD, NEXT (folders of a build and of a higher version).
import nodeTest, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Api } from '../e2e/lib/api.mjs';
import { Azurite } from '../e2e/lib/azurite.mjs';
import { makeVhd } from '../e2e/lib/image.mjs';
import { buildDir, diskImage, identical, must, rawImage, root, seed, random, sleep, soak, tempDir, waitFor } from '../e2e/lib/util.mjs';
import { Covered, blocksOf } from './lib/chapter.mjs';
import { Prefix } from './lib/prefix.mjs';
import { Front, issue, makeCa } from './lib/tls.mjs';

const MIB = 1 << 20;
const SIZE = 96 * MIB, RATE = 4 * MIB;
const SERVICE = 'vmrecoverd', DATA = 'ProgramData/vmrecover', PROGRAMS = 'Program Files/vmrecover', SETUP = 'setup';
const NAME = '仮想マシン-🛟';
const nextDir = path.resolve(root, process.env.NEXT ?? `${process.env.BUILD}-next`);
const rand = random(seed);
const covered = new Covered(blocksOf(fs.readFileSync(path.join(root, 'README.md'), 'utf8'), 'Install on Windows'));

let windows, azurite, source, uploaded, used, blob, plain, secure, refused, api, kept;

// A package of a folder: { version, msi, zip }, as file names.
function packages(dir) {
    const msi = fs.readdirSync(dir).find((f) => /^vmrecover-.*-x64\.msi$/.test(f));
    assert.ok(msi, `${dir} has no MSI: run \`make windows windows-next\``);
    return { dir, msi, zip: msi.replace(/msi$/, 'zip'), version: msi.match(/-(.*)-x64/)[1] };
}
const now = packages(buildDir), next = packages(nextDir);

before(async () => {
    const dir = tempDir('windows-sources');
    source = path.join(dir, 'disk.vhd');
    makeVhd(source, SIZE, { used: 0.25, seed: 11 });
    const [ca, other] = [await makeCa(dir, 'private'), await makeCa(dir, 'other')];
    const certificates = await Promise.all([issue(ca, 'localhost'), issue(other, 'localhost'), issue(ca, 'elsewhere.example'), issue(ca, 'localhost', -1)]);
    [windows, azurite] = await Promise.all([Prefix.create(), Azurite.start()]);
    uploaded = await azurite.uploadPages('vhds', 'disk.vhd', source);
    used = uploaded.pages;
    blob = azurite.sasUrl('vhds', 'disk.vhd');
    plain = await Front.start(azurite.port);
    const fronts = await Promise.all(certificates.map((c) => Front.start(azurite.port, c)));
    secure = fronts[0];
    refused = { 'of another CA': fronts[1], 'of another host': fronts[2], 'that has expired': fronts[3] };
    fs.mkdirSync(windows.c(SETUP));
    for (const p of [now, next]) for (const f of [p.msi, p.zip]) fs.copyFileSync(path.join(p.dir, f), windows.c(SETUP, f));
    fs.copyFileSync(ca.file, windows.c(SETUP, 'ca.pem'));
    await windows.boot();
});
after(async () => {
    await windows?.destroy();
    await Promise.all([plain, secure, ...Object.values(refused ?? {})].map((f) => f?.stop()));
    await azurite?.stop();
});

// One story: after a step that failed the rest would only fail too.
let failed = false;
const step = (name, fn) => nodeTest(name, async (t) => {
    if (failed) return t.skip('an earlier step failed');
    try { await fn(t); } catch (e) {
        failed = true;
        const log = windows?.c(DATA, 'logs/vmrecoverd.log');
        if (log && fs.existsSync(log)) t.diagnostic(`the service's log:\n${fs.readFileSync(log, 'utf8').split('\n').slice(-40).join('\n')}`);
        throw e;
    }
});

// ---- what an administrator types, in one window: each line must end with its exit code (0 unless said) ----
let folder = 'C:\\';
async function typed(line, { code = 0 } = {}) {
    const url = api ? { VMRECOVER_URL: `http://${api.host}:${api.port}` } : {};
    const r = await windows.type([`cd "${folder}"`, line], { env: url });
    assert.equal(r.code, code, `${line}: ${r.out}`);
    const to = line.match(/^cd "?(.*?)"?$/);
    if (to) folder = to[1];
    covered.ran(line.replace(next.msi, now.msi));    // the same of the next version
    return r.out;
}
const client = (...args) => windows.run(windows.c(PROGRAMS, 'vmrecover.exe'), ...args.slice(0, typeof args.at(-1) === 'object' ? -1 : undefined),
    { ...(typeof args.at(-1) === 'object' ? args.at(-1) : {}), env: { VMRECOVER_URL: `http://${api.host}:${api.port}` } });

// ---- the service ----
const text = (file) => fs.readFileSync(windows.c(DATA, file), 'utf8');
const logFile = () => text('logs/vmrecoverd.log');
async function runs() {
    await windows.becomes(SERVICE, 'running');
    const judge = api?.judge ?? null;
    api = new Api(text('address').split('\n')[0], text('token').trim());
    api.judge = judge;
    await waitFor('the API answers', () => api.get('/healthz').catch(() => null), { timeout: 20_000 });
}
const here = (file) => { assert.match(file, /^C:\\/); return windows.c(file.slice(3).replaceAll('\\', '/')); };
const downloadOf = (job) => job.tasks.find((t) => t.kind === 'download');
const submit = (url, more = {}) => api.submit({ disks: [{ source: { type: 'blob', url } }], until: 'download', ...more });

async function equalsSource(job, sent) {
    const file = here(job.disks[0].path);
    const { progress } = downloadOf(job);
    const vhd = job.disks[0].format === 'vhd', footer = vhd ? 512 : 0;       // else a VHDX, which nobody had to ask for
    if (vhd) await must('cmp', [file, source]);
    else await must('qemu-img', ['check', '-q', '-f', 'vhdx', file]);
    assert.match(job.disks[0].format, /^vhdx?$/);
    assert.ok(await identical(diskImage({ ...job.disks[0], path: file }), rawImage(source, SIZE)));
    assert.deepEqual(fs.readdirSync(path.dirname(file)).sort(), ['', '.sums'].map((x) => path.basename(file) + x), 'the image and its record; nothing unfinished lies beside it');
    assert.equal(progress.transferred_bytes + progress.skipped_bytes, SIZE + footer);
    assert.equal(progress.transferred_bytes, used - 512 + footer, 'the pages that the list names, and no others');
    if (sent !== undefined) assert.ok(sent >= used && sent < used + MIB, `${sent} bytes sent of ${used}`);
}

// The PATH names our folder once. Wine's installer leaves the semicolon of an entry that it removes, and its cmd looks no further than to an
// empty entry, and says nothing of a command that it does not find then: that is put right here.
const ENVIRONMENT = 'HKLM\\System\\CurrentControlSet\\Control\\Session Manager\\Environment';
async function inPathOnce() {
    const value = (await windows.must('reg', 'query', ENVIRONMENT, '/v', 'PATH')).match(/REG_EXPAND_SZ +(.*)/)[1].trim();
    assert.equal(value.split(';').filter((e) => /vmrecover/i.test(e)).length, 1, value);
    await windows.must('reg', 'add', ENVIRONMENT, '/f', '/v', 'PATH', '/t', 'REG_EXPAND_SZ', '/d', value.split(';').filter(Boolean).join(';'));
    assert.notEqual((await windows.type('no-such-command')).code, 0, 'a command that is not there is an error');
}

// ---- the story ----
step('the MSI installs the service, and it starts', async (t) => {
    // a configuration that lies there already stays; this one takes a free port and knows the CA
    fs.mkdirSync(windows.c(DATA), { recursive: true });
    const configuration = ['[daemon]', 'listen = 127.0.0.1:0', '[transfer]', 'connections = 2', 'range_kib = 256', '[retry]', 'backoff_ms = 100', 'max_attempts = 2',
        '[tls]', `ca_file = C:\\${SETUP}\\ca.pem`, ''].join('\r\n');
    fs.writeFileSync(windows.c(DATA, 'vmrecover.conf'), configuration);
    folder = `C:\\${SETUP}`;
    const began = Date.now();
    await typed(`msiexec /i ${now.msi} /qn`);
    t.diagnostic(`msiexec: ${Date.now() - began} ms`);
    await runs();
    assert.match(await typed('sc.exe query vmrecoverd'), /STATE +: 4 +RUNNING/);
    assert.equal(text('vmrecover.conf'), configuration);
    await inPathOnce();
    assert.deepEqual(fs.readdirSync(windows.c(PROGRAMS)).sort(), ['LICENSE.txt', 'README.txt', 'THIRD-PARTY-NOTICES.txt', 'vmrecover.conf.sample', 'vmrecover.exe', 'vmrecoverd.exe']);
    assert.equal(await typed('vmrecover --version'), `vmrecover ${now.version}\n`, 'it is in the PATH');
    assert.equal((await api.get('/v1/host')).version, now.version);
});

step('curl submits a download over http as a fixed VHD; the image equals its source', async () => {
    const body = JSON.stringify({ name: 'http', disks: [{ source: { type: 'blob', url: plain.of(blob) }, format: 'vhd' }], until: 'download', max_bytes_per_second: 2 * RATE });
    const said = JSON.parse(await must('curl', ['-sS', '--fail', '--max-time', '20', '-H', `Authorization: Bearer ${api.token}`, '-H', 'Content-Type: application/json',
        '-d', body, `http://${api.host}:${api.port}/v1/jobs`]));
    const running = await api.waitTask(said.id, 'download', (x) => x.progress.transferred_bytes > 0);
    const part = fs.readdirSync(path.dirname(here(running.disks[0].path))).find((f) => f.endsWith('.part'));
    assert.equal(fs.statSync(path.join(path.dirname(here(running.disks[0].path)), part)).size, SIZE + 512, 'it has its size from the beginning');
    const job = await api.waitJob(said.id);
    await equalsSource(job, plain.sent);
    await api.deleteJob(job.id);
    assert.ok(!fs.existsSync(here(job.disks[0].path)));
});

step('over https, with the private CA that ca_file names', async () => {
    const job = await api.waitJob((await submit(secure.of(blob))).id);
    await equalsSource(job, secure.sent);
    await api.deleteJob(job.id);
});

for (const what of ['of another CA', 'of another host', 'that has expired'])
    step(`a certificate ${what} is refused`, async (t) => {
        const front = refused[what];
        const job = await api.waitJob((await submit(front.of(blob))).id, 'failed');
        const { error, kind } = job.tasks.find((x) => x.state === 'failed');
        t.diagnostic(error.detail);
        assert.deepEqual([kind, error.code], ['preflight', 'tls_failed'], JSON.stringify(error));
        assert.match(error.detail, /certificate is refused: .*(CA|issued for|name|expired)/);
        assert.match(error.detail, /localhost/, 'which server');
        assert.match(error.hint, /ca_file/);
        assert.doesNotMatch(JSON.stringify(error), /sig=/);
        assert.equal(front.requests, 0, 'nothing was asked of it');
        await api.deleteJob(job.id);
    });

// A download in its middle, then `interrupt`, then on to its end. How much was sent twice?
async function interrupted(t, interrupt, twiceMax) {
    const was = secure.sent;
    const { id } = await submit(secure.of(blob), { max_bytes_per_second: RATE });
    const job = await api.waitTask(id, 'download', (x) => x.progress.transferred_bytes > used * (0.15 + 0.6 * rand()));
    const done = downloadOf(job).progress.transferred_bytes;
    await interrupt(id);
    const end = await api.waitJob(id);
    const twice = secure.sent - was - used;
    t.diagnostic(`interrupted after ${done} of ${used} bytes; ${Math.max(0, twice)} bytes sent twice`);
    await equalsSource(end);
    assert.equal(downloadOf(end).attempts, 1, 'that was no attempt');
    assert.ok(twice < twiceMax, `${twice} bytes sent twice`);
    await api.deleteJob(id);
}
const several = (what, fn) => { for (let i = 1; i <= (soak ? 10 : 1); i++) step(i > 1 ? `${what} (${i})` : what, fn); };

several('net stop in the middle of a download; it goes on after net start', (t) => interrupted(t, async () => {
    const lines = logFile().length;
    await typed('net stop vmrecoverd');
    assert.deepEqual(await windows.becomes(SERVICE, 'stopped'), { state: 'stopped', code: 0, specific: 0 });
    assert.match(logFile().slice(lines), /task=download\.0 msg="task parked"[^]*msg=stopped/);
    assert.deepEqual(windows.pids('vmrecoverd.exe'), []);
    await typed('net start vmrecoverd');
    await runs();
}, 2 * MIB));

several('kill -9 in the middle of a download; it goes on after net start', (t) => interrupted(t, async () => {
    const [pid, ...more] = windows.pids('vmrecoverd.exe');
    assert.deepEqual(more, []);
    process.kill(pid, 'SIGKILL');
    await waitFor('it is dead', () => windows.pids('vmrecoverd.exe').length === 0);
    fs.rmSync(windows.c(DATA, 'address'));
    await typed('net start vmrecoverd');             // Wine does not see that a service died; it is told to start it all the same
    await waitFor('it runs again', () => fs.existsSync(windows.c(DATA, 'address')));
    await runs();
}, 0.1 * SIZE));

several('the plug is pulled in the middle of a download; it goes on when Windows is up again', (t) => interrupted(t, async () => {
    await windows.cut();
    assert.deepEqual(windows.pids('.exe'), []);
    fs.rmSync(windows.c(DATA, 'address'));
    await windows.boot();
    await waitFor('the service starts with Windows', () => fs.existsSync(windows.c(DATA, 'address')));
    await runs();
}, 0.1 * SIZE));

step('the client: commands, exit codes, JSON', async () => {
    fs.writeFileSync(windows.c(SETUP, 'sas-url.txt'), `${secure.of(blob)}\r\n`);
    folder = `C:\\${SETUP}`;
    assert.match(await typed('vmrecover --help'), /^ {2}submit /m);
    assert.match(await typed('vmrecover host', { code: 1 }), /^failed +hypervisor/m);      // there is none: that makes the exit code
    assert.match(await typed('vmrecover submit --url-file sas-url.txt --name web01 --until download --wait'), /^\S+Z job succeeded$/m);
    assert.match(await typed('vmrecover list'), /^[0-9a-f-]{36} +succeeded +.*web01$/m);
    await typed('vmrecover watch web01');
    assert.match(await typed('vmrecover show web01'), /^download\.0 +succeeded .*96\.0 MiB of 96\.0 MiB/m);
    kept = await api.job((await api.get('/v1/jobs')).jobs[0].id);
    await equalsSource(kept);
    // no Hyper-V here, so there is nothing to record (hyperv.test.mjs has one); two records are laid side by side all the same
    assert.match(await typed('vmrecoverd check-host --output record.json', { code: 1 }), /0x8004100E/);
    for (const [file, golden] of [['check-host-2025.json', '2025'], ['record.json', '2016']])
        fs.copyFileSync(path.join(root, `tests/golden/check-host-${golden}.json`), windows.c(SETUP, file));
    assert.match(await typed('vmrecoverd check-host --compare check-host-2025.json record.json'), /^0 differences$/m);
    const watched = (await typed('vmrecover --json watch web01')).trim().split('\n').map((l) => JSON.parse(l));
    assert.deepEqual([watched.at(-1).id, watched.at(-1).state], [kept.id, 'succeeded']);
    fs.writeFileSync(windows.c(SETUP, 'key.txt'), `${azurite.key}\r\n`);
    await typed(`vmrecover credential set prod --type account_key --account ${azurite.account} --secret-file key.txt`);
    await typed(`vmrecover submit --url ${secure.of(uploaded.url)} --credential prod --name by-key --until download --wait`);
    await typed('vmrecover delete by-key');
    await typed('vmrecover credential delete prod');
    await typed('vmrecover dance', { code: 2 });
    await typed('vmrecover show nobody', { code: 1 });
    fs.writeFileSync(windows.c(SETUP, 'nowhere.txt'), `${secure.of(azurite.sasUrl('vhds', 'nothing.vhd'))}\r\n`);
    assert.match(await typed('vmrecover submit --url-file nowhere.txt --name gone --until download --wait', { code: 1 }), /source_not_found/);
    await typed('vmrecover delete gone');
    await typed('net stop vmrecoverd');
    assert.match(await typed('vmrecover list', { code: 3 }), /no answer from the daemon/);
    // (Wine's `type` shares a file with nobody who writes to it)
    assert.match(await typed('type C:\\ProgramData\\vmrecover\\logs\\vmrecoverd.log'), /level=info msg=ready/);
    await typed('net start vmrecoverd');
    await runs();
});

step('the client: progress as JSON lines, while it happens', async () => {
    const { id } = await submit(secure.of(blob), { max_bytes_per_second: RATE, name: 'watched' });
    const { code, out } = await client('watch', '--json', id);
    assert.equal(code, 0, out);
    const lines = out.trim().split('\n').map((l) => JSON.parse(l));
    const bytes = lines.map((j) => downloadOf(j).progress.done_bytes);
    assert.ok(lines.length > 3 && bytes.some((b) => b > 0 && b < SIZE), String(bytes));
    assert.deepEqual(bytes, [...bytes].sort((a, b) => a - b), 'it grows');
    assert.equal(lines.at(-1).state, 'succeeded');
    await api.deleteJob(id);
});

step('names of all kinds, in arguments, in files, in what is redirected', async () => {
    const made = await client('submit', '--blank', '1M', '--until', 'download', '--name', NAME);
    assert.equal(made.code, 0, made.out);
    const job = await api.waitJob(made.out.trim());
    assert.equal(job.name, NAME);
    for (const command of ['list', 'show', '--json show']) {
        const word = command === 'list' ? '' : ` ${job.id}`;
        await typed(`vmrecover ${command}${word} > out.txt`);
        const bytes = fs.readFileSync(windows.c(SETUP, 'out.txt'));
        assert.ok(bytes.includes(Buffer.from(NAME, 'utf8')), `${command}: ${bytes.toString('latin1')}`);
        assert.notEqual(bytes[0], 0xef, 'without a byte order mark');
    }
    const shown = await client('show', NAME);
    assert.equal(shown.code, 0, shown.out);
    assert.ok(shown.out.includes(job.id));
    // a folder and a file with such names, as a source that is used where it lies
    const file = windows.c(SETUP, `${NAME} ü`, 'Festplatte ß.vhd');
    fs.mkdirSync(path.dirname(file));
    makeVhd(file, 4 * MIB);
    const path_ = `C:\\${SETUP}\\${NAME} ü\\Festplatte ß.vhd`;
    const local = await api.waitJob((await api.submit({ disks: [{ source: { type: 'file', path: path_ } }], until: 'download' })).id);
    assert.equal(local.disks[0].path, path_);
    await api.deleteJob(local.id);
    assert.ok(fs.existsSync(file));
    await api.deleteJob(job.id);
});

step('an upgrade keeps jobs, images and configuration, and what was under way goes on', async () => {
    const { id } = await submit(secure.of(blob), { max_bytes_per_second: RATE });
    await api.waitTask(id, 'download', (x) => x.progress.transferred_bytes > MIB);
    const conf = text('vmrecover.conf'), { token } = api, events = (await api.get('/v1/events?after=0&limit=500')).events.length;
    folder = `C:\\${SETUP}`;
    await typed(`msiexec /i ${next.msi} /qn`);
    await runs();
    await inPathOnce();
    assert.equal(await typed('vmrecover --version'), `vmrecover ${next.version}\n`);
    assert.equal((await api.get('/v1/host')).version, next.version);
    assert.deepEqual([text('vmrecover.conf'), api.token], [conf, token]);
    assert.ok((await api.get('/v1/events?after=0&limit=500')).events.length >= events);
    assert.deepEqual(await api.job(kept.id), kept);
    await equalsSource(kept);
    const job = await api.waitJob(id);
    assert.equal(downloadOf(job).attempts, 1);
    await equalsSource(job);
    await api.deleteJob(id);
    const installed = await windows.must('reg', 'query', 'HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall', '/s');
    assert.deepEqual(installed.match(/DisplayVersion +REG_SZ +.*/g).map((l) => l.split(' ').at(-1)), [next.version], 'one version is installed');
});

step('an older version is refused, and the newer one stays', async () => {
    folder = `C:\\${SETUP}`;
    const r = await windows.type([`cd "${folder}"`, `msiexec /i ${now.msi} /qn`]);
    assert.notEqual(r.code, 0);
    await runs();
    assert.equal(await typed('vmrecover --version'), `vmrecover ${next.version}\n`);
});

const registered = async () => {
    const traces = [['HKLM\\System\\CurrentControlSet\\Services\\vmrecoverd', []], ['HKLM\\System\\CurrentControlSet\\Services\\EventLog\\Application\\vmrecoverd', []],
        ['HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall', ['/s']], [ENVIRONMENT, ['/v', 'PATH']]];
    let found = '';
    for (const [key, more] of traces) found += (await windows.run('reg', 'query', key, ...more)).out;
    return found;
};
const files = (dir) => (fs.existsSync(windows.c(dir)) ? fs.readdirSync(windows.c(dir), { recursive: true }).map(String).sort() : null);

step('an uninstallation leaves the data, and nothing but the data', async () => {
    assert.match(await registered(), /vmrecover/);
    await typed('net stop vmrecoverd');
    await windows.becomes(SERVICE, 'stopped');
    const passing = (f) => !/^(address|lock|logs|vmrecover\.db.*)/.test(f);
    const data = files(DATA).filter(passing);
    await typed('net start vmrecoverd');
    await runs();
    folder = `C:\\${SETUP}`;
    await typed(`msiexec /x ${next.msi} /qn`);
    await windows.becomes(SERVICE, null);
    assert.equal(files(PROGRAMS), null);
    assert.doesNotMatch(await registered(), /vmrecover/i);
    assert.deepEqual(windows.pids('vmrecoverd.exe'), []);
    assert.deepEqual(files(DATA).filter(passing), data);
    await equalsSource(kept);
});

step('installed again it has its jobs; REMOVEDATA=1 takes the data too', async () => {
    fs.rmSync(windows.c(DATA, 'address'), { force: true });
    folder = `C:\\${SETUP}`;
    await typed(`msiexec /i ${now.msi} /qn`);
    await runs();
    await inPathOnce();
    assert.deepEqual((await api.job(kept.id)).disks, kept.disks);
    const other = await api.waitJob((await api.submit({ name: 'other', disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' })).id);
    await typed('vmrecover delete web01 --disks delete');
    assert.deepEqual([fs.existsSync(here(kept.disks[0].path)), fs.existsSync(here(other.disks[0].path))], [false, true]);
    await typed(`msiexec /x ${now.msi} /qn REMOVEDATA=1`);
    await windows.becomes(SERVICE, null);
    assert.deepEqual([files(PROGRAMS), files(DATA)], [null, null]);
    assert.doesNotMatch(await registered(), /vmrecover/i);
});

step('the zip: install and uninstall by hand', async () => {
    const unpacked = tempDir('zip');
    await must('unzip', ['-q', windows.c(SETUP, now.zip), '-d', unpacked]);
    await must('cp', ['-r', path.join(unpacked, now.zip.replace(/\.zip$/, '')), windows.c(PROGRAMS)]);
    fs.mkdirSync(windows.c(DATA));
    fs.writeFileSync(windows.c(DATA, 'vmrecover.conf'), '[daemon]\r\nlisten = 127.0.0.1:0\r\n');
    await typed('cd "C:\\Program Files\\vmrecover"');
    assert.match(await typed('.\\vmrecoverd.exe install'), /^service vmrecoverd runs: http:\/\/127\.0\.0\.1:\d+$/m);
    await runs();
    const { id } = await api.submit({ name: 'zip', disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' });
    await api.waitJob(id);
    assert.match(await typed('.\\vmrecover.exe list'), /succeeded +.*zip$/m);
    await typed('.\\vmrecoverd.exe uninstall');
    assert.equal(await windows.service(SERVICE), null);
    assert.ok(files(DATA).includes('vmrecover.db'));
    await typed('.\\vmrecoverd.exe uninstall --remove-data');
    assert.equal(files(DATA), null);
    assert.doesNotMatch(await registered(), /vmrecover/i);
});

step('every command of the README\'s chapter was run', (t) => {
    t.diagnostic(`README.md, "Install on Windows": ${covered.count} commands`);
    assert.deepEqual(covered.missing(), [], 'no test runs these commands of README.md');
});
