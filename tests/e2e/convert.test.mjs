// vmrecoverd inspect and convert: every format against qemu-img, kills at any instant, and a disk of 8 TiB of which little is in use.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { exec, launch, native, test, wine } from './lib/platform.mjs';
import { makeVhd } from './lib/image.mjs';
import { du, must, random, removeTemp, seed, sleep, slow, soak, tempDir } from './lib/util.mjs';

const MIB = 1 << 20, GIB = 2 ** 30, TIB = 2 ** 40;
const drivers = {
    raw: 'driver=raw', vhd: 'driver=vpc,force_size_calc=current_size', vhd_dynamic: 'driver=vpc,force_size_calc=current_size', vhdx: 'driver=vhdx',
    vhdx_fixed: 'driver=vhdx', azure: 'driver=vpc,force_size_calc=current_size',
};
let dir, raw;

before(async () => {
    dir = tempDir('convert');
    raw = path.join(dir, 'disk.raw');
    fs.closeSync(fs.openSync(raw, 'w'));
    fs.truncateSync(raw, 96 * MIB + 512);
    await must('sh', ['-c', `printf 'label: gpt\\nstart=2048,size=2048,type=U\\nstart=4096,size=190000,type=L\\n' | PATH=$PATH:/sbin:/usr/sbin sfdisk -q ${raw} &&
        PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -E offset=2097152 ${raw} 95000k`]);
});
after(() => removeTemp(dir));

const convert = (...args) => exec('vmrecoverd', ['convert', ...args]);
const inspect = async (...args) => {
    const r = await exec('vmrecoverd', ['inspect', '--json', ...args]);
    return { ...r, json: JSON.parse(r.stdout) };
};
const same = (a, aFormat, b, bFormat) => must('qemu-img', ['compare', '--image-opts', `${drivers[aFormat]},file.filename=${a}`, `${drivers[bFormat]},file.filename=${b}`]);

test('every format: the same disk, and inspect tells what it is', async () => {
    const kinds = { raw: ['raw', ''], vhd: ['vhd', 'fixed'], vhd_dynamic: ['vhd_dynamic', 'dynamic'], vhdx: ['vhdx', 'dynamic'], vhdx_fixed: ['vhdx', 'fixed'], azure: ['vhd', 'fixed'] };
    for (const [format, [name, kind]] of Object.entries(kinds)) {
        const out = path.join(dir, `out.${format}`), back = path.join(dir, `back.${format}`);
        const r = await convert('--format', format, raw, out);
        assert.equal(r.code, 0, r.stderr);
        await same(raw, 'raw', out, format);
        if (kind !== 'fixed' || !wine) assert.ok(du(out) < 12 * MIB, `${format} takes ${du(out)} bytes`);
        if (name === 'vhdx') await must('qemu-img', ['check', '-f', 'vhdx', out]);
        const { json } = await inspect('--source-format', name, out);
        assert.deepEqual([json.format, json.kind, json.partition_table, json.partitions, json.generation], [name, kind, 'gpt', 2, 2]);
        assert.equal(json.virtual_size, format === 'azure' ? 97 * MIB : 96 * MIB + 512);
        assert.ok(json.parts.every((p) => p.good));
        const ext = json.file_systems.find((f) => f.rule.startsWith('ext'));
        assert.ok(wine || (ext && ext.used_bytes < 20 * MIB && ext.bytes === 190000 * 512), JSON.stringify(json.file_systems));
        if (format === 'azure') {                     // what Azure asks of an upload
            const footer = Buffer.alloc(512), fd = fs.openSync(out, 'r');
            fs.readSync(fd, footer, 0, 512, 97 * MIB);
            fs.closeSync(fd);
            assert.equal(fs.statSync(out).size, 97 * MIB + 512);
            assert.deepEqual([footer.toString('latin1', 0, 8), footer.readUInt32BE(60), Number(footer.readBigUInt64BE(48))], ['conectix', 2, 97 * MIB]);
        }
        assert.equal((await convert('--quiet', '--format=raw', '--source-format', name, out, back)).code, 0);
        await same(raw, 'raw', back, 'raw');
        fs.rmSync(out);
        fs.rmSync(back);
    }
});

