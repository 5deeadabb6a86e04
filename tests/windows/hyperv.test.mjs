// The shipped service for Windows against the double of Windows' WMI, under Wine: from a blob to a VM with a screen and a keyboard, for both
// generations, and back to a host as it was. tests/windows/hyperv.sh makes the prefix and registers the double.
import nodeTest, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import zlib from 'node:zlib';
import { Api } from '../e2e/lib/api.mjs';
import { Azurite } from '../e2e/lib/azurite.mjs';
import { buildDir, must, root, start, tempDir, waitFor } from '../e2e/lib/util.mjs';

const MIB = 1 << 20;
const windows = (file) => `Z:${file.replaceAll('/', '\\')}`;
let dir, data, double, daemon, api, azurite, raw, begin;

// One command to the double.
const ask = (command) => new Promise((resolve, reject) => {
    const port = Number(fs.readFileSync(path.join(double, 'port'), 'utf8'));
    const parts = [];
    const s = net.connect(port, '127.0.0.1', () => s.write(`${command}\n`));
    s.on('data', (d) => parts.push(d));
    s.on('error', reject);
    s.on('close', () => resolve(Buffer.concat(parts).toString('utf8')));
});

async function launch(env = {}) {
    fs.rmSync(path.join(data, 'address'), { force: true });
    const log = fs.openSync(path.join(dir, 'log'), 'a'), none = fs.openSync('/dev/null', 'r');
    daemon = start('wine', [path.join(buildDir, 'vmrecoverd.exe'), 'run', '--data-dir', windows(data), '--listen=127.0.0.1:0'], {
        stdio: [none, log, log],
        env: { ...process.env, VMR_DOUBLE_DIR: windows(double), WMI_SCHEMA: windows(path.join(root, 'tests/doubles/wmi/schema.json')), ...env },
    });
    let over = null;
    daemon.exited.then((r) => { over = r; });
    const address = await waitFor(() => `the daemon listens:\n${said()}`, () => {
        if (over) throw new Error(`the daemon ended (${JSON.stringify(over)}):\n${said()}`);
        try { return fs.readFileSync(path.join(data, 'address'), 'utf8').trim().split('\n')[0]; } catch { return null; }
    });
    api = new Api(address, fs.readFileSync(path.join(data, 'token'), 'utf8').trim());
}
const said = () => fs.readFileSync(path.join(dir, 'log'), 'utf8').split('\n').slice(-40).join('\n');

before(async () => {
    dir = tempDir('hyperv');
    [data, double] = ['data', 'double'].map((n) => path.join(dir, n));
    fs.mkdirSync(double);
    // a disk with something in it here and there, as a fixed VHD
    raw = path.join(dir, 'disk.raw');
    const vhd = path.join(dir, 'disk.vhd');
    const fd = fs.openSync(raw, 'w');
    fs.ftruncateSync(fd, 24 * MIB);
    for (const at of [0, 3, 17]) fs.writeSync(fd, crypto.randomBytes(MIB), 0, MIB, at * MIB);
    fs.closeSync(fd);
    await must('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', raw, vhd]);
    azurite = await Azurite.start();
    await azurite.uploadPages('vhds', 'web01.vhd', vhd);
    await launch();
});
after(async () => {
    daemon?.kill('SIGKILL');
    await azurite?.stop();
});

// One story: after a step that failed the rest would only wait for what does not come.
let failed = false;
const step = (name, fn) => nodeTest(name, async (t) => {
    if (failed) return t.skip('an earlier step failed');
    try { await fn(t); } catch (e) { failed = true; throw new Error(`${e.message}\n--- the daemon's log:\n${said()}`, { cause: e }); }
});

// ---- a PNG, enough of it to see its pixels: RGB, 8 bits, filters of each row undone ----
function pixels(png) {
    assert.equal(png.subarray(0, 8).toString('hex'), '89504e470d0a1a0a', 'a PNG');
    const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
    assert.deepEqual([png[24], png[25], png[28]], [8, 2, 0], 'RGB of 8 bits');
    const parts = [];
    for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at))
        if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
    const flat = zlib.inflateSync(Buffer.concat(parts)), row = width * 3;
    const rgb = Buffer.alloc(row * height);
    for (let y = 0; y < height; y++) {
        const filter = flat[y * (row + 1)];
        for (let x = 0; x < row; x++) {
            const left = x >= 3 ? rgb[y * row + x - 3] : 0, up = y ? rgb[(y - 1) * row + x] : 0, corner = y && x >= 3 ? rgb[(y - 1) * row + x - 3] : 0;
            const p = left + up - corner, [a, b, c] = [left, up, corner].map((v) => Math.abs(p - v));
            const guess = [0, left, up, (left + up) >> 1, a <= b && a <= c ? left : b <= c ? up : corner][filter];
            rgb[y * row + x] = flat[y * (row + 1) + 1 + x] + guess;
        }
    }
    return { width, height, rgb };
}

