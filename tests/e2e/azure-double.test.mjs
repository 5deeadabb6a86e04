// The Azure double itself (tests/doubles/arm): Microsoft's own clients work with it as with Azure, its rules hold, each fault
// that it can make happens, and what keeps it honest can fail.
import test, { after, before, beforeEach, describe } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { ComputeManagementClient } from '@azure/arm-compute';
import { ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, DeviceCodeCredential,
    ManagedIdentityCredential } from '@azure/identity';
import { Azure } from './lib/azure.mjs';
import { makeVhd } from './lib/image.mjs';
import { must, root, sleep, start, tempDir, waitFor } from './lib/util.mjs';

const require = createRequire(import.meta.url);
const { BlobClient, StorageSharedKeyCredential } = require('@azure/storage-blob');
const MIB = 1 << 20;
const ARM = 'https://management.azure.com/';
let azure, image, dir;

before(async () => {
    dir = tempDir('double');
    image = path.join(dir, 'os.vhd');
    makeVhd(image, 8 * MIB, { used: 0.5 });
    azure = await Azure.start({ tls: true, operations: { retryAfter: null } });
});
after(async () => { await azure?.stop(); });
beforeEach(async () => {
    await azure.double.checker.settled();
    azure.faults.clear();
    azure.arm.allow();
    azure.operations.retryAfter = null;                  // Azure asks for seconds; one test is enough for that
    azure.double.problems.length = azure.double.impatient.length = 0;
});

const clean = () => azure.double.assertClean();
// What a test provoked on purpose; nothing else may be wrong.
async function problems(...kinds) {
    await azure.double.checker.settled();
    assert.deepEqual(azure.double.problems.map((p) => p.kind).sort(), kinds.sort(), JSON.stringify(azure.double.problems));
    azure.double.problems.length = 0;
}

// ---- plain calls ----

const token = (audience = ARM, identity = azure.identity) => azure.tokens.give(identity, audience, 3599).text;
async function call(method, where, { body, bearer = token(), headers = {}, version = /virtualMachines/i.test(where) ? '2024-03-01'
    : '2023-10-02' } = {}) {
    const url = /^http/.test(where) ? where : `${azure.arm.url}${where}${where.includes('?') ? '&' : '?'}api-version=${version}`;
    const r = await fetch(url, { method, headers: { ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}),
        ...(body ? { 'Content-Type': 'application/json' } : {}), ...headers }, body: body && JSON.stringify(body) });
    const text = await r.text();
    return { status: r.status, headers: r.headers, text, json: /json/.test(r.headers.get('content-type') ?? '') && text ? JSON.parse(text)
        : undefined, code: r.status >= 400 && text.startsWith('{') ? JSON.parse(text).error?.code : undefined };
}
// Follows Azure-AsyncOperation, else Location, to the end.
async function done(r) {
    const at = r.headers.get('azure-asyncoperation') ?? r.headers.get('location');
    for (let wait = Number(r.headers.get('retry-after') ?? 0); ; ) {
        await sleep(Math.max(50, wait * 1000));
        const p = await call('GET', at);
        if (p.json?.status ? p.json.status !== 'InProgress' : p.status !== 202) return p.json ?? {};
        wait = Number(p.headers.get('retry-after') ?? 0);
    }
}
const read = { access: 'Read', durationInSeconds: 3600 };
const begin = (r, body = read) => call('POST', `${azure.id(r)}/beginGetAccess`, { body });
const end = (r) => call('POST', `${azure.id(r)}/endGetAccess`);
const granted = async (r, body) => (await done(await begin(r, body))).properties.output;
const snapshotBody = (disk, o = {}) => ({ location: disk.location, sku: { name: 'Standard_LRS' }, tags: { 'vmrecover-job': 'j1' },
    properties: { creationData: { createOption: 'Copy', sourceResourceId: azure.id(disk) }, incremental: true, ...o } });
let serial = 0;
const newVm = (o = {}) => azure.vm({ name: `vm${++serial}`, disks: [{ file: image }], ...o });
const group = () => `/subscriptions/${azure.subscription.id}/resourceGroups/rg-prod/providers/Microsoft.Compute`;

// ---- Microsoft's clients ----

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

// ---- sign-in in detail ----