test('what is wrong is said, with the exit status of its kind', async () => {
    const there = path.join(dir, 'there.vhdx'), bad = path.join(dir, 'bad.vhdx');
    fs.writeFileSync(there, 'mine');
    for (const [args, code, text] of [
        [['convert', raw, there], 1, /already; a conversion does not overwrite/],
        [['convert', raw], 2, /usage:/], [['convert', raw, path.join(dir, 'noextension')], 2, /--format/], [['convert', '--format', 'qcow2', raw, bad], 2, /qcow2/],
        [['convert', '--fast', raw, bad], 2, /--fast/], [['convert', path.join(dir, 'none.vhd'), bad], 1, /none\.vhd/], [['convert', there, bad], 1, /too few for any disk/],
        [['inspect'], 2, /usage:/], [['inspect', dir], 1, /folder/], [['inspect', '--source-format', 'x', raw], 2, /"x"/],
    ]) {
        const r = await exec('vmrecoverd', args);
        assert.equal(r.code, code, `${args}: ${r.stderr}`);
        assert.match(r.stderr, text);
    }
    assert.equal(fs.readFileSync(there, 'utf8'), 'mine');
    assert.ok(!fs.existsSync(bad) && !fs.existsSync(`${bad}.part`));
    await must('qemu-img', ['create', '-q', '-f', 'vhdx', bad, '1G']);
    const fd = fs.openSync(bad, 'r+');                // one header of two is gone: it can be told, and harms nothing
    fs.writeSync(fd, Buffer.alloc(64), 0, 64, 64 << 10);
    const one = await inspect(bad);
    assert.deepEqual([one.code, one.json.parts.filter((p) => !p.good).map((p) => p.name), one.json.format], [0, ['header 1'], 'vhdx']);
    fs.writeSync(fd, Buffer.alloc(64), 0, 64, 128 << 10);
    fs.closeSync(fd);
    const none = await inspect(bad);
    assert.deepEqual([none.code, none.json.error.code, none.json.parts.filter((p) => !p.good).length], [1, 'vhd_damaged', 2]);
});

test('killed at any instant: the unfinished file is a valid image, and the end is the same disk', async () => {
    const source = path.join(dir, 'source.vhd'), rnd = random(seed);
    makeVhd(source, 400 * MIB, { used: 0.6, seed: 3, run: 96 << 10 });
    const wanted = soak ? 100 : 8;
    let kills = 0, inWork = 0, resumed = 0;
    for (let round = 0; kills < wanted; round++) {
        const format = ['vhdx', 'vhd_dynamic', 'vhd', 'vhdx_fixed'][round % 4], out = path.join(dir, `killed.${format}`), part = `${out}.part`;
        for (let done = false, tries = 0; !done; tries++) {
            assert.ok(tries < 40);
            const child = launch('vmrecoverd', ['convert', '--format', format, source, out]);
            let said = '';
            child.stdout.on('data', (d) => { said += d; });
            let ended = false;
            child.exited.then(() => { ended = true; });
            // most of the time, the beginning is over before the dice are thrown: a program may take long to start
            while (tries % 4 && !ended && !fs.existsSync(`${part}.state`)) await sleep(5);
            // every other time it is held for a second, since what is done goes to the state file once a second, and is killed after that
            const until = async (fn) => { for (let i = 0; i < 1000 && !ended && !fn(); i++) await sleep(5); };
            const held = async () => {
                await sleep(20 + rnd() * 60);
                child.kill('SIGSTOP');
                await sleep(1050);
                child.kill('SIGCONT');
                await until(() => { try { return /^done [1-9]/m.test(fs.readFileSync(`${part}.state`, 'latin1')); } catch { return false; } });
                await sleep(rnd() * 50);
                child.kill('SIGKILL');
            };
            if (!wine && tries % 2 && tries < 7) held();
            const timer = setTimeout(() => child.kill('SIGKILL'), tries > 6 || (!wine && tries % 2) ? 600_000 : (20 + rnd() * 500) * (wine ? 4 : slow));
            const { code, signal } = await child.exited;
            clearTimeout(timer);
            done = code === 0;
            assert.ok(done || signal === 'SIGKILL' || wine, `exit code ${code}`);
            if (done) {
                await sleep(20);
                resumed += /gone on/.test(said);
                break;
            }
            kills++;
            if (!fs.existsSync(`${part}.state`) || !/^part [^-]/m.test(fs.readFileSync(`${part}.state`, 'latin1'))) continue;
            inWork++;
            if (format.startsWith('vhdx')) await must('qemu-img', ['check', '-f', 'vhdx', part]);
            if (format === 'vhd' && wine) continue;      // without sparse files its footer is written last
            if (!format.startsWith('vhdx')) await must('qemu-img', ['info', '-f', 'vpc', part]);
            assert.equal((await inspect(native(part))).json.virtual_size, 400 * MIB);
        }
        await same(source, 'vhd', out, format);
        fs.rmSync(out);
        assert.deepEqual(fs.readdirSync(dir).filter((f) => /\.part/.test(f)), []);
    }
    console.log(`# ${kills} kills, ${inWork} of them with a file begun; ${resumed} conversions ended by going on`);
    assert.ok(inWork >= wanted / 3 && (wine || resumed > 0));
});

