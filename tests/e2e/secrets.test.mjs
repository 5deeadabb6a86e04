// Planted secrets (a SAS signature, an account key, a token) are in no log, event, reply, error or database file, and in no argument or
// environment of a process.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { exec, test } from './lib/platform.mjs';
import { Azurite } from './lib/azurite.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { search, secret } from './lib/secrets.mjs';
import { sleep, tempDir } from './lib/util.mjs';

const MIB = 1 << 20;
const SIG = 'cGxhbnRlZHNpZ25hdHVyZXBsYW50ZWQ', QUERY = `sv=2024-08-04&sp=r&sig=${SIG}%3D`;
let daemon, api, azurite, server, source, small, texts = [];

before(async () => {
    small = path.join(tempDir('secrets'), 'disk.vhd');
    makeVhd(small, 4 * MIB, { used: 0.5 });
    [daemon, azurite, server] = await Promise.all([Daemon.start({ log_level: 'debug', backoff_ms: 20, max_attempts: 2 }), Azurite.start(),
        BlobServer.start('--file', small, '--sas', QUERY)]);
    api = daemon.api;
    source = await azurite.uploadPages('vhds', 'disk.vhd', small);
    // every reply of the whole test is looked at
    const exchange = api.exchange.bind(api);
    api.exchange = async (o) => { const r = await exchange(o); texts.push([o.path, `${JSON.stringify(r.headers)} ${r.text}`]); return r; };
});
after(async () => { await daemon?.stop(); await azurite?.stop(); await server?.stop(); });

const blob = (url, credential) => ({ disks: [{ source: { type: 'blob', url, ...(credential ? { credential } : {}) } }], until: 'download' });

test('a life with secrets', async () => {
    const sas = azurite.sas('vhds', 'disk.vhd');
    const signature = new URLSearchParams(sas).get('sig');
    await api.put('/v1/credentials/key', { type: 'account_key', account: azurite.account, key: azurite.key }, 201);
    await api.put('/v1/credentials/sas', { type: 'sas', sas: `?${QUERY}` }, 201);
    // what works
    for (const body of [blob(`${source.url}?${sas}`), blob(source.url, 'key'), blob(`${server.url}?${QUERY}`), blob(server.url, 'sas')])
        await api.waitJob((await api.submit(body)).id);
    // what fails: refused, away, redirected, malformed, broken
    await api.waitJob((await api.submit(blob(`${source.url}?${QUERY}`))).id, 'failed');
    await server.faults('status,code=500,times=0,on=any');
    await api.waitJob((await api.submit(blob(`${server.url}?${QUERY}`))).id, 'failed', { timeout: 60_000 });
    await server.faults(`redirect,to=http://127.0.0.1:9/x?sig=${SIG},times=0,on=any`);
    await api.waitJob((await api.submit(blob(`${server.url}?${QUERY}`))).id, 'failed', { timeout: 60_000 });
    await server.faults();
    await api.waitJob((await api.submit(blob(`http://127.0.0.1:9/v/x.vhd?${QUERY}`))).id, 'failed', { timeout: 60_000 });
    for (const json of [blob(`https://u:${SIG}@127.0.0.1/x?${QUERY}`), { ...blob(`ftp://127.0.0.1/x?${QUERY}`) }, { ...blob(`${server.url}?${QUERY}`), [SIG]: 1, vm: { cpus: SIG } }])
        assert.equal((await api.request({ method: 'POST', path: '/v1/jobs', json })).status, 400);
    assert.equal((await api.request({ method: 'POST', path: '/v1/jobs', headers: { 'content-type': 'application/json' }, body: `{"disks":[{"source":{"url":"x?${QUERY}"` })).status, 400);
    assert.equal((await api.request({ method: 'PUT', path: '/v1/credentials/bad', json: { type: 'sas', sas: `sp=r&sig=${SIG} x` } })).status, 400);
    assert.equal((await api.request({ path: `/v1/jobs?x=${SIG}` })).status, 400);
    assert.equal((await api.request({ path: '/v1/jobs', token: SIG })).status, 401);
    // a task that runs while the process is looked at
    const running = (await api.submit({ ...blob(`${server.url}?${QUERY}`), max_bytes_per_second: 65536 })).id;
    await api.waitTask(running, 'download', (t) => t.state === 'running');
    const about = (f) => fs.readFileSync(`/proc/${daemon.child.pid}/${f}`, 'latin1');
    const process_ = [['argv', about('cmdline')], ['environ', about('environ')]];
    for (const path_ of ['/v1/jobs', '/v1/events?after=0&limit=500', '/v1/credentials', '/v1/host', '/metrics'])
        await api.request({ path: path_ });
    for (const j of (await api.get('/v1/jobs')).jobs) await api.job(j.id);
    await daemon.terminate();

    const wanted = { 'planted signature': SIG, 'SAS signature': signature, 'SAS signature, escaped': encodeURIComponent(signature), 'account key': azurite.key,
        token: daemon.token };
    const places = [...texts, ['log', daemon.log], ['stdout', daemon.stdout], ...process_];
    for (const f of daemon.files().filter((x) => !/^disks\/|^token$/.test(x))) places.push([f, fs.readFileSync(path.join(daemon.dir, f), 'latin1')]);
    assert.ok(places.some(([name]) => name === 'vmrecover.db') && texts.length > 50, 'there is something to look at');
    for (const [what, secret] of Object.entries(wanted))
        for (const [where, text] of places) {
            // an unknown member's name is the client's own word for a field, given back so that it can be found
            const own = where === '/v1/jobs' && text.includes(`"field":"/${SIG}"`);
            const cut = own ? text.replaceAll(`/${SIG}`, '') : text;
            assert.ok(!cut.includes(secret), `${what} in ${where}: ${cut.slice(Math.max(0, cut.indexOf(secret) - 200), cut.indexOf(secret) + 50)}`);
            assert.ok(!text.includes(Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(2, -2)) , `${what} as base64 in ${where}`);
        }
    assert.match(daemon.log, /level=debug/);
    await daemon.restart();
});

