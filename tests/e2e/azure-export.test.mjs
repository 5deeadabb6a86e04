// From the id of a VM in Azure to a VM that boots here, by every route, signed in in two ways. After each: the image is the disk, the owner's VM
// is as it was, and nothing is left in Azure of what was borrowed. Azure is the double's; Microsoft's checker looks at every exchange.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { makeVhd } from './lib/image.mjs';
import { usual } from './lib/platform.mjs';
import { buildDir, diskImage, identical, must, rawImage, sleep, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 16 * MIB;
let azure, daemon, api, dir, files;

before(async () => {
    dir = tempDir('export');
    azure = await Azure.start({ operations: { retryAfter: 0 } });
    files = Object.fromEntries(['os', 'data1', 'data2', 'changed'].map((name, i) => {
        const file = path.join(dir, `${name}.vhd`);
        makeVhd(file, SIZE, { seed: i + 1, boot: `the disk ${name} speaks` });
        return [name, file];
    }));
    daemon = await Daemon.start({ ...azure.config(), backoff_ms: 200, max_attempts: 3, hypervisor: 2, connections: 4, range_kib: 256 });
    api = daemon.api;
    const sp = azure.principal();
    for (const c of ['recovery', 'vhds']) await azure.azurite.container(c);
    await api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
    await api.put('/v1/credentials/sp', { type: 'service_principal', tenant_id: sp.tenant, client_id: sp.clientId, client_secret: sp.secret }, 201);
    await api.put('/v1/credentials/key', { type: 'account_key', account: azure.account.name, key: azure.account.key }, 201);
});
after(async () => {
    await daemon?.stop();
    await azure?.finish();
});

const events = async (id) => (await api.get(`/v1/jobs/${id}/events?limit=500`)).events;
const submit = (source, more = {}) => api.submit({ disks: [{ source }], vm: { memory_mib: 64, cpus: 1 }, ...more });
const vmSource = (vm, more = {}) => ({ type: 'vm', id: azure.id(vm), ...more });
// Nothing of ours is left, and every loan has its return.
async function nothingBorrowed(id) {
    assert.deepEqual(azure.world.openGrants().map((r) => r.name), []);
    assert.deepEqual([...azure.world.snapshots.values()].filter((s) => s.tags['vmrecover-job']).map((s) => s.name), []);
    for await (const b of azure.azurite.service.getContainerClient('recovery').listBlobsFlat()) assert.fail(`a copy is left: ${b.name}`);
    for (const container of ['vhds'])
        for await (const b of azure.azurite.service.getContainerClient(container).listBlobsFlat({ includeSnapshots: true })) assert.ok(!b.snapshot, `a snapshot of ${b.name} is left`);
    const all = await events(id), key = (e) => `${e.data.kind} ${e.data.disk} ${e.data.what.toLowerCase()}`;
    const lent = all.filter((e) => e.type === 'borrowed').map(key), back = all.filter((e) => e.type === 'given_back').map(key);
    assert.deepEqual([...new Set(back)].sort(), [...new Set(lent)].sort());
    assert.deepEqual(all.filter((e) => e.type === 'give_back_failed'), []);
    return all;
}
async function recovered(id, contents) {
    const job = await api.waitJob(id, 'succeeded', { timeout: 120_000 });
    assert.equal(job.disks.length, contents.length);
    for (const [i, file] of contents.entries()) {
        assert.equal(job.disks[i].format, usual);
        assert.ok(await identical(diskImage(job.disks[i]), rawImage(file, SIZE)), `disk ${i}`);
    }
    await api.waitScreen(job.vm_id, new RegExp(`the disk ${path.basename(contents[0], '.vhd')} speaks`), { timeout: 60_000 });
    const vm = await api.get(`/v1/vms/${job.vm_id}`);
    assert.equal(vm.disks.length, contents.length);
    return [job, await nothingBorrowed(id)];
}
const by = (all) => Object.fromEntries(all.filter((e) => e.type === 'exported').map((e) => [e.data.disk, e.data.by]));

// name: what is in Azure, and what comes of it
const routes = {
    'a deallocated VM': async () => {
        const vm = await azure.vm({ name: 'off', disks: [{ file: files.os }, { file: files.data1 }] });
        return { source: vmSource(vm), contents: [files.os], by: { 0: 'disk' }, check: () => assert.deepEqual([vm.power, vm.disks[1].record.counts.grantCalls], ['deallocated', 0]) };
    },
    'a running VM, by snapshot': async () => {
        const vm = await azure.vm({ name: 'runs', power: 'running', disks: [{ file: files.os }] });
        return { source: vmSource(vm), contents: [files.os], by: { 0: 'snapshot' }, check: () => assert.deepEqual([vm.power, vm.disks[0].record.counts.granted], ['running', 0]) };
    },
    'a running VM, deallocated as asked': async () => {
        const vm = await azure.vm({ name: 'halts', power: 'running', disks: [{ file: files.os }] });
        return { source: vmSource(vm, { deallocate: true }), contents: [files.os], by: { 0: 'disk' }, check: () => assert.equal(vm.power, 'deallocated') };
    },
    'a running VM with two data disks': async () => {
        const vm = await azure.vm({ name: 'many', power: 'running', disks: [{ file: files.os }, { file: files.data1, lun: 3 }, { file: files.data2, lun: 7 }] });
        return { source: vmSource(vm, { data_disks: true }), contents: [files.os, files.data1, files.data2], by: { 0: 'snapshot', 1: 'snapshot', 2: 'snapshot' },
            check: (job, all) => {
                assert.deepEqual(job.disks.map((d) => [d.source.found.name, d.source.found.lun]), [['many-os', undefined], ['many-data1', 3], ['many-data2', 7]]);
                const taken = all.filter((e) => e.type === 'borrowed' && e.data.kind === 'snapshot').map((e) => e.id);
                const download = all.find((e) => e.type === 'task_started' && e.data.kind === 'download').id;
                assert.ok(taken.length === 3 && taken.every((id) => id < download), 'all snapshots before any download');
            } };
    },
    'a deallocated VM with two data disks': async () => {
        const vm = await azure.vm({ name: 'three', disks: [{ file: files.os }, { file: files.data1 }, { file: files.data2 }] });
        return { source: vmSource(vm, { data_disks: true }), contents: [files.os, files.data1, files.data2], by: { 0: 'disk', 1: 'disk', 2: 'disk' } };
    },
    'a snapshot': async () => {
        const vm = await azure.vm({ name: 'past', power: 'running', disks: [{ file: files.os }] });
        const disk = vm.disks[0].record;
        const record = azure.world.keep({ ...azure.world.record('snapshots', { subscription: azure.subscription.id, group: 'rg-prod', name: `before-${azure.serial}`, location: 'westeurope' }),
            ...(({ sku, sizeBytes, os, generation, networkAccessPolicy, publicNetworkAccess, encryption }) => ({ sku, sizeBytes, os, generation, networkAccessPolicy, publicNetworkAccess, encryption }))(disk),
            uniqueId: '11111111-2222-4333-8444-555555555555', createOption: 'Copy', sourceId: azure.id(disk), sourceUniqueId: disk.uniqueId, incremental: false, provisioning: 'Succeeded',
            dataAccessAuthMode: null, sectorSize: null, ade: false, securityType: null, guestState: null, bornAt: 0, hydratedAt: 0, grant: null, content: disk.content, vm: null, zones: null });
        return { source: { type: 'snapshot', id: azure.id(record) }, contents: [files.os], by: { 0: 'disk' }, check: () => assert.ok(azure.world.byId(azure.id(record)), 'the snapshot of the user stays') };
    },
    'a managed disk of a running VM': async () => {
        const vm = await azure.vm({ name: 'disk', power: 'running', disks: [{ file: files.os }] });
        return { source: { type: 'managed_disk', id: azure.id(vm.disks[0].record) }, contents: [files.os], by: { 0: 'snapshot' } };
    },
    'an unmanaged disk': async (more) => {
        const vm = await azure.vm({ name: `old-${azure.serial}-${Math.floor(Math.random() * 1e6)}`, power: 'running', disks: [{ file: files.os, unmanaged: true }] });
        return { source: vmSource(vm, more), contents: [files.os], by: { 0: 'blob_snapshot' } };
    },
    'the route by a storage account': async (more) => {
        const vm = await azure.vm({ name: 'behind', power: 'running', disks: [{ file: files.os }] });
        return { source: vmSource(vm, { via_storage_account: { url: `${azure.account.base}/recovery`, ...more } }), contents: [files.os], by: { 0: 'blob' },
            check: (job, all) => {
                const last = (kind, type) => all.findLast((e) => e.type === type && e.data.kind === kind)?.id;
                const download = all.find((e) => e.type === 'task_started' && e.data.kind === 'download').id;
                assert.ok(last('sas', 'given_back') < download && last('snapshot', 'given_back') < download, 'what the copy was made from is given back before the download');
                assert.ok(last('blob', 'given_back') > download);
            } };
    },
};

for (const credential of ['mi', 'sp'])
    for (const [name, prepare] of Object.entries(routes))
        test(`${name}, by ${credential === 'mi' ? 'managed identity' : 'service principal'}`, async () => {
            const more = {};
            if (name === 'an unmanaged disk' && credential === 'mi') more.storage_credential = 'key';       // once by key, once by token
            if (name === 'the route by a storage account' && credential === 'mi') more.credential = 'key';
            const { source, contents, by: expected, check } = await prepare(more);
            const { id } = await submit({ ...source, credential });
            const [job, all] = await recovered(id, contents);
            assert.deepEqual(by(all), Object.fromEntries(Object.entries(expected).map(([k, v]) => [k, v])));
            assert.ok(all.some((e) => e.type === 'preflight_estimate' && e.data.bytes_at_most >= SIZE * contents.length));
            check?.(job, all);
            await api.deleteJob(id, 'delete');
            await azure.double.assertClean();
        });

test('an unmanaged disk by a SAS of its account, with the right to list and without', async () => {
    const sdk = createRequire(import.meta.url)('@azure/storage-blob');
    for (const types of ['co', 'o']) {                   // containers and objects: the emulator takes no container's SAS for a snapshot
        const sas = sdk.generateAccountSASQueryParameters({ services: 'b', resourceTypes: types, permissions: sdk.AccountSASPermissions.parse('rwdlac'),
            expiresOn: new Date(Date.now() + 3_600_000), protocol: sdk.SASProtocol.HttpsAndHttp }, azure.azurite.credential).toString();
        await api.request({ method: 'PUT', path: '/v1/credentials/sas', json: { type: 'sas', sas } });
        const vm = await azure.vm({ name: `sas-${types}`, power: 'running', disks: [{ file: files.os, unmanaged: true }, { file: files.data1, unmanaged: true }] });
        const { id } = await submit(vmSource(vm, { credential: 'mi', storage_credential: 'sas', data_disks: true }));
        const [, all] = await recovered(id, [files.os, files.data1]);
        assert.deepEqual(by(all), { 0: 'blob_snapshot', 1: 'blob_snapshot' });
        await api.deleteJob(id);
    }
});

test('a container that is not there, a blob in the way: said, and nothing is touched', async () => {
    const vm = await azure.vm({ name: 'nowhere', disks: [{ file: files.os }] });
    const via = (container) => ({ via_storage_account: { url: `${azure.account.base}/${container}`, credential: 'key' } });
    const failed = async (source, code, hint) => {
        const { id } = await submit(vmSource(vm, { credential: 'mi', ...source }), { until: 'download' });
        const job = await api.waitJob(id, 'failed');
        const { error } = job.tasks.find((t) => t.state === 'failed');
        assert.deepEqual([error.code, hint.test(error.hint)], [code, true], JSON.stringify(error));
        await waitFor('nothing is open', () => !azure.world.openGrants().length);
        return id;
    };
    await api.deleteJob(await failed(via('missing'), 'source_not_found', /[Cc]ontainer/));
    // the name of the copy is known once the job is: hold it until something of another lies there, before and after it was looked for
    for (const held of ['Disks_GrantAccess', 'Storage_CopyBlob']) {
        azure.faults.add({ on: ['arm', 'storage'], operation: held, delay: 3000 });
        const { id } = await submit(vmSource(vm, { credential: 'mi', ...via('recovery') }), { until: 'download' });
        const blob = azure.azurite.service.getContainerClient('recovery').getPageBlobClient(`vmrecover-${id}-disk0.vhd`);
        await waitFor('the request is on its way', () => azure.double.exchanges.some((x) => x.operation === held && (x.url.includes('nowhere') || x.url.includes(id)) && !x.status));
        await blob.create(512);
        const { error } = (await api.waitJob(id, 'failed')).tasks.find((t) => t.state === 'failed');
        assert.deepEqual([error.code, /Remove that blob/.test(error.hint)], ['wrong_state', true], JSON.stringify(error));
        azure.faults.clear();
        await api.deleteJob(id);                         // though the blob stays
        assert.ok(await blob.exists(), 'what is of somebody else stays');
        await blob.delete();
        await waitFor('nothing is open', () => !azure.world.openGrants().length);
    }
});

test('until export: it can be exported, and nothing is kept', async () => {
    const vm = await azure.vm({ name: 'try', power: 'running', disks: [{ file: files.os }, { file: files.data1 }] });
    const { id } = await submit(vmSource(vm, { data_disks: true, credential: 'mi' }), { until: 'export' });
    const job = await api.waitJob(id);
    assert.deepEqual(job.tasks.filter((t) => t.kind === 'export').map((t) => t.state), ['succeeded', 'succeeded']);
    assert.ok(job.disks.every((d) => d.virtual_size === SIZE && d.format === usual));
    await waitFor('all is given back', async () => (await events(id)).filter((e) => e.type === 'given_back').length === 4);
    await nothingBorrowed(id);
    await api.deleteJob(id);
});
