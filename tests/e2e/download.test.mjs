// Downloads from every kind of source: the image equals the source, what is empty is neither transferred nor stored.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { local, native, sparse, test, usual } from './lib/platform.mjs';
import { Azurite } from './lib/azurite.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { diskImage, du, identical, imageInfo, must, rawImage, tempDir } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 256 * MIB, SMALL = 32 * MIB;
let daemon, api, azurite, dir, big, bigUpload, small, bigUsed;

before(async () => {
    [daemon, azurite] = await Promise.all([Daemon.start(), Azurite.start()]);
    api = daemon.api;
    dir = tempDir('sources');
    big = path.join(dir, 'big.vhd');
    small = path.join(dir, 'small.vhd');
    bigUsed = makeVhd(big, SIZE, { used: 0.25, seed: 1 });
    makeVhd(small, SMALL, { used: 0.5, seed: 2, run: 64 << 10 });
    bigUpload = await azurite.uploadPages('vhds', 'big disk.vhd', big);
});
after(async () => { await daemon?.stop(); await azurite?.stop(); });

const blob = (url, more = {}) => ({ source: { type: 'blob', url, ...more } });
const download = async (...disks) => api.waitJob((await api.submit({ disks, until: 'download' })).id);
const tasksOf = (job) => job.tasks.filter((t) => t.kind === 'download');

// The judge: the virtual disk is the same, in the form that is wanted; of a fixed VHD size and footer byte for byte.
async function same(job, index, source, size, format = usual) {
    const disk = { ...job.disks[index], path: local(job.disks[index].path) };
    assert.equal(disk.virtual_size, size);
    assert.ok(await identical(diskImage(disk), rawImage(source, size)));
    assert.deepEqual(fs.readdirSync(path.dirname(disk.path)).filter((f) => /part|journal/.test(f)), [], 'nothing unfinished is left');
    const progress = tasksOf(job).find((t) => t.disk === index).progress;
    assert.equal(progress.done_bytes, progress.total_bytes);
    assert.equal(progress.transferred_bytes + progress.skipped_bytes, progress.done_bytes);
    assert.ok(path.basename(disk.path).endsWith(`.${{ vhd_dynamic: 'vhd' }[format] ?? format}`));
    assert.equal(disk.format, format);
    assert.equal(progress.total_bytes, format === 'vhd' ? size + 512 : size);
    if (format === 'vhdx') await must('qemu-img', ['check', '-q', '-f', 'vhdx', disk.path]);
    if (format === 'vhd_dynamic') assert.equal((await imageInfo(disk.path, '-f', 'vpc')).format, 'vpc');
    if (format === 'raw') assert.equal(fs.statSync(disk.path).size, size);
    if (format !== 'vhd') return progress;
    assert.equal(fs.statSync(disk.path).size, size + 512);
    const footer = (f) => { const b = Buffer.alloc(512), fd = fs.openSync(f); fs.readSync(fd, b, 0, 512, size); fs.closeSync(fd); return b; };
    assert.ok(footer(disk.path).equals(footer(source)), 'the footer is the source\'s');
    assert.equal((await imageInfo(disk.path, '-f', 'vpc')).format, 'vpc');
    return progress;
}

test('a page blob with 25 % of its pages in use, by SAS', async (t) => {
    const job = await download(blob(azurite.sasUrl('vhds', 'big disk.vhd')));
    const progress = await same(job, 0, big, SIZE);
    const off = (a, b) => Math.abs(a / b - 1);
    const onDisk = du(local(job.disks[0].path));
    t.diagnostic(`pages listed ${bigUpload.pages}, transferred ${progress.transferred_bytes}, on disk ${onDisk}`);
    assert.ok(bigUpload.pages > 0.2 * SIZE && bigUpload.pages < 0.3 * SIZE);
    assert.ok(off(progress.transferred_bytes, bigUpload.pages) < 0.01, `transferred ${progress.transferred_bytes} of ${bigUpload.pages}`);
    assert.ok(off(onDisk, bigUsed) < 0.02, `on disk ${onDisk} of ${bigUsed}`);
    assert.equal(job.disks[0].source.url, `${azurite.url}/vhds/big%20disk.vhd`, 'no SAS');
    assert.equal(job.name, 'big disk');
    assert.deepEqual(job.tasks.map((x) => [x.kind, x.state]), [['preflight', 'succeeded'], ['export', 'skipped'], ['volume', 'skipped'],
        ['download', 'succeeded'], ['create_vm', 'skipped'], ['start_vm', 'skipped']]);
    assert.equal(job.vm_id, null);
    await api.deleteJob(job.id);
});

