// The real daemon in a folder of its own on a free port. It can be killed and started again.
import fs from 'node:fs';
import path from 'node:path';
import { Api } from './api.mjs';
import { launch, wine } from './platform.mjs';
import { search, secret } from './secrets.mjs';
import { filesBelow, removeTemp, tempDir, waitFor, slow } from './util.mjs';

const valgrind = ['valgrind', '-q', '--error-exitcode=99', '--leak-check=full', '--errors-for-leak-kinds=definite'];

// A test that is ended from outside leaves no VM behind.
const live = new Set();
process.on('exit', () => { for (const d of live) d.killVms(); });

export class Daemon {
    // options: configuration keys by their names; `env` for the process; `dir` instead of a new folder; `wrapper` to run it under
    // another program.
    static async start(options = {}) {
        const { env = {}, dir, wrapper = process.env.VALGRIND ? valgrind : [], ...config } = options;
        const d = new Daemon();
        d.dir = dir ?? tempDir('daemon');
        d.ownDir = !dir;
        d.config = config;
        d.env = env;
        d.wrapper = wrapper;
        d.log = '';
        d.stdout = '';
        live.add(d);
        await d.run();
        return d;
    }

    args() {
        // nothing is asked beyond this machine: no metadata service but that of a test
        const options = { listen: '127.0.0.1:0', imds_endpoint: 'http://127.0.0.1:9', ...this.config };
        return ['run', '--data-dir', this.dir, ...Object.entries(options).map(([k, v]) => `--${k.replaceAll('_', '-')}=${v}`)];
    }

    launch() {
        return launch('vmrecoverd', this.args(), { wrapper: this.wrapper, env: this.env, cwd: this.dir });
    }

    async run() {
        fs.rmSync(path.join(this.dir, 'address'), { force: true });
        const child = this.launch();
        this.child = child;
        child.stderr.on('data', (d) => { this.log += d; });
        child.stdout.on('data', (d) => { this.stdout += d; });
        let over = null;
        child.exited.then((r) => { over = r; });
        const address = await waitFor(() => `the daemon listens; its log:\n${this.log}`, () => {
            if (over) throw new Error(`the daemon ended at its start (${JSON.stringify(over)}):\n${this.log}`);
            try { return fs.readFileSync(path.join(this.dir, 'address'), 'utf8').trim().split('\n')[0]; } catch { return null; }
        }, { timeout: 30_000, interval: 30 });
        this.address = address;
        this.token = fs.readFileSync(path.join(this.dir, 'token'), 'utf8').trim();
        const judge = this.api?.judge ?? null;
        secret(this.token);
        this.api = new Api(address, this.token);
        this.api.judge = judge;                      // the same program serves the same document
    }

    get url() { return `http://${this.address}`; }
    get tokenFile() { return path.join(this.dir, 'token'); }

    async kill9() {
        this.child.kill('SIGKILL');
        await this.child.exited;
    }

    async restart() { await this.run(); }

    // Orderly; the exit status is the daemon's. VMs outlive it: those of this data folder are ended by their pid.
    async terminate() {
        this.child.kill('SIGTERM');
        const timer = setTimeout(() => this.child.kill('SIGKILL'), 30_000 * slow);
        const status = await this.child.exited;
        clearTimeout(timer);
        return status;
    }

    // QEMUs that work in this data folder, or name it: the VMs.
    vmProcesses() {
        const found = [];
        for (const pid of fs.readdirSync('/proc')) {
            if (!/^\d+$/.test(pid) || Number(pid) === this.child.pid) continue;
            try {
                const argv = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
                if (!/qemu/.test(argv[0])) continue;
                if (argv.some((a) => a.includes(this.dir)) || fs.readlinkSync(`/proc/${pid}/cwd`).startsWith(this.dir)) found.push(Number(pid));
            } catch { /* it ended */ }
        }
        return found;
    }

    killVms() {
        for (const pid of this.vmProcesses()) try { process.kill(pid, 'SIGKILL'); } catch { /* gone */ }
    }

    // Every test of the daemon ends with this: nothing that is secret is left in what it wrote, was given or said.
    searched() {
        const IMAGE = /^disks\/|\.(qcow2|vhdx?|raw|img|iso)$/, OWN = /^(token|secret\.key)$/;
        const places = [['the log', this.log], ['the output', this.stdout]];
        for (const f of ['cmdline', 'environ'])
            try { if (!wine) places.push([f, fs.readFileSync(`/proc/${this.child.pid}/${f}`, 'latin1')]); } catch { /* it ended before */ }
        for (const f of this.files().filter((x) => !IMAGE.test(x) && !OWN.test(x))) places.push([f, fs.readFileSync(path.join(this.dir, f), 'latin1')]);
        return places;
    }

    async stop() {
        let places, status = null;
        try {
            places = this.searched();
        } finally {                                  // whatever became of the search, nothing is left running
            if (this.child.exitCode === null && this.child.signalCode === null) status = await this.terminate();
            this.killVms();
        }
        await waitFor('the VMs are gone', () => this.vmProcesses().length === 0, { timeout: 10_000 });
        live.delete(this);
        search([...places, ...this.searched()]);     // as it was at work, and as it is left
        if (this.ownDir) removeTemp(this.dir);
        if (status && status.code !== 0) throw new Error(`the daemon ended with ${JSON.stringify(status)}; its log:\n${this.log}`);
        const report = this.log.match(/^.*(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:).*$/m);
        if (report) throw new Error(`a sanitizer spoke: ${report[0]}\n${this.log.slice(report.index, report.index + 6000)}`);
    }

    files(sub = '') { return filesBelow(path.join(this.dir, sub)); }
}
