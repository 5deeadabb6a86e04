// Pause, resume, cancel, retry and delete at every stage of a job; delete leaves nothing: no file, no process, no row.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { guests, local, test, usual } from './lib/platform.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { diskImage, identical, must, rawImage, sleep, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 32 * MIB;
const RATE = 4 * MIB;                                // of which half is in use: some 4 s
const LAST = 'create_vm', END = 'start_vm';      // the last task of most jobs here, and of some
let daemon, api, server, source, fixed, others = [];

before(async () => {
    source = path.join(tempDir('sources'), 'disk.vhd');
    makeVhd(source, SIZE, { used: 0.5, seed: 5 });
    [daemon, server] = await Promise.all([Daemon.start({ backoff_ms: 2000, max_attempts: 2, hypervisor: 2, connections: 2, range_kib: 256 }), BlobServer.start('--file', source)]);
    api = daemon.api;
    fixed = fs.statSync(source);
});
after(async () => { await daemon?.stop(); await server?.stop(); });

const submit = async (more = {}) => (await api.submit({ disks: [{ source: { type: 'blob', url: server.url } }], max_bytes_per_second: RATE,
    vm: { memory_mib: 64, cpus: 1 }, until: LAST, ...more })).id;
const verb = (id, word) => api.post(`/v1/jobs/${id}/${word}`);
const downloading = (id) => api.waitTask(id, 'download', (t) => t.state === 'running' && t.progress.transferred_bytes > MIB);
const taskOf = (job, kind) => job.tasks.find((t) => t.kind === kind);
const good = async (job) => assert.ok(await identical(diskImage(job.disks[0]), rawImage(source, SIZE)));

