// Sources that are missing, closed, broken or change: each is a failed task with the right code, a hint, and what the other side said.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Daemon } from './lib/daemon.mjs';
import { exec, local, native, sparse, test } from './lib/platform.mjs';
import { Azurite } from './lib/azurite.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { makeVhd, vhdFooter } from './lib/image.mjs';
import { diskImage, identical, must, rawImage, run, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 32 * MIB;
let daemon, api, azurite, dir, good, goodUrl;

before(async () => {
    [daemon, azurite] = await Promise.all([Daemon.start({ backoff_ms: 50, backoff_max_ms: 200, max_attempts: 2, connections: 2, range_kib: 256 }), Azurite.start()]);
    api = daemon.api;
    dir = tempDir('sources');
    good = path.join(dir, 'good.vhd');
    makeVhd(good, SIZE, { used: 0.5, seed: 3 });
    await azurite.uploadPages('vhds', 'good.vhd', good);
    goodUrl = azurite.sasUrl('vhds', 'good.vhd');
});
after(async () => { await daemon?.stop(); await azurite?.stop(); });

const submit = async (url, more = {}, to = api) =>
    (await to.submit({ disks: [{ source: { type: 'blob', url, ...more.source } }], until: 'download', ...more.job })).id;

// The failed task's error; what has not begun stays pending, and the job can be deleted with nothing left.
async function failure(id, { code, kind, upstream, hint }, to = api) {
    const job = await to.waitJob(id, 'failed');
    const failed = job.tasks.filter((t) => t.state === 'failed');
    assert.equal(failed.length, 1, JSON.stringify(job.tasks));
    const { error } = failed[0];
    const text = JSON.stringify(error);
    if (kind) assert.equal(failed[0].kind, kind, text);
    assert.equal(error.code, code, text);
    assert.ok(error.hint.length > 10 && error.detail.length > 10 && error.title && error.type, text);
    if (hint) assert.match(error.hint, hint, text);
    if (upstream) for (const [k, v] of Object.entries(upstream)) assert.deepEqual(error.upstream?.[k], v, text);
    else if (upstream === null) assert.ok(!error.upstream, text);
    assert.doesNotMatch(text, /sig=/, 'no SAS in an error');
    assert.ok(job.tasks.every((t) => ['succeeded', 'skipped', 'failed', 'pending'].includes(t.state)), JSON.stringify(job.tasks));
    return { job, error };
}
async function fails(url, expected, more) {
    const id = await submit(url, more);
    const r = await failure(id, expected);
    await api.deleteJob(id);
    return r;
}
// A VHD with a change, in Azurite.
async function uploaded(name, change, size = SIZE) {
    const file = path.join(dir, name);
    makeVhd(file, size, { used: 0.25, seed: 4 });
    change(file);
    await azurite.uploadPages('vhds', name, file);
    return azurite.sasUrl('vhds', name);
}
const patch = (file, at, bytes) => { const fd = fs.openSync(file, 'r+'); fs.writeSync(fd, bytes, 0, bytes.length, at); fs.closeSync(fd); };

test('404: there is no such blob', async () => {
    const { error } = await fails(azurite.sasUrl('vhds', 'nothing.vhd'), { code: 'source_not_found', kind: 'preflight' });
    assert.equal(error.upstream.status, 404);
});
test('404: there is no such container', async () => {
    await fails(azurite.sasUrl('nowhere', 'x.vhd'), { code: 'source_not_found', kind: 'preflight' });
});
test('403: a private blob without a SAS', async () => {
    const { error } = await fails(goodUrl.split('?')[0], { code: /* Azure hides what is private */ await anonymousCode(), kind: 'preflight' });
    assert.ok(error.upstream.status >= 400);
});
// Azure Storage and Azurite answer 404 or 403 for what the public may not see; which, is theirs to say.
async function anonymousCode() {
    const status = (await fetch(goodUrl.split('?')[0], { method: 'HEAD' })).status;
    return status === 404 ? 'source_not_found' : 'source_denied';
}
test('403: a SAS with a wrong signature', async () => {
    const { error } = await fails(goodUrl.replace(/sig=.{8}/, 'sig=AAAAAAAA'), { code: 'source_denied', kind: 'preflight', hint: /SAS/ });
    assert.equal(error.upstream.status, 403);
    assert.equal(error.upstream.service, 'azure_storage');
});
test('403: a SAS that may write but not read', async () => {
    await fails(azurite.sasUrl('vhds', 'good.vhd', { permissions: 'w' }), { code: 'source_denied', kind: 'preflight' });
});
test('403: the wrong account key', async () => {
    await api.put('/v1/credentials/wrong', { type: 'account_key', account: azurite.account, key: Buffer.alloc(64, 9).toString('base64') }, 201);
    await fails(goodUrl.split('?')[0], { code: 'source_denied', kind: 'preflight' }, { source: { credential: 'wrong' } });
});
test('a SAS that has expired', async () => {
    const { error } = await fails(azurite.sasUrl('vhds', 'good.vhd', { expires: -60 }), { code: 'sas_expired', kind: 'preflight', hint: /SAS/ });
    assert.match(error.detail, /expired at \d{4}-\d\d-\d\dT/);
});
test('a SAS that expires half-way', async () => {
    const server = await BlobServer.start('--file', good, '--rate', String(MIB), '--sas', 'sv=1&sig=x');
    try {
        const id = await submit(`${server.url}?sv=1&sig=x`);
        await api.waitTask(id, 'download', (t) => t.progress.done_bytes > 0);
        await server.faults('expired,times=0');
        await failure(id, { code: 'sas_expired', kind: 'download', hint: /retry/ });
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('a SAS that expires half-way: with a new one the download goes on where it was', async () => {
    const id = await submit(azurite.sasUrl('vhds', 'good.vhd', { expires: 5 }), { job: { max_bytes_per_second: 2 * MIB } });
    const { job } = await failure(id, { code: 'sas_expired', kind: 'download', hint: /retry/ });
    const before = job.tasks.find((t) => t.kind === 'download').progress.transferred_bytes;
    assert.ok(before > MIB && before < 16 * MIB, `${before}`);
    const retry = (json) => api.request({ method: 'POST', path: `/v1/jobs/${id}/retry`, json });
    const fresh = azurite.sasUrl('vhds', 'good.vhd');
    for (const [json, field] of [
        [{ sources: [{ disk: 0, url: azurite.sasUrl('vhds', 'other.vhd') }] }, '/sources/0/url'],
        [{ sources: [{ disk: 0, url: fresh.split('?')[0] }] }, '/sources/0/url'],
        [{ sources: [{ disk: 1, url: fresh }] }, '/sources/0/disk'],
        [{ sources: [{ disk: 0 }] }, '/sources/0/url'],
        [{ sources: [] }, '/sources'],
        [{ bogus: 1 }, '/bogus'],
    ]) {
        const r = await retry(json);
        assert.deepEqual([r.status, r.json.field], [400, field], r.text);
        assert.equal((await api.job(id)).state, 'failed');
    }
    const file = path.join(dir, 'fresh-url');
    fs.writeFileSync(file, `${fresh}\n`);
    const retried = await exec('vmrecover', ['retry', id, '--url-file', file], { env: { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile } });
    assert.equal(retried.code, 0, retried.stderr);
    const done = await api.waitJob(id);
    const after = done.tasks.find((t) => t.kind === 'download').progress;
    assert.ok(after.transferred_bytes >= 16 * MIB && after.transferred_bytes < 17 * MIB, `${after.transferred_bytes}`);
    assert.ok(await identical(diskImage(done.disks[0]), rawImage(good, SIZE)));
    await api.deleteJob(id);
});
test('nobody listens there', async () => {
    const server = await BlobServer.start('--file', good);
    await server.stop();
    const { error } = await fails(server.url, { code: 'unreachable', kind: 'preflight', upstream: null });
    assert.match(error.detail, new RegExp(`127\\.0\\.0\\.1`));
});
test('the blob is overwritten half-way', async () => {
    const url = await uploaded('changing.vhd', () => {});
    const id = await submit(url, { job: { max_bytes_per_second: MIB } });
    await api.waitTask(id, 'download', (t) => t.progress.transferred_bytes > 0);
    const client = (await azurite.container('vhds')).getPageBlobClient('changing.vhd');
    await client.uploadPages(Buffer.alloc(512, 7), 4096, 512);
    const { job } = await failure(id, { code: 'source_changed', kind: 'download', hint: /snapshot|submit/ });
    assert.ok(!fs.existsSync(local(job.disks[0].path)), 'no image that is a mixture');
    await api.deleteJob(id);
});
test('the blob changes and the server does not look at If-Match', async () => {
    const server = await BlobServer.start('--file', good, '--rate', String(MIB));
    try {
        const id = await submit(server.url);
        await api.waitTask(id, 'download', (t) => t.progress.transferred_bytes > 0);
        await server.faults('changed,silent=1,times=0');
        await failure(id, { code: 'source_changed', kind: 'download' });
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('the blob goes away half-way', async () => {
    const server = await BlobServer.start('--file', good, '--rate', String(MIB));
    try {
        const id = await submit(server.url);
        await api.waitTask(id, 'download', (t) => t.progress.transferred_bytes > 0);
        await server.faults('gone,times=0');
        await failure(id, { code: 'source_not_found', kind: 'download' });
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('a server whose answers end before the end', async () => {
    const server = await BlobServer.start('--file', good, '--fault', `truncated,at=${20 * MIB},times=0`);
    try {
        const id = await submit(server.url);
        await failure(id, { code: 'source_truncated' });
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('a blob that was cut short: the footer is gone', async () => {
    const file = path.join(dir, 'cut.vhd');
    makeVhd(file, SIZE, { used: 0.25, seed: 4 });
    fs.truncateSync(file, SIZE / 2);
    await azurite.uploadPages('vhds', 'cut.vhd', file);
    const { error } = await fails(azurite.sasUrl('vhds', 'cut.vhd'), { code: 'source_truncated', kind: 'preflight' });
    assert.match(error.detail, new RegExp(`${SIZE / 2} bytes.*${SIZE}`), 'says how long it is and how long it should be');
});
test('a footer that tells of a larger disk', async () => {
    const url = await uploaded('larger.vhd', (f) => patch(f, SIZE, vhdFooter(2 * SIZE)));
    const { error } = await fails(url, { code: 'source_truncated', kind: 'preflight' });
    assert.match(error.detail, /\d{6}/);
});
test('no VHD', async () => {
    const url = await uploaded('noise.vhd', (f) => patch(f, SIZE, Buffer.alloc(512, 'no footer ')));
    const { error } = await fails(url, { code: 'not_a_vhd', kind: 'preflight', hint: /format/ });
    assert.match(error.detail, new RegExp(String(SIZE)));
});
test('a web page', async () => {
    const file = path.join(dir, 'index.html');
    fs.writeFileSync(file, '<html>'.repeat(3000));
    const server = await BlobServer.start('--file', file, '--mode', 'plain');
    try { await fails(server.url, { code: 'not_a_vhd', kind: 'preflight' }); } finally { await server.stop(); }
});
test('an empty blob', async () => {
    const file = path.join(dir, 'empty');
    fs.writeFileSync(file, '');
    const server = await BlobServer.start('--file', file, '--mode', 'plain');
    try { await fails(server.url, { code: 'not_a_vhd', kind: 'preflight' }); } finally { await server.stop(); }
});
test('a damaged footer: one bit of the checksum', async () => {
    const url = await uploaded('damaged.vhd', (f) => { const b = vhdFooter(SIZE); b[64] ^= 1; patch(f, SIZE, b); });
    const { error } = await fails(url, { code: 'vhd_damaged', kind: 'preflight' });
    assert.match(error.detail, /checksum/i);
});
test('a differencing disk without its parent', async () => {
    const url = await uploaded('diff.vhd', (f) => patch(f, SIZE, vhdFooter(SIZE, { type: 4 })));
    const { error } = await fails(url, { code: 'not_supported', kind: 'preflight', hint: /[Mm]erge/ });
    assert.match(error.detail, /differencing/);
});
test('what the hypervisor cannot give a VM is said before a byte moves', async () => {
    for (const [vm, hint] of [[{ network: 'switch:Extern' }, /none/], [{ nested: true }, /without vm\.nested/]]) {
        const id = await submit(goodUrl, { job: { vm, until: 'create_vm' } });
        await failure(id, { code: 'not_supported', kind: 'preflight', hint });
    }
});
test('a server without ranges', async () => {
    const server = await BlobServer.start('--file', good, '--mode', 'plain', '--fault', 'full,times=0');
    try { await fails(server.url, { code: 'ranges_not_supported' }); } finally { await server.stop(); }
});
test('a server that sends other bytes than asked for', async () => {
    const server = await BlobServer.start('--file', good, '--fault', 'shift,by=512,times=0,after=3');
    try {
        const id = await submit(server.url);
        const job = await api.waitJob(id, 'failed', { timeout: 120_000 });
        const { error } = job.tasks.find((t) => t.state === 'failed');
        assert.ok(['upstream_error', 'upstream_refused', 'ranges_not_supported', 'source_changed', 'source_truncated'].includes(error.code), JSON.stringify(error));
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('a redirect is not followed with the SAS in hand', async () => {
    const server = await BlobServer.start('--file', good, '--fault', 'redirect,to=http://127.0.0.1:9/elsewhere?sig=secret,on=any,times=0');
    try {
        const id = await submit(`${server.url}?sv=1&sig=secret`);
        const job = await api.waitJob(id, 'failed', { timeout: 120_000 });
        const { error } = job.tasks.find((t) => t.state === 'failed');
        assert.doesNotMatch(JSON.stringify(error), /secret/);
        assert.equal(error.upstream?.status, 302, JSON.stringify(error));
        await api.deleteJob(id);
    } finally { await server.stop(); }
});
test('files of the host: missing, a folder, no image', async () => {
    const of = async (file) => (await api.submit({ disks: [{ source: { type: 'file', path: native(file) } }], until: 'download' })).id;
    await failure(await of(path.join(dir, 'missing.vhd')), { code: 'source_not_found', kind: 'preflight' });
    await failure(await of(dir), { code: 'source_not_found', kind: 'preflight' });
    await failure(await of(path.join(dir, 'index.html')), { code: 'not_a_vhd', kind: 'preflight' });
});
test('one bad disk of two: the job fails, the error names the disk', async () => {
    const job = await api.submit({ disks: [{ source: { type: 'blob', url: goodUrl } },
        { source: { type: 'blob', url: azurite.sasUrl('vhds', 'nothing.vhd') } }], until: 'download' });
    const { error } = await failure(job.id, { code: 'source_not_found' });
    assert.match(error.detail, /nothing\.vhd/);
    await api.deleteJob(job.id);
});

// ---- disk full: a small file system under the images; where mounting is not allowed, a limit of the size of files ----
const canMount = async () => process.getuid() === 0 &&
    (await run('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).catch(() => ({ code: 1 }))).code === 0;

async function onSmallVolume(mib, fn) {
    const home = tempDir('full');
    fs.mkdirSync(path.join(home, 'disks'));
    await must('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'none', path.join(home, 'disks')]);
    let d;
    try {
        d = await Daemon.start({ dir: home, backoff_ms: 50 });
        await fn(d, path.join(home, 'disks'));
    } finally {
        await d?.stop();
        await must('umount', ['-l', path.join(home, 'disks')]);
    }
}
test('disk full: found before anything is written', async (t) => {
    if (!await canMount()) return t.skip('file systems cannot be mounted here');
    await onSmallVolume(72, async (d, disks) => {
        const id = await submit(goodUrl, {}, d.api);
        const { error } = await failure(id, { code: 'disk_full', kind: 'preflight', hint: /\d+ bytes|[Ff]ree/ }, d.api);
        assert.match(error.detail, /disks/);
        await d.api.deleteJob(id);
        assert.deepEqual(fs.readdirSync(disks), []);
    });
});
test('disk full: what an unfinished download of another job will need is not given away', async (t) => {
    if (!await canMount()) return t.skip('file systems cannot be mounted here');
    await onSmallVolume(90, async (d) => {
        const server = await BlobServer.start('--file', good);
        try {
            const first = await submit(server.url, { job: { max_bytes_per_second: 64 << 10 } }, d.api);
            await d.api.waitTask(first, 'download', (x) => x.progress.transferred_bytes > 0);
            const second = await submit(goodUrl, {}, d.api);
            const { error } = await failure(second, { code: 'disk_full', kind: 'preflight', hint: /another job/ }, d.api);
            assert.match(error.detail, /unfinished downloads of other jobs [1-9]\d{6,}/);
            await d.api.deleteJob(first);
            await d.api.post(`/v1/jobs/${second}/retry`);
            await d.api.waitJob(second);
            await d.api.deleteJob(second);
        } finally { await server.stop(); }
    });
});
test('disk full: half-way; with space again, retry goes on where it stopped', async (t) => {
    if (!await canMount()) return t.skip('file systems cannot be mounted here');
    await onSmallVolume(100, async (d, disks) => {
        const server = await BlobServer.start('--file', good);
        try {
            const id = await submit(server.url, { job: { max_bytes_per_second: 4 * MIB } }, d.api);
            await d.api.waitTask(id, 'download', (x) => x.progress.transferred_bytes > MIB);
            const filler = path.join(disks, 'filler');
            await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k']);
            await failure(id, { code: 'disk_full', kind: 'download', hint: /space/ }, d.api);
            fs.rmSync(filler);
            await d.api.post(`/v1/jobs/${id}/retry`);
            const job = await d.api.waitJob(id);
            assert.ok(await identical(diskImage(job.disks[0]), rawImage(good, SIZE)));
            const { body_bytes: sent } = await server.stats();
            assert.ok(sent < 1.5 * 16 * MIB, `${sent} bytes sent: it went on and did not begin again`);
            await d.api.deleteJob(id);
        } finally { await server.stop(); }
    });
});
test('disk full to the last byte: a job can still be deleted, and its disk gives the space back', async (t) => {
    if (!await canMount()) return t.skip('file systems cannot be mounted here');
    const home = tempDir('brim');
    await must('mount', ['-t', 'tmpfs', '-o', `size=${sparse ? 400 : 512}m`, 'none', home]);
    let d;
    try {
        d = await Daemon.start({ dir: home, backoff_ms: 50 });
        const id = await submit(goodUrl, {}, d.api);
        await d.api.waitJob(id);
        assert.ok(fs.existsSync(path.join(home, 'vmrecover.db.reserve')), 'space is kept back');
        await run('dd', ['if=/dev/zero', `of=${path.join(home, 'filler')}`, 'bs=1M']);
        await run('dd', ['if=/dev/zero', `of=${path.join(home, 'filler')}`, 'bs=512', 'oflag=append', 'conv=notrunc']);
        // the queue itself has no room left: a new job is refused
        await waitFor('the queue is full', async () =>
            (await d.api.request({ method: 'POST', path: '/v1/jobs', json: { disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' } })).status === 507, { timeout: 30_000 });
        await d.api.deleteJob(id);
        assert.deepEqual(d.files('disks'), []);
        if (!sparse) fs.rmSync(path.join(home, 'filler'));           // there a disk is accepted only if all of it has room
        const { id: next } = await d.api.submit({ disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' });
        fs.rmSync(path.join(home, 'filler'), { force: true });
        await d.api.waitJob(next);
    } finally {
        await d?.stop();
        await must('umount', ['-l', home]);
    }
});
test('disk full: a limit of the size of files', async () => {
    const d = await Daemon.start({ wrapper: ['prlimit', `--fsize=${16 * MIB}`], backoff_ms: 50 });
    try {
        const id = await submit(goodUrl, {}, d.api);
        const { error } = await failure(id, { code: 'disk_full', kind: 'download', hint: /space/ }, d.api);
        assert.match(error.detail, /disk0/);
        await d.api.deleteJob(id);
        await waitFor('nothing is left', () => d.files('disks').length === 0);
        await d.api.get('/healthz');
    } finally { await d.stop(); }
});