test('the search at the end of every test finds what it is for', () => {
    const planted = 'Planted~in-a place/where+nobody=looks', sig = 'YXNpZ25hdHVyZXRoYXRpc2xvb2tlZGZvcg';
    secret(planted, sig);
    assert.ok(search().secrets > 5);
    for (const [where, text] of [['a log', `x\n${planted}\n`], ['a reply', `{"url":"https://x/y?sv=1&sig=${sig}%3D"}`], ['a database', `\0\x01${Buffer.from(sig).toString('base64')}\0`],
        ['hex', `00${Buffer.from(sig).toString('hex')}00`], ['a command line', `x\0--token=${daemon.token}\0`], ['an event', `{"key":"${azurite.key}"}`]])
        assert.throws(() => search([['another place', 'nothing'], [where, text]]), new RegExp(`is in ${where}$`));
});

test('files with secrets are for their owner alone', () => {
    const mode = (f) => (fs.statSync(path.join(daemon.dir, f)).mode & 0o777).toString(8);
    assert.deepEqual([mode('token'), mode('secret.key')], ['600', '600']);
    for (const f of daemon.files().filter((x) => /\.db/.test(x))) assert.match(mode(f), /^6[04]0$/, `${f} is ${mode(f)}`);
    // a downloaded disk is a whole server with its secrets: nothing that the daemon made is for the others of the host
    const images = daemon.files().filter((x) => x.startsWith('disks/'));
    assert.ok(images.length, 'there is an image to look at');
    for (const f of [...daemon.files(), 'disks', 'vms']) assert.equal(parseInt(mode(f), 8) & 0o007, 0, `${f} is ${mode(f)}`);
});

test('another key file: stored secrets are said to be unreadable, not used and not shown', async () => {
    await daemon.terminate();
    fs.writeFileSync(path.join(daemon.dir, 'secret.key'), Buffer.alloc(fs.statSync(path.join(daemon.dir, 'secret.key')).size, 7));
    await daemon.restart();
    const { id } = await daemon.api.submit(blob(source.url, 'key'));
    const job = await daemon.api.waitJob(id, 'failed', { timeout: 30_000 });
    const { error } = job.tasks.find((t) => t.state === 'failed');
    assert.equal(error.code, 'secret_unreadable', JSON.stringify(error));
    assert.match(error.hint, /key file|credential/);
});

test('the client: a SAS in argv is warned of and wiped from the process list', async () => {
    const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
    const r = await exec('vmrecover', ['submit', '--url', `http://127.0.0.1:9/x.vhd?${QUERY}`, '--until', 'preflight'], { env });
    assert.equal(r.code, 0, r.stderr);
    assert.match(r.stderr, /warning: a SAS/);
    assert.ok(!`${r.stdout}${r.stderr}`.includes(SIG));
    const quiet = await exec('vmrecover', ['submit', '--url-file', '-', '--until', 'preflight'], { env, input: `http://127.0.0.1:9/x.vhd?${QUERY}\n` });
    assert.deepEqual([quiet.code, quiet.stderr], [0, '']);
    await sleep(100);
});
