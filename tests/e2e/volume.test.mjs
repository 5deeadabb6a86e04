// Volumes of empty disks, for real, on loop devices: made, used, found again, taken apart; and everything that is in the way. Striped ones need the
// kernel's device mapper, and are tested where it is sure to be (tests/systemd).
import { after, afterEach, before } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { exec, test } from './lib/platform.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd } from './lib/image.mjs';
import { emptyPrint, GIB, Loop, noLoops } from './lib/loop.mjs';
import { identical, must, rawImage, run, sleep, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
// no other's: volumes are found by their labels, and other tests may run on this host
const LABEL = `rec-${Math.random().toString(36).slice(2, 8)}`;
const skip = noLoops();
let daemon, api, tools, disk, other;

// The system's tools, with a word in between: `hold(name)` keeps a program from starting until `release(name)`; `fail(name)` makes it fail.
class Tools {
    constructor() {
        this.folder = tempDir('tools');
        for (const name of ['mkfs.xfs', 'sfdisk', 'mount', 'umount', 'partx', 'blkdiscard']) {
            const script = `#!/bin/sh\n[ ! -e ${this.folder}/${name}.fail ] || { echo "${name}: no" >&2; exit 3; }\n` +
                `: >${this.folder}/${name}.ran\nwhile [ -e ${this.folder}/${name}.hold ]; do sleep 0.05; done\nPATH=\${PATH#*:}\nexec ${name} "$@"\n`;
            fs.writeFileSync(path.join(this.folder, name), script, { mode: 0o755 });
        }
    }
    get env() { return { PATH: `${this.folder}:${process.env.PATH}` }; }
    flag(name, what) { return path.join(this.folder, `${name}.${what}`); }
    hold(name) { fs.rmSync(this.flag(name, 'ran'), { force: true }); fs.writeFileSync(this.flag(name, 'hold'), ''); }
    release(name) { fs.rmSync(this.flag(name, 'hold'), { force: true }); }
    fail(name) { fs.writeFileSync(this.flag(name, 'fail'), ''); }
    mend(name) { fs.rmSync(this.flag(name, 'fail'), { force: true }); }
    reset() { for (const f of fs.readdirSync(this.folder)) if (/\.(hold|fail|ran)$/.test(f)) fs.rmSync(path.join(this.folder, f)); }
    async held(name) { await waitFor(`${name} is started`, () => fs.existsSync(this.flag(name, 'ran')), { interval: 10 }); }
}

before(async () => {
    if (skip) return;
    tools = new Tools();
    daemon = await Daemon.start({ loop_devices: true, backoff_ms: 200, max_attempts: 2, disk: 1, env: tools.env });
    api = daemon.api;
    const folder = tempDir('loop');
    [disk, other] = [await Loop.make({ folder, name: 'a' }), await Loop.make({ folder, name: 'b', size: 1.5 * GIB })];
});
after(async () => {
    await daemon?.stop();
    for (const d of [disk, other]) d?.detachNow();
});

// A test that failed leaves nothing to the next.
afterEach(async () => {
    if (skip) return;
    tools.reset();
    for (const { id } of (await api.get('/v1/jobs?limit=200')).jobs) await api.deleteJob(id);
    for (const d of [disk, other]) await d.reset();
});

const volume = (more = {}) => ({ disks: [disk.id], label: LABEL, ...more });
const submit = async (more = {}) => (await api.submit({ disks: [], until: 'volume', volume: volume(), ...more })).id;
const made = async (more) => api.waitJob(await submit(more));
const failed = async (more) => {
    const job = await api.waitJob(await submit(more), 'failed');
    const { error } = job.tasks.find((t) => t.state === 'failed');
    return { id: job.id, error };
};
const look = async (d = disk) => (await api.get('/v1/disks')).disks.find((x) => x.id === d.id);
const volumeOf = async (id) => (await api.get('/v1/volumes')).volumes.find((v) => v.id === id);
const events = async (id, type) => (await api.get(`/v1/jobs/${id}/events?limit=500`)).events.filter((e) => e.type === type);
const empty = async (...disks) => {
    for (const d of disks) {
        assert.equal(await d.fingerprint(), await emptyPrint(), `${d.file} is empty`);
        const now = await look(d);
        assert.deepEqual([now.eligible, now.reasons, now.partitions], [true, [], []]);
    }
    assert.equal(fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(daemon.dir), false, 'nothing is mounted');
    assert.deepEqual(fs.existsSync(path.join(daemon.dir, 'volumes')) ? fs.readdirSync(path.join(daemon.dir, 'volumes')) : [], []);
};
const gone = async (id, disks = 'delete') => api.deleteJob(id, disks);

test('disks: the host\'s own is never free, an empty one is', { skip }, async () => {
    const { disks } = await api.get('/v1/disks');
    const [mine] = disks.filter((d) => d.id === disk.id);
    assert.deepEqual([mine.device, mine.size, mine.bus, mine.role, mine.eligible, mine.partition_style], [disk.device, 1.25 * GIB, 'loop', 'data', true, 'none']);
    for (const d of disks.filter((x) => x.role === 'os')) assert.ok(!d.eligible && d.reasons.some((r) => r.startsWith('os_disk: ')), JSON.stringify(d));
    assert.ok((await api.get('/v1/volumes')).volumes.some((v) => v.mount_point === '/' && !v.managed));
    const { code, stdout } = await exec('vmrecover', ['disks'], { env: { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile } });
    assert.ok(code === 0 && new RegExp(`^free +${disk.device} `, 'm').test(stdout), stdout);
});

for (const [name, more, fs_type, style] of [['XFS', {}, 'xfs', 'gpt'], ['ext4', { file_system: 'ext4' }, 'ext4', 'gpt'], ['MBR', { partition_style: 'mbr' }, 'xfs', 'dos']])
    test(`one disk, ${name}: made, judged by the system's tools, and empty again when it is deleted`, { skip }, async () => {
        const id = await submit({ volume: volume(more) });
        const job = await api.waitJob(id);
        assert.deepEqual(job.tasks.filter((t) => t.state === 'succeeded').map((t) => t.kind), ['preflight', 'volume']);
        const at = path.join(daemon.dir, `volumes/${LABEL}`);
        assert.deepEqual({ ...job.volume, id: '' }, { id: '', found: false, label: LABEL, layout: 'single', file_system: fs_type, mount_point: at, disks: [disk.id] });
        const v = await volumeOf(job.volume.id);
        assert.ok(v.managed && !v.broken && v.mount_point === at && v.free > GIB && v.free <= v.size, JSON.stringify(v));

        const table = JSON.parse(await must('sfdisk', ['--json', disk.device])).partitiontable;
        assert.equal(table.label, style);
        assert.deepEqual(table.partitions.map((p) => [p.start, p.size % 2048]), [[2048, 0]], 'one partition, aligned');
        const found = JSON.parse(await must('wipefs', ['--json', '--no-act', `${disk.device}p1`])).signatures[0];
        assert.deepEqual([found.type, found.label, found.uuid], [fs_type, LABEL, job.volume.id]);
        const line = fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').find((m) => m.includes(` ${at} `));
        for (const option of ['nosuid', 'nodev', 'noexec', 'noatime']) assert.ok(line.includes(option), line);
        assert.ok(fs.statSync(disk.file).blocks * 512 < 128 * MIB, 'a quick format: no more than the log');
        const now = await look();
        assert.ok(!now.eligible && now.volume === job.volume.id && now.reasons[0].startsWith('volume: '), JSON.stringify(now));

        await gone(id);
        await empty(disk);
    });

test('a job downloads onto its volume, and its VM could start from it; all of it goes with the job', { skip }, async () => {
    const source = path.join(tempDir('sources'), 'disk.vhd');
    makeVhd(source, 64 * MIB, { used: 0.5, seed: 11 });
    const server = await BlobServer.start('--file', source);
    try {
        const { id } = await api.submit({ disks: [{ source: { type: 'blob', url: server.url } }], volume: volume({ disks: [disk.id] }), until: 'download' });
        const job = await api.waitJob(id);
        const at = path.join(daemon.dir, `volumes/${LABEL}`, id);
        assert.equal(job.disks[0].path, path.join(at, 'disk0.vhd'));
        assert.ok(await identical(rawImage(job.disks[0].path, 64 * MIB), rawImage(source, 64 * MIB)));
        assert.deepEqual((await volumeOf(job.volume.id)).jobs, [id]);
        assert.equal(fs.existsSync(path.join(daemon.dir, 'disks', id)), false);
        await gone(id);
        await empty(disk);
    } finally { await server.stop(); }
});

test('a volume is found again, and goes with the last job that needs it', { skip }, async () => {
    const first = await made();
    const blank = { disks: [{ source: { type: 'blank', size: 16 * MIB } }], until: 'download' };
    const second = await api.waitJob((await api.submit({ ...blank, volume: { label: LABEL } })).id);
    assert.deepEqual([second.volume.id, second.volume.found], [first.volume.id, true]);
    const third = await api.waitJob((await api.submit({ ...blank, volume: { disks: [disk.id] } })).id);
    assert.deepEqual([third.volume.id, third.volume.found], [first.volume.id, true]);
    assert.deepEqual((await volumeOf(first.volume.id)).jobs, [second.id, third.id]);

    await gone(third.id);                                        // found: it leaves the volume
    await gone(first.id);                                        // made it, but the second lies on it
    assert.ok(fs.existsSync(second.disks[0].path));
    assert.equal((await volumeOf(first.volume.id)).managed, true);
    await gone(second.id);
    await empty(disk);
});

test('kept with its disks, a volume stays and is found by a later job', { skip }, async () => {
    const first = await api.waitJob((await api.submit({ disks: [{ source: { type: 'blank', size: 16 * MIB } }], volume: volume(), until: 'download' })).id);
    await gone(first.id, 'keep');
    assert.ok(fs.existsSync(first.disks[0].path));
    const again = await made({ volume: { label: LABEL } });
    assert.equal(again.volume.found, true);
    await gone(again.id);                                        // as it found it
    assert.ok(fs.existsSync(first.disks[0].path));
    await must('umount', [first.volume.mount_point]);
    const remounted = await made({ volume: { disks: [disk.id] } });    // it is mounted again
    assert.deepEqual([remounted.volume.found, fs.existsSync(first.disks[0].path)], [true, true]);
    await gone(remounted.id);
    await must('umount', [first.volume.mount_point]);
    await wipe(disk);
});
// By other means, as the messages say.
async function wipe(d) {
    await d.reset();
    fs.rmSync(path.join(daemon.dir, 'volumes'), { recursive: true, force: true });
    await empty(d);
}

test('what others put on a volume keeps it from being taken apart', { skip }, async () => {
    const job = await made();
    const mine = path.join(job.volume.mount_point, 'mine.txt');
    fs.writeFileSync(mine, 'not yours');
    await gone(job.id);
    assert.equal(fs.readFileSync(mine, 'utf8'), 'not yours');
    const kept = (await api.get('/v1/events?after=0&limit=500')).events.filter((e) => e.type === 'volume_kept').at(-1);
    assert.deepEqual([kept.data.volume, kept.data.holds], [job.volume.id, 'mine.txt']);
    await must('umount', [job.volume.mount_point]);
    await wipe(disk);
});

test('wrong label: another volume has it, or these disks are a volume of another', { skip }, async () => {
    const foreign = await Loop.make({ name: 'foreign', fill: (f) => must('mkfs.ext4', ['-q', '-L', LABEL, f]) });
    const place = tempDir('mnt');
    await must('mount', [foreign.device, place]);
    try {
        const { id, error } = await failed();
        assert.ok(error.code === 'volume_failed' && error.detail.includes(foreign.device) && error.detail.includes(LABEL), JSON.stringify(error));
        await gone(id);
    } finally {
        await must('umount', [place]);
        await foreign.detach();
    }
    const first = await made();
    for (const [wrong, text] of [[{ disks: [disk.id], label: 'another' }, new RegExp(`label is ${LABEL} and not another`)], [{ disks: [other.id], label: LABEL }, /made of other disks|is there already/],
        [{ disks: [disk.id], file_system: 'ext4' }, /xfs/], [{ disks: [disk.id], mount_point: '/srv/elsewhere' }, /is there already/]]) {
        const { id, error } = await failed({ volume: wrong });
        assert.ok(error.code === 'volume_failed' && text.test(error.detail), JSON.stringify(error));
        await gone(id);
    }
    await gone(first.id);
    await empty(disk, other);
});

test('full: a volume that has no room for the job says how much is missing', { skip }, async () => {
    const first = await made();
    fs.writeFileSync(path.join(first.volume.mount_point, 'ballast'), '');
    await must('fallocate', ['-l', String(1 * GIB), path.join(first.volume.mount_point, 'ballast')]);
    const blob = (url) => ({ disks: [{ source: { type: 'blob', url } }], until: 'download' });
    const [half, large] = [await BlobServer.start('--size', '512M', '--vhd'), await BlobServer.start('--size', '2G', '--vhd')];
    try {
        const job = await api.waitJob((await api.submit({ ...blob(half.url), volume: { label: LABEL } })).id, 'failed');
        const { error } = job.tasks.find((t) => t.state === 'failed');
        assert.deepEqual([error.code, /has \d+ bytes free, and the disks of the job may need 5368\d+/.test(error.detail)], ['disk_full', true], JSON.stringify(error));
        fs.rmSync(path.join(first.volume.mount_point, 'ballast'));
        await api.post(`/v1/jobs/${job.id}/retry`);              // now there is room
        await api.waitJob(job.id);
        await gone(job.id);
        await gone(first.id);

        const more = await api.waitJob((await api.submit({ ...blob(large.url), volume: volume({ disks: [other.id] }) })).id, 'failed');
        const why = more.tasks.find((t) => t.state === 'failed').error;
        assert.deepEqual([why.code, /bytes free; the disks of this job need 2\d{9}/.test(why.detail)], ['disk_full', true], JSON.stringify(why));
        await gone(more.id);
        await empty(disk, other);
    } finally {
        await half.stop();
        await large.stop();
    }
});

test('auto takes the smallest empty disk that is large enough', { skip }, async (t) => {
    const free = (await api.get('/v1/disks')).disks.filter((d) => d.eligible).map((d) => d.id).sort();
    if (String(free) !== String([disk.id, other.id])) { t.skip('this host has other empty disks'); return; }
    const small = await made({ volume: {} });
    assert.deepEqual([small.volume.disks, small.volume.label], [[disk.id], 'vmrecover']);
    const blob = await BlobServer.start('--size', '1200M', '--vhd');
    const large = await api.waitJob((await api.submit({ disks: [{ source: { type: 'blob', url: blob.url } }], volume: {}, until: 'volume' })).id);
    await blob.stop();
    assert.deepEqual([large.volume.disks, large.volume.label], [[other.id], 'vmrecover2']);
    const none = await failed({ volume: { disks: 'auto', label: 'third' } });
    assert.deepEqual([none.error.code, /no empty disk/.test(none.error.detail)], ['disk_refused', true]);
    for (const id of [small.id, large.id, none.id]) await gone(id);
    await empty(disk, other);
});

test('its own call, for a host that is being set up', { skip }, async () => {
    const r = await api.request({ method: 'POST', path: '/v1/volumes', json: { disks: [disk.id], label: LABEL } });
    assert.equal(r.status, 201, r.text);
    assert.equal(r.headers.location, `/v1/jobs/${r.json.id}`);
    assert.deepEqual((await api.waitJob(r.json.id)).request.until, 'volume');
    for (const [json, field, code] of [[{ disks: [disk.id], label: 'a b' }, '/label', 'invalid_value'], [{ force: true }, '/force', 'unknown_field'], [{ disks: ['x', 'x'] }, '/disks/1', 'invalid_value']]) {
        const bad = await api.request({ method: 'POST', path: '/v1/volumes', json });
        assert.deepEqual([bad.status, bad.json.field, bad.json.code], [400, field, code]);
    }
    await gone(r.json.id);
    await empty(disk);
});

test('a mount point of one\'s own must be an empty folder, and none of the daemon\'s', { skip }, async () => {
    const place = tempDir('mnt');
    const job = await made({ volume: volume({ mount_point: path.join(place, 'deep/vhds') }) });
    assert.ok(fs.existsSync(path.join(place, 'deep/vhds/.vmrecover-volume')));
    await gone(job.id);
    await empty(disk);
    fs.writeFileSync(path.join(place, 'file'), '');
    const { id, error } = await failed({ volume: volume({ mount_point: place }) });
    assert.ok(error.code === 'volume_failed' && /not empty \((file|deep)\)/.test(error.detail), JSON.stringify(error));
    await gone(id);
    await empty(disk);
    const refused = await api.request({ method: 'POST', path: '/v1/jobs', json: { disks: [], until: 'volume', volume: { mount_point: daemon.dir } } });
    assert.deepEqual([refused.status, refused.json.field], [400, '/volume/mount_point']);
});

test('a disk that changed between the look and the first write is left alone', { skip }, async () => {
    // the only worker is held by another job, so that there is time in between
    for (const [what, change, reason] of [
        ['another file has come to its place', async () => { fs.renameSync(disk.file, `${disk.file}.was`); fs.writeFileSync(disk.file, ''); fs.truncateSync(disk.file, 1.25 * GIB); await disk.attach(); }, /not the one that was chosen/],
        ['it was taken out and put in again', async () => { await disk.attach(); }, /not the one that was chosen/],
        ['it is gone', async () => {}, /not there any more/],
        ['something was written to it', async () => { await disk.attach(); fs.writeSync(fs.openSync(disk.file, 'r+'), 'x', 700 * MIB); }, /not the one that was chosen/],
    ]) {
        tools.hold('mkfs.xfs');
        const busy = await submit({ volume: { disks: [other.id], label: 'busy' } });
        await tools.held('mkfs.xfs');
        const id = await submit();
        await api.waitTask(id, 'preflight', (t) => t.state === 'succeeded');
        await disk.detach();
        await change();
        tools.release('mkfs.xfs');
        const job = await api.waitJob(id, 'failed');
        const { error } = job.tasks.find((t) => t.kind === 'volume');
        assert.ok(error.code === 'disk_refused' && reason.test(error.detail), `${what}: ${JSON.stringify(error)}`);
        await api.waitJob(busy);
        await gone(busy);
        await gone(id);
        if (what === 'it is gone') await disk.attach();
        if (what.startsWith('another')) fs.renameSync(`${disk.file}.was`, disk.file);
        if (what.startsWith('another')) { await disk.detach(); await disk.attach(); }
        if (what.startsWith('something')) await wipe(disk);
        await empty(disk, other);
    }
});
test('a byte written after the first look is found by the second', { skip }, async () => {
    tools.hold('mkfs.xfs');
    const busy = await submit({ volume: { disks: [other.id], label: 'busy' } });
    await tools.held('mkfs.xfs');
    const id = await submit();
    await api.waitTask(id, 'preflight', (t) => t.state === 'succeeded');
    const fd = fs.openSync(disk.file, 'r+');
    fs.writeSync(fd, 'x', MIB - 1);
    fs.closeSync(fd);
    tools.release('mkfs.xfs');
    const { error } = (await api.waitJob(id, 'failed')).tasks.find((t) => t.kind === 'volume');
    assert.ok(error.code === 'disk_refused' && error.detail.includes(`byte ${MIB - 1} is not zero`), JSON.stringify(error));
    await api.waitJob(busy);
    await gone(busy);
    await wipe(disk);
    await api.post(`/v1/jobs/${id}/retry`);                      // nothing was begun: it is looked at and planned anew
    await api.waitJob(id);
    await gone(id);
    await empty(disk, other);
});
test('two jobs do not take the same disk', { skip }, async () => {
    tools.hold('sfdisk');
    const first = await submit({ volume: volume({ label: 'one' }) });
    await tools.held('sfdisk');
    const second = await failed({ volume: volume({ label: 'two' }) });
    assert.ok(second.error.code === 'disk_refused' && /another job/.test(second.error.detail), JSON.stringify(second.error));
    tools.release('sfdisk');
    await api.waitJob(first);
    for (const id of [first, second.id]) await gone(id);
    await empty(disk);
});

for (const name of ['sfdisk', 'mkfs.xfs', 'mount'])
    test(`${name} fails: the task says so, a retry goes on, and deleting leaves the disk empty`, { skip }, async () => {
        tools.fail(name);
        const { id, error } = await failed();
        assert.ok(error.code === 'volume_failed' && error.detail.includes(name), JSON.stringify(error));
        tools.mend(name);
        await api.post(`/v1/jobs/${id}/retry`);
        await api.waitJob(id);
        await gone(id);
        tools.fail(name);
        const again = await failed();
        tools.mend(name);
        await gone(again.id);
        await empty(disk);
    });
test('what is not to be removed now is removed later', { skip }, async () => {
    for (const name of ['umount', 'blkdiscard']) {
        const job = await made();
        tools.fail(name);
        await api.del(`/v1/jobs/${job.id}?disks=delete`, 202);
        await waitFor('the delay is told', async () => (await events(job.id, 'job_delete_delayed')).length > 0);
        const { error } = (await events(job.id, 'job_delete_delayed'))[0].data;
        assert.ok(error.detail.includes(name) && /disks=keep/.test(error.hint), JSON.stringify(error));
        tools.mend(name);
        await daemon.terminate();
        await daemon.restart();
        api = daemon.api;
        await api.waitGone(job.id);
        await empty(disk);
    }
});
// A temporary disk of a cloud comes back empty, or not at all: what lay on it cannot be removed, and must not keep its job for ever.
test('a disk that is gone: deleting with the disks waits, deleting without them does not', { skip }, async () => {
    tools.fail('mount');
    const half = (await failed()).id;
    tools.reset();
    const whole = await made({ volume: volume({ disks: [other.id], label: `${LABEL}x` }) });
    for (const [d, id] of [[disk, half], [other, whole.id]]) {
        for (const m of d.mounts()) await must('umount', [m]);
        await d.detach();
        await api.del(`/v1/jobs/${id}?disks=delete`, 202);
        await waitFor('the delay is told', async () => (await events(id, 'job_delete_delayed')).length > 0);
        const { error } = (await events(id, 'job_delete_delayed'))[0].data;
        assert.match(error.hint, /disks=keep/);
        await gone(id, 'keep');
        await d.attach();
    }
    const kept = (await api.get('/v1/events?after=0&limit=500')).events.filter((e) => e.type === 'volume_kept').at(-1);
    assert.deepEqual([kept.data.id, kept.data.holds], [half, null]);
    assert.match(kept.data.error.detail, /is not there any more/);
    for (const d of [disk, other]) await wipe(d);
    await empty(disk, other);
});
test('cancelled and paused while it is made', { skip }, async () => {
    for (const word of ['cancel', 'pause']) {
        tools.hold('mkfs.xfs');
        const id = await submit();
        await tools.held('mkfs.xfs');
        await api.post(`/v1/jobs/${id}/${word}`);
        await api.waitTask(id, 'volume', (t) => t.state === (word === 'cancel' ? 'cancelled' : 'pending'));
        tools.release('mkfs.xfs');
        await api.post(`/v1/jobs/${id}/${word === 'cancel' ? 'retry' : 'resume'}`);
        await api.waitJob(id);
        tools.hold('mkfs.xfs');
        await gone(id);
        tools.release('mkfs.xfs');
        await empty(disk);
    }
});
test('the volume is not there when its job goes on', { skip }, async () => {
    const job = await api.waitJob((await api.submit({ disks: [{ source: { type: 'blank', size: 16 * MIB } }], volume: volume(), until: 'download' })).id);
    const file = job.disks[0].path;
    await must('umount', [job.volume.mount_point]);
    assert.equal(fs.existsSync(file), false);
    await daemon.terminate();
    await daemon.restart();                                      // as after a restart of the host
    api = daemon.api;
    await waitFor('it is mounted again', () => fs.existsSync(file));
    await must('umount', [job.volume.mount_point]);
    await gone(job.id);                                          // mounted once more to remove what is on it
    await empty(disk);
    await sleep(0);
});
