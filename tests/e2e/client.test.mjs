// The client against the daemon: its commands, what it prints, its exit codes, and what it keeps off the command line.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { commandLine, exec, launch, native, test, wine, usual } from './lib/platform.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { sleep, start, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
let daemon, api, dir, server, small, env;

before(async () => {
    dir = tempDir('client');
    small = path.join(dir, 'disk.vhd');
    fs.writeFileSync(path.join(dir, 'x.iso'), Buffer.alloc(2048));
    makeVhd(small, 16 * MIB, { used: 0.5 });
    [daemon, server] = await Promise.all([Daemon.start({ backoff_ms: 50, max_attempts: 2 }), BlobServer.start('--file', small)]);
    api = daemon.api;
    await api.learn();
    env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
});
after(async () => { await daemon?.stop(); await server?.stop(); });

const cli = (args, options = {}) => exec('vmrecover', args, { ...options, env: { ...env, ...options.env } });
async function ok(args, options) {
    const r = await cli(args, options);
    assert.equal(r.code, 0, `${args.join(' ')}: ${r.stdout}${r.stderr}`);
    return r.stdout;
}
async function bad(code, args, pattern, options) {
    const r = await cli(args, options);
    assert.equal(r.code, code, `${args.join(' ')}: ${r.stdout}${r.stderr}`);
    if (pattern) assert.match(r.stderr, pattern);
    return r;
}
const submitted = async (...args) => (await ok(['submit', ...args])).trim();

test('help and wrong usage', async () => {
    const help = await ok(['--help']);
    for (const command of ['submit', 'list', 'show', 'watch', 'pause', 'resume', 'cancel', 'retry', 'delete', 'screen', 'keys', 'serial', 'vm', 'credential', 'azure', 'host', 'export', 'events'])
        assert.match(help, new RegExp(`^  ${command} `, 'm'));
    assert.match(await ok(['--version']), /^vmrecover \d+\.\d+\.\d+$/m);
    assert.match(await ok(['keys', '--help']), /--press/);
    assert.match(await ok(['submit', '--help']), /--via-storage-account/);
    assert.match(await ok(['credential', '--help']), /--secret-file/);
    const nowhere = { env: { VMRECOVER_URL: 'http://127.0.0.1:9', VMRECOVER_TOKEN_FILE: '/nonexistent' } };   // found before the daemon is asked
    for (const [args, pattern] of [[[], /usage/], [['dance'], /no command 'dance'/], [['show'], /1 more word/], [['show', 'a', 'b'], /one word too many/],
        [['submit'], /give a disk/], [['submit', '--bogus'], /no option --bogus/], [['submit', '--blank'], /needs a value/], [['submit', '--blank', '10Q'], /takes a size/],
        [['submit', '--credential', 'x'], /stand behind/], [['submit', 'https://x/y'], /--url/], [['submit', '--blank', '1M', '--cpus', 'two'], /--cpus takes a number/],
        [['submit', '--json-body', '-', '--name', 'x'], /whole request/], [['delete', 'x', '--disks', 'maybe'], /keep or delete/], [['list', '--limit', '0'], /--limit/],
        [['vm', 'fly'], /vm takes/], [['keys', 'x'], /what to type/], [['keys', 'x', 'a\\q'], /backslash/], [['keys', 'x', '--repeat', '3'], /stands behind/],
        [['credential', 'set', 'x'], /--type/], [['credential', 'set', 'x', '--type', 'account_key'], /--account/], [['screen', 'x', '--text', '--width', '5'], /--width/]])
        await bad(2, args, pattern, { ...nowhere, input: '{}' });
});

test('a daemon that is away, a token that is not there or wrong', async () => {
    await bad(3, ['list'], /no answer from the daemon at http:\/\/127\.0\.0\.1:9.*\n.*(systemctl status|sc\.exe query) vmrecoverd/, { env: { VMRECOVER_URL: 'http://127.0.0.1:9' } });
    await bad(3, ['list'], /token cannot be read.*\n.*VMRECOVER_TOKEN_FILE/, { env: { VMRECOVER_TOKEN_FILE: '/nonexistent' } });
    const wrong = path.join(dir, 'wrong');
    fs.writeFileSync(wrong, 'x'.repeat(64));
    await bad(1, ['list'], /unauthorized/, { env: { VMRECOVER_TOKEN_FILE: wrong } });
    await bad(2, ['list'], /plain http/, { env: { VMRECOVER_URL: 'http://example.org:8480' } });
    await bad(1, ['list'], /does not look like vmrecoverd/, { env: { VMRECOVER_URL: server.base } });
});