test('by account key, with a credential that is used and cannot go meanwhile', async () => {
    const created = await api.put('/v1/credentials/prod', { type: 'account_key', account: azurite.account, key: azurite.key }, 201);
    assert.deepEqual(Object.keys(created).sort(), ['account', 'name', 'type', 'updated_at']);
    const slow = await api.submit({ disks: [blob(bigUpload.url, { credential: 'prod' })], until: 'download', max_bytes_per_second: 4 * MIB });
    await api.waitTask(slow.id, 'download', (t) => t.progress.done_bytes > 0);
    const refused = await api.request({ method: 'DELETE', path: '/v1/credentials/prod' });
    assert.deepEqual([refused.status, refused.json.code], [409, 'credential_in_use']);
    await api.deleteJob(slow.id);
    const job = await download(blob(bigUpload.url, { credential: 'prod' }));
    await same(job, 0, big, SIZE);
    await api.deleteJob(job.id);
    assert.equal((await api.request({ method: 'DELETE', path: '/v1/credentials/prod' })).status, 204);
});

test('by a SAS that is a credential', async () => {
    await azurite.uploadPages('vhds', 'small.vhd', small);
    await api.put('/v1/credentials/sas', { type: 'sas', sas: azurite.sas('vhds', 'small.vhd') }, 201);
    const job = await download(blob(`${azurite.url}/vhds/small.vhd`, { credential: 'sas' }));
    await same(job, 0, small, SMALL);
    await api.deleteJob(job.id);
});

test('anonymous, from a public container', async () => {
    await azurite.container('public', 'blob');
    const { url } = await azurite.uploadPages('public', 'small.vhd', small);
    const job = await download(blob(url));
    await same(job, 0, small, SMALL);
    await api.deleteJob(job.id);
});

test('in the form that was asked for', async (t) => {
    for (const format of ['vhd', 'vhd_dynamic', 'vhdx', 'raw']) {
        const job = await download({ ...blob(azurite.sasUrl('vhds', 'big disk.vhd')), format });
        await same(job, 0, big, SIZE, format);
        const onDisk = du(local(job.disks[0].path));
        t.diagnostic(`${format}: ${onDisk} bytes on disk, ${bigUsed} in use`);
        if (sparse || format.endsWith('x') || format.endsWith('c')) assert.ok(onDisk < bigUsed * (sparse ? 1.02 : 1.3) + 8 * MIB, `${format}: ${onDisk} bytes on disk`);
        await api.deleteJob(job.id, 'delete');
    }
});

test('a block blob: all bytes are read, and zeros are still not stored', async () => {
    const { url } = await azurite.uploadBlock('public', 'block.vhd', small);
    const job = await download(blob(url));
    const progress = await same(job, 0, small, SMALL);
    assert.ok(progress.transferred_bytes >= SMALL);
    const onDisk = du(local(job.disks[0].path));
    if (sparse) assert.ok(onDisk < du(small) * 1.02, `${onDisk} bytes on disk, ${du(small)} at the source`);
    await api.deleteJob(job.id);
});

test('a plain web server', async () => {
    const server = await BlobServer.start('--file', small, '--mode', 'plain');
    try {
        const job = await download(blob(server.url));
        await same(job, 0, small, SMALL);
        await api.deleteJob(job.id);
    } finally {
        await server.stop();
    }
});

test('faults on the way are got over', async () => {
    const server = await BlobServer.start('--file', small, '--fault', 'status,code=503,retry=1,xcode=ServerBusy,after=2,times=2',
        '--fault', 'reset,after=6,times=2', '--fault', 'short,after=10,times=2,bytes=1000', '--fault', 'status,code=500,after=14,times=1');
    const patient = await Daemon.start({ range_kib: 512 });
    try {
        const { id } = await patient.api.submit({ disks: [blob(server.url)], until: 'download' });
        const job = await patient.api.waitJob(id);
        await same(job, 0, small, SMALL);
        const stats = await server.stats();
        assert.ok(stats.faults >= 7, JSON.stringify(stats));
        assert.equal(tasksOf(job)[0].attempts, 1, 'a range is tried again, not the task');
    } finally {
        await patient.stop();
        await server.stop();
    }
});

