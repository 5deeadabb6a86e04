// What the API and the client say of the virtual machines in Azure: their disks, their state, and what stands in the way of a recovery. Azure
// Resource Manager is the double's, and Microsoft's checker looks at every exchange.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { exec } from './lib/platform.mjs';
import { waitFor } from './lib/util.mjs';

const GIB = 1024 ** 3;
let azure, daemon, api, second, texts = [];

before(async () => {
    azure = await Azure.start({ storage: false, arm: { pageSize: 3 } });
    second = azure.world.addSubscription({ name: 'Second', tenant: azure.tenant });
    azure.world.addSubscription({ name: 'Old', tenant: azure.tenant, state: 'Disabled' });
    const disk = (o) => azure.world.addDisk({ subscription: azure.subscription.id, group: 'rg-prod', location: 'westeurope', sizeBytes: 30 * GIB, ...o });
    await azure.vm({ name: 'plain', power: 'deallocated', disks: [{ sizeBytes: 30 * GIB }, { sizeBytes: 4 * GIB, lun: 7, sku: 'StandardSSD_LRS' }], bootDiagnostics: { storageUri: 'https://diag.blob.core.windows.net/' } });
    await azure.vm({ name: 'Runs', power: 'running', os: 'Windows', generation: 1, disks: [{ sizeBytes: 127 * GIB }], bootDiagnostics: {}, encryptionAtHost: true });
    await azure.vm({ name: 'stopped', power: 'stopped' });
    await azure.vm({ name: 'starting', power: 'starting' });
    await azure.vm({ name: 'trusted', securityType: 'TrustedLaunch', disks: [{ securityType: 'TrustedLaunch' }] });
    await azure.vm({ name: 'confidential', securityType: 'ConfidentialVM', securityEncryption: 'DiskWithVMGuestState', disks: [{ securityType: 'ConfidentialVM_DiskEncryptedWithPlatformKey' }] });
    await azure.vm({ name: 'confidential-state', securityType: 'ConfidentialVM', securityEncryption: 'VMGuestStateOnly', disks: [{ securityType: 'ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey' }] });
    await azure.vm({ name: 'ephemeral', ephemeral: true, power: 'running' });
    await azure.vm({ name: 'encrypted', ade: true, disks: [{ ade: true }] });
    await azure.vm({ name: 'denied', disks: [{ networkAccessPolicy: 'DenyAll', publicNetworkAccess: 'Disabled' }] });
    await azure.vm({ name: 'private', disks: [{ networkAccessPolicy: 'AllowPrivate' }] });
    await azure.vm({ name: 'entra', disks: [{ dataAccessAuthMode: 'AzureActiveDirectory' }] });
    await azure.vm({ name: 'fast', power: 'running', disks: [{}, { sku: 'PremiumV2_LRS', sectorSize: 4096 }] });
    await azure.vm({ name: 'filling', disks: [{ sku: 'UltraSSD_LRS', bornAt: Date.now(), hydratedAt: Date.now() + 3_600_000 }] });
    const granted = await azure.vm({ name: 'granted' });
    azure.world.grant(granted.disks[0].record, { durationInSeconds: 3600 });
    const elsewhere = disk({ name: 'elsewhere-os', group: 'rg-disks', os: 'Linux', generation: 2 });
    azure.world.addVm({ subscription: azure.subscription.id, group: 'rg-prod', location: 'westeurope', name: 'elsewhere', power: 'deallocated', disks: [{ record: elsewhere }] });
    azure.world.addVm({ subscription: azure.subscription.id, group: 'rg-(odd).name', location: 'westeurope', name: 'unmanaged', power: 'running', disks: [{ vhd: 'https://acct.blob.core.windows.net/vhds/unmanaged.vhd?sig=PlantedVhdSignature', name: 'unmanaged-os', sizeBytes: 30 * GIB }] });
    azure.world.addVm({ subscription: second.id, group: 'rg-second', location: 'northeurope', name: 'far', power: 'deallocated', generation: 2,
        disks: [{ record: azure.world.addDisk({ subscription: second.id, group: 'rg-second', name: 'far-os', location: 'northeurope', os: 'Linux', generation: 2, sizeBytes: GIB }) }] });
    daemon = await Daemon.start({ ...azure.config(), log_level: 'debug' });
    api = daemon.api;
    const exchange = api.exchange.bind(api);
    api.exchange = async (o) => { const r = await exchange(o); texts.push([o.path, `${JSON.stringify(r.headers)} ${r.text}`]); return r; };
    await api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
});
after(async () => {
    await daemon?.stop();
    await azure?.stop();
});