const check = (report, name) => report.checks.find((c) => c.check === name);

step('the host report knows Hyper-V', async () => {
    const report = await api.get('/v1/host');
    assert.equal(check(report, 'hypervisor')?.status, 'ok', JSON.stringify(report));
    assert.equal(check(report, 'rights')?.status, 'ok');
    assert.match(check(report, 'windows')?.detail, /^Windows Server, build \d+$/);
    assert.equal(check(report, 'hyperv_role')?.status, 'ok');
    for (const name of ['reboot', 'acceleration', 'free_space']) assert.ok(check(report, name), name);
    assert.deepEqual(report.checks.map((c) => c.check).filter((c, i, all) => all.indexOf(c) !== i), [], 'each row once');
    for (const c of report.checks) assert.equal(c.remedy !== '', c.status !== 'ok', JSON.stringify(c));
    begin = await ask('dump');
    assert.match(begin, /Msvm_VirtualSystemManagementService/);
});

step('check-host, beside the running service: the host as it was, and a record like the reference', async () => {
    const record = path.join(dir, 'record.json'), log = path.join(dir, 'check.log');
    const wine = async (...args) => {
        const out = fs.openSync(log, 'w'), none = fs.openSync('/dev/null', 'r');
        const p = start('wine', [path.join(buildDir, 'vmrecoverd.exe'), ...args], {
            stdio: [none, out, out],
            env: { ...process.env, VMR_DOUBLE_DIR: windows(tempDir('check-double')), WMI_SCHEMA: windows(path.join(root, 'tests/doubles/wmi/schema.json')) },
        });
        const { code } = await p.exited;
        return { code, said: fs.readFileSync(log, 'utf8') };
    };
    const ran = await wine('check-host', '--output', windows(record), '--data-dir', windows(data));
    assert.equal(ran.code, 0, ran.said);
    assert.match(ran.said, /^Generation 2, network none: delete ok/m);
    assert.ok(!fs.existsSync(path.join(data, 'check-host')), 'nothing is left');
    const { lives } = JSON.parse(fs.readFileSync(record, 'utf8'));
    assert.deepEqual(lives.map((l) => [l.generation, l.network]), [[1, 'none'], [2, 'none'], [2, 'nat']]);
    for (const { steps } of lives) assert.deepEqual(steps.filter((x) => x.end !== 'ok'), []);
    assert.equal((await wine('check-host', '--compare', windows(record), windows(record))).code, 0);
    assert.equal(await ask('dump'), begin);
});

