// What stands in the way of an export is said before anything is made or moved, with the way out; and what looks difficult works: disks that ask
// for a token, disks of 4096-byte sectors, disks that Azure fills in the background.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { makeVhd } from './lib/image.mjs';
import { exec, local } from './lib/platform.mjs';
import { diskImage, identical, must, rawImage, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const SIZE = 8 * MIB;
let azure, daemon, api, dir, small, serial = 0;

before(async () => {
    dir = tempDir('refuse');
    azure = await Azure.start({ operations: { retryAfter: 0 } });
    small = path.join(dir, 'small.vhd');
    makeVhd(small, SIZE, { seed: 1 });
    await start();
});
after(async () => {
    await daemon?.stop();
    await azure?.finish();
});

async function start() {
    await daemon?.stop();
    daemon = await Daemon.start({ ...azure.config(), backoff_ms: 100, backoff_max_ms: 500, max_attempts: 2, connections: 2, range_kib: 256 });
    api = daemon.api;
    await api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
}

const newVm = (o = {}) => azure.vm({ name: `vm${++serial}`, disks: [{ file: small }], ...o });
const submit = (source, job = {}) => api.submit({ disks: [{ source }], until: 'download', ...job });
const ofVm = (vm, more = {}) => ({ type: 'vm', id: azure.id(vm), ...more });
const events = async (id, type) => (await api.get(`/v1/jobs/${id}/events?limit=500`)).events.filter((e) => !type || e.type === type);
const made = () => azure.double.made.length;
const grants = () => [...azure.world.disks.values(), ...azure.world.snapshots.values()].reduce((n, r) => n + r.counts.grantCalls, 0);

// Refused by preflight; nothing was granted, made or stopped.
async function refused(source, code, pattern, hint = /./, job = {}) {
    const before = [made(), grants()];
    const { id } = await submit(source, job);
    const failed = await api.waitJob(id, 'failed');
    const task = failed.tasks.find((t) => t.state === 'failed');
    assert.deepEqual([task.kind, task.error.code], ['preflight', code], JSON.stringify(task.error));
    assert.match(task.error.detail, pattern);
    assert.match(task.error.hint, hint);
    assert.deepEqual([made(), grants()], before);
    assert.deepEqual((await events(id, 'borrowed')), []);
    await api.deleteJob(id);
}

test('disks that cannot be brought here', async () => {
    const GIB = 1024 ** 3;
    await refused(ofVm(await azure.vm({ name: 'ephemeral', ephemeral: true, power: 'running', disks: [{}] })), 'not_exportable', /ephemeral/, /Redeploy/);
    await refused(ofVm(await newVm({ disks: [{ networkAccessPolicy: 'DenyAll', publicNetworkAccess: 'Disabled' }] })), 'not_exportable', /network access policy/, /AllowAll/);
    await refused(ofVm(await newVm({ securityType: 'ConfidentialVM', securityEncryption: 'DiskWithVMGuestState', disks: [{ securityType: 'ConfidentialVM_DiskEncryptedWithPlatformKey' }] })),
        'not_exportable', /confidential/, /in Azure/);
    await refused(ofVm(await newVm({ disks: [{ sku: 'UltraSSD_LRS', bornAt: Date.now(), hydratedAt: Date.now() + 3_600_000 }] })), 'not_exportable', /still fills/, /completionPercent/);
    await refused(ofVm(await newVm({ disks: [{ file: small, dataAccessAuthMode: 'AzureActiveDirectory' }] }), { via_storage_account: { url: `${azure.account.base}/recovery` } }),
        'not_exportable', /Entra token/, /via_storage_account/);
    await refused(ofVm(await azure.vm({ name: 'unmanaged', disks: [{ file: small, unmanaged: true }] }), { via_storage_account: { url: `${azure.account.base}/recovery` } }),
        'not_exportable', /page blob/, /via_storage_account/);
    await refused(ofVm(await newVm({ disks: Array.from({ length: 6 }, (_, i) => ({ sizeBytes: GIB, lun: i })) }), { data_disks: true }), 'too_many_disks',
        /takes 4 disks; there would be no place for vm\d+-data4, vm\d+-data5/, /managed_disk/);
    await refused({ type: 'vm', id: azure.id(await newVm()).replace(/[^/]+$/, 'nobody') }, 'source_not_found', /nobody/, /azure vms/);
    await refused({ type: 'snapshot', id: azure.id(await azure.disk({ file: small })).replace('/disks/', '/snapshots/') }, 'source_not_found', /not found/i);
    assert.deepEqual(azure.world.openGrants(), []);
});

test('a request that cannot be meant is refused at once', async () => {
    const vm = azure.id(await newVm());
    const bad = async (source, field) => {
        const r = await api.request({ method: 'POST', path: '/v1/jobs', json: { disks: [{ source }] } });
        assert.deepEqual([r.status, r.json.field], [400, field], r.text);
        return r.json;
    };
    await bad({ type: 'vm', id: 'web01' }, '/disks/0/source/id');
    await bad({ type: 'managed_disk', id: vm }, '/disks/0/source/id');
    await bad({ type: 'vm', id: vm, credential: 'nobody' }, '/disks/0/source/credential');
    await bad({ type: 'vm', id: vm, via_storage_account: { url: 'https://a.blob.core.windows.net/' } }, '/disks/0/source/via_storage_account/url');
    await api.put('/v1/credentials/key', { type: 'account_key', account: azure.account.name, key: azure.account.key }, 201);
    assert.match((await bad({ type: 'vm', id: vm, credential: 'key' }, '/disks/0/source/credential')).detail, /does not sign in/);
    // the only one that signs in is meant, unless there are two
    const one = await submit({ type: 'vm', id: vm }, { until: 'preflight' });
    assert.equal(one.disks[0].source.credential, 'mi');
    await api.waitJob(one.id);
    await api.put('/v1/credentials/arc', { type: 'arc' }, 201);
    assert.match((await bad({ type: 'vm', id: vm }, '/disks/0/source/credential')).detail, /several/);
    await api.deleteJob(one.id);
    await api.del('/v1/credentials/arc', 204);
});

test('regions: a crossing needs a word, an unknown host is warned', async () => {
    azure.imds.location = 'northeurope';
    await start();
    const vm = await newVm();
    await refused(ofVm(vm), 'cross_region', /westeurope.*northeurope.*charges/, /allow_cross_region.*westeurope/);
    const { id } = await submit(ofVm(vm), { allow_cross_region: true });
    await api.waitJob(id);
    assert.ok((await events(id, 'preflight_warning')).some((e) => e.data.check === 'region' && /northeurope/.test(e.data.detail)));
    await api.deleteJob(id);

    azure.faults.add({ on: 'imds', operation: 'Imds_Instance', status: 404, times: 0 });
    await start();
    const { id: other } = await submit(ofVm(vm));
    await api.waitJob(other);
    assert.ok((await events(other, 'preflight_warning')).some((e) => e.data.check === 'region' && /leave Azure/.test(e.data.detail)));
    await api.deleteJob(other);
    azure.faults.clear();
    azure.imds.location = 'WestEurope';
    await start();
    const { id: third } = await submit(ofVm(vm));
    await api.waitJob(third);
    assert.ok(!(await events(third, 'preflight_warning')).some((e) => e.data.check === 'region'));
    const [estimate] = await events(third, 'preflight_estimate');
    assert.deepEqual([estimate.data.bytes_at_most, estimate.data.disks.length, estimate.data.free_bytes > 0], [SIZE, 1, true]);
    await api.deleteJob(third);
    azure.imds.location = 'westeurope';
});

test('rights that are missing are named, and nothing stays open', async () => {
    const cases = [
        [{}, /disks\/beginGetAccess/, 'export'], [{ power: 'running' }, /snapshots\/write/, 'export'], [{ power: 'running' }, /snapshots\/beginGetAccess/, 'export'],
        [{}, /virtualMachines\/read/, 'preflight'], [{ power: 'running' }, /virtualMachines\/deallocate/, 'export', { deallocate: true }],
    ];
    for (const [o, right, kind, more = {}] of cases) {
        azure.arm.deny(null, right);
        const { id } = await submit(ofVm(await newVm(o), more));
        const failed = await api.waitJob(id, 'failed');
        const task = failed.tasks.find((t) => t.state === 'failed');
        assert.deepEqual([task.kind, task.error.code, task.error.upstream.status], [kind, 'credential_unusable', 403], JSON.stringify(task.error));
        assert.match(task.error.detail + task.error.hint, right);
        azure.arm.allow();
        await waitFor('nothing is left', () => !azure.world.openGrants().length && ![...azure.world.snapshots.values()].length);
        await api.deleteJob(id);
    }
    // the disk cannot be read by this identity: said by preflight
    azure.arm.deny(null, /disks\/read/);
    await refused(ofVm(await newVm()), 'not_exportable', /could not be read/, /Reader/);
    azure.arm.allow();
    // the data cannot
    azure.arm.deny(null, /download\/action/);
    const { id } = await submit(ofVm(await newVm({ disks: [{ file: small, dataAccessAuthMode: 'AzureActiveDirectory' }] })));
    const failed = await api.waitJob(id, 'failed');
    const { error } = failed.tasks.find((t) => t.state === 'failed');
    assert.deepEqual([error.code, /Data Operator for Managed Disks/.test(error.hint)], ['source_denied', true], JSON.stringify(error));
    azure.arm.allow();
    await waitFor('nothing is open', () => !azure.world.openGrants().length);
    await api.deleteJob(id);
});

test('a private disk, from outside: refused by preflight or by its host, never left open', async () => {
    azure.faults.add({ on: 'imds', operation: 'Imds_Instance', status: 404, times: 0 });
    await start();
    await refused(ofVm(await newVm({ disks: [{ networkAccessPolicy: 'AllowPrivate' }] })), 'not_exportable', /private network/, /AllowAll/);
    azure.faults.clear();
    await start();
    const { id } = await submit(ofVm(await newVm({ disks: [{ file: small, networkAccessPolicy: 'AllowPrivate' }] })));     // within Azure it may work
    const failed = await api.waitJob(id, 'failed');
    const { error } = failed.tasks.find((t) => t.state === 'failed');
    assert.deepEqual([error.code, error.upstream?.status, /network access/.test(error.hint)], ['source_denied', 403, true], JSON.stringify(error));
    assert.ok((await events(id, 'preflight_warning')).some((e) => e.data.check === 'private_network_only'));
    await waitFor('nothing is open', () => !azure.world.openGrants().length);
    await api.deleteJob(id);
});

test('a token beside the SAS, whichever way the host asks for it', async () => {
    for (const challenge of [401, 403]) {
        azure.hosts.options.challenge = challenge;
        const { id } = await submit(ofVm(await newVm({ disks: [{ file: small, dataAccessAuthMode: 'AzureActiveDirectory' }] })));
        const job = await api.waitJob(id);
        assert.ok(await identical(diskImage(job.disks[0]), rawImage(small, SIZE)));
        assert.ok((await events(id, 'preflight_warning')).some((e) => e.data.check === 'entra_data_access'));
        await api.deleteJob(id);
    }
    assert.equal(azure.hosts.counts.uninvited, 0, 'no token goes where none was asked for');
});

test('4096-byte sectors: exported as VHDX; PremiumV2: waits until the snapshot is filled', async () => {
    const vhdx = path.join(dir, 'sectors.vhdx');
    await must('qemu-img', ['convert', '-f', 'raw', '-O', 'vhdx', rawImage(small, SIZE), vhdx]);
    const vm = await newVm({ power: 'running', disks: [{ file: vhdx, sku: 'PremiumV2_LRS', sectorSize: 4096, sizeBytes: SIZE }] });
    const { id } = await submit(ofVm(vm));
    const job = await api.waitJob(id);
    assert.equal(job.disks[0].format, 'vhdx');
    assert.ok(await identical(job.disks[0].path, rawImage(small, SIZE)));
    assert.equal((await events(id, 'snapshot_filling')).length, 1);
    const asked = azure.double.exchanges.filter((x) => x.operation === 'Snapshots_GrantAccess').at(-1);
    assert.equal(asked.body.fileFormat, 'VHDX');
    await api.deleteJob(id);
});

test('no room for what is in use: said once it is known, before a byte of it is downloaded', async () => {
    const huge = path.join(dir, 'huge.vhd');
    makeVhd(huge, 64 * MIB, { used: 0.5, seed: 9 });
    const { id } = await submit(ofVm(await newVm({ disks: [{ file: huge, sizeBytes: 2 ** 40 }] })));
    const job = await api.waitJob(id);                   // Azure says 1 TiB, of which next to nothing is in use
    assert.ok((await events(id, 'preflight_warning')).some((e) => e.data.check === 'space'));
    assert.ok((await events(id, 'exported'))[0].data.used_bytes < 40 * MIB);
    await api.deleteJob(job.id);
});

test('the client', async () => {
    const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
    const cli = (...args) => exec('vmrecover', args, { env });
    const vm = await newVm({ power: 'running', disks: [{ file: small }, { file: small, lun: 2 }] });
    const r = await cli('submit', '--vm', azure.id(vm), '--data-disks', '--deallocate', '--credential', 'mi', '--until', 'download', '--wait');
    assert.equal(r.code, 0, r.stdout + r.stderr);
    assert.equal(vm.power, 'deallocated');
    const { jobs: [job] } = await api.get('/v1/jobs?limit=1');
    assert.deepEqual([job.disks.length, job.state, job.name], [2, 'succeeded', vm.name]);
    const d = await cli('submit', '--disk', azure.id(vm.disks[1].record), '--credential', 'mi', '--until', 'download', '--allow-cross-region', '--wait');
    assert.equal(d.code, 0, d.stdout + d.stderr);
    const wrong = await cli('submit', '--data-disks', '--vm', azure.id(vm));
    assert.deepEqual([wrong.code, /behind/.test(wrong.stderr)], [2, true], wrong.stderr);
    const none = await cli('submit', '--snapshot', 'x');
    assert.deepEqual([none.code, /no resource id/.test(none.stderr)], [2, true], none.stderr);
    for (const j of (await api.get('/v1/jobs')).jobs) await api.deleteJob(j.id);
});