test('the token goes to the daemon alone: no proxy is used', async () => {
    await ok(['list'], { env: { http_proxy: 'http://127.0.0.1:9', all_proxy: 'http://127.0.0.1:9', HTTP_PROXY: 'http://127.0.0.1:9' } });
});

test('submit, list, show, delete', async () => {
    const id = await submitted('--url', server.url, '--name', 'web01', '--until', 'download');
    assert.match(id, /^[0-9a-f-]{36}$/);
    await api.waitJob(id);
    assert.match(await ok(['list']), new RegExp(`^${id} +succeeded +.*web01$`, 'm'));
    assert.match(await ok(['list', '--state', 'succeeded', '--limit', '1']), /web01/);
    const shown = await ok(['show', 'web01']);
    assert.match(shown, /^download\.0 +succeeded .*16\.0 MiB of 16\.0 MiB \(8\.\d+ MiB transferred\)/m);
    assert.match(shown, new RegExp(`disk0\\.${usual}\\b`));
    const { updated_at: _, ...json } = JSON.parse(await ok(['--json', 'show', id.slice(0, 8)]));
    const { updated_at: __, ...direct } = await api.job(id);
    assert.deepEqual(json, direct, '--json is what the API says');
    assert.deepEqual(JSON.parse(await ok(['list', '--json'])).jobs.map((j) => j.id), [id]);
    await bad(1, ['show', 'nobody'], /no job 'nobody'/);
    await bad(1, ['show', '00000000-0000-4000-8000-000000000000'], /not_found/);
    await ok(['delete', 'web01', '--disks', 'delete']);
    await bad(1, ['show', id], /not_found/);
    assert.deepEqual(daemon.files('disks'), []);
});

test('all options of submit reach the API', async () => {
    await ok(['credential', 'set', 'c1', '--type', 'sas'], { input: 'sv=1&sig=x\n' });
    const made = JSON.parse(await ok(['--json', 'submit', '--url', 'http://127.0.0.1:9/v/a.vhd', '--credential', 'c1', '--format', 'raw', '--skip-free-space', 'no', '--blank', '3G',
        '--name', 'all', '--generation', '2', '--memory', '512', '--cpus', '3', '--nested', '--network', 'nat', '--no-start', '--dvd', path.join(dir, 'x.iso'), '--until', 'preflight',
        '--max-rate', '5M', '--allow-cross-region']));
    assert.deepEqual(made.request, {
        name: 'all', until: 'preflight', allow_cross_region: true, max_bytes_per_second: 5 * MIB,
        disks: [{ source: { type: 'blob', url: 'http://127.0.0.1:9/v/a.vhd', credential: 'c1' }, format: 'raw', skip_free_space: false },
            { source: { type: 'blank', size: 3 * 1024 * MIB }, format: 'auto', skip_free_space: true }],
        vm: { generation: 2, memory_mib: 512, cpus: 3, nested: true, network: 'nat', start: false, dvd: native(path.join(dir, 'x.iso')) },
    });
    await ok(['delete', made.id]);
    await ok(['credential', 'delete', 'c1']);
    const body = { name: 'from-json', disks: [{ source: { type: 'blank', size: MIB } }], until: 'preflight' };
    const id = (await ok(['submit', '--json-body', '-'], { input: JSON.stringify(body) })).trim();
    assert.equal((await api.waitJob(id)).name, 'from-json');
    await bad(2, ['submit', '--json-body', '-'], /line 1/, { input: '{"disks":' });
    await ok(['delete', id]);
});

test('what the daemon refuses: title, detail, field and hint on standard error', async () => {
    const r = await bad(2, ['submit', '--blank', '1M', '--cpus', '1000'], /not allowed.*\(invalid_value\)\n +field: \/vm\/cpus\n +hint: /);
    assert.equal(r.stdout, '');
});

test('--wait: progress as lines, exit code by the end of the job', async () => {
    const good = await cli(['submit', '--url', server.url, '--until', 'download', '--max-rate', '4M', '--wait']);
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, /^\S+Z download\.0 running$/m);
    assert.match(good.stdout, /^\S+Z download\.0 \d+ % +.* of 16\.0 MiB, .*\/s/m);
    assert.match(good.stdout, /^\S+Z job succeeded$/m);
    assert.doesNotMatch(good.stdout, /\x1b/);
    assert.match(good.stderr, /^job [0-9a-f-]{36}$/m);
    const failed = await cli(['submit', '--url', `${server.base}/nothing.vhd`, '--until', 'download', '--wait']);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /task preflight failed\n.*source_not_found/s);
    assert.match(failed.stderr, /upstream: \w+ 404/);
    const json = await cli(['--json', 'submit', '--blank', '1M', '--until', 'download', '--wait']);
    const lines = json.stdout.trim().split('\n').map((l) => JSON.parse(l));
    assert.equal(lines.at(-1).state, 'succeeded');
    for (const j of (await api.get('/v1/jobs')).jobs) await api.deleteJob(j.id);
});

