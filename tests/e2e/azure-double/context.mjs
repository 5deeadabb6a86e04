// One Azure double for all files of this folder, and calls to it.
import { after, before, beforeEach } from 'node:test';
import assert from 'node:assert/strict';
import path from 'node:path';
import { sleep, tempDir } from '../lib/util.mjs';
import { makeVhd } from '../lib/image.mjs';
import { Azure } from '../lib/azure.mjs';

export const MIB = 1 << 20;
export const ARM = 'https://management.azure.com/';
export let azure, image, dir;

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

export const clean = () => azure.double.assertClean();
// What a test provoked on purpose; nothing else may be wrong.
export async function problems(...kinds) {
    await azure.double.checker.settled();
    assert.deepEqual(azure.double.problems.map((p) => p.kind).sort(), kinds.sort(), JSON.stringify(azure.double.problems));
    azure.double.problems.length = 0;
}

// ---- plain calls ----

export const token = (audience = ARM, identity = azure.identity) => azure.tokens.give(identity, audience, 3599).text;
export async function call(method, where, { body, bearer = token(), headers = {}, version = /virtualMachines/i.test(where) ? '2024-03-01'
    : '2023-10-02' } = {}) {
    const url = /^http/.test(where) ? where : `${azure.arm.url}${where}${where.includes('?') ? '&' : '?'}api-version=${version}`;
    const r = await fetch(url, { method, headers: { ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}),
        ...(body ? { 'Content-Type': 'application/json' } : {}), ...headers }, body: body && JSON.stringify(body) });
    const text = await r.text();
    return { status: r.status, headers: r.headers, text, json: /json/.test(r.headers.get('content-type') ?? '') && text ? JSON.parse(text)
        : undefined, code: r.status >= 400 && text.startsWith('{') ? JSON.parse(text).error?.code : undefined };
}
// Follows Azure-AsyncOperation, else Location, to the end.
export async function done(r) {
    const at = r.headers.get('azure-asyncoperation') ?? r.headers.get('location');
    for (let wait = Number(r.headers.get('retry-after') ?? 0); ; ) {
        await sleep(Math.max(50, wait * 1000));
        const p = await call('GET', at);
        if (p.json?.status ? p.json.status !== 'InProgress' : p.status !== 202) return p.json ?? {};
        wait = Number(p.headers.get('retry-after') ?? 0);
    }
}
export const read = { access: 'Read', durationInSeconds: 3600 };
export const begin = (r, body = read) => call('POST', `${azure.id(r)}/beginGetAccess`, { body });
export const end = (r) => call('POST', `${azure.id(r)}/endGetAccess`);
export const granted = async (r, body) => (await done(await begin(r, body))).properties.output;
export const snapshotBody = (disk, o = {}) => ({ location: disk.location, sku: { name: 'Standard_LRS' }, tags: { 'vmrecover-job': 'j1' },
    properties: { creationData: { createOption: 'Copy', sourceResourceId: azure.id(disk) }, incremental: true, ...o } });
let serial = 0;
export const fresh = (name) => `${name}${++serial}`;
export const newVm = (o = {}) => azure.vm({ name: fresh('vm'), disks: [{ file: image }], ...o });
export const group = () => `/subscriptions/${azure.subscription.id}/resourceGroups/rg-prod/providers/Microsoft.Compute`;