const vms = (query = '') => api.get(`/v1/azure/vms${query}`);
const of = (list, name) => list.vms.find((v) => v.name === name);
const codes = (vm) => vm.reasons.map((r) => `${r.weight} ${r.code}`).sort();

test('subscriptions', async () => {
    const { subscriptions } = await api.get('/v1/azure/subscriptions');
    assert.deepEqual(subscriptions.map((s) => [s.name, s.state]), [['Production', 'Enabled'], ['Second', 'Enabled'], ['Old', 'Disabled']]);
});

test('all virtual machines of all subscriptions, over many pages', async () => {
    const list = await vms();
    assert.deepEqual(list.unreadable, []);
    assert.deepEqual(list.vms.map((v) => v.name).sort(), ['Runs', 'confidential', 'confidential-state', 'denied', 'elsewhere', 'encrypted', 'entra', 'ephemeral', 'far', 'fast', 'filling', 'granted', 'plain', 'private', 'starting',
        'stopped', 'trusted', 'unmanaged']);
    const plain = of(list, 'plain');
    const { disks, reasons, ...rest } = plain;
    assert.deepEqual(rest, { id: azure.id(azure.world.find('virtualMachines', azure.subscription.id, 'rg-prod', 'plain')), name: 'plain', subscription_id: azure.subscription.id, resource_group: 'rg-prod', location: 'westeurope',
        vm_size: 'Standard_D2s_v5', os_type: 'Linux', power_state: 'deallocated', provisioning_state: 'Succeeded', security_type: null, encryption_at_host: false,
        boot_diagnostics: { enabled: true, storage_url: 'https://diag.blob.core.windows.net/' }, os_name: null, os_version: null, generation: 2, recoverable: true });
    assert.deepEqual(reasons, []);
    assert.deepEqual(disks.map((d) => [d.name, d.role, d.lun, d.size, d.sku, d.state, d.encryption, d.managed]), [['plain-os', 'os', null, 30 * GIB, 'Premium_LRS', 'Reserved', 'EncryptionAtRestWithPlatformKey', true],
        ['plain-data1', 'data', 7, 4 * GIB, 'StandardSSD_LRS', 'Reserved', 'EncryptionAtRestWithPlatformKey', true]]);
    const runs = of(list, 'Runs');
    assert.deepEqual([runs.power_state, runs.os_type, runs.generation, runs.encryption_at_host, runs.boot_diagnostics, runs.os_name], ['running', 'Windows', 1, true, { enabled: true, storage_url: null }, 'Windows Server 2022 Datacenter']);
    // a handful of lists, and nothing per VM
    assert.deepEqual(azure.double.exchanges.filter((x) => /^VirtualMachines_(Get|InstanceView)$/.test(x.operation)).length, 0);
});