test('watch on a terminal draws bars; it outlives a death of the daemon', async () => {
    const id = await submitted('--url', server.url, '--until', 'download', '--max-rate', '2M');
    const columns = wine ? 120 : 90;                 // Wine's console counts control sequences as if they were text: there is room for them
    const child = start('script', ['-qefc', `stty cols ${columns}; ${commandLine('vmrecover', ['watch', id])}`, '/dev/null'],
        { env: { ...process.env, ...env, VMRECOVER_TOKEN_FILE: native(daemon.tokenFile), TERM: 'xterm' } });
    let out = '';
    child.stdout.on('data', (d) => { out += d; });
    await waitFor(() => `a bar: ${out}`, () => /\[#+\.+\] +\d+ %/.test(out), { timeout: 20_000 });
    assert.match(out, /\x1b\[\d+A/);
    for (const line of out.replace(/\x1b\[[\d;?]*[A-Za-z]/g, '').split(/[\r\n]+/)) assert.ok(line.length < columns, `a line that would wrap: ${line}`);
    const port = daemon.address.split(':').pop();
    await daemon.kill9();
    await sleep(700);
    daemon.config.listen = `127.0.0.1:${port}`;
    await daemon.restart();
    api = daemon.api;
    const { code } = await child.exited;
    assert.equal(code, 0, out);
    assert.match(out, /succeeded/);
    await api.deleteJob(id);
});

test('pause, resume, cancel, retry', async () => {
    const id = await submitted('--url', server.url, '--until', 'download', '--max-rate', '2M', '--name', 'p1');
    await ok(['pause', 'p1']);
    await api.waitJob(id, 'paused');
    await ok(['resume', 'p1']);
    await bad(1, ['resume', 'p1'], /wrong_state/);
    await ok(['cancel', 'p1']);
    await api.waitJob(id, 'cancelled');
    await bad(1, ['watch', 'p1']);
    await ok(['retry', 'p1']);
    assert.match(await ok(['watch', 'p1']), /job succeeded/);
    assert.match(await ok(['events', 'p1', '--limit', '100']), new RegExp(`${id} +job_created`));
    await ok(['delete', 'p1', '--no-wait', '--disks=delete']);
    await api.waitGone(id);
});

test('credentials: secrets from standard input or a file, never shown', async () => {
    const key = Buffer.alloc(64, 3).toString('base64'), file = path.join(dir, 'key');
    fs.writeFileSync(file, `${key}\n`);
    await ok(['credential', 'set', 'prod', '--type', 'account_key', '--account', 'acct', '--secret-file', file]);
    await ok(['credential', 'set', 'sas', '--type', 'sas'], { input: '?sv=1&sig=abc\n' });
    const list = await ok(['credential', 'list']);
    assert.match(list, /^prod +account_key +acct$/m);
    assert.match(list, /^sas +sas/m);
    assert.ok(!list.includes(key));
    assert.deepEqual(JSON.parse(await ok(['credential', 'list', '--json'])), await api.get('/v1/credentials'));
    await bad(2, ['credential', 'set', 'empty', '--type', 'sas'], /empty/, { input: '\n' });
    await bad(2, ['credential', 'set', 'x', 'sv=1&sig=abc', '--type', 'sas'], /standard input/);
    await ok(['credential', 'delete', 'prod']);
    await ok(['credential', 'delete', 'sas']);
    await bad(1, ['credential', 'delete', 'prod'], /not_found/);
});

test('host', async () => {
    const r = await cli(['host']);
    const report = await api.get('/v1/host');
    assert.equal(r.code, report.checks.some((c) => c.status === 'failed') ? 1 : 0);
    for (const c of report.checks) assert.match(r.stdout, new RegExp(`^${c.status} +${c.check} `, 'm'));
    assert.deepEqual(JSON.parse((await cli(['host', '--json'])).stdout).checks.map((c) => c.check), report.checks.map((c) => c.check));
});

test('events --follow tells what happens', async () => {
    const child = launch('vmrecover', ['events', '--follow'], { env });
    let out = '';
    child.stdout.on('data', (d) => { out += d; });
    await sleep(500);
    const id = await submitted('--blank', '1M', '--until', 'download');
    await waitFor(() => out, () => new RegExp(`${id} +job_created`).test(out), { timeout: 10_000 });
    await api.waitJob(id);
    child.kill('SIGTERM');
    await child.exited;
    await api.deleteJob(id);
});

test('a VM: list, screen, keys, serial, checkpoints, DVD, disks, export', async () => {
    const id = await submitted('--blank', '4M', '--memory', '64', '--cpus', '1', '--name', 'vm1');
    await api.waitJob(id, 'succeeded', { timeout: 120_000 });
    assert.match(await ok(['vm', 'list']), /^[0-9a-f-]{36} +running +gen 1 +vm1$/m);
    assert.equal(JSON.parse(await ok(['vm', 'show', 'vm1'])).job_id, id);
    await waitFor('the firmware speaks', async () => /SeaBIOS|boot/i.test(await ok(['screen', 'vm1', '--text'])), { timeout: 60_000, interval: 300 });
    const png = path.join(dir, 'screen.png');
    await ok(['screen', 'vm1', '-o', png]);
    assert.equal(fs.readFileSync(png).subarray(1, 4).toString(), 'PNG');
    const piped = await cli(['screen', 'vm1', '--width', '100'], { encoding: null });
    assert.equal(piped.stdout.readUInt32BE(16), 100);
    assert.deepEqual(JSON.parse(await ok(['--json', 'keys', 'vm1', 'a\\n\\\\', '--press', 'Ctrl+Alt+f', '--press', 'F8', '--repeat', '5', '--interval', '20', '--wait', '10', '--enter'])),
        { keys_sent: 3 + 1 + 5 + 1 });
    await bad(2, ['keys', 'vm1', '--press', 'AnyKey'], /\/sequence\/0\/press\/0/);
    await ok(['keys', 'vm1', '--text-file', '-'], { input: 'secret words\n' });
    await bad(1, ['serial', 'vm1', '--send', 'x\\n'], /serial port/);       // nobody reads there: no system was booted
    await ok(['serial', 'vm1']);
    const checkpoint = (await ok(['vm', 'checkpoint', 'vm1', 'create', 'one'])).trim();
    assert.match(await ok(['vm', 'checkpoint', 'vm1']), new RegExp(`^${checkpoint} .*one$`, 'm'));
    await ok(['vm', 'checkpoint', 'vm1', 'restore', checkpoint]);
    await ok(['vm', 'checkpoint', 'vm1', 'delete', checkpoint]);
    await ok(['vm', 'dvd', 'vm1', path.join(dir, 'x.iso')]);
    await ok(['vm', 'dvd', 'vm1', '--eject']);
    await ok(['vm', 'reset', 'vm1']);
    await bad(1, ['vm', 'attach', 'vm1', '1', small, '--format', 'vhd'], /wrong_state/);
    await ok(['vm', 'stop', 'vm1']);
    await ok(['vm', 'attach', 'vm1', '1', small, '--format', 'vhd']);
    await ok(['vm', 'detach', 'vm1', '1']);
    const exported = (await ok(['export', 'vm1'])).trim().split('\n').at(-1);
    assert.equal(fs.statSync(exported).size, 4 * MIB + 512);
    const odd = path.join(dir, 'odd.img');            // no whole MiB: as it is, and as Azure takes it
    fs.writeFileSync(odd, Buffer.alloc(3 * MIB + 512, 'odd'));
    await ok(['vm', 'attach', 'vm1', '1', odd, '--format', 'raw']);
    for (const [format, size] of [['vhd', 3 * MIB + 512], ['azure', 4 * MIB]]) {
        const file = (await ok(['export', 'vm1', '--slot', '1', '--format', format, '-o', path.join(dir, `odd-${format}.vhd`)])).trim().split('\n').at(-1);
        const bytes = fs.readFileSync(file);
        assert.equal(bytes.length, size + 512);
        assert.ok(bytes.subarray(0, 3 * MIB + 512).equals(fs.readFileSync(odd)) && bytes.subarray(3 * MIB + 512, size).every((b) => !b));
        assert.deepEqual([bytes.toString('latin1', size, size + 8), Number(bytes.readBigUInt64BE(size + 48))], ['conectix', size]);
    }
    await ok(['vm', 'detach', 'vm1', '1']);
    await ok(['vm', 'start', 'vm1']);
    await ok(['delete', 'vm1', '--disks', 'delete']);
    assert.equal(await ok(['vm', 'list']), '');
    assert.deepEqual(daemon.vmProcesses(), []);
});
