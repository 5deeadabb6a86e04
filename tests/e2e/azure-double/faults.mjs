// Each fault that the double can make.
import test, { describe } from 'node:test';
import assert from 'node:assert/strict';
import { waitFor } from '../lib/util.mjs';
import { azure, clean, call, done, begin, end, newVm } from './context.mjs';

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
