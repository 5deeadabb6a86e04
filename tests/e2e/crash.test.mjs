// The daemon is killed at random instants of one job, and started again each time: the job succeeds, the image is identical, exactly one VM
// exists (where VMs can be made), and little is transferred twice. SOAK=1: 20 kills, else 5. SEED names the run.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { guests, local, native, test } from './lib/platform.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { diskImage, identical, random, rawImage, seed, sleep, slow, soak, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 512 * MIB;
const kills = soak ? 20 : 5;

test(`${kills} deaths in one job`, async (t) => {
    t.diagnostic(`seed ${seed}`);
    const rand = random(seed);
    const source = path.join(tempDir('crash'), 'disk.vhd');
    const used = makeVhd(source, SIZE, { used: 0.25, seed: 6 });
    // Two thirds of the deaths fall into the download, which is slowed down to last as long; the others into what comes after it.
    // A double of a hypervisor does not outlive the daemon that loads it: there all fall into the download.
    const inDownload = guests ? Math.ceil(kills * 2 / 3) : kills;
    const server = await BlobServer.start('--file', source);
    const daemon = await Daemon.start({ backoff_ms: 100 });
    const instants = [];
    try {
        const mean = 1500 * slow;                    // between two deaths, in ms
        const rate = Math.max(4 * MIB, Math.round(used / (inDownload * mean / 1000)));
        const { id } = await daemon.api.submit({ disks: [{ source: { type: 'blob', url: server.url } }], max_bytes_per_second: rate,
            vm: { memory_mib: 64, cpus: 1 }, until: guests ? 'start_vm' : 'download' });
        const look = async () => (await daemon.api.job(id)).tasks.find((x) => x.state === 'running' || x.state === 'pending') ?? { kind: 'over' };
        for (let i = 0; i < kills; i++) {
            if (i < inDownload) {
                await sleep(rand() * 2 * mean);
            } else {
                await waitFor('the download is over', async () => !['preflight', 'download'].includes((await look()).kind), { timeout: 180_000, interval: 5 });
                await sleep(rand() * 120 * slow);
            }
            const { kind } = await look().catch(() => ({ kind: 'start of the daemon' }));
            instants.push(kind);
            await daemon.kill9();
            await daemon.restart();
        }
        const job = await daemon.api.waitJob(id, 'succeeded', { timeout: 180_000 });
        const { body_bytes: sent } = await server.stats();
        const again = Math.max(0, sent - used);
        t.diagnostic(`killed in: ${instants.join(', ')}`);
        t.diagnostic(`image ${SIZE}, in use ${used}, sent ${sent}, twice ${again} (${(again / kills / SIZE * 100).toFixed(2)} % of the image per death)`);
        assert.ok(again / kills < 0.05 * SIZE, `${again} bytes transferred twice`);
        assert.ok(await identical(diskImage(job.disks[0]), rawImage(source, SIZE)));
        if (guests) {
            assert.deepEqual((await daemon.api.get('/v1/vms')).vms.map((v) => [v.id, v.job_id]), [[job.vm_id, id]]);
            assert.equal(daemon.vmProcesses().length, 1, 'one process');
            assert.deepEqual(fs.readdirSync(path.join(daemon.dir, 'vms')), [job.vm_id], 'one folder');
        }
        assert.ok(job.tasks.every((x) => x.attempts <= 1), 'a death uses up no attempt');
        assert.ok(instants.includes('download') && (!guests || instants.some((k) => k !== 'download')), String(instants));
        await daemon.api.deleteJob(id);
        assert.deepEqual([...daemon.files('disks'), ...daemon.files('vms'), ...daemon.vmProcesses()], []);
    } finally {
        await daemon.stop();
        await server.stop();
    }
});

test('deaths in the start of a VM and in an export', async (t) => {
    const rand = random(seed + 2);
    const source = path.join(tempDir('crash'), 'disk.vhd');
    makeVhd(source, 64 * MIB, { used: 0.5, seed: 7 });
    const daemon = await Daemon.start({ backoff_ms: 100 });
    const seen = [];
    try {
        for (let i = 0; i < (soak ? 6 : 2); i++) {
            const { id } = await daemon.api.submit({ disks: [{ source: { type: 'file', path: native(source) } }], vm: { memory_mib: 64, cpus: 1 } });
            const state = async (kind) => (await daemon.api.job(id)).tasks.find((x) => x.kind === kind)?.state;
            await waitFor('the VM is made', async () => await state('create_vm') === 'succeeded', { interval: 3 });
            await sleep(rand() * 150 * slow);
            seen.push(await state('start_vm'));
            await daemon.kill9();
            await daemon.restart();
            const job = await daemon.api.waitJob(id);
            if (guests) assert.equal(daemon.vmProcesses().length, 1, 'one process');
            await daemon.api.post(`/v1/vms/${id}/stop`, undefined, 200);

            const folder = tempDir('exports'), target = path.join(folder, 'out.vhd');
            fs.writeFileSync(`${target}.part`, 'mine');
            await daemon.api.post(`/v1/vms/${id}/export`, { path: native(target) });
            await waitFor('the export has begun', async () => await state('export_vm') !== 'pending', { interval: 3 });
            await sleep(rand() * 300 * slow);
            seen.push(await state('export_vm'));
            await daemon.kill9();
            await daemon.restart();
            const done = await daemon.api.waitTask(id, 'export_vm', (x) => ['succeeded', 'failed'].includes(x.state), { timeout: 120_000 });
            assert.equal(done.tasks.find((x) => x.kind === 'export_vm').state, 'succeeded', JSON.stringify(done.tasks));
            assert.ok(await identical(rawImage(target, 64 * MIB), rawImage(source, 64 * MIB)));
            assert.deepEqual(fs.readdirSync(folder).sort(), ['out.vhd', 'out.vhd.part'], 'nothing of ours lies beside it');
            await daemon.api.deleteJob(job.id, i % 2 ? 'keep' : 'delete');
            assert.ok(fs.existsSync(target), 'a finished export stays');
            assert.equal(fs.readFileSync(`${target}.part`, 'utf8'), 'mine');
        }
        t.diagnostic(`killed in: ${seen.join(', ')}`);
        assert.ok(fs.existsSync(source), "the user's own disk stays");
    } finally { await daemon.stop(); }
});

test('killed while it starts: the database and the token survive', async () => {
    const rand = random(seed + 1);
    const daemon = await Daemon.start();
    try {
        const { token } = daemon;
        const { id } = await daemon.api.submit({ disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' });
        await daemon.api.waitJob(id);
        for (let i = 0; i < kills; i++) {
            await daemon.kill9();
            const half = daemon.launch();            // does not wait until it is ready
            await sleep(rand() * 60 * slow);
            half.kill('SIGKILL');
            await half.exited;
            await daemon.restart();
            assert.equal(daemon.token, token);
            assert.equal((await daemon.api.job(id)).state, 'succeeded');
        }
    } finally { await daemon.stop(); }
});

test('two daemons on one folder: the second says so and leaves the first alone', async () => {
    const daemon = await Daemon.start();
    try {
        const second = daemon.launch();
        let said = '';
        second.stderr.on('data', (d) => { said += d; });
        const { code } = await second.exited;
        assert.notEqual(code, 0);
        assert.match(said, /code=already_running/);
        assert.equal(fs.readFileSync(path.join(daemon.dir, 'address'), 'utf8').trim(), daemon.address);
        await daemon.api.get('/healthz');
    } finally { await daemon.stop(); }
});