test('what stands in the way', async () => {
    const list = await vms(`?subscription=${azure.subscription.id}`);
    const wanted = {
        plain: [true, []],
        Runs: [true, ['note running']],
        stopped: [true, ['note stopped_not_deallocated']],
        starting: [true, ['warning power_state_changing']],
        trusted: [true, ['note trusted_launch']],
        confidential: [false, ['blocked confidential_vm']],
        'confidential-state': [true, ['warning confidential_guest_state']],
        ephemeral: [false, ['blocked ephemeral_os_disk', 'note running']],
        encrypted: [true, ['warning azure_disk_encryption']],
        denied: [false, ['blocked network_access_denied']],
        private: [true, ['warning private_network_only']],
        entra: [true, ['warning entra_data_access']],
        fast: [true, ['note running', 'note sector_size_4096', 'note slow_snapshot']],
        filling: [false, ['blocked still_hydrating']],
        granted: [true, ['warning access_already_granted']],
        elsewhere: [true, []],
        unmanaged: [true, ['note running', 'note unmanaged_disk']],
    };
    for (const [name, [recoverable, reasons]] of Object.entries(wanted)) {
        const vm = of(list, name);
        assert.deepEqual([name, vm.recoverable, codes(vm)], [name, recoverable, reasons]);
        for (const r of vm.reasons) {
            assert.ok(r.detail.length > 10, r.code);
            if (r.weight === 'blocked') assert.ok(r.remedy.length > 10, `${r.code} says what to do`);
        }
    }
    const unmanaged = of(list, 'unmanaged');
    assert.deepEqual([unmanaged.disks[0].url, unmanaged.disks[0].id, unmanaged.disks[0].managed], ['https://acct.blob.core.windows.net/vhds/unmanaged.vhd', null, false]);
    assert.equal(of(list, 'fast').reasons.find((r) => r.code === 'sector_size_4096').disk, 'fast-data1');
    // the disk is in another group, and its id comes in capitals
    assert.equal(of(list, 'elsewhere').disks[0].size, 30 * GIB);
});

test('from outside of Azure a private disk is out of reach', async () => {
    azure.faults.add({ on: 'imds', operation: 'Imds_Instance', status: 404, times: 0 });
    const other = await Daemon.start(azure.config());
    try {
        const app = azure.principal('outside');
        await other.api.put('/v1/credentials/sp', { type: 'service_principal', tenant_id: app.tenant, client_id: app.clientId, client_secret: app.secret }, 201);
        const { vms: [vm] } = await other.api.get(`/v1/azure/vms?subscription=${azure.subscription.id}&filter=private`);
        assert.deepEqual([vm.recoverable, codes(vm)], [false, ['blocked private_network_only']]);
        assert.equal((await other.api.get('/v1/host')).azure_region, null);
    } finally {
        azure.faults.clear();
        await other.stop();
    }
    assert.equal((await api.get('/v1/host')).azure_region, 'westeurope');
});

test('one resource group, one name', async () => {
    const group = await vms(`?subscription=${azure.subscription.id}&resource_group=RG-PROD`);
    assert.equal(group.vms.length, 16);
    assert.deepEqual([of(group, 'Runs').power_state, of(group, 'elsewhere').disks[0].size], ['running', 30 * GIB]);
    const odd = await vms(`?subscription=${azure.subscription.id}&resource_group=${encodeURIComponent('rg-(odd).name')}`);
    assert.deepEqual(odd.vms.map((v) => v.name), ['unmanaged']);
    const asked = azure.double.calls.VirtualMachines_InstanceView ?? 0;
    const filtered = await vms(`?subscription=${azure.subscription.id}&resource_group=rg-prod&filter=RUN`);
    assert.deepEqual(filtered.vms.map((v) => v.name), ['Runs']);
    assert.equal(azure.double.calls.VirtualMachines_InstanceView, asked + 1, 'only what is shown is asked for');
    assert.deepEqual((await vms('?filter=nothing-has-this')).vms, []);
});

test('what the query has wrong', async () => {
    for (const [query, status, code, field] of [['?subscription=web', 400, 'invalid_value', '?subscription'], ['?resource_group=rg-prod', 400, 'missing_field', '?subscription'],
        [`?subscription=${azure.subscription.id}&resource_group=a%2Fb`, 400, 'invalid_value', '?resource_group'], [`?subscription=${azure.subscription.id}&resource_group=${'x'.repeat(91)}`, 400, 'invalid_value', '?resource_group'],
        ['?filter=%01x', 400, 'invalid_value', '?filter'], ['?credential=.x', 400, 'invalid_value', '?credential'], ['?other=1', 400, 'unknown_field', '?other'], [`?filter=${'x'.repeat(200)}`, 400, 'invalid_value', '?filter'],
        [`?subscription=${azure.subscription.id}&resource_group=none`, 404, 'not_found', undefined], ['?subscription=11111111-2222-3333-4444-555555555555', 404, 'not_found', undefined]]) {
        const r = await api.request({ path: `/v1/azure/vms${query}` });
        assert.deepEqual([query, r.status, r.json.code, r.json.field], [query, status, code, field], r.text);
    }
    const missing = await api.request({ path: '/v1/azure/vms?subscription=11111111-2222-3333-4444-555555555555' });
    assert.deepEqual([missing.json.upstream.service, missing.json.upstream.status, missing.json.upstream.code], ['arm', 404, 'SubscriptionNotFound']);
    assert.match(missing.json.upstream.request_id, /^[0-9a-f-]{36}$/);
});

