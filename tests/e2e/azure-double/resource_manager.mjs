// Azure Resource Manager of the double: what is refused, and what follows from what.
import test, { describe } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import path from 'node:path';
import { must, sleep, waitFor } from '../lib/util.mjs';
import { MIB, ARM, azure, image, dir, clean, problems, token, call, done, read, begin, end, granted, snapshotBody, fresh, newVm, group } from './context.mjs';

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
        await azure.vm({ name: fresh('page'), disks: [{}, {}] });
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
        const names = [1, 2, 3, 4, 5, 6].map((i) => `${fresh('fam')}-${i}`);
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
        const deep = await azure.disk({ file: image, name: fresh('v2-'), sku: 'PremiumV2_LRS' });
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
