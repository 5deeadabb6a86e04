// A gallery of disks that hold something or are in use: each is refused with its reason, and afterwards every byte is where it was. Every one is
// listed and judged; jobs ask for a seeded sample of them by name (SEED), for all with SOAK=1.
import { after, before } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Daemon } from './lib/daemon.mjs';
import { test } from './lib/platform.mjs';
import { built, gallery, hasMapper } from './lib/gallery.mjs';
import { Loop, noLoops } from './lib/loop.mjs';
import { random, seed, soak, tempDir } from './lib/util.mjs';

const skip = noLoops();
// of what the kernel itself writes to
const head = (file) => { const b = Buffer.alloc(4096), fd = fs.openSync(file, 'r'); fs.readSync(fd, b); fs.closeSync(fd); return b.toString('hex'); };
const hung = [];
let daemon, api;

before(async () => {
    if (skip) return;
    const folder = tempDir('gallery');
    for (const [i, g] of [...gallery, ...(await hasMapper() ? built : [])].entries()) {
        const loop = await Loop.make({ folder, name: `g${i}`, size: g.size, options: g.options, fill: g.fill });
        await g.dress?.(loop.device, loop.file);
        hung.push({ ...g, loop });
    }
    daemon = await Daemon.start({ loop_devices: true, max_attempts: 1 });
    api = daemon.api;
});
after(async () => {
    await daemon?.stop();
    for (const g of hung) { await g.end?.(); g.loop.detachNow(); }
});

test('each disk of the gallery is refused with its reason, and not a byte of it changes', { skip }, async (t) => {
    for (const g of hung) g.end = await g.live?.(g.loop.device);
    const print = (g) => (g.kernel ? head(g.loop.file) : g.loop.fingerprint());
    for (const g of hung) g.print = await print(g);
    assert.ok(hung.length >= 30);

    const { disks } = await api.get('/v1/disks');
    const wrong = [];
    for (const g of hung) {
        const d = disks.find((x) => x.id === g.loop.id);
        if (!d || d.eligible || !d.reasons.some((r) => g.says.test(r))) wrong.push(`${g.name}: ${d ? JSON.stringify([d.eligible, d.reasons]) : 'not listed'}`);
    }
    assert.deepEqual(wrong, []);

    // asked for by name, alone and beside one another
    const ask = async (ids, more) => (await api.submit({ disks: [], until: 'volume', volume: { disks: ids, ...more } })).id;
    const rand = random(seed), asked = soak ? hung : [...hung].map((g) => [rand(), g]).sort((a, b) => a[0] - b[0]).slice(0, 12).map(([, g]) => g);
    const jobs = await Promise.all(asked.map(async (g) => [g.name, await ask([g.loop.id])]));
    jobs.push(['striped', await ask(hung.slice(0, 4).map((g) => g.loop.id), { layout: 'striped' })]);
    for (const [name, id] of jobs) {
        const { tasks } = await api.waitJob(id, 'failed');
        const { kind, error } = tasks.find((x) => x.state === 'failed');
        if (kind !== 'preflight' || error.code !== 'disk_refused' || !/ is not taken: \S/.test(error.detail)) wrong.push(`${name}: ${kind}: ${JSON.stringify(error)}`);
        await api.deleteJob(id);
    }
    assert.deepEqual(wrong, []);

    for (const g of hung) if (await print(g) !== g.print) wrong.push(`${g.name} has changed`);
    assert.deepEqual(wrong, []);
    t.diagnostic(`${hung.length} disks refused, ${jobs.length} jobs; seed ${seed}`);
});