describe('Microsoft Entra', () => {
    const post = async (form, { tenant = azure.tenant, to = 'token', type = 'application/x-www-form-urlencoded' } = {}) => {
        const r = await fetch(`${azure.login.url}/${tenant}/oauth2/v2.0/${to}`, { method: 'POST', headers: { 'Content-Type': type },
            body: new URLSearchParams(form).toString() });
        return { status: r.status, ...(await r.json()) };
    };
    const scope = `${ARM}.default`.replace('.com/.', '.com/.');
    const jwt = (p, { alg = 'PS256', key = p.key, claims = {}, head = {} } = {}) => {
        const x = new crypto.X509Certificate(p.cert), now = Math.floor(Date.now() / 1000);
        const b64 = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
        const text = `${b64({ alg, typ: 'JWT', 'x5t#S256': crypto.createHash('sha256').update(x.raw).digest('base64url'), ...head })}.${b64({ aud: `${azure.login.url}/${azure.tenant}/oauth2/v2.0/token`,
            iss: p.clientId, sub: p.clientId, jti: crypto.randomUUID(), nbf: now, iat: now, exp: now + 300, ...claims })}`;
        return `${text}.${crypto.sign('sha256', Buffer.from(text), alg === 'PS256' ? { key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : key).toString('base64url')}`;
    };
    const assertion = (p, text) => ({ grant_type: 'client_credentials', client_id: p.clientId, scope,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: text });

    test('what is refused, with its code', async () => {
        const p = azure.principal('refusals'), good = { grant_type: 'client_credentials', client_id: p.clientId, scope, client_secret: p.secret };
        assert.equal((await post(good)).token_type, 'Bearer');
        const cases = [
            [{ ...good, client_secret: 'x' }, {}, 401, 'invalid_client', 7000215], [{ ...good, client_secret: '' }, {}, 401, 'invalid_client',
                7000218],
            [{ ...good, client_id: crypto.randomUUID() }, {}, 400, 'unauthorized_client', 700016],
            [{ ...good, scope: 'https://management.azure.com/' }, {}, 400, 'invalid_scope', 1002012],
            [{ ...good, scope: '/.default' }, {}, 400, 'invalid_scope', 70011], [{ ...good, grant_type: 'password' }, {}, 400,
                'unsupported_grant_type', 70003], [{ ...good, scope: '' }, {}, 400, 'invalid_request', 900144],
            [good, { tenant: crypto.randomUUID() }, 400, 'invalid_request', 90002], [good, { type: 'application/json' }, 400, 'invalid_request',
                900144],
            [{ grant_type: 'refresh_token', client_id: 'x', scope, refresh_token: 'x' }, {}, 400, 'invalid_grant', 700082],
        ];
        for (const [form, o, status, error, number] of cases) {
            const r = await post(form, o);
            assert.deepEqual([r.status, r.error, r.error_codes], [status, error, [number]], JSON.stringify(r));
            assert.match(r.error_description, new RegExp(`AADSTS${number}: .+Correlation ID: ${r.correlation_id}`));
        }
    });

    test('a doubled slash of the scope is kept', async () => {
        const p = azure.principal('slashes');
        const r = await post({ grant_type: 'client_credentials', client_id: p.clientId, scope: 'https://disk.azure.com//.default',
            client_secret: p.secret });
        assert.equal(azure.tokens.all.get(r.access_token).audience, 'https://disk.azure.com/');
    });

    test('certificates: PS256 is checked, and so is all that it says', async () => {
        const p = await azure.certificatePrincipal('ps256'), other = await azure.certificatePrincipal('other'), now = Math.floor(Date.now() / 1000);
        assert.equal((await post(assertion(p, jwt(p)))).status, 200);
        assert.equal((await post(assertion(p, jwt(p, { alg: 'RS256' })))).status, 200);
        const once = jwt(p);
        assert.equal((await post(assertion(p, once))).status, 200);
        const bad = { replayed: once, 'key of another': jwt(p, { key: other.key }), 'other thumbprint': jwt(p, { head: { 'x5t#S256': 'x' } }),
            'alg none': jwt(p, { head: { alg: 'none' } }),
            'RS256 said, PS256 signed': jwt(p, { head: { alg: 'RS256' } }),
            'other audience': jwt(p, { claims: { aud: 'https://login.example/token' } }), 'no jti': jwt(p, { claims: { jti: '' } }),
            'other issuer': jwt(p, { claims: { iss: other.clientId, sub: other.clientId } }),
            expired: jwt(p, { claims: { nbf: now - 900, exp: now - 600 } }), early: jwt(p, { claims: { nbf: now + 900, exp: now + 1200 } }),
            cut: jwt(p).slice(0, -9), 'no JWT': 'x.y' };
        for (const [what, text] of Object.entries(bad)) {
            const r = await post(assertion(p, text));
            assert.deepEqual([r.status, r.error], [401, 'invalid_client'], `${what}: ${JSON.stringify(r)}`);
        }
    });

    test('federated tokens: of the issuer, for the subject, in time', async () => {
        const p = azure.federatedPrincipal('w1'), q = azure.federatedPrincipal('w2');
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).status, 200);
        assert.equal((await post(assertion(p, fs.readFileSync(q.file, 'utf8')))).error_codes[0], 700213);
        p.write({ audience: 'other' });
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).error_codes[0], 700213);
        p.write({ seconds: -10 });
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).error_codes[0], 700024);
    });

    test('device code: pending, too fast, declined, expired, approved, refreshed', async () => {
        const client = '04b07795-8ddb-461a-bbee-02f9e1bf7b46', want = { client_id: client,
            scope: 'https://management.azure.com/user_impersonation offline_access' };
        const code = () => post(want, { tenant: 'organizations', to: 'devicecode' });
        const poll = async (c) => post({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: client, device_code: c.device_code },
            { tenant: 'organizations' });
        azure.login.options.interval = 0;
        const a = await code();
        assert.deepEqual([a.expires_in, a.interval], [900, 0]);
        assert.match(a.message, new RegExp(a.user_code));
        const first = await poll(a);
        assert.deepEqual([first.status, first.error], [400, 'authorization_pending']);
        azure.login.decline(a.user_code);
        assert.equal((await poll(a)).error, 'authorization_declined');
        const b = await code();
        azure.login.pending(b.user_code).interval = 5;
        await poll(b);
        assert.equal((await poll(b)).error, 'slow_down');
        const c = await code();
        azure.login.pending(c.user_code).expiresAt = 0;
        assert.equal((await poll(c)).error, 'expired_token');
        const d = await code();
        azure.login.approve(d.user_code);
        const r = await poll(d);
        assert.ok(r.access_token && r.refresh_token);
        assert.equal((await poll(d)).error, 'bad_verification_code');
        const again = await post({ grant_type: 'refresh_token', client_id: client, scope: 'https://disk.azure.com//.default offline_access',
            refresh_token: r.refresh_token });
        assert.equal(azure.tokens.all.get(again.access_token).audience, 'https://disk.azure.com/');
        azure.login.revokeRefresh();
        assert.equal((await post({ grant_type: 'refresh_token', client_id: client, scope, refresh_token: again.refresh_token })).error,
            'invalid_grant');
        azure.login.options.interval = 5;
        for (const secret of [d.device_code, r.refresh_token, r.access_token]) assert.ok(azure.double.secrets().includes(secret));
    });
});