for (const generation of [1, 2]) {
    let job, vm, guid;
    step(`Generation ${generation}: from a blob to a started VM`, async () => {
        job = await api.submit({ name: `web0${generation}`, disks: [{ source: { type: 'blob', url: azurite.sasUrl('vhds', 'web01.vhd') } }],
            vm: { generation, memory_mib: 512, cpus: 2, network: generation === 2 ? 'nat' : 'none' } });
        job = await api.waitJob(job.id, 'succeeded', { timeout: 180_000 });
        vm = job.vm_id;
        const { vms } = await api.get('/v1/vms');
        assert.deepEqual(vms.map((v) => [v.id, v.job_id, v.state, v.generation, v.memory_mib]), [[vm, job.id, 'running', generation, 512]]);
        const lines = (await ask('vms')).trim().split('\n');
        assert.equal(lines.length, 1);
        const nat = /MSFT_NetNat.*vmrecover-/.test(await ask('dump'));
        assert.equal(nat, generation === 2, 'an own NAT, where it was asked for');
        assert.match(lines[0], /^[0-9A-F-]{36} 2$/);      // EnabledState: running
        [guid] = lines[0].split(' ');
        assert.equal(await ask('unmodelled'), '');
        // the disk is what the blob was
        const image = job.disks[0].path.slice(2).replaceAll('\\', '/');
        await must('qemu-img', ['compare', '-f', 'raw', '-F', image.endsWith('.vhdx') ? 'vhdx' : 'vpc', raw, image]);
    });

    step(`Generation ${generation}: the screen`, async () => {
        const { width, height, rgb } = pixels(await api.screenPng(vm));
        assert.deepEqual([width, height], [1024, 768]);
        assert.ok(new Set(rgb).size > 1, 'something is drawn');
        const small = pixels((await api.request({ path: `/v1/vms/${vm}/screen?width=160` })).body);
        assert.equal(small.width, 160);
    });

    step(`Generation ${generation}: keys arrive in order`, async () => {
        await ask(`keys ${guid}`);
        await api.post(`/v1/vms/${vm}/keys`, { sequence: [{ text: 'root\n' }, { press: ['F8'], repeat: 2, interval_ms: 20 },
            { press: ['ControlLeft', 'AltLeft', 'Delete'] }] }, 200);
        const root = ['13 93', '18 98', '18 98', '14 94', '1c 9c'];
        const all = [...root, '42 c2', '42 c2', '1d 38 e0 53 e0 d3 b8 9d'].join(' ');
        assert.equal(await ask(`keys ${guid}`), all);
    });

    step(`Generation ${generation}: the serial console`, async () => {
        const serial = async () => (await api.request({ path: `/v1/vms/${vm}/serial` })).body.toString('latin1');
        await waitFor('what the guest says', async () => {
            await ask(`say ${guid} login: `);
            return (await serial()).includes('login: ');
        });
        const sent = await api.request({ method: 'POST', path: `/v1/vms/${vm}/serial`, headers: { 'content-type': 'text/plain' }, body: 'root\n' });
        assert.ok(sent.status < 300, sent.text);
        assert.equal(await ask(`heard ${guid}`), 'root\n');
    });

    step(`Generation ${generation}: the connection breaks, and is there again`, async () => {
        await ask('cut 1');
        assert.equal((await api.get(`/v1/vms/${vm}`)).state, 'running');
        await ask('restart');
        assert.equal((await api.get(`/v1/vms/${vm}`)).state, 'running');
    });

    step(`Generation ${generation}: a checkpoint, power, and back`, async () => {
        const made = await api.post(`/v1/vms/${vm}/checkpoints`, { name: 'before' }, 201);
        await api.post(`/v1/vms/${vm}/stop`, undefined, 200);
        assert.match(await ask('vms'), new RegExp(`^${guid} 3$`, 'm'));
        await api.post(`/v1/vms/${vm}/checkpoints/${made.id}/restore`, undefined, 200);
        await api.del(`/v1/vms/${vm}/checkpoints/${made.id}`, 204);
        await api.post(`/v1/vms/${vm}/start`, undefined, 200);
        await waitFor('it runs', async () => (await api.get(`/v1/vms/${vm}`)).state === 'running');
    });

    step(`Generation ${generation}: a further disk, a DVD, and the disk exported`, async () => {
        const of = (what) => `/v1/vms/${vm}${what}`;
        const backup = path.join(dir, `backup${generation}.vhd`), iso = path.join(dir, 'tools.iso');
        fs.copyFileSync(path.join(dir, 'disk.vhd'), backup);
        const sectors = Buffer.alloc(2048 * 18);
        sectors[2048 * 16] = 1;
        sectors.write('CD001', 2048 * 16 + 1);
        fs.writeFileSync(iso, sectors);
        await api.post(of('/stop'), undefined, 200);
        await api.put(of('/disks/1'), { path: windows(backup), format: 'vhd' }, 200);
        await api.put(of('/dvd'), { path: windows(iso) }, 200);
        const shown = await api.get(of(''));
        assert.deepEqual([shown.disks.map((d) => d.slot), shown.dvd], [[0, 1], windows(iso)]);
        await api.post(of('/start'), undefined, 200);
        await api.del(of('/dvd'), 200);
        await api.post(of('/stop'), undefined, 200);
        await api.del(of('/disks/1'), 200);
        const task = await api.post(of('/export'), { format: 'vhd' });
        const ended = await api.waitTask(job.id, 'export_vm', (t) => ['succeeded', 'failed'].includes(t.state), { timeout: 120_000 });
        const last = ended.tasks.find((t) => t.kind === 'export_vm');
        assert.equal(last.state, 'succeeded', JSON.stringify(last.error));
        await must('qemu-img', ['compare', '-f', 'raw', '-F', 'vpc', raw, task.params.path.slice(2).replaceAll('\\', '/')]);
        assert.equal(await ask('unmodelled'), '');
    });

    step(`Generation ${generation}: deleted, the host is as it was`, async () => {
        await api.deleteJob(job.id);
        assert.equal(await ask('vms'), '');
        assert.equal(await ask('dump'), begin);
        assert.equal(await ask('unmodelled'), '');
        assert.deepEqual(fs.readdirSync(path.join(data, 'vms')), []);
        const counts = await ask('live');                // between calls nobody holds more than the two connections
        assert.match(counts, /rows 0 call 0 object 0 text 0 status \d+ inside 0 connections [12]/, counts);
    });
}

step('the end releases everything', async () => {
    daemon.kill('SIGINT');
    const { code } = await daemon.exited;
    assert.equal(code, 0);
    assert.match(fs.readFileSync(path.join(double, 'live'), 'utf8'), /locator 0 services 0 rows 0 call 0 object 0 text 0/);
});
