// What the programs under test run on: this system or, with PLATFORM=wine, Windows as Wine plays it (then the programs are those of a
// Windows build, in the prefix that WINEPREFIX names; tests/windows/e2e.sh makes one). Tests see the same functions on both.
//
//   launch(name, args, options)   starts a program of ours: a child with stdout and stderr (streams of events), kill, exited
//   exec(name, args, options)     runs it to its end: { code, stdout, stderr }
//   commandLine(name, args)       the same for a shell
//   native(file), local(file)     a path as the programs write it; such a path as it is written here
//   test(name, options, fn)       node:test's; skips what tests/windows/skips.mjs names for the platform
//   skipped(name)                 for tests of tests: what its option `skip` takes
import fs from 'node:fs';
import path from 'node:path';
import nodeTest from 'node:test';
import { seen } from './secrets.mjs';
import { finish, buildDir, root, run, slow, start, tempDir } from './util.mjs';

export const wine = process.env.PLATFORM === 'wine';
export const guests = !wine;                         // whether something runs in virtual machines: under Wine the hypervisor is a double
export const sparse = !wine;                         // whether space counts when it is written (Hyper-V refuses sparse files)
export const usual = wine ? 'vhdx' : 'vhd';         // the form of a disk when the request does not name one
const DRIVE = 'Z:';                                  // is / in every prefix

export const native = (file) => (wine ? DRIVE + file.replaceAll('/', '\\') : file);
export function local(file) {
    if (!wine) return file;
    if (/^Z:\\/i.test(file)) return file.slice(2).replaceAll('\\', '/');
    if (/^[A-Z]:\\/i.test(file)) return path.join(process.env.WINEPREFIX, 'dosdevices', `${file[0].toLowerCase()}:`, file.slice(3).replaceAll('\\', '/'));
    return file;
}

export const program = (name) => path.join(buildDir, name + (wine ? '.exe' : ''));

// For a shell, on a terminal of its own.
export const commandLine = (name, args) => [...(wine ? ['wine'] : []), program(name), ...args].join(' ');

// ---- Wine: what its programs write goes to files, for its own daemons would inherit a pipe and keep it open; words and variables that are
// absolute paths of this system become such of Windows ----

// A file that grows, as a stream: `on('data')`, as far as the tests use it.
class Tail {
    constructor(file) {
        this.fd = fs.openSync(file, 'r');
        this.at = 0;
        this.listeners = [];
        this.decoder = new TextDecoder();
        this.missed = '';
        this.timer = setInterval(() => this.read(), 20);
        this.timer.unref();
    }
    on(event, listener) {
        if (event !== 'data') return this;
        this.listeners.push(listener);
        if (this.missed) listener(this.missed);
        this.missed = '';
        return this;
    }
    read() {
        const buffer = Buffer.alloc(65536);
        for (let n; (n = fs.readSync(this.fd, buffer, 0, buffer.length, this.at)) > 0;) {
            this.at += n;
            const text = this.decoder.decode(buffer.subarray(0, n), { stream: true });
            if (!this.listeners.length) this.missed += text;
            for (const l of this.listeners) l(text);
        }
    }
    end() {
        clearInterval(this.timer);
        this.read();
        fs.closeSync(this.fd);
    }
}

const word = (w) => (w.startsWith('/') && !w.startsWith('/subscriptions/') ? native(w) : w.replace(/^(--[a-z-]+=)(\/.*)$/, (_, key, file) => key + native(file)));
let runs = 0, scratch;

// Where the double of Windows' WMI keeps the VMs of a data folder, and what it knows.
function double(args) {
    const at = args.indexOf('--data-dir');
    const store = path.join(scratch, `double-${path.basename(at < 0 ? 'none' : args[at + 1])}`);
    fs.mkdirSync(store, { recursive: true });
    return { VMR_DOUBLE_DIR: store, WMI_SCHEMA: path.join(root, 'tests/doubles/wmi/schema.json') };
}

function launchWine(name, args, { env = {}, cwd, input } = {}) {
    scratch ??= tempDir('wine');
    const base = path.join(scratch, String(runs++));
    if (input !== undefined) fs.writeFileSync(`${base}.in`, input);
    const files = [fs.openSync(input === undefined ? '/dev/null' : `${base}.in`, 'r'), fs.openSync(`${base}.out`, 'w'), fs.openSync(`${base}.err`, 'w')];
    if (name === 'vmrecoverd') env = { ...double(args), ...env };
    const variables = Object.fromEntries(Object.entries(env).map(([k, v]) => [k, word(String(v))]));
    const child = start('wine', [program(name), ...args.map(word)], { env: { ...process.env, ...variables }, cwd, stdio: files });
    files.forEach((fd) => fs.closeSync(fd));
    child.files = { stdout: `${base}.out`, stderr: `${base}.err` };
    child.stdout = new Tail(child.files.stdout);
    child.stderr = new Tail(child.files.stderr);
    child.exited = child.exited.then((r) => { child.stdout.end(); child.stderr.end(); return r; });
    // asking is Ctrl-C; any other signal than that just ends the process
    const kill = child.kill.bind(child);
    child.kill = (signal) => kill(signal === 'SIGTERM' ? 'SIGINT' : signal);
    return child;
}

export function launch(name, args, { wrapper = [], env, cwd, input } = {}) {
    if (wine) return launchWine(name, args, { env, cwd, input });
    const [command, ...words] = [...wrapper, program(name), ...args];
    return start(command, words, { env: { ...process.env, ...env }, cwd });
}

export async function exec(name, args, options) {
    const r = await execute(name, args, options);
    if (typeof r.stdout === 'string') seen(`what ${name} ${args[0] ?? ''} printed`, `${r.stdout}\n${r.stderr}`);
    return r;
}
async function execute(name, args, { timeout = 120_000 * slow, encoding = 'utf8', ...options } = {}) {
    if (!wine) return run(program(name), args, { timeout, encoding, ...options });
    const child = launchWine(name, args, options);
    const { code, signal } = await finish(child, timeout);
    if (signal) throw new Error(`${name} ended by ${signal}: ${fs.readFileSync(child.files.stderr)}`);
    const [stdout, stderr] = [child.files.stdout, child.files.stderr].map((f) => fs.readFileSync(f));
    return { code, stdout: encoding ? stdout.toString(encoding) : stdout, stderr: stderr.toString() };
}

// ---- what is skipped, by name; a name that no test has is an error ----
const file = path.basename(process.argv[1] ?? '');
const reasons = new Map();
const unmet = new Set();
if (wine) {
    const { skips } = await import('../../windows/skips.mjs');
    for (const s of skips.filter((x) => x.file === file)) for (const name of s.tests) reasons.set(name, s.why);
    for (const name of reasons.keys()) unmet.add(name);
    process.on('exit', (code) => {
        if (code || !unmet.size) return;
        console.error(`tests/windows/skips.mjs names tests that ${file} does not have: ${[...unmet].join('; ')}`);
        process.exitCode = 1;
    });
}
export function skipped(name) {
    const why = reasons.get(name);
    unmet.delete(name);
    if (why && process.env.SKIPPED) fs.appendFileSync(process.env.SKIPPED, `${file}: ${name}: ${why}\n`);
    return why ?? false;
}
export function test(name, ...rest) {
    const [options, fn] = rest.length > 1 ? rest : [{}, rest[0]];
    return nodeTest(name, { ...options, skip: options.skip || skipped(name) }, fn);
}