// Rows of the job and of all that hangs on it; the tables are asked for, so that a new one is looked at too.
async function rows() {
    const sql = (text) => must('sqlite3', ['-readonly', path.join(daemon.dir, 'vmrecover.db'), text]);
    const tables = (await sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")).trim().split('\n');
    assert.ok(['job', 'disk', 'task', 'resource', 'transfer'].every((t) => tables.includes(t)), String(tables));
    const counted = tables.filter((t) => !['event', 'credential'].includes(t)).map((t) => `SELECT '${t}', count(*) FROM ${t}`);
    counted.push("SELECT 'event', count(*) FROM event WHERE job IS NOT NULL");
    return Object.fromEntries((await sql(counted.join(' UNION ALL '))).trim().split('\n').map((l) => l.split('|')).map(([t, n]) => [t, Number(n)]));
}
async function nothingLeft({ files = [] } = {}) {
    assert.deepEqual(await api.vms(), []);
    assert.deepEqual(daemon.vmProcesses(), []);
    assert.deepEqual(daemon.files('disks').map((f) => path.basename(f)), files);
    assert.deepEqual(daemon.files('vms'), []);
    for (const [table, n] of Object.entries(await rows())) assert.equal(n, 0, `rows left in ${table}`);
    const now = fs.statSync(source);
    assert.deepEqual([now.size, now.mtimeMs], [fixed.size, fixed.mtimeMs], 'the source is untouched');
}
async function deleted(id) {
    await api.deleteJob(id, 'delete');
    for (const other of others.splice(0)) await api.deleteJob(other);
    await nothingLeft();
    const last = (await api.get('/v1/events?after=0&limit=500')).events.at(-1);
    assert.equal(last.type, 'job_deleted');
    assert.equal(last.job_id, null);
}

// ---- each stage: how a job is brought there and held ----
const stages = {
    async queued() {                                 // all workers of the lane are held by others, which go when this one is gone
        await server.faults('stall,bytes=-1,ms=60000,times=0,on=any');
        others = [await submit(), await submit()];
        for (const id of others) await api.waitTask(id, 'preflight', (t) => t.state === 'running');
        const id = await submit();
        await sleep(300);
        assert.equal((await api.job(id)).state, 'queued');
        return id;
    },
    async preflight() {
        await server.faults('stall,bytes=-1,ms=60000,times=0,on=any');
        const id = await submit();
        await api.waitTask(id, 'preflight', (t) => t.state === 'running');
        return id;
    },
    async download() {
        const id = await submit();
        await downloading(id);
        return id;
    },
    async paused() {
        const id = await stages.download();
        await verb(id, 'pause');
        await api.waitTask(id, 'download', (t) => t.state === 'pending');
        return id;
    },
    async backoff() {                                // waits for its second attempt
        await server.faults('status,code=500,times=0,on=any');
        const id = await submit();
        await api.waitTask(id, 'preflight', (t) => t.attempts > 0);
        return id;
    },
    async failed() {
        await server.faults('gone,times=0,on=any');
        const id = await submit();
        await api.waitJob(id, 'failed');
        return id;
    },
    async cancelled() {
        const id = await stages.download();
        await verb(id, 'cancel');
        await api.waitJob(id, 'cancelled');
        return id;
    },
    async created() {
        const id = await submit({ max_bytes_per_second: 0 });
        await api.waitJob(id);
        return id;
    },
    async starting() {                               // an empty screen for ever: the disk has no boot code, so start_vm waits or is done
        const id = await submit({ max_bytes_per_second: 0, until: 'start_vm' });
        await api.waitTask(id, 'start_vm', (t) => t.state !== 'pending', { interval: 5 });
        return id;
    },
    async running() {
        const id = await submit({ max_bytes_per_second: 0, until: 'start_vm' });
        await api.waitJob(id, 'succeeded', { timeout: 120_000 });
        if (guests) assert.equal(daemon.vmProcesses().length, 1);
        return id;
    },
};
for (const [stage, reach] of Object.entries(stages)) {
    test(`delete: ${stage}`, async () => {
        try {
            const id = await reach();
            const began = Date.now();
            await deleted(id);
            assert.ok(Date.now() - began < 30_000, 'soon');
        } finally { await server.faults(); }
    });
}

test('delete with disks=keep: the image stays, the rest goes', async () => {
    const id = await submit({ max_bytes_per_second: 0, until: END });
    const job = await api.waitJob(id, 'succeeded', { timeout: 120_000 });
    await api.deleteJob(id, 'keep');
    await nothingLeft({ files: [`disk0.${usual}`] });
    await good(job);
    fs.rmSync(path.dirname(local(job.disks[0].path)), { recursive: true });
});
test('delete twice: keep may become delete', async () => {
    const id = await stages.download();
    await api.del(`/v1/jobs/${id}?disks=keep`, 202);
    const again = await api.request({ method: 'DELETE', path: `/v1/jobs/${id}?disks=delete` });
    assert.ok([202, 404].includes(again.status), again.text);
    await api.waitGone(id);
    if (again.status === 202) await nothingLeft();
});
test('a job that is being deleted takes no other order', async () => {
    await server.faults('stall,bytes=-1,ms=3000,times=0,on=any');
    const id = await submit();
    await api.waitTask(id, 'preflight', (t) => t.state === 'running');
    await api.del(`/v1/jobs/${id}`, 202);
    for (const word of ['retry', 'resume']) {
        const r = await api.request({ method: 'POST', path: `/v1/jobs/${id}/${word}` });
        assert.ok((r.status === 409 && r.json.code === 'wrong_state') || r.status === 404, r.text);
    }
    await server.faults();
    await api.waitGone(id);
    await nothingLeft();
});

test('pause in the download: no byte moves; resume goes on where it was', async () => {
    await server.reset();
    const id = await stages.paused();
    assert.equal((await api.job(id)).state, 'paused');
    const { body_bytes: was } = await server.stats();
    await sleep(1500);
    assert.equal((await server.stats()).body_bytes, was, 'nothing is asked for');
    await verb(id, 'resume');
    const job = await api.waitJob(id);
    await good(job);
    const { body_bytes: sent } = await server.stats();
    assert.ok(sent < 16 * MIB * 1.1 + 4 * MIB, `${sent} bytes sent`);
    assert.equal(taskOf(job, 'download').attempts, 1, 'a pause is no attempt');
    await deleted(id);
});
test('pause before anything runs, and twice; resume', async () => {
    await server.faults('stall,bytes=-1,ms=1000,times=1,on=any');
    const id = await submit({ max_bytes_per_second: 0 });
    await verb(id, 'pause');
    await verb(id, 'pause');
    await sleep(300);
    const { state } = await api.job(id);
    assert.equal(state, 'paused');
    await verb(id, 'resume');
    await good(await api.waitJob(id));
    await deleted(id);
});
test('a paused job stays paused over a restart of the daemon', async () => {
    const id = await stages.paused();
    assert.deepEqual((await daemon.terminate()).code, 0);
    await daemon.restart();
    api = daemon.api;
    await sleep(700);
    const job = await api.job(id);
    assert.deepEqual([job.state, taskOf(job, 'download').state], ['paused', 'pending']);
    await verb(id, 'resume');
    await good(await api.waitJob(id));
    await deleted(id);
});
test('an orderly stop in the download: it goes on after the next start, and no attempt is used up', async () => {
    await server.reset();
    const id = await stages.download();
    const began = Date.now();
    assert.deepEqual((await daemon.terminate()).code, 0);
    assert.ok(Date.now() - began < 10_000, 'it stops soon');
    await daemon.restart();
    api = daemon.api;
    const job = await api.waitJob(id);
    await good(job);
    assert.equal(taskOf(job, 'download').attempts, 1);
    assert.ok((await server.stats()).body_bytes < 16 * MIB * 1.1 + 4 * MIB);
    await deleted(id);
});

for (const stage of ['preflight', 'download', 'paused', 'backoff'])
    test(`cancel: ${stage}; retry brings it to its end`, async () => {
        try {
            const id = await stages[stage]();
            await verb(id, 'cancel');
            const job = await api.waitJob(id, 'cancelled', { timeout: 30_000 });
            assert.ok(job.tasks.every((t) => ['succeeded', 'skipped', 'cancelled'].includes(t.state)), JSON.stringify(job.tasks));
            assert.equal(taskOf(job, LAST).state, 'cancelled');
            const again = await api.request({ method: 'POST', path: `/v1/jobs/${id}/cancel` });
            assert.deepEqual([again.status, again.json.code], [409, 'wrong_state']);
            await server.faults();
            await verb(id, 'retry');
            const done = await api.waitJob(id);
            assert.ok(done.tasks.every((t) => ['succeeded', 'skipped'].includes(t.state)));
            await good(done);
            await deleted(id);
        } finally { await server.faults(); }
    });
test('retry after a failure goes on from what is there', async () => {
    await server.reset();
    const id = await stages.download();
    await server.faults('gone,times=0');
    const failed = await api.waitJob(id, 'failed');
    assert.deepEqual([taskOf(failed, 'download').state, taskOf(failed, 'create_vm').state], ['failed', 'pending']);
    await server.faults();
    await verb(id, 'retry');
    const done = await api.waitJob(id);
    assert.equal(taskOf(done, 'download').error, null);
    await good(done);
    assert.ok((await server.stats()).body_bytes < 16 * MIB * 1.1 + 4 * MIB);
    await deleted(id);
});
test('retry of create_vm: what stood in its way is gone', async () => {
    const vms = path.join(daemon.dir, 'vms');
    const was = fs.existsSync(vms) ? fs.readdirSync(vms) : [];
    assert.deepEqual(was, []);
    fs.rmSync(vms, { recursive: true, force: true });
    fs.writeFileSync(vms, 'a file where the folder should be');
    try {
        const id = await submit({ max_bytes_per_second: 0 });
        const failed = await api.waitJob(id, 'failed', { timeout: 60_000 });
        assert.equal(taskOf(failed, 'create_vm').state, 'failed');
        assert.ok(taskOf(failed, 'create_vm').error.hint);
        fs.rmSync(vms);
        await verb(id, 'retry');
        await good(await api.waitJob(id));
        await deleted(id);
    } finally { fs.rmSync(vms, { force: true, recursive: fs.existsSync(vms) && fs.statSync(vms).isDirectory() }); fs.mkdirSync(vms, { recursive: true }); }
});
test('the limit of transfers at a time holds, and the waiting job is queued', async () => {
    const one = await Daemon.start({ network: 1 });
    try {
        const post = async () => (await one.api.submit({ disks: [{ source: { type: 'blob', url: server.url } }], until: 'download', max_bytes_per_second: RATE })).id;
        const first = await post();
        await one.api.waitTask(first, 'download', (t) => t.state === 'running');
        const second = await post();
        await waitFor('the second is looked at', async () => taskOf(await one.api.job(second), 'preflight').state === 'succeeded');
        await sleep(500);
        assert.equal(taskOf(await one.api.job(second), 'download').state, 'pending');
        await one.api.waitJob(first);
        await one.api.waitJob(second);
    } finally { await one.stop(); }
});

test('an image that another job or VM lies over is not deleted', async () => {
    const id = await submit({ max_bytes_per_second: 0 });
    const job = await api.waitJob(id);
    const image = job.disks[0].path;
    const { id: over } = await api.submit({ disks: [{ source: { type: 'file', path: image } }], vm: { memory_mib: 64, cpus: 1, start: false } });
    await api.waitJob(over);
    const refused = await api.request({ method: 'DELETE', path: `/v1/jobs/${id}?disks=delete` });
    assert.equal(refused.status, 409, refused.text);
    assert.ok(refused.json.detail.includes(over) && /keep/.test(refused.json.hint), refused.text);
    await api.deleteJob(over, 'delete');
    assert.ok(fs.existsSync(local(image)), "another job's file is not the deleted job's");
    const { id: third } = await api.submit({ disks: [{ source: { type: 'blank', size: MIB } }], vm: { memory_mib: 64, cpus: 1, start: false } });
    await api.waitJob(third);
    await api.put(`/v1/vms/${third}/disks/1`, { path: image, format: usual }, 200);
    assert.equal((await api.request({ method: 'DELETE', path: `/v1/jobs/${id}?disks=delete` })).status, 409);
    await api.deleteJob(third, 'delete');
    await deleted(id);
});