test('more subscriptions than are asked at once: the others are named', async () => {
    const many = await Azure.start({ storage: false });
    const other = await Daemon.start(many.config());
    try {
        for (let i = 0; i < 503; i++) many.world.addSubscription({ name: `S${i}`, tenant: many.tenant, state: i % 100 ? 'Enabled' : 'Disabled' });
        await other.api.put('/v1/credentials/mi', { type: 'managed_identity' }, 201);
        const list = await other.api.get('/v1/azure/vms');
        assert.deepEqual([list.unreadable.length, /more than 500/.test(list.unreadable[0]?.error.detail), list.unreadable[0]?.error.hint], [0, false, undefined]);
        for (let i = 0; i < 5; i++) many.world.addSubscription({ name: `T${i}`, tenant: many.tenant });
        const more = await other.api.get('/v1/azure/vms');
        assert.deepEqual([more.unreadable.length, /more than 500/.test(more.unreadable[0].error.detail), more.unreadable[0].error.hint], [3, true, 'Name the subscription.']);
        await many.double.assertClean();
    } finally {
        await other.stop();
        await many.stop();
    }
});

test('without the right to look', async () => {
    azure.arm.deny('host', /virtualMachines\/read/);
    const all = await vms();
    assert.deepEqual([all.vms, all.unreadable.map((u) => u.subscription_id)], [[], [azure.subscription.id, second.id]]);
    assert.equal(all.unreadable[0].error.code, 'credential_unusable');
    const one = await api.request({ path: `/v1/azure/vms?subscription=${azure.subscription.id}` });
    assert.deepEqual([one.status, one.json.code, one.json.upstream.code], [422, 'credential_unusable', 'AuthorizationFailed'], one.text);
    assert.match(one.json.hint, /Microsoft\.Compute\/virtualMachines\/read/);
    azure.arm.allow();
    azure.arm.deny('host', /disks\/read/);
    const blind = await vms(`?subscription=${azure.subscription.id}&filter=plain`);
    assert.deepEqual([blind.vms[0].recoverable, codes(blind.vms[0])], [false, ['blocked disk_not_readable', 'blocked disk_not_readable']]);
    azure.arm.allow();
});

test('Azure that is slow, busy, broken or wordless is asked again', async () => {
    azure.faults.add({ on: 'arm', status: 503, times: 2, every: 2 }, { on: 'arm', status: 429, retryAfter: 1, times: 1, after: 1 }, { on: 'arm', reset: true, times: 1, after: 3 }, { on: 'arm', cut: 20, times: 1, after: 5 },
        { on: 'arm', status: 502, body: 'html', times: 1, after: 7 });
    const list = await vms(`?subscription=${azure.subscription.id}`);
    assert.equal(list.vms.length, 17);
    azure.faults.clear();
    azure.double.assertPatient();
    // it ends at some time, with Azure's own words
    azure.faults.add({ on: 'arm', status: 500, code: 'InternalServerError', message: 'Planned trouble.', times: 0 });
    const r = await api.request({ path: '/v1/azure/subscriptions' });
    assert.deepEqual([r.status, r.json.code, r.json.upstream.status, r.json.upstream.code], [502, 'upstream_error', 500, 'InternalServerError'], r.text);
    assert.match(r.json.detail, /Planned trouble/);
    azure.faults.clear();
    azure.faults.add({ on: 'arm', status: 429, retryAfter: 120, times: 0 });
    const began = Date.now();
    const busy = await api.request({ path: '/v1/azure/subscriptions' });
    assert.deepEqual([busy.status, busy.json.code], [503, 'throttled'], busy.text);
    assert.ok(Date.now() - began < 10_000, 'nobody is made to wait for two minutes');
    azure.faults.clear();
});

