// Microsoft's own clients work with the double as with Azure.
import test, { before, describe } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import { ComputeManagementClient } from '@azure/arm-compute';
import { ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, DeviceCodeCredential,
    ManagedIdentityCredential } from '@azure/identity';
import { ARM, azure, image, clean, read, newVm } from './context.mjs';

describe("Microsoft's SDKs, without a special case", () => {
    let tls, client, app;
    before(async () => {
        tls = { ca: fs.readFileSync(azure.ca) };
        app = azure.principal('sdk');
        client = sdk(new ClientSecretCredential(app.tenant, app.clientId, app.secret, login()));
    });
    const login = () => ({ authorityHost: azure.login.tlsUrl, disableInstanceDiscovery: true, tlsOptions: tls });
    const sdk = (credential) => new ComputeManagementClient(credential, azure.subscription.id, { endpoint: azure.arm.tlsUrl, tlsOptions: tls,
        retryOptions: { retryDelayInMs: 50 } });
    const quick = { updateIntervalInMs: 100 };
    const all = async (pages) => { const list = []; for await (const x of pages) list.push(x); return list; };

    test('lists over several pages, of a subscription and of a group', async () => {
        for (let i = 0; i < 5; i++) await azure.vm({ name: `list${i}`, group: 'rg-list', power: i % 2 ? 'running' : 'deallocated', disks: [{}, {}] });
        azure.arm.options.pageSize = 2;
        try {
            const vms = await all(client.virtualMachines.listAll());
            assert.equal(vms.length, azure.world.vms.size);
            assert.ok(azure.double.calls.VirtualMachines_ListAll >= 3, 'it came page by page');
            assert.equal((await all(client.virtualMachines.list('RG-LIST'))).length, 5);
            assert.equal((await all(client.disks.list())).length, azure.world.disks.size);
            assert.equal((await all(client.disks.listByResourceGroup('rg-list'))).length, 10);
            const status = await all(client.virtualMachines.listAll({ statusOnly: 'true' }));
            assert.deepEqual([...new Set(status.map((v) => v.instanceView.statuses.at(-1).code))].sort(), ['PowerState/deallocated',
                'PowerState/running']);
            assert.equal((await all(client.snapshots.list())).length, 0);
        } finally {
            azure.arm.options.pageSize = 100;
        }
        await clean();
    });

    test('reads a VM with its instance view; ids come in another case', async () => {
        const vm = await newVm({ power: 'running', securityType: 'TrustedLaunch',
            bootDiagnostics: { storageUri: 'https://diag.blob.core.windows.net/' } });
        const got = await client.virtualMachines.get('rg-prod', vm.name, { expand: 'instanceView' });
        assert.equal(got.instanceView.statuses.at(-1).code, 'PowerState/running');
        assert.equal(got.instanceView.hyperVGeneration, 'V2');
        assert.match(got.storageProfile.osDisk.managedDisk.id, /\/resourceGroups\/RG-PROD\//);
        assert.equal(got.diagnosticsProfile.bootDiagnostics.storageUri, 'https://diag.blob.core.windows.net/');
        const disk = await client.disks.get('rg-prod', got.storageProfile.osDisk.name);
        assert.equal(disk.diskState, 'Attached');
        assert.match(disk.managedBy, /RG-PROD/);
        await assert.rejects(client.disks.get('rg-prod', 'none'), (e) => e.statusCode === 404 && e.code === 'ResourceNotFound');
        await clean();
    });

    test('begins and ends access to a disk; meanwhile its VM does not start', async () => {
        const vm = await newVm();
        const [{ record: disk }] = vm.disks;
        const { accessSAS } = await client.disks.beginGrantAccessAndWait('rg-prod', disk.name, read, quick);
        assert.equal((await client.disks.get('rg-prod', disk.name)).diskState, 'ActiveSAS');
        assert.ok(!/[?&]se=/.test(accessSAS), 'its expiry is not in it');
        await assert.rejects(client.virtualMachines.beginStartAndWait('rg-prod', vm.name, quick), /active shared access signature/);
        assert.throws(() => azure.double.assertNothingOpen(), new RegExp(disk.name));
        await client.disks.beginRevokeAccessAndWait('rg-prod', disk.name, quick);
        assert.equal((await client.disks.get('rg-prod', disk.name)).diskState, 'Reserved');
        assert.deepEqual(disk.counts, { granted: 1, revoked: 1, ended: 0, expired: 0, grantCalls: 1, revokeCalls: 1 });
        azure.double.assertNothingOpen();
        await client.virtualMachines.beginStartAndWait('rg-prod', vm.name, quick);
        assert.equal(vm.power, 'running');
        await assert.rejects(client.disks.beginGrantAccessAndWait('rg-prod', disk.name, read, quick), (e) => e.code === 'Conflict' &&
            /currently attached to running VM/.test(e.message));
        await client.virtualMachines.beginPowerOffAndWait('rg-prod', vm.name, quick);
        await client.virtualMachines.beginDeallocateAndWait('rg-prod', vm.name, quick);
        assert.equal((await client.virtualMachines.instanceView('rg-prod', vm.name)).statuses.at(-1).code, 'PowerState/deallocated');
        await clean();
    });

    test('a snapshot of a running VM, exported and removed; what is written later is not in it', async () => {
        const vm = await newVm({ power: 'running' });
        const [{ record: disk }] = vm.disks;
        const made = await client.snapshots.beginCreateOrUpdateAndWait('rg-prod', 'snap-sdk', { location: disk.location, incremental: true,
            sku: { name: 'Standard_LRS' },
            tags: { 'vmrecover-job': 'j1' }, creationData: { createOption: 'Copy', sourceResourceId: azure.id(disk) } }, quick);
        assert.equal(made.provisioningState, 'Succeeded');
        assert.equal(made.tags['vmrecover-job'], 'j1');
        await disk.content.client.uploadPages(Buffer.alloc(512, 0xee), 0, 512);
        const { accessSAS } = await client.snapshots.beginGrantAccessAndWait('rg-prod', 'snap-sdk', read, quick);
        assert.match(accessSAS, /\?snapshot=[^&]+%3A[^&]+&sv=2018-11-09&sr=bs&si=/);
        const first = await fetch(accessSAS.replace(azure.hosts.tlsUrl, azure.hosts.url), { headers: { 'x-ms-range': 'bytes=0-511' } });
        assert.deepEqual(Buffer.from(await first.arrayBuffer()), fs.readFileSync(image).subarray(0, 512));
        await assert.rejects(client.snapshots.beginDeleteAndWait('rg-prod', 'snap-sdk', quick), /active shared access signature/);
        await client.snapshots.beginRevokeAccessAndWait('rg-prod', 'snap-sdk', quick);
        await client.snapshots.beginDeleteAndWait('rg-prod', 'snap-sdk', quick);
        await client.snapshots.beginDeleteAndWait('rg-prod', 'snap-sdk', quick);             // 204: it is gone
        await assert.rejects(client.snapshots.get('rg-prod', 'snap-sdk'), (e) => e.statusCode === 404);
        assert.equal(azure.double.made.at(-1).tags['vmrecover-job'], 'j1');
        await clean();
    });

    test('a VM is updated: 200 with Azure-AsyncOperation and no Location', async () => {
        const vm = await newVm();
        const spare = await azure.disk({ file: image, name: `${vm.name}-repaired`, os: 'Linux' });
        const got = await client.virtualMachines.get('rg-prod', vm.name);
        const body = { location: got.location, hardwareProfile: got.hardwareProfile, networkProfile: got.networkProfile,
            storageProfile: { osDisk: { ...got.storageProfile.osDisk, name: spare.name, managedDisk: { id: azure.id(spare) } }, dataDisks: [] } };
        const r = await client.virtualMachines.beginCreateOrUpdateAndWait('rg-prod', vm.name, body, quick);
        assert.equal(r.storageProfile.osDisk.name, spare.name);
        const first = azure.double.exchanges.findLast((x) => x.operation === 'VirtualMachines_CreateOrUpdate');
        assert.equal(first.status, 200);
        assert.ok(first.answer.headers['Azure-AsyncOperation'] && !first.answer.headers.Location);
        await clean();
    });

    for (const shape of ['both', 'location', 'sync'])
        test(`an operation told by ${shape}`, async () => {
            const { record } = (await newVm()).disks[0];
            azure.arm.options.shape.Disks_GrantAccess = shape;
            try {
                const { accessSAS } = await client.disks.beginGrantAccessAndWait('rg-prod', record.name, read, quick);
                assert.match(accessSAS, /&sig=/);
            } finally {
                delete azure.arm.options.shape.Disks_GrantAccess;
            }
            await client.disks.beginRevokeAccessAndWait('rg-prod', record.name, quick);
            await clean();
        });

    test('an operation that ends Failed under HTTP 200', async () => {
        const { record } = (await newVm()).disks[0];
        azure.faults.add({ operation: 'Disks_GrantAccess', fail: { code: 'InternalDiskManagementError',
            message: 'Internal disk management error occurred.' } });
        await assert.rejects(client.disks.beginGrantAccessAndWait('rg-prod', record.name, read, quick),
            /InternalDiskManagementError|Internal disk management error/);
        const poll = azure.double.exchanges.findLast((x) => x.operation === 'Operations_Poll' && x.answer.body?.status);
        assert.equal(poll.status, 200);
        assert.equal(poll.answer.body.status, 'Failed');
        assert.equal(azure.world.state(record), 'Reserved');
        await clean();
    });

    test('words that are none of the four mean that it runs; Canceled is an end', async () => {
        const { record } = (await newVm()).disks[0];
        azure.operations.words = ['InProgress', 'Running', 'Creating'];
        try {
            await client.disks.beginGrantAccessAndWait('rg-prod', record.name, read, quick);
        } finally {
            azure.operations.words = ['InProgress'];
        }
        azure.faults.add({ operation: 'Disks_RevokeAccess', fail: { code: 'OperationPreempted', message: 'Another one came.', status: 'Canceled' } });
        await assert.rejects(client.disks.beginRevokeAccessAndWait('rg-prod', record.name, quick), /OperationPreempted|cancel|Another one came/i);
        await client.disks.beginRevokeAccessAndWait('rg-prod', record.name, quick);
        await clean();
    });

    test('503 with an empty body, and 429 with Retry-After, are lived through', async () => {
        const { record } = (await newVm()).disks[0];
        azure.faults.add({ on: 'arm', operation: 'Disks_GrantAccess', status: 503, times: 1 }, { operation: 'Operations_Poll', status: 503,
            times: 1 }, { operation: 'Disks_RevokeAccess', status: 429, retryAfter: 1 });
        await client.disks.beginGrantAccessAndWait('rg-prod', record.name, read, quick);
        await client.disks.beginRevokeAccessAndWait('rg-prod', record.name, quick);
        assert.deepEqual(azure.faults.rules.map((r) => r.hits), [1, 1, 1]);
        await clean();
    });

    describe('sign-in', () => {
        const works = async (credential, count) => {
            const n = azure.login.counts[count];
            assert.ok((await all(sdk(credential).virtualMachines.listAll())).length);
            if (count) assert.equal(azure.login.counts[count], n + 1);
        };
        test('secret', () => works(new ClientSecretCredential(app.tenant, app.clientId, app.secret, login()), 'client_secret'));
        test('certificate', async () => {
            const p = await azure.certificatePrincipal('sdk-cert');
            await works(new ClientCertificateCredential(p.tenant, p.clientId, { certificate: p.pem }, login()), 'certificate');
        });
        test('federated token', async () => {
            const p = azure.federatedPrincipal('sdk-workload');
            await works(new ClientAssertionCredential(p.tenant, p.clientId, async () => fs.readFileSync(p.file, 'utf8'), login()), 'federated');
        });
        test('device code', async () => {
            azure.login.options.interval = 1;
            try {
                await works(new DeviceCodeCredential({ tenantId: azure.tenant, userPromptCallback: ({ userCode }) => azure.login.approve(userCode),
                    ...login() }), 'device');
            } finally {
                azure.login.options.interval = 5;
            }
        });
        test('managed identity', async () => {
            process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = azure.imds.url;
            try {
                await works(new ManagedIdentityCredential());
                await works(new ManagedIdentityCredential({ clientId: azure.identity.clientId }));
                await assert.rejects(new ManagedIdentityCredential({ clientId: crypto.randomUUID() }).getToken(ARM),
                    /Identity not found|unavailable|failed/i);
            } finally {
                delete process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST;
            }
        });
        test('a wrong secret is refused in words of Entra', async () => {
            await assert.rejects(new ClientSecretCredential(app.tenant, app.clientId, 'wrong', login()).getToken(`${ARM}.default`), /AADSTS7000215/);
        });
    });
});