test('8 TiB, little in use: little memory, and the time of what is used', async () => {
    const used = soak ? GIB : 64 * MIB, piece = 256 << 10, block = Buffer.alloc(piece, 'data of a disk ');
    const measure = async (size) => {
        const source = path.join(dir, 'large.raw'), out = path.join(dir, 'large.vhdx'), rnd = random(seed);
        const fd = fs.openSync(source, 'w');
        fs.ftruncateSync(fd, size);
        const places = Array.from({ length: used / piece }, () => Math.floor(rnd() * (size / piece))), placed = new Set(places);
        for (const at of places) fs.writeSync(fd, block, 0, piece, at * piece);
        fs.closeSync(fd);
        const began = Date.now();
        const child = launch('vmrecoverd', ['convert', '--quiet', source, out]);
        let peak = 0, ended = false;
        child.exited.then(() => { ended = true; });
        while (!ended) {
            try { peak = Math.max(peak, Number(/VmHWM:\s*(\d+) kB/.exec(fs.readFileSync(`/proc/${child.pid}/status`, 'latin1'))?.[1] ?? 0)); } catch { /* it ended */ }
            await sleep(5);
        }
        assert.equal((await child.exited).code, 0);
        const seconds = (Date.now() - began) / 1000;
        await must('qemu-img', ['check', '-f', 'vhdx', out]);
        const info = (await inspect(out)).json;
        assert.equal(info.virtual_size, size);
        for (const at of [...places.slice(-30), 7, 12345]) {         // a comparison of all of it takes qemu-img minutes
            await must('qemu-img', ['dd', '-f', 'vhdx', '-O', 'raw', `bs=${piece}`, `skip=${at}`, `count=${at + 1}`, `if=${out}`, `of=${out}.piece`]);
            assert.ok(fs.readFileSync(`${out}.piece`).equals(placed.has(at) ? block : Buffer.alloc(piece)), `${at}`);
        }
        const room = du(out);
        fs.rmSync(source);
        fs.rmSync(out);
        return { seconds, peak, room };
    };
    const small = await measure(64 * GIB), large = await measure(8 * TIB);
    console.log(`# ${used / MIB} MiB in use of 64 GiB: ${small.seconds} s, ${small.peak} KiB, file ${Math.round(small.room / MIB)} MiB; ` +
        `of 8 TiB: ${large.seconds} s, ${large.peak} KiB, file ${Math.round(large.room / MIB)} MiB`);
    assert.ok(large.peak > 0 && large.peak < 64 * 1024, `${large.peak} KiB`);
    assert.ok(large.room < used * 1.1 + 16 * MIB);
    assert.ok(large.seconds < 8 * small.seconds + 3 * slow, `${large.seconds} s against ${small.seconds} s`);
});
