// The daemon is killed at random instants while it makes a volume and while it takes one apart: the next run finishes the one and the other, and what
// lies beside is not touched. 6 rounds; 100 with SOAK=1.
import { after, before } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Daemon } from './lib/daemon.mjs';
import { test } from './lib/platform.mjs';
import { gallery } from './lib/gallery.mjs';
import { emptyPrint, Loop, noLoops } from './lib/loop.mjs';
import { random, seed, sleep, soak, tempDir } from './lib/util.mjs';

const skip = noLoops();
const rounds = Number(process.env.RUNS ?? (soak ? 100 : 6));
const beside = ['bare ext4', 'GPT, damaged header, backup intact', 'one byte, the last'];
let daemon, disk;
const others = [];

before(async () => {
    if (skip) return;
    const folder = tempDir('crash');
    disk = await Loop.make({ folder, name: 'disk' });
    for (const [i, name] of beside.entries()) {
        const g = gallery.find((x) => x.name === name), loop = await Loop.make({ folder, name: `g${i}`, fill: g.fill });
        others.push({ name, loop, print: await loop.fingerprint() });
    }
    daemon = await Daemon.start({ loop_devices: true, backoff_ms: 50, max_attempts: 50 });
});
after(async () => {
    await daemon?.stop();
    for (const l of [disk, ...others.map((o) => o.loop)]) l?.detachNow();
});

// The states are what a crash may leave; what each run of the daemon found is in its log.
test('killed at random instants: a volume is finished or gone, and the gallery as it was', { skip }, async (t) => {
    const rand = random(seed), nothing = await emptyPrint();
    const label = `crash-${Math.floor(rand() * 1e5)}`;
    let span = 1500, killed = 0;
    const kill = async (within) => {
        await sleep(rand() * within);
        await daemon.kill9();
        killed++;
        await daemon.restart();
    };
    for (let k = 0; k < rounds; k++) {
        const more = [{}, { file_system: 'ext4' }, { partition_style: 'mbr' }][k % 3], began = Date.now();
        const { id } = await daemon.api.submit({ disks: [], until: 'volume', volume: { disks: [disk.id], label, ...more } });
        const times = 1 + Math.floor(rand() * 2), finish = rand() < 0.6;
        for (let i = 0; i < times; i++) await kill(span);
        if (finish) {
            const job = await daemon.api.waitJob(id);
            if (times === 1) span = Math.max(500, Math.min(span, Date.now() - began));
            assert.ok(fs.existsSync(`${job.volume.mount_point}/.vmrecover-volume`), 'it is mounted');
        }
        await daemon.api.del(`/v1/jobs/${id}?disks=delete`, 202);
        for (let i = Math.floor(rand() * 3); i > 0; i--) await kill(span / 2);
        await daemon.api.waitGone(id);
        const now = (await daemon.api.get('/v1/disks')).disks.find((d) => d.id === disk.id);
        assert.deepEqual([now.eligible, now.reasons], [true, []], `round ${k}, seed ${seed}`);
        assert.equal(await disk.fingerprint(), nothing, `round ${k}, seed ${seed}: empty`);
    }
    for (const o of others) assert.equal(await o.loop.fingerprint(), o.print, `${o.name} is as it was`);
    t.diagnostic(`killed ${killed} times in ${rounds} rounds; seed ${seed}`);
});
