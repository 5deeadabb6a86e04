// What keeps the double honest can fail; and the double as a program of its own.
import test, { describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { root, start, waitFor } from '../lib/util.mjs';
import { ARM, azure, dir, clean, call, done, read, begin, end, newVm, group } from './context.mjs';

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
