// Tokens, SAS signatures of disks, client secrets and keys of a whole life with Azure are in no log, event, reply, error or database file, and in
// no argument or environment of a process.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { makeVhd } from './lib/image.mjs';
import { sleep, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
let azure, daemon, api, small, large, sp, cert, texts = [], processes = [];

before(async () => {
    const dir = tempDir('azure-secrets');
    small = path.join(dir, 'small.vhd');
    large = path.join(dir, 'large.vhd');
    makeVhd(small, 4 * MIB, { used: 0.5 });
    makeVhd(large, 32 * MIB, { used: 0.5 });
    azure = await Azure.start({ operations: { retryAfter: 0 } });
    sp = azure.principal();
    cert = await azure.certificatePrincipal();
    await azure.azurite.container('recovery');
    daemon = await Daemon.start({ ...azure.config(), log_level: 'debug', backoff_ms: 20, backoff_max_ms: 100, max_attempts: 3, connections: 4, range_kib: 256 });
    api = daemon.api;
    const exchange = api.exchange.bind(api);
    api.exchange = async (o) => { const r = await exchange(o); texts.push([o.path, `${JSON.stringify(r.headers)} ${r.text}`]); return r; };
});
after(async () => { await daemon?.stop(); await azure?.finish(); });

const look = () => {
    for (const f of ['cmdline', 'environ']) processes.push([f, fs.readFileSync(`/proc/${daemon.child.pid}/${f}`, 'latin1')]);
};

test('a life with secrets', async () => {
    await api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
    await api.put('/v1/credentials/sp', { type: 'service_principal', tenant_id: sp.tenant, client_id: sp.clientId, client_secret: sp.secret }, 201);
    await api.put('/v1/credentials/cert', { type: 'service_principal', tenant_id: cert.tenant, client_id: cert.clientId, certificate: cert.pem }, 201);
    await api.put('/v1/credentials/key', { type: 'account_key', account: azure.account.name, key: azure.account.key }, 201);
    let n = 0;
    const vm = (o = {}) => azure.vm({ name: `vm${++n}`, disks: [{ file: small }], ...o });
    const submit = async (v, more = {}, job = {}) => (await api.submit({ disks: [{ source: { type: 'vm', id: azure.id(v), credential: 'mi', ...more } }], until: 'download', ...job })).id;
    const via = (credential) => ({ via_storage_account: { url: `${azure.account.base}/recovery`, ...(credential ? { credential } : {}) } });
    // what works
    for (const id of [await submit(await vm()), await submit(await vm({ power: 'running' }), { credential: 'sp' }), await submit(await vm({ power: 'running' }), { credential: 'cert', ...via('key') }),
        await submit(await vm({ disks: [{ file: small, dataAccessAuthMode: 'AzureActiveDirectory' }] })), await submit(await vm({ power: 'running' }), via()),
        await submit(await azure.vm({ name: 'old', disks: [{ file: small, unmanaged: true }] }), { storage_credential: 'key' })])
        await api.waitJob(id);
    // what is renewed on the way, while the process is looked at
    const v = await vm({ disks: [{ file: large }] });
    azure.hosts.endAt(v.disks[0].record, 4 * MIB, 9 * MIB);
    const long = await submit(v, {}, { max_bytes_per_second: 8 * MIB });
    await api.waitTask(long, 'download', (t) => t.state === 'running' && t.progress.transferred_bytes > MIB);
    look();
    await api.waitJob(long);
    // what fails: at every service, in every shape
    for (const fault of [{ on: 'arm', operation: /GrantAccess/, status: 400, code: 'BadRequest', message: 'not https://x/y?sig=planted' },
        { on: 'disk', status: 403, code: 'AuthenticationFailed' }, { on: 'disk', operation: 'Disk_Get', status: 404, code: 'ResourceNotFound' }, { on: 'storage', operation: 'Storage_CopyBlob', status: 403, code: 'AuthorizationFailure' },
        { on: 'arm', operation: /GrantAccess/, fail: { code: 'Conflict', message: 'see https://md-x.z1.blob.storage.azure.net/abcd?sv=1&sig=planted%3D&x=1' } }, { on: ['login', 'imds'], status: 400, code: 'invalid_client' },
        { on: 'disk', operation: 'Disk_Get', reset: true }]) {
        azure.faults.add({ times: 0, ...fault });
        if (fault.on.includes?.('login')) azure.tokens.expireAll();
        await api.waitJob(await submit(await vm({ power: 'running' }), { credential: 'sp', ...(fault.on === 'storage' ? via('key') : {}) }), 'failed', { timeout: 90_000 });
        azure.faults.clear();
        await waitFor('nothing is open', () => !azure.world.openGrants().length);
    }
    for (const p of ['/v1/jobs?limit=200', '/v1/events?after=0&limit=500', '/v1/credentials', '/v1/host', '/metrics', '/v1/azure/vms?credential=sp']) await api.request({ path: p });
    const { jobs } = await api.get('/v1/jobs?limit=200');
    for (const j of jobs) { await api.job(j.id); await api.get(`/v1/jobs/${j.id}/events?limit=500`); }
    look();
    await sleep(200);
    await daemon.terminate();

    const secrets = new Set([...azure.double.secrets(), sp.secret, azure.account.key, cert.key.split('\n')[3], daemon.token, 'sig=planted']);
    assert.ok(secrets.size > 20, `${secrets.size} secrets`);
    const places = [...texts, ['log', daemon.log], ['stdout', daemon.stdout], ...processes];
    for (const f of daemon.files().filter((x) => !/^disks\/|^token$/.test(x))) places.push([f, fs.readFileSync(path.join(daemon.dir, f), 'latin1')]);
    assert.ok(places.some(([name]) => name === 'vmrecover.db') && texts.length > 60, 'there is something to look at');
    for (const secret of secrets)
        for (const [where, text] of places) {
            const at = text.indexOf(secret);
            assert.ok(at < 0, `${secret.slice(0, 12)}… in ${where}: ${text.slice(Math.max(0, at - 300), at)}`);
            assert.ok(!text.includes(Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(2, -2)), `${secret.slice(0, 12)}… as base64 in ${where}`);
        }
    assert.match(daemon.log, /level=debug/);
    assert.match(daemon.log, /access to the source ended on the way/);
    await daemon.restart();
    for (const j of jobs) await daemon.api.deleteJob(j.id);
});