describe('what a host finds on itself', () => {
    const imds = async (where, headers = { Metadata: 'true' }, base = azure.imds.url) => {
        const r = await fetch(base + where, { headers });
        const text = await r.text();
        return { status: r.status, headers: r.headers, text, json: text.startsWith('{') ? JSON.parse(text) : null };
    };
    const want = `/metadata/identity/oauth2/token?api-version=2018-02-01&resource=${encodeURIComponent(ARM)}`;

    test('IMDS: numbers are strings, the token is cached, the region is told', async () => {
        const a = await imds(want);
        assert.equal(a.status, 200);
        for (const k of ['expires_in', 'expires_on', 'not_before']) assert.match(a.json[k], /^\d+$/);
        assert.equal((await imds(want)).json.access_token, a.json.access_token);
        assert.equal((await imds('/metadata/instance?api-version=2021-02-01')).json.compute.location, 'westeurope');
        assert.equal((await imds('/metadata/instance/compute/location?api-version=2021-02-01&format=text')).text, 'westeurope');
        await clean();
    });

    test('IMDS refuses what it must', async () => {
        for (const [where, headers, word] of [[want, {}, 'invalid_request'], [want, { Metadata: 'True' }, 'invalid_request'],
            [want, { Metadata: 'true', 'X-Forwarded-For': '10.0.0.1' }, 'invalid_request'],
            [want.replace(/&resource.*/, ''), undefined, 'invalid_request'], [`${want}&client_id=${crypto.randomUUID()}`, undefined,
                'invalid_request'], [want.replace(/api-version=[^&]*/, ''), undefined, 'invalid_request']]) {
            const r = await imds(where, headers);
            assert.deepEqual([r.status, r.json.error], [400, word], `${where} ${JSON.stringify(headers)} ${r.text}`);
        }
        assert.match((await imds(`${want}&client_id=${crypto.randomUUID()}`)).json.error_description, /Identity not found/);
        await clean();
    });

    test('Arc: a challenge file for each token, good once', async () => {
        const where = `/metadata/identity/oauth2/token?api-version=2020-06-01&resource=${encodeURIComponent(ARM)}`;
        const ask = (headers) => imds(where, { Metadata: 'true', ...headers }, azure.arc.url);
        assert.equal((await imds(where, {}, azure.arc.url)).status, 400);
        const challenge = await ask({});
        assert.equal(challenge.status, 401);
        const file = /^Basic realm=(.+\.key)$/.exec(challenge.headers.get('www-authenticate'))[1];
        assert.equal(path.dirname(file), azure.arcDir);
        const proof = { Authorization: `Basic ${fs.readFileSync(file, 'utf8')}` };
        const r = await ask(proof);
        assert.equal(r.status, 200);
        assert.equal(azure.tokens.all.get(r.json.access_token).identity.name, 'arc-host');
        assert.equal((await ask(proof)).status, 401);
        assert.ok(!fs.existsSync(file));
    });
});