test('budgets are kept: nothing is refused for want of one', async () => {
    // the last test left a pause of two minutes for subscriptions; lists of VMs are another kind of request
    azure.arm.options.enforceBudgets = true;
    azure.arm.options.budgets = { HighCostGet: 14 };
    azure.arm.buckets.clear();
    const before_ = azure.double.exchanges.length;
    const list = await vms(`?subscription=${azure.subscription.id}`);
    assert.equal(list.vms.length, 17);
    const asked = azure.double.exchanges.slice(before_).filter((x) => x.service === 'arm');
    assert.equal(asked.filter((x) => x.status === 429).length, 0, 'no 429');
    assert.ok(asked.length > 14, `${asked.length} requests`);
    azure.arm.options.enforceBudgets = false;
    azure.arm.options.budgets = {};
});

test('a page link to another host is not followed', async () => {
    const evil = await Azure.start({ storage: false });
    try {
        azure.faults.add({ on: 'arm', operation: 'VirtualMachines_ListAll', times: 1, wrong: (b) => ({ ...b, nextLink: `${evil.arm.url}/subscriptions/x/steal?$skiptoken=1` }) });
        const r = await api.request({ path: `/v1/azure/vms?subscription=${azure.subscription.id}` });
        assert.deepEqual([r.status, r.json.code], [502, 'upstream_refused'], r.text);
        assert.match(r.json.detail, /nextLink.*no token is sent there/);
        assert.equal(evil.double.exchanges.length, 0);
    } finally {
        azure.faults.clear();
        azure.double.problems = azure.double.problems.filter((p) => p.kind !== 'nextlink');
        await evil.stop();
    }
});

test('the client', async () => {
    const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
    const cli = (...args) => exec('vmrecover', ['azure', ...args], { env });
    const plain = await cli('vms', '--subscription', azure.subscription.id, '--filter', 'plain');
    assert.equal(plain.code, 0, plain.stderr);
    assert.match(plain.stdout, /^plain +deallocated +gen 2 +Linux +Standard_D2s_v5 +30\.0 GiB +recoverable\n {2}\/subscriptions\/.*\/virtualMachines\/plain\n$/);
    const denied = await cli('vms', '--subscription', azure.subscription.id, '--resource-group', 'rg-prod', '--filter', 'denied', '--credential', 'mi');
    assert.match(denied.stdout, /not recoverable\n.*\n {2}blocked, disk denied-os: .*denies every export\. Allow access/);
    assert.deepEqual(JSON.parse((await cli('vms', '--json', '--subscription', second.id, '--filter', 'far')).stdout), await vms(`?subscription=${second.id}&filter=far`));
    const none = await cli('vms', '--subscription', second.id, '--filter', 'nothing-has-this');
    assert.deepEqual([none.code, none.stdout, none.stderr], [0, '', 'no virtual machines\n']);
    assert.equal((await cli('vms', '--subscription', 'web')).code, 2);
    assert.equal((await cli()).code, 2);
    assert.equal((await cli('vms', 'word')).code, 2);
});

test('a client that goes away, and a daemon that stops, end the asking', async () => {
    azure.faults.add({ on: 'arm', operation: 'VirtualMachines_ListAll', delay: 60_000, times: 0 });
    const asked = azure.double.calls.VirtualMachines_ListAll;
    const waiting = api.exchange({ path: `/v1/azure/vms?subscription=${azure.subscription.id}`, timeout: 90_000 }).catch(() => null);
    await waitFor('it is asked', () => azure.double.calls.VirtualMachines_ListAll > asked);
    const began = Date.now();
    await daemon.terminate();
    assert.ok(Date.now() - began < 15_000, `the daemon stopped in ${Date.now() - began} ms`);
    await waiting;
    azure.faults.clear();
    await daemon.restart();
});

test('no violation of the specifications, no token in a log or a reply', async () => {
    await azure.double.assertClean();
    const places = [...texts, ['log', daemon.log]];
    const secrets = [...azure.double.secrets(), 'PlantedVhdSignature'];
    assert.ok(secrets.length > 2 && texts.length > 20);
    for (const secret of secrets) for (const [where, text] of places) assert.ok(!text.includes(secret), `${secret.slice(0, 12)}… in ${where}`);
});
