// The main story: a VM that does not boot becomes one with a screen and a keyboard, is repaired with keys, and boots. Then what a
// person does around it: checkpoints, serial console, power, DVD, a further disk, export.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import http from 'node:http';
import { Daemon } from './lib/daemon.mjs';
import { Azurite } from './lib/azurite.mjs';
import { buildDir, diskImage, identical, imageInfo, must, rawImage, root, sleep, tempDir, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
const LOGIN = /recoverme login:/;
const SHELL = /root@recoverme:/;
let daemon, api, azurite, dir, broken, size, job, vm;

before(async () => {
    dir = tempDir('vm');
    broken = path.join(dir, 'web01.vhd');
    const build = must(path.join(root, 'tests/vm/build.sh'), [broken, '--fault', 'fstab'], { timeout: 400_000 });
    [daemon, azurite] = await Promise.all([Daemon.start(), Azurite.start(), build]);
    api = daemon.api;
    size = fs.statSync(broken).size - 512;
    await azurite.uploadPages('vhds', 'web01.vhd', broken);
});
after(async () => { await daemon?.stop(); await azurite?.stop(); });

// One story: after a step that failed the rest would only wait for what does not come.
let failed = false;
const step = (name, fn) => test(name, async (t) => {
    if (failed) return t.skip('an earlier step failed');
    try { await fn(t); } catch (e) { failed = true; throw e; }
});

const vms = (tail = '') => `/v1/vms/${vm}${tail}`;
const state = async () => (await api.get(vms())).state;
const serial = async (after = 0) => {
    const r = await api.request({ path: vms(`/serial?after=${after}`) });
    assert.equal(r.status, 200, r.text);
    return { text: r.body.toString('latin1'), next: Number(r.headers['vmrecover-next-after']), size: Number(r.headers['vmrecover-size']) };
};
const waitSerial = (pattern, after = 0) => {
    let s;
    return waitFor(() => `${pattern} on the serial port:\n${s.text.slice(-2000)}`, async () => {
        s = await serial(after);
        return pattern.test(s.text) ? s : null;
    }, { timeout: 180_000, interval: 500 });
};

step('from a blob with a SAS to a VM in emergency mode', async () => {
    job = await api.submit({ disks: [{ source: { type: 'blob', url: azurite.sasUrl('vhds', 'web01.vhd') } }],
        vm: { memory_mib: 192, cpus: 1 } });
    assert.deepEqual([job.state === 'queued' || job.state === 'running', job.vm_id, job.name], [true, null, 'web01']);
    job = await api.waitJob(job.id, 'succeeded', { timeout: 240_000 });
    vm = job.vm_id;
    assert.equal(job.generation, 1);
    assert.deepEqual(job.tasks.map((t) => t.state), ['succeeded', 'skipped', 'skipped', 'succeeded', 'succeeded', 'succeeded']);
    const { vms: all } = await api.get('/v1/vms');
    assert.equal(all.length, 1);
    assert.deepEqual([all[0].id, all[0].job_id, all[0].name, all[0].state, all[0].generation, all[0].network, all[0].memory_mib],
        [vm, job.id, 'web01', 'running', 1, 'none', 192]);
    assert.equal(daemon.vmProcesses().length, 1);
    await api.waitScreen(vm, /You are in emergency mode/);
});

step('the screen as PNG, whole and small', async () => {
    const width = (png) => png.readUInt32BE(16);
    const png = await api.screenPng(vm);
    assert.equal(width(png), 720);
    assert.ok(png.length > 1000);
    const small = await api.request({ path: vms('/screen?width=160') });
    assert.equal(width(small.body), 160);
});

step('a checkpoint before the repair', async () => {
    const made = await api.post(vms('/checkpoints'), { name: 'before the repair' }, 201);
    assert.equal(made.name, 'before the repair');
    const { checkpoints } = await api.get(vms('/checkpoints'));
    assert.deepEqual(checkpoints, [made]);
    assert.equal(await state(), 'running');
});

const logIn = async () => {
    await api.waitScreen(vm, /Give root password/);
    await api.keys(vm, { wait_ms: 1000 }, 'recover\n');       // the prompt stands a moment before the echo is off
    await api.waitScreen(vm, SHELL);
};
step('the daemon dies meanwhile: the VM runs on and is found again', async () => {
    const [pid] = daemon.vmProcesses();
    await daemon.kill9();
    assert.deepEqual(daemon.vmProcesses(), [pid]);
    await daemon.restart();
    api = daemon.api;
    assert.equal((await api.job(job.id)).state, 'succeeded');
    assert.deepEqual((await api.get('/v1/vms')).vms.map((v) => [v.id, v.state]), [[vm, 'running']]);
    assert.match(await api.screenText(vm), /emergency mode/);
});

step('repaired with keys, it boots', async () => {
    await logIn();
    await api.keys(vm, 'mount -o remount,rw /\n', { wait_ms: 500 }, "sed -i '/srv/d' /etc/fstab\n", { wait_ms: 500 });
    await api.keys(vm, 'clear; cat /etc/fstab; echo "the_en"d\n');
    const text = await api.waitScreen(vm, /the_end/);
    assert.doesNotMatch(text, /srv/);
    await api.keys(vm, 'reboot\n');
    await api.waitScreen(vm, LOGIN);
});

step('keys: many at once are typed in order and none is lost', async () => {
    await api.keys(vm, 'root\n', { wait_ms: 1500 });
    await api.waitScreen(vm, /[Pp]assword:/);
    await api.keys(vm, { wait_ms: 1000 }, 'recover\n');
    await api.waitScreen(vm, SHELL);
    const line = 'The quick brown fox; (jumps) {over} [the] lazy-dog_0123456789 @#%^&*+=|~?,./<>:\'`!';
    await api.keys(vm, 'clear\n', { wait_ms: 500 });
    const half = Math.floor(line.length / 2);
    await Promise.all([api.keys(vm, `# ${line.slice(0, half)}`), new Promise((r) => setTimeout(r, 300)).then(() => api.keys(vm, line.slice(half)))]);
    const text = await api.waitScreen(vm, /lazy-dog/);
    assert.ok((await api.waitScreen(vm, /`!/)).replace(/\n/g, '').includes(line), text);
    await api.keys(vm, { press: ['ControlLeft', 'KeyC'] }, { press: ['Backspace'], repeat: 3, interval_ms: 40 }, 'exit\n');
});

step('the serial console: read, followed, typed into', async () => {
    const boot = await waitSerial(LOGIN);
    assert.equal(boot.size, boot.next);
    assert.match(boot.text, /Linux version/);
    const events = [];
    const stream = http.get({ host: api.host, port: api.port, path: vms('/serial'), agent: false,
        headers: { authorization: `Bearer ${daemon.token}`, accept: 'text/event-stream', 'last-event-id': String(boot.next) } }, (rs) => {
        assert.equal(rs.statusCode, 200);
        rs.setEncoding('utf8').on('data', (d) => events.push(d));
    });
    try {
        const type = async (text) => assert.deepEqual(await api.post(vms('/serial'), { text }, 200), { bytes_sent: text.length });
        await type('\nroot\n');
        await waitSerial(/[Pp]assword/, boot.next);
        await type('recover\n');
        await waitSerial(SHELL, boot.next);
        const raw = await api.request({ method: 'POST', path: vms('/serial'), body: 'echo $((6 * 7))-by-serial\n', headers: { 'content-type': 'text/plain' } });
        assert.equal(raw.status, 200, raw.text);
        await waitSerial(/42-by-serial/, boot.next);
        const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
        await must(path.join(buildDir, 'vmrecover'), ['serial', 'web01', '--send', 'echo $((6 * 8))-by-client\\n'], { env });
        await waitSerial(/48-by-client/, boot.next);
        assert.match(await must(path.join(buildDir, 'vmrecover'), ['serial', 'web01', '--after', String(boot.next)], { env }), /48-by-client/);
        await waitFor(() => `the stream: ${events.join('')}`, () => events.join('').includes('42-by-serial'));
        assert.match(events.join(''), /^event: serial$/m);
    } finally { stream.destroy(); }
});

step('the downloaded image stays as it came', async () => {
    assert.ok(await identical(diskImage(job.disks[0]), rawImage(broken, size)));
});

step('shut down, and a further disk and a DVD', async () => {
    const backup = path.join(dir, 'backup.raw'), iso = path.join(dir, 'tools.iso');
    fs.writeFileSync(backup, Buffer.alloc(4 * MIB, 'backup! '));
    fs.writeFileSync(iso, Buffer.alloc(2 * MIB, 'tools   '));
    const running = await api.request({ method: 'PUT', path: vms('/disks/1'), json: { path: backup, format: 'raw' } });
    assert.deepEqual([running.status, running.json.code], [409, 'wrong_state'], 'disks are attached to a VM that is off');
    await api.post(vms('/shutdown'));
    await waitFor('the guest switched itself off', async () => (await state()) === 'off', { timeout: 60_000 });
    await api.put(vms('/disks/1'), { path: backup, format: 'raw' }, 200);
    await api.put(vms('/dvd'), { path: iso }, 200);
    const shown = await api.get(vms());
    assert.deepEqual([shown.disks.map((d) => d.slot), shown.dvd], [[0, 1], iso]);
    const { next } = await serial();
    await api.post(vms('/start'), undefined, 200);
    await waitSerial(LOGIN, next);
    const type = (text) => api.post(vms('/serial'), { text }, 200);
    await type('root\n');
    await waitSerial(/[Pp]assword/, next);
    await sleep(1000);
    await type('recover\n');
    await waitSerial(SHELL, next);
    // which of the two is sdb is up to the guest's kernel
    await type(`for s in /sys/block/sd?; do read n <$s/size; [ $n = ${4 * MIB / 512} ] && d=/dev/\${s##*/}; done\n`);
    await type('head -c 7 $d; echo; echo written >$d && sync; echo the_"end"\n');
    const { text } = await waitSerial(/the_end/, next);
    assert.match(text, /backup!/);
    await api.del(vms('/dvd'), 200);
    await api.post(vms('/stop'), undefined, 200);
    assert.equal(await state(), 'off');
    await api.del(vms('/disks/1'), 200);
    assert.ok(fs.readFileSync(backup).equals(Buffer.alloc(4 * MIB, 'backup! ')), 'the file stays as it is: the VM wrote to a layer');
    const { disks } = await api.get(vms());
    assert.deepEqual(disks.map((d) => d.slot), [0]);
});

step('export: the repaired disk as a fixed VHD, and it boots', async () => {
    const task = await api.post(vms('/export'), {});
    assert.equal(task.kind, 'export_vm');
    const file = task.params.path;
    const done = await api.waitTask(job.id, 'export_vm', (t) => ['succeeded', 'failed'].includes(t.state), { timeout: 120_000 });
    const last = done.tasks.find((t) => t.kind === 'export_vm');
    assert.equal(last.state, 'succeeded', JSON.stringify(last.error));
    assert.equal(fs.statSync(file).size, size + 512);
    assert.equal((await imageInfo(file, '-f', 'vpc')).format, 'vpc');
    assert.ok(!await identical(rawImage(file, size), rawImage(broken, size)), 'it holds the repair');
    const second = await api.submit({ name: 'again', disks: [{ source: { type: 'file', path: file } }], vm: { memory_mib: 192, cpus: 1 } });
    const { vm_id: other } = await api.waitJob(second.id, 'succeeded', { timeout: 240_000 });
    await api.waitScreen(other, LOGIN);
    await api.deleteJob(second.id, 'delete');
    assert.ok(fs.existsSync(file), 'a file source is never deleted');
});

step('the checkpoint brings the broken system back, and can go', async () => {
    const { checkpoints: [c] } = await api.get(vms('/checkpoints'));
    await api.post(vms(`/checkpoints/${c.id}/restore`), undefined, 200);
    if (await state() === 'off') await api.post(vms('/start'), undefined, 200);
    await api.waitScreen(vm, /emergency mode/);
    assert.equal((await api.request({ method: 'DELETE', path: vms(`/checkpoints/${c.id}`) })).status, 204);
    assert.deepEqual(await api.get(vms('/checkpoints')), { checkpoints: [] });
});

step('reset boots again from the start', async () => {
    const { next } = await serial();
    await api.post(vms('/reset'), undefined, 200);
    await waitSerial(/Linux version/, next);
});

step('delete leaves nothing', async () => {
    await api.deleteJob(job.id, 'delete');
    assert.deepEqual(await api.get('/v1/vms'), { vms: [] });
    assert.deepEqual(daemon.vmProcesses(), []);
    assert.deepEqual([...daemon.files('disks'), ...daemon.files('vms')], []);
});

test('Generation 2: GPT and UEFI', async (t) => {
    const { capabilities } = await api.get('/v1/host');
    if (!capabilities.includes('generation_2')) return t.skip('no UEFI firmware here');
    const file = path.join(dir, 'gen2.vhd');
    await must(path.join(root, 'tests/vm/build.sh'), [file, '--fault', 'fstab', '--gpt-efi'], { timeout: 400_000 });
    const { url } = await azurite.uploadBlock('public', 'gen2.vhd', file);
    await azurite.service.getContainerClient('public').setAccessPolicy('blob');
    const submitted = await api.submit({ disks: [{ source: { type: 'blob', url } }], vm: { memory_mib: 256, cpus: 1 } });
    const done = await api.waitJob(submitted.id, 'succeeded', { timeout: 300_000 });
    assert.equal(done.generation, 2);
    vm = done.vm_id;
    await waitSerial(/emergency mode/);
    const text = await api.request({ path: vms('/screen'), headers: { accept: 'text/plain' } });
    assert.ok([200, 501].includes(text.status), text.text);
    await api.screenPng(vm);
    const type = (s) => api.post(vms('/serial'), { text: s }, 200);
    await waitSerial(/Give root password/);
    await sleep(1000);
    await type('recover\n');
    await waitSerial(SHELL);
    await type("mount -o remount,rw / && sed -i '/srv/d' /etc/fstab && reboot\n");
    await waitSerial(LOGIN);
    await api.deleteJob(submitted.id, 'delete');
});
