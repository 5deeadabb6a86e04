// Where the double's disk data is read: hosts behind a SAS, and the storage account.
import test, { describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { sleep } from '../lib/util.mjs';
import { MIB, ARM, azure, image, clean, problems, token, call, done, read, end, granted, newVm } from './context.mjs';

const { BlobClient, StorageSharedKeyCredential } = createRequire(import.meta.url)('@azure/storage-blob');

describe('hosts of disk data', () => {
    const get = (url, headers = {}, method = 'GET') => fetch(url, { method, headers });
    const range = (a, b) => ({ 'x-ms-range': `bytes=${a}-${b}` });
    const code = async (r) => [r.status, r.headers.get('x-ms-error-code')];
    const disk = async (o = {}) => (await newVm({ disks: [{ file: image, ...o }] })).disks[0].record;

    test('serves what is asked, keeps the SAS as it came, and no more', async () => {
        const d = await disk(), { accessSAS: sas } = await granted(d);
        const head = await get(sas, {}, 'HEAD');
        assert.equal(Number(head.headers.get('content-length')), fs.statSync(image).size);
        assert.equal(head.headers.get('x-ms-version'), '2018-03-28');
        const part = await get(sas, range(MIB, 3 * MIB - 1));
        assert.equal(part.status, 206);
        assert.deepEqual(Buffer.from(await part.arrayBuffer()), fs.readFileSync(image).subarray(MIB, 3 * MIB));
        const list = await get(`${sas}&comp=pagelist`);
        const bytes = Buffer.from(await list.arrayBuffer());
        assert.deepEqual([...bytes.subarray(0, 3)], [0xef, 0xbb, 0xbf]);
        const window = await (await get(`${sas}&comp=pagelist`, range(0, MIB - 1))).text();
        assert.deepEqual([...window.matchAll(/<Start>(\d+)<\/Start><End>(\d+)</g)].map((m) => [+m[1], +m[2]]), [[0, 511]]);
        assert.deepEqual(await code(await get(sas, { ...range(0, 1), 'If-Match': head.headers.get('etag') })), [400, 'ConditionHeadersNotSupported']);
        assert.ok(azure.hosts.counts.conditions > 0);
        assert.deepEqual(await code(await get(sas, {}, 'DELETE')), [405, 'UnsupportedHttpVerb']);
        assert.deepEqual(await code(await get(`${sas}&prevsnapshot=2024-01-01T00:00:00.0000000Z`)), [400, 'InvalidQueryParameterValue']);
        assert.deepEqual(await code(await get(`${sas}&comp=metadata`)), [400, 'UnsupportedQueryParameter']);
        assert.deepEqual(await code(await get(sas, range(1 << 30, (1 << 30) + 1))), [416, 'InvalidRange']);
        assert.deepEqual(await code(await get(sas.replace(/sig=.../, 'sig=abc'))), [403, 'AuthenticationFailed']);
        assert.deepEqual(await code(await get(sas.replace(/\?.*/, ''))), [404, 'ResourceNotFound']);
        await clean();
        const [path_, query] = sas.split('?');
        assert.equal((await get(`${path_}?${query.split('&').reverse().join('&')}`)).status, 403);
        await problems('sas');
        await done(await end(d));
        assert.deepEqual(await code(await get(sas, range(0, 511))), [403, 'AuthenticationFailed']);
        const again = (await granted(d)).accessSAS;
        assert.notEqual(new URL(again).port, new URL(sas).port, 'a new grant may be at another host');
        assert.equal((await get(again, {}, 'HEAD')).headers.get('etag'), head.headers.get('etag'));
        await done(await end(d));
    });

    test('access expires', async () => {
        const d = await disk(), { accessSAS: sas } = await granted(d, { ...read, durationInSeconds: 1 });
        assert.equal((await get(sas, range(0, 511))).status, 206);
        await sleep(1100);
        const r = await get(sas, range(0, 511));
        assert.match(await r.text(), /AuthenticationFailed.*Signature not valid in the specified time frame: Start \[.*\] - Expiry \[.*\] - Current \[/s);
        assert.equal(azure.world.state(d), 'Reserved');
        assert.equal(d.counts.expired, 1);
    });

    test('the mode that asks for a token too', async () => {
        const d = await disk({ dataAccessAuthMode: 'AzureActiveDirectory' }), { accessSAS: sas } = await granted(d);
        const r = await get(sas, range(0, 511));
        assert.deepEqual(await code(r), [401, 'InvalidAuthenticationInfo']);
        assert.match(r.headers.get('www-authenticate'),
            /^Bearer authorization_uri=https:\/\/login.microsoftonline.com\/.* resource_id=https:\/\/disk.compute.azure.com\/$/);
        const as = (audience) => ({ ...range(0, 511), Authorization: `Bearer ${token(audience)}` });
        assert.equal((await get(sas, as('https://disk.azure.com/'))).status, 206);
        assert.equal((await get(sas, as(ARM))).status, 401);
        azure.arm.deny(null, /disks\/download/);
        assert.deepEqual(await code(await get(sas, as('https://disk.azure.com/'))), [403, 'AuthorizationPermissionMismatch']);
        await done(await end(d));
    });

    test('disks that are closed to the internet', async () => {
        for (const o of [{ networkAccessPolicy: 'DenyAll' }, { networkAccessPolicy: 'AllowPrivate' }, { publicNetworkAccess: 'Disabled' }]) {
            const d = await disk(o), { accessSAS: sas } = await granted(d);
            assert.deepEqual(await code(await get(sas, range(0, 511))), [403, 'AuthorizationFailure']);
            azure.hosts.options.privateNetwork = true;
            assert.equal((await get(sas, range(0, 511))).status, 206);
            azure.hosts.options.privateNetwork = false;
            await done(await end(d));
        }
    });

    test('faults: access that ends at a byte, answers that break off, stall, come slowly', async () => {
        const d = await disk();
        let { accessSAS: sas } = await granted(d);
        const body = async (r) => (await r.arrayBuffer()).byteLength;
        azure.hosts.endAt(d, MIB + 1000);
        assert.equal(await body(await get(sas, range(0, MIB - 1))), MIB);
        await assert.rejects(get(sas, range(0, MIB - 1)).then(body));
        assert.equal(d.sent, MIB + 1000);
        assert.deepEqual([d.counts.ended, azure.world.state(d)], [1, 'Reserved']);
        assert.equal((await get(sas, range(0, 511))).status, 403);
        ({ accessSAS: sas } = await granted(d));
        azure.faults.add({ on: 'disk', operation: 'Disk_Get', status: 503, code: 'ServerBusy' }, { on: 'disk', operation: 'Disk_Get', reset: true,
            after: 1 }, { on: 'disk', operation: 'Disk_Get', cut: 5000, after: 2 },
            { on: 'disk', operation: 'Disk_Get', short: 5000, after: 3 }, { on: 'disk', operation: 'Disk_Get', stall: 5000, ms: 400, after: 4 },
            { on: 'disk', operation: 'Disk_Get', rate: MIB, after: 5 });
        assert.deepEqual(await code(await get(sas, range(0, MIB - 1))), [503, 'ServerBusy']);
        for (const what of ['reset', 'cut', 'short']) await assert.rejects(get(sas, range(0, MIB - 1)).then(body), what);
        const timed = async (f) => { const t = Date.now(); await f(); return Date.now() - t; };
        assert.ok(await timed(async () => assert.equal(await body(await get(sas, range(0, MIB - 1))), MIB)) >= 390);
        assert.ok(await timed(async () => assert.equal(await body(await get(sas, range(0, MIB - 1))), MIB)) >= 700);
        azure.faults.add({ on: 'disk', revoke: true });
        assert.equal((await get(sas, range(0, 511))).status, 403);
        await clean();
    });

    test('a rate for each disk, over all connections', async () => {
        const d = await disk(), { accessSAS: sas } = await granted(d);
        azure.hosts.options.rate = 8 * MIB;
        const t = Date.now();
        await Promise.all([0, 1, 2, 3].map(async (i) => (await get(sas, range(i * MIB, (i + 1) * MIB - 1))).arrayBuffer()));
        azure.hosts.options.rate = 0;
        const took = Date.now() - t;
        assert.ok(took >= 380 && took < 5000, `4 MiB at 8 MiB/s took ${took} ms`);
        await done(await end(d));
    });
});

describe('the storage account', () => {
    const keyed = () => new StorageSharedKeyCredential(azure.account.name, azure.account.key);
    const target = async (name) => {
        await azure.azurite.container('copies');
        return new BlobClient(`${azure.account.base}/copies/${name}`, keyed());
    };

    test("Microsoft's SDK copies from a disk's SAS, follows it, and reads it with key and token", async () => {
        const { record: d } = (await newVm()).disks[0], { accessSAS } = await granted(d);
        azure.account.options.rate = 16 * MIB;
        const blob = await target('copy1.vhd');
        const poller = await blob.beginCopyFromURL(accessSAS, { intervalInMs: 100 });
        const seen = (await blob.getProperties());
        assert.equal(seen.copyStatus, 'pending');
        await assert.rejects(blob.delete(), (e) => e.statusCode === 409 && e.code === 'PendingCopyOperation');
        const r = await poller.pollUntilDone();
        azure.account.options.rate = 0;
        assert.equal(r.copyStatus, 'success');
        const p = await blob.getProperties();
        assert.equal(p.copyProgress, `${p.contentLength}/${p.contentLength}`);
        assert.equal(p.blobType, 'PageBlob');
        assert.deepEqual(await blob.downloadToBuffer(), fs.readFileSync(image));
        await done(await end(d));
        const bearer = { Authorization: `Bearer ${token('https://storage.azure.com/')}`, 'x-ms-version': '2020-10-02', 'x-ms-range': 'bytes=0-511' };
        const got = await fetch(blob.url, { headers: bearer });
        assert.equal(got.status, 206);
        assert.deepEqual(Buffer.from(await got.arrayBuffer()), fs.readFileSync(image).subarray(0, 512));
        const list = await fetch(`${blob.url}?comp=pagelist`, { headers: bearer });
        assert.equal(list.status, 200);
        assert.equal((await fetch(blob.url, { headers: { ...bearer, Authorization: `Bearer ${token()}` } })).status, 401);
        azure.arm.deny(null, /blobs\/read/);
        assert.equal((await fetch(blob.url, { headers: bearer })).status, 403);
        await clean();
    });

    test('a copy whose source dies fails; one is aborted; who has no right begins none', async () => {
        const { record: d } = (await newVm()).disks[0];
        let { accessSAS } = await granted(d);
        azure.account.options.rate = 4 * MIB;
        try {
            const a = await target('dies.vhd');
            const poller = await a.beginCopyFromURL(accessSAS, { intervalInMs: 100 });
            await done(await end(d));
            await poller.pollUntilDone().catch(() => {});
            const p = await a.getProperties();
            assert.equal(p.copyStatus, 'failed');
            assert.match(p.copyStatusDescription, /^403 AuthenticationFailed "Copy failed when reading the source."/);
            await assert.rejects(a.beginCopyFromURL(accessSAS), (e) => e.code === 'CannotVerifyCopySource');
            ({ accessSAS } = await granted(d));
            const b = await target('aborted.vhd');
            const begun = await b.beginCopyFromURL(accessSAS, { intervalInMs: 100 });
            const { copyId } = begun.getOperationState();
            await b.abortCopyFromURL(copyId);
            assert.equal((await b.getProperties()).copyStatus, 'aborted');
            await assert.rejects(b.abortCopyFromURL(copyId), (e) => e.code === 'NoPendingCopyOperation');
            const stranger = new BlobClient(`${azure.account.base}/copies/x.vhd`, new StorageSharedKeyCredential(azure.account.name,
                Buffer.alloc(64).toString('base64')));
            await assert.rejects(stranger.beginCopyFromURL(accessSAS), (e) => e.statusCode === 403);
            const n = azure.account.counts.copies;
            await assert.rejects(new BlobClient(`${azure.account.base}/copies/x.vhd`).beginCopyFromURL(accessSAS), (e) => e.statusCode >= 401 &&
                e.statusCode <= 404);
            assert.equal(azure.account.counts.copies, n);
        } finally {
            azure.account.options.rate = 0;
            await done(await end(d));
        }
        await clean();
    });

    test('an unmanaged disk: leased, snapshot of the blob, read with the key', async () => {
        const vm = await azure.vm({ name: 'classic', disks: [{ file: image, unmanaged: true }] });
        const got = await call('GET', azure.id(vm));
        const { uri } = got.json.properties.storageProfile.osDisk.vhd;
        const blob = new BlobClient(uri, keyed());
        const p = await blob.getProperties();
        assert.deepEqual([p.leaseState, p.leaseDuration], ['leased', 'infinite']);
        const { snapshot } = await blob.createSnapshot();
        assert.deepEqual(await blob.withSnapshot(snapshot).downloadToBuffer(), fs.readFileSync(image));
        await clean();
    });
});
