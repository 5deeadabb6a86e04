// A Windows of a test's own: a prefix of Wine that is started, cut off and started again as a machine is. (Rules of Wine: ../wine.sh.)
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { finish, must, root, run, slow, start, tempDir, waitFor } from '../../e2e/lib/util.mjs';

const SERVICE_STATES = { 1: 'stopped', 2: 'start pending', 3: 'stop pending', 4: 'running' };
const env = (prefix) => ({ ...process.env, WINEPREFIX: prefix, WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree,mshtml=', WINEARCH: 'win64', LC_ALL: 'C.UTF-8',
    DISPLAY: undefined, WAYLAND_DISPLAY: undefined });

export class Prefix {
    static async create() {
        const p = new Prefix();
        const template = (await must('bash', ['-c', '. tests/windows/wine.sh && wine_make_template && echo "$wine_template"'], { cwd: root })).trim();
        p.folder = tempDir('windows');
        p.dir = path.join(p.folder, 'prefix');
        p.runs = 0;
        await must('cp', ['-a', '--reflink=auto', template, p.dir]);
        await must('mkfifo', [path.join(p.folder, 'hold')]);
        process.prependListener('exit', () => spawnSync('wineserver', ['-k'], { env: env(p.dir) }));
        return p;
    }

    // A file of drive C:, here.
    c(...names) { return path.join(this.dir, 'drive_c', ...names); }

    // Starts Wine, and with it the services that start with Windows. The keeper is a program that waits for input: without one, Wine ends
    // services.
    async boot() {
        this.hold ??= fs.openSync(path.join(this.folder, 'hold'), fs.constants.O_RDWR);
        this.keeper = start('wine', ['cmd.exe'], { env: env(this.dir), stdio: [this.hold, 'ignore', 'ignore'] });
        await this.must('cmd', '/c', 'rem');
    }

    // The plug is pulled: every process of the prefix is killed.
    async cut() {
        await run('wineserver', ['-k'], { env: env(this.dir) });
        await run('wineserver', ['-w'], { env: env(this.dir) });
        await this.keeper?.exited;
    }

    async destroy() {
        await this.cut();
        if (this.hold !== undefined) fs.closeSync(this.hold);
    }

    // Runs a program to its end: { code, out }, where code is the lowest 8 bits, as Linux has it, and out is what it said.
    async run(program, ...args) {
        const options = typeof args.at(-1) === 'object' ? args.pop() : {};
        const file = path.join(this.folder, `out${this.runs++}`);
        const fd = fs.openSync(file, 'w');
        const child = start('wine', [program, ...args], { env: { ...env(this.dir), ...options.env }, cwd: options.cwd ?? this.c(), stdio: ['ignore', fd, fd] });
        fs.closeSync(fd);
        const { code, signal } = await finish(child, options.timeout ?? 120_000 * slow);
        const out = fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\n');
        if (signal) throw new Error(`${program} ${args.join(' ')}: ended by ${signal}\n${out}`);
        return { code, out };
    }
    async must(program, ...args) {
        const r = await this.run(program, ...args);
        if (r.code !== 0) throw new Error(`${program} ${args.filter((a) => typeof a === 'string').join(' ')}: exit code ${r.code}\n${r.out}`);
        return r.out;
    }

    // Lines as somebody types them into cmd, one after the other in one window; the first that fails ends it. UTF-8.
    async type(lines, options = {}) {
        const batch = this.c(`typed${this.runs}.bat`);
        const text = ['@echo off', ...[lines].flat().flatMap((l) => [l, 'if errorlevel 1 exit %errorlevel%'])];
        fs.writeFileSync(batch, text.map((l) => `${l}\r\n`).join(''));
        try { return await this.run('cmd', '/d', '/c', `C:\\${path.basename(batch)}`, options); } finally { fs.rmSync(batch); }
    }

    // ---- services, as the service manager tells of them ----
    async service(name) {
        const { code, out } = await this.run('sc', 'query', name);
        if (code !== 0) return null;
        const field = (f) => Number(out.match(new RegExp(`^ *${f} *: (\\d+)`, 'm'))?.[1]);
        return { state: SERVICE_STATES[field('STATE')], code: field('WIN32_EXIT_CODE'), specific: field('SERVICE_EXIT_CODE') };
    }
    // `net start` returns while a start is pending, so states are waited for.
    async becomes(name, state, timeout = 30_000) {
        let last;
        await waitFor(() => `service ${name} is ${state}, not ${JSON.stringify(last)}`, async () => {
            last = await this.service(name);
            return (last?.state ?? null) === state;
        }, { timeout, interval: 250 });
        return last;
    }

    // Processes (of Linux) that run a program of this prefix.
    pids(program) {
        const mine = (pid, file) => { try { return fs.readFileSync(`/proc/${pid}/${file}`, 'latin1').split('\0'); } catch { return []; } };
        return fs.readdirSync('/proc').filter((p) => /^\d+$/.test(p)).map(Number)
            .filter((pid) => mine(pid, 'environ').includes(`WINEPREFIX=${this.dir}`) && mine(pid, 'cmdline')[0]?.toLowerCase().includes(program.toLowerCase()));
    }
}
