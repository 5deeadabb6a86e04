// The whole story on real parts: a Linux VM that does not boot (a UUID in its /etc/fstab is on no disk) lies as a page blob in Azure
// Storage (Azurite, filled by AzCopy). vmrecover downloads its disk and boots it in QEMU; the screen shows emergency mode; keys
// repair it; it boots. Results and the running daemon stay in build/demo; `node tests/e2e/demo.mjs stop` ends and removes it.
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { Azurite } from './lib/azurite.mjs';
import { Api } from './lib/api.mjs';
import { buildDir, must, root, sleep, waitFor } from './lib/util.mjs';

const dir = path.join(buildDir, 'demo');
const data = path.join(dir, 'data');
const pidFile = path.join(dir, 'daemon.pid');
const began = Date.now();
const say = (text) => console.log(`[${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s] ${text}`);

// Is this pid still the daemon of this folder? Only that is ever ended.
function isOurs(pid, word) {
    try { return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word); } catch { return false; }
}

async function stop() {
    let pid = 0;
    try { pid = Number(fs.readFileSync(pidFile, 'utf8')); } catch { return false; }
    if (pid > 1 && isOurs(pid, data)) {
        const api = new Api(fs.readFileSync(path.join(data, 'address'), 'utf8').trim().split('\n')[0], fs.readFileSync(path.join(data, 'token'), 'utf8').trim());
        for (const job of (await api.get('/v1/jobs')).jobs) await api.deleteJob(job.id);
        process.kill(pid, 'SIGTERM');
        await waitFor('the daemon ends', () => !isOurs(pid, data), { timeout: 30_000 });
    }
    fs.rmSync(dir, { recursive: true, force: true });
    return true;
}

function findAzcopy() {
    const base = path.join(root, 'tests/e2e/node_modules/@azure-tools/azcopy-linux');
    const found = fs.readdirSync(base, { recursive: true }).map(String).find((f) => /(^|\/)azcopy[^/]*$/.test(f) && fs.statSync(path.join(base, f)).size > 1 << 20);
    if (!found) throw new Error(`no azcopy program below ${base}`);
    const program = path.join(base, found);
    fs.chmodSync(program, 0o755);                    // the package carries it without
    return program;
}

async function startDaemon() {
    const log = fs.openSync(path.join(dir, 'daemon.log'), 'a');
    const child = spawn(path.join(buildDir, 'vmrecoverd'), ['run', '--data-dir', data, '--listen', '127.0.0.1:0'], { detached: true, stdio: ['ignore', log, log] });
    child.unref();
    fs.closeSync(log);
    fs.writeFileSync(pidFile, String(child.pid));
    await waitFor(() => `the daemon is ready:\n${fs.readFileSync(path.join(dir, 'daemon.log'), 'utf8')}`,
        () => fs.existsSync(path.join(data, 'address')) && isOurs(child.pid, data), { timeout: 30_000 });
    return new Api(fs.readFileSync(path.join(data, 'address'), 'utf8').trim().split('\n')[0], fs.readFileSync(path.join(data, 'token'), 'utf8').trim());
}

async function demo() {
    if (await stop()) say('ended the demo of before');
    fs.mkdirSync(data, { recursive: true });

    const vhd = path.join(dir, 'broken.vhd');
    await must('bash', [path.join(root, 'tests/vm/build.sh'), vhd, '--fault', 'fstab'], { timeout: 600_000 });
    say(`built a Linux VM that does not boot: ${path.relative(root, vhd)}`);

    const azurite = await Azurite.start();
    await azurite.container('vhds');
    const sas = azurite.sas('vhds', 'web01.vhd', { permissions: 'racw' });
    const url = `${azurite.url}/vhds/web01.vhd`;
    const work = path.join(dir, 'azcopy');
    await must(findAzcopy(), ['copy', vhd, `${url}?${sas}`, '--blob-type=PageBlob', '--from-to=LocalBlob', '--output-level=quiet'],
        { timeout: 300_000, env: { AZCOPY_LOG_LOCATION: work, AZCOPY_JOB_PLAN_LOCATION: work, AZCOPY_AUTO_LOGIN_TYPE: '' } });
    say(`AzCopy uploaded it as a page blob: ${url}`);

    const api = await startDaemon();
    say('vmrecoverd is ready');
    const job = await api.submit({ name: 'web01', disks: [{ source: { type: 'blob', url: azurite.sasUrl('vhds', 'web01.vhd') } }],
        vm: { memory_mib: 192, cpus: 1 } });
    const done = await api.waitJob(job.id, 'succeeded', { timeout: 300_000 });
    const p = done.tasks.find((t) => t.kind === 'download').progress;
    say(`the job is ${done.state}: ${p.total_bytes} bytes, of which ${p.transferred_bytes} were transferred`);
    await azurite.stop();
    fs.rmSync(work, { recursive: true, force: true });

    const vm = done.vm_id;
    await api.waitScreen(vm, /emergency mode/i, { timeout: 240_000 });
    await api.waitScreen(vm, /password|Ctrl-D|Control-D|Press Enter/i, { timeout: 60_000 });
    fs.writeFileSync(path.join(dir, 'emergency.png'), await api.screenPng(vm));
    say('the screen shows emergency mode: build/demo/emergency.png');

    await api.keys(vm, 'recover\n');
    await api.waitScreen(vm, /recoverme:.*#/, { timeout: 60_000 });
    await api.keys(vm, 'mount -o remount,rw /\n', { wait_ms: 1000 }, "sed -i '/srv/d' /etc/fstab\n", { wait_ms: 1000 }, 'reboot\n');
    say('typed the repair: remount, take the line out of /etc/fstab, reboot');
    await waitFor('the screen is cleared by the reboot', async () => !/fstab/.test(await api.screenText(vm)), { timeout: 120_000 });
    await api.waitScreen(vm, /login:/, { timeout: 240_000 });
    await sleep(500);
    fs.writeFileSync(path.join(dir, 'repaired.png'), await api.screenPng(vm));
    say('the machine boots to its login prompt: build/demo/repaired.png');

    const client = 'build/vmrecover';
    console.log(`
Done. The daemon and the repaired VM go on running. Look further:

  export VMRECOVER_URL=http://${api.host}:${api.port} VMRECOVER_TOKEN_FILE=build/demo/data/token
  ${client} list
  ${client} show ${job.id}
  ${client} screen ${vm} --text
  ${client} keys ${vm} root --enter
  curl -H @<(printf 'Authorization: Bearer '; cat build/demo/data/token) $VMRECOVER_URL/v1/vms
  node tests/e2e/demo.mjs stop        # ends and removes all of it
`);
}

if (process.argv[2] === 'stop') {
    if (!await stop()) console.log('there is no demo to stop');
} else {
    await demo();
    process.exit(0);
}
