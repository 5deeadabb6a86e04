// Exports that meet trouble: access taken back, tokens that die, a daemon that is killed, an Azure that fails at random, owners who start their VM.
// What was borrowed is given back each time. SOAK=1: the full counts; RUNS: that many. SEED names the run.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { makeVhd } from './lib/image.mjs';
import { diskImage, identical, random, rawImage, seed, sleep, slow, soak, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 8 * MIB;                                // most disks here
let azure, daemon, api, dir, small, data, large, largeSize = 64 * MIB, largeUsed, serial = 0, sp;

before(async () => {
    dir = tempDir('trouble');
    azure = await Azure.start({ operations: { retryAfter: 0 } });
    const make = (name, size, options) => {
        const file = path.join(dir, `${name}.vhd`);
        return [file, makeVhd(file, size, options)];
    };
    [small] = make('small', SIZE, { seed: 1 });
    [data] = make('data', SIZE, { seed: 2 });
    [large, largeUsed] = make('large', largeSize, { seed: 3, used: 0.5 });
    sp = azure.principal();
    await azure.azurite.container('recovery');
    await start();
});
after(async () => {
    await daemon?.stop();
    await azure?.finish();
});

const count = (few, all) => Number(process.env.RUNS) || (soak ? all : few);

// The same daemon with other options: its data folder stays.
async function start(more = {}) {
    const dir_ = daemon?.dir;
    if (daemon) await daemon.terminate();
    daemon = await Daemon.start({ ...azure.config(), ...(dir_ ? { dir: dir_ } : {}), backoff_ms: 100, backoff_max_ms: 1000, max_attempts: 6, connections: 4, range_kib: 256, ...more });
    api = daemon.api;
    if (dir_) return;
    await api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
    await api.put('/v1/credentials/sp', { type: 'service_principal', tenant_id: sp.tenant, client_id: sp.clientId, client_secret: sp.secret }, 201);
    await api.put('/v1/credentials/key', { type: 'account_key', account: azure.account.name, key: azure.account.key }, 201);
}

const newVm = (o = {}) => azure.vm({ name: `vm${++serial}`, disks: [{ file: small }], ...o });
const submit = (vm, more = {}, job = {}) => api.submit({ disks: [{ source: { type: 'vm', id: azure.id(vm), credential: 'mi', ...more } }], until: 'download', ...job });
const events = async (id, type) => (await api.get(`/v1/jobs/${id}/events?limit=500`)).events.filter((e) => !type || e.type === type);
const ours = () => [...azure.world.snapshots.values()].filter((s) => s.tags['vmrecover-job']);
async function leftovers() {
    const left = [...azure.world.openGrants().map((r) => `access to ${r.name}`), ...ours().map((s) => s.name)];
    for (const c of ['recovery', 'vhds']) {
        const client = azure.azurite.service.getContainerClient(c);
        if (await client.exists())
            for await (const b of client.listBlobsFlat({ includeSnapshots: true })) if (c === 'recovery' || b.snapshot) left.push(`${c}/${b.name}${b.snapshot ? ` of ${b.snapshot}` : ''}`);
    }
    return left;
}
const nothingLeft = (timeout = 60_000) => {
    let left;
    return waitFor(() => `nothing is left in Azure, but there is ${left}`, async () => (left = await leftovers()).length === 0, { timeout });
};
const good = async (job, ...contents) => {
    for (const [i, file] of contents.entries())
        assert.ok(await identical(diskImage(job.disks[i]), rawImage(file, fs.statSync(file).size - 512)), `disk ${i} is the disk`);
};
const trail = () => azure.double.exchanges.slice(-30).map((x) => `${x.n} ${x.service} ${x.operation} ${x.status}${x.injected ? ` (${x.injected})` : ''}`).join('\n');

// ---- access taken back ----

test('access to the disk is taken back at five random points: once renewed each time, and hardly a byte twice', async (t) => {
    const rand = random(seed), disk = path.join(dir, 'taken.vhd'), used = makeVhd(disk, 160 * MIB, { seed: 7, used: 0.5 });
    for (const power of ['deallocated', 'running']) {
        const vm = await newVm({ power, disks: [{ file: disk }] });
        const points = Array.from({ length: 5 }, () => Math.floor((0.05 + 0.9 * rand()) * used)).sort((a, b) => a - b);
        azure.hosts.counts.bytes = 0;
        if (power === 'deallocated') azure.hosts.endAt(vm.disks[0].record, ...points);
        else for (const p of points) azure.faults.add({ on: 'disk', operation: (x) => x.operation === 'Disk_Get' && azure.hosts.counts.bytes >= p, revoke: true });
        const { id } = await submit(vm);
        const job = await api.waitJob(id, 'succeeded');
        azure.faults.clear();
        await good(job, disk);
        const renewed = (await events(id, 'access_renewed')).length;
        assert.ok(renewed >= 1 && renewed <= 5, `renewed ${renewed} times at ${points}`);
        const task = job.tasks.find((x) => x.kind === 'download');
        assert.equal(task.attempts, 1);
        const twice = azure.hosts.counts.bytes - used;
        t.diagnostic(`${power}: ${twice} of ${used} bytes twice (${(twice / used * 100).toFixed(2)} %), what was looked at before the download included`);
        assert.ok(twice < used * 0.02, `${azure.hosts.counts.bytes} bytes for ${used}`);
        assert.equal((await events(id, 'download_restarted')).length, 0);
        await nothingLeft();
        await api.deleteJob(id);
    }
});

test('access that expires, and a daemon that comes back to access that has ended', async () => {
    azure.world.options.grantSeconds = 1;
    const vm = await newVm({ disks: [{ file: large }] });
    const { id } = await submit(vm, {}, { max_bytes_per_second: 12 * MIB });
    const job = await api.waitJob(id, 'succeeded');
    await good(job, large);
    assert.ok((await events(id, 'access_renewed')).length >= 1);
    azure.world.options.grantSeconds = Infinity;
    await nothingLeft();
    await api.deleteJob(id);

    const second = await newVm({ disks: [{ file: large }] });
    const { id: other } = await submit(second, {}, { max_bytes_per_second: 16 * MIB });
    await api.waitTask(other, 'download', (t) => t.state === 'running' && t.progress.transferred_bytes > 4 * MIB);
    await daemon.kill9();
    azure.world.end(second.disks[0].record);
    azure.hosts.counts.bytes = 0;
    await daemon.restart();
    api = daemon.api;
    await good(await api.waitJob(other, 'succeeded'), large);
    assert.ok(azure.hosts.counts.bytes < largeUsed - 2 * MIB, 'it goes on where it was');
    assert.deepEqual(await events(other, 'download_restarted'), []);
    await nothingLeft();
    await api.deleteJob(other);
});

test('the owner takes access back and starts the VM: the job says so; a retry begins again from a snapshot', async () => {
    const vm = await newVm({ disks: [{ file: large }] });
    const { id } = await submit(vm, {}, { max_bytes_per_second: 16 * MIB });
    await api.waitTask(id, 'download', (t) => t.state === 'running' && t.progress.transferred_bytes > 2 * MIB);
    azure.world.end(vm.disks[0].record);
    vm.power = 'running';
    const failed = await api.waitJob(id, 'failed');
    const { error } = failed.tasks.find((t) => t.kind === 'download');
    assert.deepEqual([error.code, /Retry the job/.test(error.hint)], ['source_changed', true], JSON.stringify(error));
    await nothingLeft();
    await api.post(`/v1/jobs/${id}/retry`);
    await good(await api.waitJob(id, 'succeeded'), large);
    assert.equal((await events(id, 'download_restarted')).length, 1);
    await nothingLeft();
    await api.deleteJob(id);
});

// ---- tokens ----

test('tokens expire at each step', async (t) => {
    const { base } = azure.account;
    // what is in Azure, what is asked for, how many of the steps in check
    const kinds = {
        'a snapshot whose data asks for a token': [{ power: 'running', disks: [{ file: small, dataAccessAuthMode: 'AzureActiveDirectory' }] }, {}, 8],
        'a copy in a storage account': [{ power: 'running' }, { via_storage_account: { url: `${base}/recovery` } }, 6],
        'a VM that is deallocated': [{ power: 'running' }, { deallocate: true }, 4],
        'an unmanaged disk': [{ power: 'running', disks: [{ file: small, unmanaged: true }] }, {}, 4],
    };
    // 0: not at all, to count the steps
    const run = async (at, kind, [o, more], credential) => {
        // put again it is another identity: what the daemon keeps of runs before is not expired twice in a row
        await api.request({ method: 'PUT', path: '/v1/credentials/step', json: credential === 'mi' ? { type: 'managed_identity' }
            : { type: 'service_principal', tenant_id: sp.tenant, client_id: sp.clientId, client_secret: sp.secret } });
        const vm = await newVm(o), from = azure.double.exchanges.at(-1)?.n ?? 0;
        let n = 0;
        azure.faults.add({ on: ['arm', 'disk', 'storage'], times: 0, operation: (x) => {
            if (x.headers.authorization?.startsWith('Bearer') && ++n === at) azure.tokens.expireAll();
            return false;
        } });
        const { id } = await submit(vm, { ...more, credential: 'step' });
        const job = await api.waitJob(id, 'succeeded').catch((e) => { throw new Error(`${kind}: tokens expired at request ${at}: ${e.message}\n${trail()}`); });
        await nothingLeft();
        azure.faults.clear();
        await good(job, small);
        const refused = azure.double.exchanges.filter((x) => x.n > from && x.status === 401 && x.headers.authorization);
        assert.equal(refused.length > 0, at > 0, `${kind}: refused at request ${at}: ${refused.map((x) => x.operation)}`);
        await api.deleteJob(id);
        return n;
    };
    const rand = random(seed + 3);
    let runs = 0;
    for (const [kind, what] of Object.entries(kinds)) {
        const steps = await run(0, kind, what, 'mi'), every = soak ? 1 : Math.ceil(steps / what[2]);
        assert.ok(steps > 8, `${kind}: ${steps} requests with a token`);
        for (let at = 1 + Math.floor(rand() * every); at <= steps; at += every, runs++) await run(at, kind, what, runs % 2 ? 'mi' : 'sp');
        t.diagnostic(`${kind}: ${steps} requests with a token, ${soak ? 'each' : `one of ${every}`} with tokens that have just expired`);
    }
    console.log(`# tokens expired at ${runs} steps, seed ${seed}`);
});

// ---- the daemon dies ----

test('killed at random instants, the job succeeds and nothing stays open', async () => {
    const rand = random(seed + 1);
    const kinds = [
        () => newVm({ power: 'running', disks: [{ file: small }, { file: data }] }).then((vm) => [vm, { data_disks: true }, [small, data]]),
        () => newVm({ disks: [{ file: small }, { file: data }] }).then((vm) => [vm, { data_disks: true }, [small, data]]),
        () => newVm({ power: 'running', disks: [{ file: small }] }).then((vm) => [vm, { via_storage_account: { url: `${azure.account.base}/recovery`, credential: 'key' } }, [small]]),
        () => newVm({ name: `old${++serial}`, power: 'running', disks: [{ file: small, unmanaged: true }] }).then((vm) => [vm, { storage_credential: 'key' }, [small]]),
        () => newVm({ power: 'running', disks: [{ file: small }] }).then((vm) => [vm, { deallocate: true }, [small]]),
    ];
    const runs = count(5, 50);
    for (let i = 0; i < runs; i++) {
        const [vm, more, contents] = await kinds[i % kinds.length]();
        const { id } = await submit(vm, more, { max_bytes_per_second: 8 * MIB });
        await sleep(100 + rand() * 3000 * slow);
        await daemon.kill9();
        await daemon.restart();
        api = daemon.api;
        const job = await api.waitJob(id, 'succeeded').catch((e) => { throw new Error(`run ${i} of seed ${seed}: ${e.message}\n${trail()}`); });
        await good(job, ...contents);
        await nothingLeft().catch((e) => { throw new Error(`run ${i} of seed ${seed}: ${e.message}\n${trail()}`); });
        await api.deleteJob(id);
    }
    console.log(`# ${runs} deaths, seed ${seed}`);
});

test('killed while the job is cancelled, deleted or has failed', async () => {
    const rand = random(seed + 2);
    for (const how of ['cancel', 'delete', 'fail']) {
        const vm = await newVm({ power: 'running', disks: [{ file: large }, { file: data }] });
        const { id } = await submit(vm, { data_disks: true }, { max_bytes_per_second: 8 * MIB });
        await sleep(200 + rand() * 2000 * slow);
        if (how === 'cancel') await api.post(`/v1/jobs/${id}/cancel`);
        if (how === 'delete') await api.del(`/v1/jobs/${id}?disks=delete`, 202);
        if (how === 'fail') azure.faults.add({ on: 'disk', operation: 'Disk_Get', status: 404, code: 'ResourceNotFound', times: 0 });
        await sleep(rand() * 500 * slow);
        await daemon.kill9();
        await daemon.restart();
        api = daemon.api;
        if (how === 'delete') await api.waitGone(id);
        else await api.waitJob(id, how === 'cancel' ? 'cancelled' : 'failed');
        azure.faults.clear();
        await nothingLeft();
        if (how !== 'delete') await api.deleteJob(id);
    }
});

// ---- cancel, retry ----

test('cancelled and retried: access is granted anew, from a new snapshot the download begins again', async () => {
    for (const power of ['deallocated', 'running']) {
        const vm = await newVm({ power, disks: [{ file: large }] });
        const { id } = await submit(vm, {}, { max_bytes_per_second: 16 * MIB });
        await api.waitTask(id, 'download', (t) => t.state === 'running' && t.progress.transferred_bytes > 4 * MIB);
        await api.post(`/v1/jobs/${id}/cancel`);
        await api.waitJob(id, 'cancelled');
        await nothingLeft();
        assert.equal((await api.request({ method: 'DELETE', path: '/v1/credentials/mi' })).status === 204, false, 'jobs use it');
        azure.hosts.counts.bytes = 0;
        await api.post(`/v1/jobs/${id}/retry`);
        await good(await api.waitJob(id, 'succeeded'), large);
        assert.equal((await events(id, 'download_restarted')).length, power === 'running' ? 1 : 0);
        if (power === 'deallocated') assert.ok(azure.hosts.counts.bytes < largeUsed - 2 * MIB, 'the same disk: it goes on');
        await nothingLeft();
        await api.deleteJob(id);
    }
});

test('a copy by Azure: its progress is told; access that dies under it is renewed; given up, it is aborted and removed', async () => {
    const via = { via_storage_account: { url: `${azure.account.base}/recovery`, credential: 'key' } };
    const copying = (id) => api.waitTask(id, 'export', (t) => t.state === 'running' && t.progress.transferred_bytes > MIB);
    const calls = () => azure.double.calls.Storage_AbortCopy ?? 0;
    const copies = azure.account.counts.copies ?? 0;     // of the tests before
    azure.account.options.rate = 2 * MIB;                // slow enough to be met on the way
    const vm = await newVm({ power: 'running', disks: [{ file: large }] });
    const { id } = await submit(vm, via);
    const { tasks } = await copying(id);
    const { progress } = tasks.find((t) => t.kind === 'export');
    assert.ok(progress.total_bytes >= largeSize && progress.bytes_per_second > 0 && progress.eta_seconds !== null, JSON.stringify(progress));
    azure.world.end(ours()[0]);                          // Azure's own copy fails then
    await waitFor('the copy is begun again', () => azure.account.counts.copies === copies + 2);
    await copying(id);
    await daemon.kill9();                                // the copy goes on without us, and is found again
    await daemon.restart();
    api = daemon.api;
    azure.account.options.rate = 0;
    await good(await api.waitJob(id, 'succeeded'), large);
    assert.equal(azure.account.counts.copies, copies + 2);
    await nothingLeft();
    await api.deleteJob(id);
    azure.account.options.rate = 2 * MIB;
    for (const how of ['cancel', 'delete']) {
        const before = calls();
        const { id: other } = await submit(await newVm({ power: 'running', disks: [{ file: large }] }), via);
        await copying(other);
        if (how === 'cancel') {
            await api.post(`/v1/jobs/${other}/cancel`);
            await api.waitJob(other, 'cancelled');
        } else await api.deleteJob(other);
        await nothingLeft();
        assert.equal(calls(), before + 1);
        if (how === 'cancel') await api.deleteJob(other);
    }
    azure.account.options.rate = 0;
});

test('answers of the storage account that are lost: what was made all the same is found, used and given back', async () => {
    const unmanaged = { power: 'running', disks: [{ file: small, unmanaged: true }] };
    for (const times of [1, 2]) {
        azure.faults.add({ on: 'storage', operation: 'Storage_Snapshot', lost: true, times });
        const { id } = await submit(await newVm({ ...unmanaged, name: `lost${times}` }), { storage_credential: 'key' });
        await good(await api.waitJob(id, 'succeeded'), small);
        azure.faults.clear();
        await nothingLeft();
        await api.deleteJob(id);
    }
    // the copy began, and for a while nobody can be asked whether it did
    let begun = false;
    azure.faults.add({ on: 'storage', operation: (x) => x.operation === 'Storage_CopyBlob' && (begun = true), lost: true });
    azure.faults.add({ on: 'storage', operation: (x) => x.operation === 'Storage_Head' && begun, status: 503, times: 4 });
    const { id } = await submit(await newVm({ power: 'running' }), { via_storage_account: { url: `${azure.account.base}/recovery`, credential: 'key' } });
    await good(await api.waitJob(id, 'succeeded'), small);
    azure.faults.clear();
    await nothingLeft();
    await api.deleteJob(id);
});

test('Azure takes nothing back for a while: told, tried again, and the credential stays until then', async () => {
    const vm = await newVm({ power: 'running' });
    await api.put('/v1/credentials/short', { type: 'managed_identity' }, 201);
    azure.faults.add({ on: 'arm', operation: /RevokeAccess/, status: 503, times: 0 });
    const { id } = await submit(vm, { credential: 'short' });
    const job = await api.waitJob(id, 'succeeded');
    await good(job, small);
    await waitFor('the failure is told', async () => (await events(id, 'give_back_failed')).length > 0, { timeout: 60_000 });
    const [told] = await events(id, 'give_back_failed');
    assert.deepEqual([told.data.kind, told.data.error.upstream.status, told.data.retry_in_ms > 0], ['sas', 503, true], JSON.stringify(told));
    assert.ok((await leftovers()).length >= 2);
    const refused = await api.request({ method: 'DELETE', path: '/v1/credentials/short' });
    assert.deepEqual([refused.status, refused.json.code], [409, 'credential_in_use']);
    await api.del(`/v1/jobs/${id}?disks=delete`, 202);
    await sleep(500);
    assert.equal((await api.request({ path: `/v1/jobs/${id}` })).status, 200, 'it is not forgotten while something is borrowed');
    azure.faults.clear();
    await api.waitGone(id);
    await nothingLeft();
    await api.del('/v1/credentials/short', 204);
});

// ---- an Azure that fails at random ----

test('random faults at every call: all succeed, or end with the words of Azure', async () => {
    await start({ max_attempts: 8 });
    const runs = count(8, 200), ends = {};
    const kinds = [
        [{ power: 'running' }, {}], [{}, {}], [{ power: 'running' }, { deallocate: true }],
        [{ power: 'running' }, { via_storage_account: { url: `${azure.account.base}/recovery`, credential: 'key' } }],
        [{ power: 'running', disks: [{ file: small, unmanaged: true }] }, { storage_credential: 'key' }],
        [{ power: 'running', disks: [{ file: small }, { file: data }] }, { data_disks: true }],
    ];
    for (let i = 0; i < runs; i++) {
        const [o, more] = kinds[i % kinds.length];
        const vm = await newVm(o);
        azure.faults.random({ seed: seed + i, rate: i % 3 === 2 ? 0.3 : 0.1, on: ['arm', 'login', 'imds', 'disk', 'storage'], kinds: ['503', '500', '429', 'reset', 'lost', 'slow', 'cut'], slow: 200 });
        const { id } = await submit(vm, { credential: i % 2 ? 'mi' : 'sp', ...more });
        const job = await api.waitJob(id, ['succeeded', 'failed'], { timeout: 240_000 }).catch((e) => { throw new Error(`run ${i} of seed ${seed}: ${e.message}\n${trail()}`); });
        ends[job.state] = (ends[job.state] ?? 0) + 1;
        azure.faults.clear();
        if (job.state === 'succeeded') await good(job, ...[small, data].slice(0, job.disks.length));
        else {
            const { error } = job.tasks.find((t) => t.state === 'failed');
            assert.ok(error.upstream?.service || /127\.0\.0\.1/.test(error.detail), `run ${i} of seed ${seed} ended without saying who said no: ${JSON.stringify(error)}`);
            console.log(`# run ${i}: ${error.detail.slice(0, 160)}`);
        }
        await nothingLeft(90_000).catch((e) => { throw new Error(`run ${i} of seed ${seed} (${job.state}): ${e.message}\n${trail()}`); });
        await api.deleteJob(id);
        await azure.double.assertClean();
    }
    console.log(`# ${runs} runs: ${JSON.stringify(ends)}, seed ${seed}`);
    assert.ok((ends.succeeded ?? 0) >= runs / 2, JSON.stringify(ends));
});
