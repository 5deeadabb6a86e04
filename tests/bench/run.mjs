// make bench: vmrecover beside AzCopy for the same blobs from the same server, and the API while many jobs are in the database.
// All from one run, the tools taking turns; medians. Prints tables, writes JSON to BUILD/bench/result.json.
//
// BENCH_FULL_GIB (2), BENCH_SPARSE_GIB (4), BENCH_RUNS (3), BENCH_JOBS (10000), BENCH_SECONDS (10), BENCH_CONNECTIONS (16),
// BENCH_ONLY (transfer, api or volume), BENCH_DISK_BYTES (10000000, bytes per second of each disk), TMPDIR: where the blobs and their copies lie.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Daemon } from '../e2e/lib/daemon.mjs';
import { buildDir, must, removeTemp, root, run, sleep, start, tempDir } from '../e2e/lib/util.mjs';

const number = (name, value) => Number(process.env[name] ?? value);
const GIB = 2 ** 30, MIB = 2 ** 20;
const program = (name) => path.join(buildDir, 'bench', name);
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const runs = number('BENCH_RUNS', 3);
const dir = tempDir('bench');
const source = path.join(dir, 'blobs');
fs.mkdirSync(source);

function table(head, rows) {
    const all = [head, ...rows].map((r) => r.map(String));
    const widths = head.map((_, i) => Math.max(...all.map((r) => r[i].length)));
    for (const r of all) console.log('  ' + r.map((c, i) => (i ? c.padStart(widths[i]) : c.padEnd(widths[i]))).join('   '));
    console.log();
}

// ---- transfers ----

// A fixed VHD with `part` of its pages in use, in pieces of 1 MiB, filled with what does not compress.
async function makeBlob(name, bytes, part) {
    const file = path.join(source, name);
    await must('qemu-img', ['create', '-q', '-f', 'vpc', '-o', 'subformat=fixed,force_size=on', file, String(bytes)]);
    const fd = fs.openSync(file, 'r+');
    const piece = Buffer.alloc(MIB);
    let x = 1;
    for (let i = 0; i < MIB; i += 4) piece.writeUInt32LE((x = (Math.imul(x, 1664525) + 1013904223) >>> 0), i);
    for (let at = 0, n = 0; at < bytes; at += MIB, n++) {
        if (n % Math.round(1 / part) !== 0) continue;
        piece.writeUInt32LE(n, 512);                 // no two pieces alike; the first sector stays without a partition table
        fs.writeSync(fd, piece, at === 0 ? 512 : 0, MIB - (at === 0 ? 512 : 0), at === 0 ? 512 : at);
    }
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    return { name, file, bytes, used: fs.statSync(file).blocks * 512 };
}

function azcopyProgram() {
    const base = path.join(root, 'tests/e2e/node_modules/@azure-tools/azcopy-linux/dist/bin');
    const found = fs.existsSync(base) && fs.readdirSync(base).find((f) => f.startsWith('azcopy') && fs.statSync(path.join(base, f)).size > MIB);
    if (!found) throw new Error(`no azcopy program in ${base}: run make deps`);
    fs.chmodSync(path.join(base, found), 0o755);
    return path.join(base, found);
}

async function measured(command, args, env) {
    const r = await run(program('measure'), [command, ...args], { timeout: 1_800_000, env });
    const m = JSON.parse(r.stdout);
    if (m.status !== 0) throw new Error(`${command}: status ${m.status}\n${r.stderr}`);
    return { wall: m.wall, cpu: m.user + m.system, peak_mib: m.peak_mib };
}

// The daemon's own figures: CPU from /proc/PID/stat from the submission to the end of the job, peak memory from VmHWM.
const TICKS = 100;
function cpuOf(pid) {
    const f = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return (Number(f[11]) + Number(f[12])) / TICKS;
}
const peakOf = (pid) => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

