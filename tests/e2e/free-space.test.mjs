// What the disk's file systems do not use is not fetched: a disk on which every page was written once, with ext4 and NTFS in it. The
// copy is as good to their own tools as the original, the event has every rule, a killed daemon goes on, and it can be turned off.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { Azurite } from './lib/azurite.mjs';
import { vhdFooter } from './lib/image.mjs';
import { local, test } from './lib/platform.mjs';
import { diskImage, du, identical, must, rawImage, tempDir } from './lib/util.mjs';

const MIB = 1 << 20, SIZE = 128 * MIB;
const EXT = { at: 1 * MIB, size: 64 * MIB }, NTFS = { at: 65 * MIB, size: 32 * MIB };
let daemon, azurite, dir, disk, url;

const sh = (line) => must('bash', ['-ec', `export PATH=$PATH:/usr/sbin:/sbin; ${line}`], { cwd: dir });
// The two file systems of a disk as files of their own
const parts = (image, name) => sh(`qemu-img convert -O raw '${image}' ${name}.raw
    dd if=${name}.raw of=${name}.ext bs=1M skip=1 count=64; dd if=${name}.raw of=${name}.ntfs bs=1M skip=65 count=32; rm ${name}.raw`);
const judge = async (name) => {
    await sh(`e2fsck -fn ${name}.ext; ntfsfix -n ${name}.ntfs`);
    return sh(`rm -rf out; mkdir out; debugfs -R 'rdump / out' ${name}.ext; cd out; find . -type f | sort | xargs sha256sum; cd ..; ` +
        `for f in one two; do ntfscat ${name}.ntfs $f | sha256sum; done`);
};

before(async () => {
    [daemon, azurite] = await Promise.all([Daemon.start(), Azurite.start()]);
    dir = tempDir('free-space');
    disk = path.join(dir, 'disk.vhd');
    await sh(`mkdir tree; for i in 1 2 3 4 5 6; do head -c $((i * 500000)) /dev/urandom >tree/f$i; done; head -c ${SIZE} /dev/urandom >disk.vhd
        mke2fs -q -F -t ext4 -d tree ext.img 64M; printf 'rm f3\\nrm f5\\n' | debugfs -w -f - ext.img; e2fsck -fy ext.img || :
        truncate -s 32M ntfs.img; mkfs.ntfs -q -F -f ntfs.img; ntfscp ntfs.img tree/f2 one; ntfscp ntfs.img tree/f4 two
        printf 'label: gpt\\nstart=2048,size=131072\\nstart=133120,size=65536\\n' | sfdisk -q disk.vhd`);
    // only what the file systems use is laid over the old bytes
    for (const [image, p] of [['ext.img', EXT], ['ntfs.img', NTFS]]) {
        const from = fs.openSync(path.join(dir, image)), to = fs.openSync(disk, 'r+'), block = Buffer.alloc(4096), zero = Buffer.alloc(4096);
        for (let at = 0; at < p.size; at += block.length) {
            fs.readSync(from, block, 0, block.length, at);
            if (!block.equals(zero) || at < 4 * MIB) fs.writeSync(to, block, 0, block.length, p.at + at);
        }
        fs.closeSync(from);
        fs.closeSync(to);
    }
    await parts(rawImage(disk, SIZE), 'plain');
    await sh('e2fsck -fn plain.ext');
    fs.appendFileSync(disk, vhdFooter(SIZE));
    url = azurite.sasUrl('vhds', 'disk.vhd');
    const upload = await azurite.uploadPages('vhds', 'disk.vhd', disk);
    assert.ok(upload.pages > 0.9 * SIZE, 'nearly every page was written');
});
after(async () => { await daemon?.stop(); await azurite?.stop(); });

const spec = (more) => ({ disks: [{ source: { type: 'blob', url }, ...more }], until: 'download' });
// Where a byte of the guest's lies in the file, by the format's own table; the tables begin where our writer puts them.
function placeOf({ path: file, format }, offset) {
    const fd = fs.openSync(local(file)), entry = Buffer.alloc(8);
    try {
        if (format === 'vhdx') {
            fs.readSync(fd, entry, 0, 8, 3 * MIB + Math.floor(offset / MIB) * 8);
            return Number(entry.readBigUInt64LE() >> 20n) * MIB + offset % MIB;
        }
        if (format === 'vhd_dynamic') {
            fs.readSync(fd, entry, 0, 4, 1536 + Math.floor(offset / (2 * MIB)) * 4);
            return entry.readUInt32BE() * 512 + 512 + offset % (2 * MIB);
        }
        return offset;
    } finally { fs.closeSync(fd); }
}
const download = (job) => job.tasks.find((t) => t.kind === 'download').progress;
const told = async (job) => (await daemon.api.get(`/v1/jobs/${job.id}/events`)).events.filter((e) => e.type === 'free_space_skipped').map((e) => e.data);