test('two disks of one job side by side', async () => {
    const server = await BlobServer.start('--file', small, '--rate', String(2 * MIB));
    try {
        const { id } = await api.submit({ disks: [blob(azurite.sasUrl('vhds', 'big disk.vhd')), blob(server.url)], until: 'download', max_bytes_per_second: 16 * MIB });
        const job = await api.waitJob(id);
        const [a, b] = tasksOf(job);
        assert.ok(a.started_at < b.finished_at && b.started_at < a.finished_at, JSON.stringify([a, b]));
        await same(job, 0, big, SIZE);
        await same(job, 1, small, SMALL);
        await api.deleteJob(id);
    } finally {
        await server.stop();
    }
});

test('a file of the host is used where it lies', async () => {
    const hash = () => crypto.createHash('sha256').update(fs.readFileSync(small)).digest('hex');
    const was = hash();
    const job = await download({ source: { type: 'file', path: native(small) } });
    assert.equal(job.disks[0].path, native(small));
    assert.equal(job.disks[0].virtual_size, SMALL);
    assert.equal(tasksOf(job)[0].state, 'skipped');
    await api.deleteJob(job.id, 'delete');
    assert.equal(hash(), was, 'deleting the job leaves a file that was ours before');
});

test('a blank disk', async () => {
    const size = 3 * 1024 * MIB;
    const job = await download({ source: { type: 'blank', size } });
    const file = local(job.disks[0].path);
    assert.equal(job.disks[0].virtual_size, size);
    if (sparse) {
        assert.equal((await imageInfo(file, '-f', 'vpc')).format, 'vpc');
        assert.ok(du(file) < MIB, `${du(file)} bytes on disk`);
        assert.equal(fs.statSync(file).size, size + 512);
    } else {                                             // Hyper-V refuses sparse files
        const info = await imageInfo(file, '-f', 'vhdx');
        assert.deepEqual([job.disks[0].format, info.format, info['virtual-size']], ['vhdx', 'vhdx', size]);
        assert.ok(du(file) < 16 * MIB, `${du(file)} bytes on disk`);
    }
    await api.deleteJob(job.id);
    assert.ok(!fs.existsSync(file));
});

test('a dynamic VHD in a block blob', async () => {
    const raw = path.join(dir, 'content.raw'), dynamic = path.join(dir, 'dynamic.vhd');
    await must('qemu-img', ['convert', '-O', 'raw', rawImage(small, SMALL), raw]);
    await must('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=dynamic,force_size=on', raw, dynamic]);
    const { url } = await azurite.uploadBlock('public', 'dynamic.vhd', dynamic);
    const job = await download(blob(url));
    assert.equal(job.disks[0].format, 'vhd_dynamic');
    assert.equal(job.disks[0].virtual_size, SMALL);
    assert.ok(fs.readFileSync(local(job.disks[0].path)).equals(fs.readFileSync(dynamic)));
    await api.deleteJob(job.id);
});

test('memory stays small', { skip: process.env.SAN || process.env.VALGRIND }, (t) => {
    const peak = Number(fs.readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8').match(/VmHWM:\s+(\d+) kB/)[1]) * 1024;
    t.diagnostic(`peak memory of the daemon: ${(peak / MIB).toFixed(1)} MiB`);
    assert.ok(peak < 64 * MIB, `${peak} bytes`);
});

test('empty disks in every form', async () => {
    for (const format of ['vhd', 'vhd_dynamic', 'vhdx', 'raw', 'auto']) {
        const { id } = await api.submit({ disks: [{ source: { type: 'blank', size: 40 * MIB }, format }], until: 'download' });
        const job = await api.waitJob(id), disk = job.disks[0], file = local(disk.path);
        assert.equal(disk.format, format !== 'auto' ? format : sparse ? 'vhd' : 'vhdx');        // Hyper-V refuses sparse files
        assert.equal(disk.virtual_size, 40 * MIB);
        if (disk.format === 'vhdx') await must('qemu-img', ['check', '-f', 'vhdx', file]);
        const info = await imageInfo(file, '-f', { raw: 'raw', vhdx: 'vhdx' }[disk.format] ?? 'vpc');
        assert.ok(info['virtual-size'] >= 40 * MIB && (!sparse || du(file) < MIB));
        await api.deleteJob(id, 'delete');
        assert.ok(!fs.existsSync(file));
    }
});