async function byDaemon(url, blob, check) {
    const d = await Daemon.start({ log_level: 'warning' });
    try {
        const pid = d.child.pid, cpu = cpuOf(pid), began = performance.now();
        const sent = await d.api.exchange({ method: 'POST', path: '/v1/jobs', headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ disks: [{ source: { type: 'blob', url } }], until: 'download' }) });
        if (sent.status !== 201) throw new Error(sent.text);
        let job;
        do {
            await sleep(50);
            job = (await d.api.exchange({ path: `/v1/jobs/${sent.json.id}` })).json;
        } while (['queued', 'running'].includes(job.state));
        const result = { wall: (performance.now() - began) / 1000, cpu: cpuOf(pid) - cpu, peak_mib: peakOf(pid) };
        if (job.state !== 'succeeded') throw new Error(JSON.stringify(job.tasks, null, 1));
        if (check) await must('cmp', [blob.file, job.disks[0].path], { timeout: 600_000 });
        result.on_disk = fs.statSync(job.disks[0].path).blocks * 512;
        return result;
    } finally {
        await d.stop();
    }
}

async function byProgram(command, args, out, blob, check, env) {
    fs.rmSync(out, { force: true });
    const result = await measured(command, args, env);
    if (check) await must('cmp', [blob.file, out], { timeout: 600_000 });
    result.on_disk = fs.statSync(out).blocks * 512;
    fs.rmSync(out);
    return result;
}

async function transfers() {
    const server = start(program('blob_server'), [source], { stdio: ['pipe', 'pipe', 'inherit'] });
    const port = await new Promise((resolve) => server.stdout.once('data', (d) => resolve(Number(String(d)))));
    const azcopy = azcopyProgram(), work = path.join(dir, 'azcopy'), out = path.join(dir, 'copy.vhd');
    const sas = 'sv=2020-10-02&sr=b&sp=r&se=2099-01-01T00%3A00%3A00Z&sig=bm90aGluZw%3D%3D';       // the server does not look at it
    const blobs = [await makeBlob('full.vhd', number('BENCH_FULL_GIB', 2) * GIB, 1), await makeBlob('quarter.vhd', number('BENCH_SPARSE_GIB', 4) * GIB, 0.25)];
    const result = [];
    for (const blob of blobs) {
        const url = `http://127.0.0.1:${port}/account/vhds/${blob.name}?${sas}`;
        const tools = {
            vmrecover: (check) => byDaemon(url, blob, check),
            'its engine alone': (check) => byProgram(program('transfer_bench'), [url, out], out, blob, check),
            AzCopy: (check) => byProgram(azcopy, ['copy', url, out, '--from-to=BlobLocal', '--output-level=quiet', '--skip-version-check'], out, blob, check,
                { AZCOPY_LOG_LOCATION: work, AZCOPY_JOB_PLAN_LOCATION: work, AZCOPY_AUTO_LOGIN_TYPE: '' }),
        };
        const all = Object.fromEntries(Object.keys(tools).map((t) => [t, []]));
        await must('cmp', [blob.file, blob.file], { timeout: 600_000 });   // into the page cache
        for (let i = 0; i < runs; i++)
            for (const [tool, fn] of Object.entries(tools)) {
                await must('sync', []);
                all[tool].push(await fn(i === 0));
            }
        const of = (tool, what) => median(all[tool].map((r) => r[what]));
        const gib = blob.bytes / GIB, base = of('AzCopy', 'wall');
        const rows = Object.keys(tools).map((tool) => ({ tool, wall_s: of(tool, 'wall'), cpu_s_per_gib: of(tool, 'cpu') / gib, peak_mib: of(tool, 'peak_mib'),
            gib_on_disk: of(tool, 'on_disk') / GIB, wall_to_azcopy: of(tool, 'wall') / base, runs: all[tool] }));
        result.push({ blob: blob.name, bytes: blob.bytes, used: blob.used, rows });
        console.log(`${gib} GiB page blob, ${(100 * blob.used / blob.bytes).toFixed(0)} % of the pages in use; median of ${runs}`);
        table(['', 'wall s', 'to AzCopy', 'CPU s/GiB', 'peak MiB', 'GiB on disk'],
            rows.map((r) => [r.tool, r.wall_s.toFixed(2), r.wall_to_azcopy.toFixed(2), r.cpu_s_per_gib.toFixed(2), r.peak_mib.toFixed(0), r.gib_on_disk.toFixed(2)]));
    }
    server.stdin.end();
    await server.exited;
    return result;
}