test('what is free is not fetched', async (t) => {
    const job = await daemon.api.waitJob((await daemon.api.submit(spec({ skip_free_space: true }))).id);
    const p = download(job), file = job.disks[0].path, events = await told(job);
    t.diagnostic(`transferred ${p.transferred_bytes}, skipped ${p.skipped_bytes}, on disk ${du(file)}; ${JSON.stringify(events[0])}`);
    assert.equal(events.length, 1);
    const rules = events[0].regions.map((r) => r.rule);
    assert.deepEqual(rules, ['partition table', 'ext4', 'ntfs', 'partition table']);
    assert.ok(events[0].regions.every((r) => !r.reason || r.rule === 'gap'));
    assert.equal(p.done_bytes, p.total_bytes);
    assert.equal(p.transferred_bytes + p.skipped_bytes, p.done_bytes);
    assert.ok(p.skipped_bytes > 60 * MIB && events[0].skipped_bytes > 60 * MIB);
    assert.ok(p.transferred_bytes < 1.05 * events[0].used_bytes);
    await parts(diskImage(job.disks[0]), 'copy');
    assert.equal(await judge('copy'), await judge('plain'));
    await daemon.api.deleteJob(job.id);
});

test('a daemon that dies goes on with the same map', async () => {
    const { id } = await daemon.api.submit({ ...spec({ format: 'vhdx', skip_free_space: true }), max_bytes_per_second: 8 * MIB });
    await daemon.api.waitTask(id, 'download', (x) => x.progress.transferred_bytes > 8 * MIB);
    await daemon.kill9();
    await daemon.restart();
    const job = await daemon.api.waitJob(id);
    await parts(diskImage(job.disks[0]), 'copy');
    assert.equal(await judge('copy'), await judge('plain'));
    await daemon.api.deleteJob(id);
});

test('it is off for a download unless asked for', async () => {
    const job = await daemon.api.waitJob((await daemon.api.submit(spec())).id);
    assert.ok(await identical(diskImage(job.disks[0]), rawImage(disk, SIZE)));
    assert.deepEqual(await told(job), []);
    await daemon.api.deleteJob(job.id);
});

for (const format of ['vhd', 'vhdx', 'vhd_dynamic', 'raw']) test(`a download as ${format} is checked against its record, and damage is found`, async () => {
    const job = await daemon.api.waitJob((await daemon.api.submit(spec({ format, skip_free_space: true }))).id);
    const at = placeOf(job.disks[0], 4096);
    const verify = async () => {
        const r = await daemon.api.exchange({ method: 'POST', path: `/v1/jobs/${job.id}/verify` });
        assert.equal(r.status, 202, r.text);
        assert.equal(r.json.kind, 'verify');
        const done = await daemon.api.waitTask(job.id, 'verify', (x) => ['succeeded', 'failed'].includes(x.state));
        return done.tasks.find((x) => x.kind === 'verify');
    };
    const good = await verify();
    assert.equal(good.state, 'succeeded', JSON.stringify(good.error));
    assert.equal(good.progress.done_bytes, good.progress.total_bytes);
    const fd = fs.openSync(local(job.disks[0].path), 'r+'), byte = Buffer.alloc(1);
    fs.readSync(fd, byte, 0, 1, at);
    byte[0] ^= 1;
    fs.writeSync(fd, byte, 0, 1, at);
    fs.closeSync(fd);
    const bad = await verify();
    assert.equal(bad.state, 'failed');
    assert.equal(bad.error.code, 'image_damaged');
    const { events } = await daemon.api.get(`/v1/jobs/${job.id}/events`);
    const [damaged] = events.filter((x) => x.type === 'disk_damaged').map((x) => x.data.damaged);
    assert.ok(damaged.length === 1 && damaged[0].start <= 4096 && damaged[0].end > 4096);
    assert.equal(events.filter((x) => x.type === 'disk_verified').length, 1);
    assert.equal((await daemon.api.get(`/v1/jobs/${job.id}`)).state, 'succeeded');
    await daemon.api.deleteJob(job.id);
    assert.ok(!fs.existsSync(path.dirname(local(job.disks[0].path))) || !fs.readdirSync(path.dirname(local(job.disks[0].path))).some((f) => f.endsWith('.sums')));
});

test('the limit of a job is changed while it downloads', async () => {
    const { id } = await daemon.api.submit({ ...spec(), max_bytes_per_second: MIB });
    await daemon.api.waitTask(id, 'download', (x) => x.progress.transferred_bytes > MIB / 4);
    const began = performance.now();
    const patch = (body) => daemon.api.exchange({ method: 'PATCH', path: `/v1/jobs/${id}`, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    assert.equal((await patch({ max_bytes_per_second: -1 })).status, 400);
    assert.equal((await patch({})).status, 400);
    const r = await patch({ max_bytes_per_second: 0 });
    assert.equal(r.status, 200, r.text);
    await daemon.api.waitJob(id);
    assert.ok(performance.now() - began < 60_000, 'at a MiB a second it would take two minutes');
    await daemon.api.deleteJob(id);
});
