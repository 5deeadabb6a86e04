// Small things: temporary folders, child processes, waiting, image tools.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { local } from './platform.mjs';

export const root = path.resolve(path.dirname(new URL(import.meta.url).pathname), '../../..');
export const buildDir = path.resolve(root, process.env.BUILD ?? 'build');
export const soak = process.env.SOAK === '1';
// Sanitizers and valgrind make everything slower; waits are multiplied.
export const slow = Number(process.env.SLOW ?? 1);

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

const folders = new Set();
process.on('exit', () => {
    if (process.env.KEEP !== '1')
        for (const f of folders) fs.rmSync(f, { recursive: true, force: true });
});
export function tempDir(name = 'e2e') {
    const folder = fs.mkdtempSync(path.join(process.env.TMPDIR ?? os.tmpdir(), `vmrecover-${name}-`));
    folders.add(folder);
    return folder;
}
export function removeTemp(folder) {
    if (process.env.KEEP === '1') return;
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    folders.delete(folder);
}

// Children do not outlive the test program, however it ends. What the daemon itself started (QEMU) is ended by Daemon.stop.
const children = new Set();
process.on('exit', () => { for (const c of children) try { c.kill('SIGKILL'); } catch { /* gone */ } });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
export function start(command, args, options = {}) {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    children.add(child);
    child.exited = new Promise((resolve) => {
        child.once('error', (error) => { children.delete(child); resolve({ code: null, signal: null, error }); });
        child.once('exit', (code, signal) => { children.delete(child); resolve({ code, signal }); });
    });
    return child;
}

// Waits for its end, which is made after `timeout` ms. Throws when the program could not be started.
export async function finish(child, timeout) {
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    const result = await child.exited;
    clearTimeout(timer);
    if (result.error) throw result.error;
    return result;
}

// Runs a program to its end: { code, stdout, stderr }; throws only when it cannot be started or takes too long.
export async function run(command, args, { input, timeout = 120_000 * slow, env, cwd, encoding = 'utf8' } = {}) {
    const child = start(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env }, cwd });
    const out = [], err = [];
    child.stdout.on('data', (d) => out.push(d));
    child.stderr.on('data', (d) => err.push(d));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    const closed = new Promise((r) => child.once('close', r));
    const { code, signal } = await finish(child, timeout);
    await closed;
    const stdout = Buffer.concat(out);
    if (signal) throw new Error(`${command} ended by ${signal}: ${Buffer.concat(err)}`);
    return { code, stdout: encoding ? stdout.toString(encoding) : stdout, stderr: Buffer.concat(err).toString() };
}
export async function must(command, args, options) {
    const r = await run(command, args, options);
    if (r.code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${r.code}\n${r.stdout}\n${r.stderr}`);
    return r.stdout;
}

// Calls fn until it gives something truthy; `what` says what was waited for when it does not.
export async function waitFor(what, fn, { timeout = 60_000, interval = 100 } = {}) {
    const end = Date.now() + timeout * slow;
    let last;
    for (;;) {
        last = await fn();
        if (last) return last;
        if (Date.now() > end) throw new Error(`timeout after ${timeout * slow} ms: ${typeof what === 'function' ? await what() : what}`);
        await sleep(interval);
    }
}

export async function freePort() {
    const server = net.createServer();
    await new Promise((r) => server.listen(0, '127.0.0.1', r));
    const { port } = server.address();
    await new Promise((r) => server.close(r));
    return port;
}

// Files below may be named as the programs under test name them.
// Bytes that a file takes on its volume.
// Every file below a folder, by its path from there; no sockets, no pipes (over which Node 18's own recursive readdir falls), nothing that goes meanwhile.
export function filesBelow(folder, sub = '') {
    let entries = [];
    try { entries = fs.readdirSync(path.join(folder, sub), { withFileTypes: true }); } catch (e) { if (e.code !== 'ENOENT') throw e; }
    return entries.flatMap((x) => (x.isDirectory() ? filesBelow(folder, path.join(sub, x.name)) : x.isFile() ? [path.join(sub, x.name)] : []));
}

export const du = (file) => fs.statSync(local(file)).blocks * 512;
// A fixed VHD read as raw with an explicit size, never probed (its footer would become a sector too many).
export const rawImage = (file, size) => `json:${JSON.stringify({ driver: 'raw', size, file: { driver: 'file', filename: local(file) } })}`;
// A disk of a job, in the form that the job says.
export const diskImage = ({ path: file, format, virtual_size: size }) => ({
    vhd: () => rawImage(file, size), raw: () => rawImage(file, size),
    vhdx: () => `json:${JSON.stringify({ driver: 'vhdx', file: { driver: 'file', filename: local(file) } })}`,
    vhd_dynamic: () => `json:${JSON.stringify({ driver: 'vpc', force_size_calc: 'current_size', file: { driver: 'file', filename: local(file) } })}`,
})[format]();
export async function identical(a, b) {
    const r = await run('qemu-img', ['compare', ...[a, b].map((f) => (f.startsWith('json:') ? f : local(f)))], { timeout: 300_000 });
    if (r.code > 1) throw new Error(`qemu-img compare: ${r.stdout}${r.stderr}`);        // 1: they differ
    return r.code === 0 && /identical/.test(r.stdout);
}
export const imageInfo = async (file, ...args) => JSON.parse(await must('qemu-img', ['info', '--output=json', ...args, local(file)]));

// A small generator with a seed, so that a failure can be run again: mulberry32.
export function random(seed) {
    let a = seed >>> 0;
    return () => {
        a = (a + 0x6d2b79f5) >>> 0;
        let t = Math.imul(a ^ (a >>> 15), 1 | a);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
}
export const seed = Number(process.env.SEED ?? 20261123);