// ---- the API ----

async function api() {
    const data = path.join(dir, 'data'), jobs = number('BENCH_JOBS', 10000), connections = number('BENCH_CONNECTIONS', 16);
    const ids = path.join(dir, 'ids');
    fs.writeFileSync(ids, await must(program('fill_jobs'), [data, String(jobs)], { timeout: 600_000 }));
    const d = await Daemon.start({ dir: data, log_level: 'error' });
    const rows = [];
    try {
        const [host, port] = d.address.split(/:(?=\d+$)/);
        for (const [kind, what] of [['list', 'GET /v1/jobs?limit=20'], ['get', 'GET /v1/jobs/{id}'], ['post', 'POST /v1/jobs']]) {
            const args = [host, port, d.tokenFile, String(number('BENCH_SECONDS', 10)), String(connections), kind, ids];
            const one = JSON.parse(await must(program('load'), args, { timeout: 300_000 }));
            if (one.failures || !one.requests) throw new Error(`${what}: ${JSON.stringify(one)}\n${d.log}`);
            rows.push({ what, ...one });
        }
        console.log(`The API with ${jobs} jobs in the database, ${connections} connections`);
        table(['', 'requests/s', 'p50 ms', 'p90 ms', 'p99 ms', 'max ms'], rows.map((r) => [r.what, r.per_second, r.p50_ms, r.p90_ms, r.p99_ms, r.max_ms]));
        return { jobs, connections, rows, peak_mib: peakOf(d.child.pid) };
    } finally {
        await d.stop();
    }
}

// ---- volumes ----

// On one disk and on stripes, in a guest whose disks are throttled, so that the disks are what limits: tests/systemd/run.sh.
async function volumes() {
    const out = await must(path.join(root, 'tests/systemd/run.sh'), [], { timeout: 1_200_000, env: { SYSTEMD_ONLY: 'bench' } });
    const rows = [...out.matchAll(/^# bench disks=(\d+) write=([\d.]+) read=([\d.]+)$/gm)].map((m) => ({ disks: +m[1], write_mb_s: +m[2], read_mb_s: +m[3] }));
    if (rows.length !== 3) throw new Error(out);
    console.log(`A file on a volume, past the cache; each disk gives ${number('BENCH_DISK_BYTES', 10_000_000) / 1e6} MB/s`);
    table(['disks', 'write MB/s', 'read MB/s', 'write to single', 'read to single'], rows.map((r) => [r.disks, r.write_mb_s, r.read_mb_s,
        (r.write_mb_s / rows[0].write_mb_s).toFixed(2), (r.read_mb_s / rows[0].read_mb_s).toFixed(2)]));
    return rows;
}

const only = process.env.BENCH_ONLY;
const result = { date: new Date().toISOString(), cpus: os.cpus().length, cpu: os.cpus()[0].model, load: os.loadavg()[0] };
console.log(`${result.cpus} CPUs (${result.cpu}), load before ${result.load.toFixed(1)}\n`);
if (!only || only === 'transfer') result.transfers = await transfers();
if (!only || only === 'api') result.api = await api();
if (!only || only === 'volume') result.volumes = await volumes();
fs.writeFileSync(path.join(buildDir, 'bench/result.json'), JSON.stringify(result, null, 1) + '\n');
removeTemp(dir);