// ---- Azure Resource Manager in detail ----

describe('Azure Resource Manager', () => {
    test('401 says why', async () => {
        const at = `/subscriptions/${azure.subscription.id}/providers/Microsoft.Compute/disks`;
        const missing = await call('GET', at, { bearer: null });
        assert.deepEqual([missing.status, missing.code], [401, 'AuthenticationFailed']);
        assert.match(missing.headers.get('www-authenticate'), /^Bearer authorization_uri="/);
        assert.equal((await call('GET', at, { bearer: 'abc.def.ghi' })).code, 'InvalidAuthenticationToken');
        assert.equal((await call('GET', at, { bearer: token('https://disk.azure.com/') })).code, 'InvalidAuthenticationTokenAudience');
        const old = azure.tokens.give(azure.identity, ARM, 3600);
        azure.tokens.expireAll();
        const expired = await call('GET', at, { bearer: old.text });
        assert.equal(expired.code, 'ExpiredAuthenticationToken');
        assert.match(expired.headers.get('www-authenticate'), /error="invalid_token"/);
        const t = token();
        azure.tokens.revokeAll();
        assert.equal((await call('GET', at, { bearer: t })).code, 'InvalidAuthenticationToken');
        await clean();
    });

    test('403 names the right that is missing', async () => {
        const { record } = (await newVm()).disks[0];
        azure.arm.deny(azure.identity.name, /beginGetAccess/);
        const r = await begin(record);
        assert.deepEqual([r.status, r.code], [403, 'AuthorizationFailed']);
        assert.match(r.json.error.message,
            /perform action 'Microsoft.Compute\/disks\/beginGetAccess\/action' over scope '\/subscriptions\/[^']+\/disks\/[^/']+'/);
        await clean();
    });

    test('versions, unknown calls, names in any case', async () => {
        const vm = await newVm();
        assert.equal((await call('GET', azure.id(vm), { version: '2031-01-01' })).code, 'InvalidResourceType');
        assert.equal((await call('GET', `${azure.arm.url}${azure.id(vm)}`)).code, 'MissingApiVersionParameter');
        await azure.double.checker.settled();
        assert.ok(azure.double.problems.length && azure.double.problems.every((p) => p.kind === 'request'), 'the checker sees it too');
        azure.double.problems.length = 0;
        assert.equal((await call('GET', azure.id(vm).toUpperCase().replace('/SUBSCRIPTIONS', '/subscriptions'))).json.name, vm.name);
        await clean();
        assert.equal((await call('POST', `${azure.id(vm)}/explode`)).status, 404);
        await problems('route');
        assert.equal((await call('GET', `${group().replace('rg-prod', 'nope')}/disks/x`)).code, 'ResourceGroupNotFound');
        assert.equal((await call('GET', `/subscriptions/${crypto.randomUUID()}/providers/Microsoft.Compute/disks`)).code, 'SubscriptionNotFound');
        const subs = await call('GET', `${azure.arm.url}/subscriptions?api-version=2022-12-01`);
        assert.deepEqual(subs.json.value.map((s) => s.displayName), ['Production']);
        assert.equal((await call('GET', `${azure.arm.url}/subscriptions/${azure.subscription.id}?api-version=2022-12-01`)).json.tenantId,
            azure.tenant);
        assert.equal((await call('GET', `${azure.arm.url}/tenants?api-version=2022-12-01`)).json.value[0].tenantId, azure.tenant);
        await clean();
    });

    test('a nextLink or a poll URL that was changed is noticed', async () => {
        await azure.vm({ name: `page${++serial}`, disks: [{}, {}] });
        azure.arm.options.pageSize = 1;
        const first = await call('GET', `/subscriptions/${azure.subscription.id}/providers/Microsoft.Compute/disks`);
        const next = first.json.nextLink;
        assert.match(next, /^http:\/\/127\.0\.0\.1:\d+\/.*%24skiptoken=/);
        assert.equal((await call('GET', next)).status, 200);
        assert.equal((await call('GET', next.replace('%24skiptoken', '$skiptoken'))).status, 400);
        azure.arm.options.pageSize = 100;
        await problems('nextlink');
        const { record } = (await newVm()).disks[0];
        const r = await begin(record);
        const poll = r.headers.get('azure-asyncoperation');
        assert.ok(poll.length > 3000 && r.headers.get('location').length > 3000);
        assert.equal((await call('GET', poll.replace('/subscriptions/', '/Subscriptions/'))).status, 400);
        await problems('poll');
        assert.equal((await done(r)).status, 'Succeeded');
        await done(await end(record));
        await clean();
    });

    test('who comes before Retry-After is noticed', async () => {
        const { record } = (await newVm()).disks[0];
        azure.operations.retryAfter = 1;
        const r = await begin(record);
        assert.equal(r.headers.get('retry-after'), '1');
        await call('GET', r.headers.get('location'));
        assert.throws(() => azure.double.assertPatient(), /Disks_GrantAccess/);
        await done(r);
        await done(await end(record));
    });

    test('budgets count down, and refuse when they are empty', async () => {
        const vm = await newVm();
        const left = async () => Number(/GetVM3Min;(\d+)/.exec((await call('GET',
            azure.id(vm))).headers.get('x-ms-ratelimit-remaining-resource'))[1]);
        const n = await left();
        assert.equal(await left(), n - 1);
        azure.arm.options.enforceBudgets = true;
        azure.arm.options.budgets = { HighCostGet: 1 };
        azure.arm.buckets.clear();
        try {
            const list = () => call('GET', `/subscriptions/${azure.subscription.id}/providers/Microsoft.Compute/snapshots`);
            assert.equal((await list()).status, 200);
            const r = await list();
            assert.deepEqual([r.status, r.code, r.json.error.details[0].code, r.json.error.innererror.internalErrorCode], [429, 'OperationNotAllowed',
                'TooManyRequests', 'TooManyRequestsReceived']);
            assert.equal(JSON.parse(r.json.error.details[0].message).allowedRequestCount, 1);
            const wait = Number(r.headers.get('retry-after'));
            assert.ok(wait >= 1);
            await list();
            assert.throws(() => azure.double.assertPatient(), /Snapshots_List/);
        } finally {
            azure.arm.options.enforceBudgets = false;
            azure.arm.options.budgets = {};
            azure.arm.buckets.clear();
            azure.arm.waits.clear();
        }
        await clean();
    });

    test('access: what is refused', async () => {
        const vm = await newVm(), [{ record: disk }] = vm.disks;
        const refusals = [[{ durationInSeconds: 3600, access: 'Write' }, 'OperationNotAllowed'], [{ ...read, durationInSeconds: 5184001 },
            'InvalidParameter'], [{ ...read, getSecureVMGuestStateSAS: true }, 'BadRequest']];
        for (const [body, code] of refusals) assert.equal((await begin(disk, body)).code, code);
        await clean();
        assert.equal((await begin(disk, { ...read, access: 'read' })).code, 'InvalidParameter');
        await problems('request');
        const first = await begin(disk);
        assert.equal((await begin(disk)).code, 'AnotherOperationInProgress');
        await done(first);
        const sas = (await granted(disk)).accessSAS;
        assert.equal((await granted(disk)).accessSAS, sas, 'asked for again: the same access');
        assert.equal(disk.counts.granted, 1);
        assert.equal(disk.counts.grantCalls, 3);
        await done(await end(disk));
        await done(await end(disk));                 // nothing to end: no error
        assert.equal(disk.counts.revoked, 1);
        vm.power = 'stopped';
        assert.equal((await begin(disk)).code, 'Conflict');
        azure.arm.options.lateRefusals = true;
        const late = await begin(disk);
        azure.arm.options.lateRefusals = false;
        assert.equal(late.status, 202);
        const over = await done(late);
        assert.deepEqual([over.status, over.error.code], ['Failed', 'Conflict']);
        await clean();
    });

    test('sectors of 4096 bytes: the data is a VHDX, and is asked for as one', async () => {
        const file = path.join(dir, 'big.vhdx');
        await must('qemu-img', ['create', '-q', '-f', 'vhdx', file, '16M']);
        const d = await azure.disk({ file, sectorSize: 4096, sku: 'PremiumV2_LRS', sizeBytes: 16 * MIB });
        assert.equal((await call('GET', azure.id(d))).json.properties.creationData.logicalSectorSize, 4096);
        assert.equal((await begin(d)).code, 'InvalidParameter');
        const { accessSAS: sas } = await granted(d, { ...read, fileFormat: 'VHDX' });
        assert.equal((await (await fetch(sas, { headers: { 'x-ms-range': 'bytes=0-7' } })).text()), 'vhdxfile');
        await done(await end(d));
        await clean();
    });

    test('access to guest state of a secure VM', async () => {
        const state = await azure.content(image);
        const { record: disk } = (await newVm({ securityType: 'TrustedLaunch', disks: [{ file: image, securityType: 'TrustedLaunch',
            guestState: state }] })).disks[0];
        const out = await granted(disk, { ...read, getSecureVMGuestStateSAS: true });
        assert.match(out.securityDataAccessSAS, /_vmgs\?/);
        assert.equal((await fetch(out.securityDataAccessSAS, { method: 'HEAD' })).status, 200);
        await done(await end(disk));
        await clean();
    });

    test('snapshots: what is refused, families, background copies', async () => {
        const vm = await newVm({ power: 'running' }), [{ record: disk }] = vm.disks;
        const put = (name, body) => call('PUT', `${group()}/snapshots/${name}`, { body });
        assert.equal((await put('bad name!', snapshotBody(disk))).code, 'InvalidParameter');
        assert.equal((await put('s', { ...snapshotBody(disk), location: 'eastus' })).code, 'Conflict');
        assert.equal((await put('s', { ...snapshotBody(disk), sku: { name: 'Premium_LRS' } })).code, 'InvalidParameter');
        assert.equal((await put('s', snapshotBody(disk, { creationData: { createOption: 'Copy', sourceResourceId: `${azure.id(disk)}x` } }))).code,
            'NotFound');
        azure.double.problems.length = 0;            // the name does not fit the specification either
        const names = [1, 2, 3, 4, 5, 6].map((i) => `fam${++serial}-${i}`);
        for (const n of names) await done(await put(n, snapshotBody(disk)));
        const family = names.map((n) => azure.world.byId(`${group()}/snapshots/${n}`));
        assert.equal(new Set(family.map((s) => s.familyId)).size, 1);
        assert.equal((await put(names[0], snapshotBody(disk))).status, 202, 'again: the same');
        await sleep(400);
        const other = (await newVm()).disks[0].record;
        assert.equal((await put(names[0], snapshotBody(other))).code, 'PropertyChangeNotAllowed');
        for (const s of family.slice(0, 5)) await granted(s);
        assert.match((await begin(family[5])).json.error.message, /limited to 5/);
        for (const s of family.slice(0, 5)) await done(await end(s));
        const deep = await azure.disk({ file: image, name: `v2-${++serial}`, sku: 'PremiumV2_LRS' });
        assert.equal((await put('deep', snapshotBody(deep, { incremental: false }))).code, 'BadRequest');
        await done(await put('deep', snapshotBody(deep)));
        const at = async () => (await call('GET', `${group()}/snapshots/deep`)).json.properties.completionPercent;
        assert.ok(await at() < 100);
        assert.match((await begin(azure.world.byId(`${group()}/snapshots/deep`))).json.error.message, /CompletionPercent/);
        await waitFor('the background copy', async () => (await at()) === 100, { timeout: 10_000 });
        azure.world.options.snapshotsPer5Minutes = 7;
        try {
            await done(await put(`${names[0]}x`, snapshotBody(disk)));
            assert.equal((await put(`${names[0]}y`, snapshotBody(disk))).status, 429);
        } finally {
            azure.world.options.snapshotsPer5Minutes = Infinity;
        }
        await clean();
    });

    test('disks are made from snapshots, changed and removed', async () => {
        const { record: disk } = (await newVm()).disks[0];
        const made = await done(await call('PUT', `${group()}/disks/copy1`, { body: { location: 'westeurope', sku: { name: 'Premium_LRS' },
            properties: { creationData: { createOption: 'Copy', sourceResourceId: azure.id(disk) } } } }));
        assert.equal(made.status, 'Succeeded');
        const copy = azure.world.byId(`${group()}/disks/copy1`);
        assert.equal(azure.world.state(copy), 'Unattached');
        await done(await call('PATCH', `${group()}/disks/copy1`, { body: { properties: { networkAccessPolicy: 'DenyAll' }, tags: { a: 'b' } } }));
        assert.deepEqual([copy.networkAccessPolicy, copy.tags], ['DenyAll', { a: 'b' }]);
        assert.equal((await call('DELETE', azure.id(disk))).code, 'OperationNotAllowed');
        await done(await call('DELETE', azure.id(copy)));
        assert.equal((await call('GET', `${group()}/disks/copy1`)).status, 404);
        await clean();
    });
});

// ---- data ----

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

// ---- what goes wrong on request ----

describe('faults', () => {
    const at = () => `/subscriptions/${azure.subscription.id}/providers/Microsoft.Compute/snapshots`;
    const list = () => call('GET', at());

    test('each kind at a call of Resource Manager', async () => {
        azure.faults.add({ operation: 'Snapshots_List', status: 503 });
        let r = await list();
        assert.deepEqual([r.status, r.text], [503, '']);
        azure.faults.add({ operation: 'Snapshots_List', status: 429, retryAfter: 7 });
        r = await list();
        assert.deepEqual([r.status, r.headers.get('retry-after'), r.json.error.details[0].code], [429, '7', 'TooManyRequests']);
        azure.faults.add({ path: /snapshots$/, status: 502, body: 'html' });
        r = await list();
        assert.deepEqual([r.status, /<html>/.test(r.text)], [502, true]);
        azure.faults.add({ on: 'arm', operation: /_List$/, status: 500, code: 'InternalServerError', message: 'words', headers: { 'x-own': '1' } });
        r = await list();
        assert.deepEqual([r.status, r.code, r.headers.get('x-own')], [500, 'InternalServerError', '1']);
        azure.faults.add({ on: 'arm', reset: true });
        await assert.rejects(list());
        azure.faults.add({ on: 'arm', cut: 4 });
        await assert.rejects(list());
        azure.faults.add({ on: 'arm', delay: 300 });
        const t = Date.now();
        assert.equal((await list()).status, 200);
        assert.ok(Date.now() - t >= 290);
        await clean();
    });

    test('an answer that is lost: it was done all the same', async () => {
        const { record } = (await newVm()).disks[0];
        azure.faults.add({ operation: 'Disks_GrantAccess', lost: true });
        await assert.rejects(begin(record));
        await waitFor('the grant', () => azure.world.state(record) === 'ActiveSAS', { timeout: 5000, interval: 20 });
        await done(await end(record));
        await clean();
    });

    test('after, times, every', async () => {
        const rule = azure.faults.add({ operation: 'Snapshots_List', status: 503, after: 1, every: 2, times: 2 });
        const seen = [];
        for (let i = 0; i < 7; i++) seen.push((await list()).status);
        assert.deepEqual(seen, [200, 503, 200, 503, 200, 200, 200]);
        assert.equal(rule.hits, 2);
    });

    test('at sign-in, IMDS and Arc', async () => {
        azure.faults.add({ on: 'login', status: 429 }, { on: 'imds', status: 410 }, { on: 'arc', status: 500 });
        const login = await fetch(`${azure.login.url}/${azure.tenant}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ a: 'b' }) });
        assert.deepEqual([login.status, login.headers.get('retry-after'), (await login.json()).error], [429, '1', 'temporarily_unavailable']);
        assert.equal((await fetch(`${azure.imds.url}/metadata/instance?api-version=2021-02-01`, { headers: { Metadata: 'true' } })).status, 410);
        assert.equal((await fetch(`${azure.arc.url}/metadata/identity/oauth2/token`, { headers: { Metadata: 'true' } })).status, 500);
        await clean();
    });

    test('random faults: the same seed, the same faults', async () => {
        const run = async (seed) => {
            azure.faults.clear();
            azure.faults.random({ on: 'arm', seed, rate: 0.5, kinds: ['503', '500', '429', 'html', 'reset', 'lost', 'slow', 'cut'], slow: 20 });
            const seen = [];
            for (let i = 0; i < 24; i++) seen.push(await list().then((r) => r.status, () => 'broken'));
            return seen;
        };
        const a = await run(7);
        assert.deepEqual(await run(7), a);
        assert.notDeepEqual(await run(8), a);
        for (const kind of [200, 'broken']) assert.ok(a.includes(kind));
        assert.throws(() => azure.faults.random({ kinds: ['nonsense'] }), /unknown kind/);
        await clean();
    });
});

// ---- what keeps it honest ----

describe('the checker', () => {
    test('sees a wrong request', async () => {
        const { record } = (await newVm()).disks[0];
        for (const body of [{ ...read, durationInSeconds: '3600' }, { ...read, duration: 5 }, { access: 'Read' }, undefined]) {
            await call('POST', `${azure.id(record)}/beginGetAccess`, { body });
            await assert.rejects(clean(), /request #\d+ Disks_GrantAccess: /, JSON.stringify(body));
            azure.double.problems.length = 0;
        }
        await waitFor('it is idle', () => !record.busy, { timeout: 5000 });
        await done(await end(record));
        await fetch(`${azure.imds.url}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x&client_id=${azure.identity.clientId}`,
            { headers: { Metadata: 'true' } });
        await clean();
    });

    test('sees a wrong answer, also at the end of an operation', async () => {
        const { record } = (await newVm()).disks[0];
        const at = azure.id(record);
        const wrongs = [(b) => { b.properties.diskSizeBytes = 'many'; }, (b) => { b.properties.surprise = 1; }, (b) => { delete b.location; },
            () => ({ error: 1 })];
        for (const wrong of wrongs) {
            azure.faults.add({ operation: 'Disks_Get', wrong });
            await call('GET', at);
            await assert.rejects(clean(), /answer #\d+ Disks_Get: /, wrong.toString());
            azure.double.problems.length = 0;
        }
        azure.faults.add({ operation: 'VirtualMachines_ListAll', wrong: (b) => { b.value[0].properties.storageProfile.osDisk.createOption = 7; } });
        await call('GET', `/subscriptions/${azure.subscription.id}/providers/Microsoft.Compute/virtualMachines`);
        await assert.rejects(clean(), /answer #\d+ VirtualMachines_ListAll/);
        azure.double.problems.length = 0;
        const sas = azure.hosts.sas;
        azure.hosts.sas = () => 7;                   // the double is broken
        try { await done(await begin(record)); } finally { azure.hosts.sas = sas; }
        await assert.rejects(clean(), /answer #\d+ Disks_GrantAccess: .*INVALID_TYPE/);
        azure.double.problems.length = 0;
        await done(await end(record));
        azure.faults.add({ operation: 'Operations_Poll', wrong: () => ({ status: 1 }) });
        await done(await begin(record)).catch(() => {});
        await assert.rejects(clean(), /not the shape of an operation/);
        azure.double.problems.length = 0;
        await waitFor('it is idle', () => !record.busy, { timeout: 5000 });
        await done(await end(record));
        azure.faults.add({ operation: 'Imds_Instance', wrong: (b) => { b.compute.location = 5; } });
        await fetch(`${azure.imds.url}/metadata/instance?api-version=2021-02-01`, { headers: { Metadata: 'true' } });
        await assert.rejects(clean(), /answer #\d+ Imds_Instance/);
        azure.double.problems.length = 0;
        azure.faults.add({ operation: 'Disks_Get', wrong: () => ({ oops: 1 }), status: undefined });
        const missing = await call('GET', `${group()}/disks/missing`);
        assert.equal(missing.status, 404);
        await assert.rejects(clean(), /an error without code and message/);
        azure.double.problems.length = 0;
    });

    test('looked at everything', () => {
        const { checked } = azure.double.checker;
        assert.ok(checked.requests > 200 && checked.answers > 200 && checked.results > 20, JSON.stringify(checked));
        console.log(`# oav: ${checked.requests} requests, ${checked.answers} answers, ${checked.results} results of operations`);
    });
});

test('as a program, with its control', async () => {
    const seed = path.join(dir, 'seed.json');
    fs.writeFileSync(seed, JSON.stringify({ subscriptions: [{ name: 'S', tenant: '11111111-2222-4333-8444-555555555555' }],
        vms: [{ name: 'web01', group: 'rg1', power: 'running', disks: [{ name: 'web01-os' }] }],
        identities: [{ tenant: '11111111-2222-4333-8444-555555555555' }], options: { operations: { retryAfter: null } } }));
    const child = start(process.execPath, [path.join(root, 'tests/doubles/arm/double.mjs'), '--seed', seed]);
    let out = '', err = '';
    child.stdout.on('data', (d) => { out += d; });
    child.stderr.on('data', (d) => { err += d; });
    try {
        const at = JSON.parse(await waitFor(() => `its endpoints: ${err}`, () => out.split('\n')[1] !== undefined && out.split('\n')[0],
            { timeout: 30_000 }));
        const control = async (what, body) => (await fetch(`${at.arm_endpoint}/_control/${what}`, body === undefined ? {} : { method: 'POST',
            body })).json();
        const imds = await (await fetch(`${at.imds_endpoint}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=${encodeURIComponent(ARM)}`, { headers: { Metadata: 'true' } })).json();
        const list = () => fetch(`${at.arm_endpoint}/subscriptions?api-version=2022-12-01`,
            { headers: { Authorization: `Bearer ${imds.access_token}` } });
        assert.equal((await (await list()).json()).value[0].displayName, 'S');
        await control('faults', JSON.stringify([{ operation: { regex: '^Subscriptions' }, status: 503 }]));
        assert.equal((await list()).status, 503);
        assert.equal((await list()).status, 200);
        await control('expire_tokens', '');
        assert.equal((await list()).status, 401);
        const state = await control('state');
        assert.deepEqual([state.vms[0].state, state.disks[0].state, state.calls.Subscriptions_List, state.problems], ['running', 'Attached', 4, []]);
        assert.deepEqual((await control('exchanges')).map((x) => x.status), [200, 200, 503, 200, 401]);
        assert.match((await control('nonsense', '')).error, /unknown control/);
        child.kill('SIGTERM');
        assert.equal((await child.exited).code, 0);
        assert.ok(!fs.existsSync(at.arc_token_dir));
    } finally {
        child.kill('SIGKILL');
    }
});
