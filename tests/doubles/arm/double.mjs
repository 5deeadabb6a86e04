// The Azure double: sign-in, Azure Resource Manager, instance metadata, Azure Arc, the hosts of disk data and a storage account, on free ports of
// 127.0.0.1, one object that a test seeds, breaks and asks. What each part does, and where that is known from, stands at the top of its file:
// [R] recorded from the real service, [S] Microsoft's specifications, [D] its documentation, [A] the source of its clients (AzCopy, MSAL, azure-cli),
// [I] answers that users quoted in reports, [M] from memory, checked nowhere.
//
//   const azure = await AzureDouble.start({ storage: azurite, arcDir, tls });
//   azure.world     what exists: addSubscription, addDisk, addVm …, openGrants()          world.mjs
//   azure.faults    what goes wrong: add({ operation, status: 503 }), random({ seed, rate }), clear()     faults.mjs
//   azure.calls     how often each operation was asked for; azure.exchanges: all requests and answers
//   azure.login, azure.imds, azure.arc, azure.tokens, azure.operations, azure.disk (hosts of disk data), azure.account (storage)
//   await azure.assertClean()        throws when a request or an answer does not fit Microsoft's specifications, or was otherwise wrong
//   azure.assertNothingOpen()        throws when a disk is left in ActiveSAS
//   azure.assertPatient()            throws when somebody asked again before Retry-After was over (a daemon that was killed forgets what it was told)
//   azure.secrets()                  everything given out that must appear nowhere
//   azure.trace()                    what happened last, in lines
//
// As a program: `node double.mjs [--seed FILE]` prints its endpoints as one line of JSON and serves until SIGTERM. SEED: JSON as for the control
// call of the same name. Control, on the ARM port (no token, never subject to faults): GET /_control/state; POST /_control/faults (a list of rules
// replaces all; `path` and `operation` may be { "regex": … }), /_control/seed, /_control/expire_tokens, /_control/revoke_tokens, /_control/approve
// (text: the user code), /_control/decline, /_control/end (text: the id of a disk whose access ends), GET /_control/problems and
// /_control/exchanges.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Arm } from './arm.mjs';
import { DiskHost } from './disk_host.mjs';
import { Faults } from './faults.mjs';
import { Login } from './login.mjs';
import { Arc, Imds } from './metadata.mjs';
import { Operations } from './operations.mjs';
import { Service } from './service.mjs';
import { StorageAccount } from './storage_account.mjs';
import { Tokens } from './tokens.mjs';
import { World } from './world.mjs';

const KEEP = 50_000;                                 // exchanges that are remembered

export class AzureDouble {
    // storage: the emulator { url, account, key }; arcDir: folder of challenge files; tls: { cert, key } (PEM);
    // world, arm, login, imds, disk, account, tokens, operations: options of the parts; check: false leaves Microsoft's checker out
    static async start({ storage = null, arcDir, tls, check = true, ...options } = {}) {
        const d = new AzureDouble();
        d.serial = 0;
        d.exchanges = [];
        d.problems = [];                             // what was wrong with requests, answers, or the double itself
        d.impatient = [];                            // who came earlier than Retry-After allows
        d.calls = {};
        d.made = [];                                 // disks and snapshots, in order
        d.storage = storage;
        d.world = new World(options.world);
        d.faults = new Faults();
        d.tokens = new Tokens(options.tokens);
        d.operations = new Operations(d, options.operations);
        d.arm = new Arm(d, options.arm);
        d.login = new Login(d, options.login);
        d.imds = new Imds(d, options.imds);
        d.ownArcDir = !arcDir;
        d.arcDir = arcDir ?? fs.mkdtempSync(path.join(os.tmpdir(), 'azure-arc-'));
        d.arc = new Arc(d, { dir: d.arcDir });
        d.disk = new DiskHost(d, options.disk);
        d.account = new StorageAccount(d, options.account);
        d.services = [];
        for (const [name, part, how] of [['arm', d.arm, { ...tls }], ['login', d.login, { ...tls }], ['imds', d.imds, {}], ['arc', d.arc, {}],
            ['disk', d.disk, { ...tls, ports: d.disk.options.hosts, stream: true }],
            ['storage', d.account, { ...tls, stream: true }]]) {
            const s = new Service(d, name, { operation: (x) => part.operation(x), handle: (x) => part.handle(x), stream: () => Boolean(how.stream) });
            await s.listen(how);
            Object.assign(part, { url: s.url, tlsUrl: s.tlsUrl, service: s });
            d.services.push(s);
        }
        if (check) {
            const { Checker } = await import('./check.mjs');
            d.checker = await Checker.open(d);
        }
        return d;
    }

    keep(x) {
        this.exchanges.push(x);
        if (this.exchanges.length > KEEP) this.exchanges.splice(0, KEEP / 10);
    }
    // The last exchanges, a line each, without queries: for the message of a test that fails.
    trace(n = 60) {
        return this.exchanges.slice(-n).map((x) =>
            `#${x.n} ${new Date(x.at).toISOString().slice(11, 23)} ${x.service} ${x.method} ${x.operation} ${x.path?.split('/').slice(-3).join('/')} ${x.injected ?? ''} ${x.status} ${x.ms ?? '…'} ms`).join('\n');
    }

    count(x) { this.calls[x.operation] = (this.calls[x.operation] ?? 0) + 1; }
    problem(kind, x, text) { this.problems.push({ kind, n: x?.n, operation: x?.operation, text }); }
    answered(x) { if (x.operation) this.checker?.look(x); }

    remove(record) {
        const { world } = this;
        for (const all of [world.vms, world.disks, world.snapshots])
            for (const [k, v] of all) if (v === record) all.delete(k);
        record.deletedAt = Date.now();
        world.deleted.push(record);
    }

    // Configuration of the daemon, as its keys are named.
    config() {
        return { cloud: 'custom', arm_endpoint: this.arm.url, login_endpoint: this.login.url, imds_endpoint: this.imds.url,
            arc_endpoint: this.arc.url, arc_token_dir: this.arcDir,
            blob_suffix: '127.0.0.1', disk_sas_suffix: '127.0.0.1' };
    }

    async assertClean() {
        await this.checker?.settled();
        if (!this.problems.length) return;
        const text = this.problems.slice(0, 20).map((p) => `  ${p.kind} #${p.n ?? '-'} ${p.operation ?? ''}: ${p.text}`).join('\n');
        throw new Error(`${this.problems.length} problem(s) at the Azure double:\n${text}`);
    }
    assertNothingOpen() {
        const open = this.world.openGrants();
        if (open.length) throw new Error(`access is still granted to ${open.map((r) => `${r.type}/${r.name}`).join(', ')}`);
    }
    assertPatient() {
        if (this.impatient.length)
            throw new Error(`${this.impatient.length} request(s) came before their Retry-After: ${JSON.stringify(this.impatient.slice(0, 5))}`);
    }

    secrets() {
        const list = new Set([...this.tokens.all.keys(), ...this.login.refresh.keys(), ...this.login.codes.keys(), ...this.arc.challenges.keys()]);
        for (const g of this.world.grants.values()) { list.add(g.sig); list.add(encodeURIComponent(g.sig)); }
        for (const a of this.login.apps.values()) for (const s of a.secrets) list.add(s);
        for (const t of this.login.proofs) list.add(t);
        return [...list];
    }

    state() {
        const of = (r) => ({ id: this.world.id(r), state: r.type === 'virtualMachines' ? r.power : this.world.state(r), counts: r.counts,
            sent: r.sent, tags: r.tags });
        return { calls: this.calls, tokens: this.tokens.given, vms: [...this.world.vms.values()].map(of),
            disks: [...this.world.disks.values()].map(of), snapshots: [...this.world.snapshots.values()].map(of),
            made: this.made.length, deleted: this.world.deleted.map(of), problems: this.problems, impatient: this.impatient, login: this.login.counts,
            imds: this.imds.counts, arc: this.arc.counts, disk: this.disk.counts,
            codes: [...this.login.codes.values()].map((c) => ({ user_code: c.userCode, state: c.state })) };
    }

    // { subscriptions: [{ id, tenant, name }], vms: [{ …, disks: [{ name, … }] }], disks: [], apps: [], identities: [] }
    seed(o) {
        const subs = (o.subscriptions ?? []).map((s) => this.world.addSubscription(s));
        const at = (v) => ({ subscription: v.subscription ?? subs[0]?.id ?? [...this.world.subscriptions.keys()][0], group: v.group ?? 'rg-test' });
        for (const d of o.disks ?? []) this.world.addDisk({ ...at(d), ...d });
        for (const v of o.vms ?? [])
            this.world.addVm({ ...at(v), ...v,
                disks: (v.disks ?? []).map((d, i) => (d.vhd ? d : { lun: d.lun, record: this.world.addDisk({ ...at(v), location: v.location,
                os: i === 0 ? v.os ?? 'Linux' : null, generation: v.generation ?? 2, ...d }) })) });
        for (const a of o.apps ?? []) this.login.addApp(a);
        for (const i of o.identities ?? []) this.imds.addIdentity(i);
        if (o.arc)
            this.arc.identity = { name: 'arc', clientId: 'bbbbbbbb-0000-4000-8000-000000000001', objectId: 'bbbbbbbb-0000-4000-8000-000000000002',
            ...o.arc };
        if (o.options) for (const [part, options] of Object.entries(o.options)) Object.assign(this[part].options ?? this[part], options);
    }

    async control(x, raw) {
        const what = x.path.slice('/_control/'.length), text = raw.toString();
        const done = { status: 200, body: {} };
        try {
            if (what === 'state') { await this.checker?.settled(); return { status: 200, body: this.state() }; }
            if (what === 'problems') { await this.checker?.settled(); return { status: 200, body: this.problems }; }
            if (what === 'exchanges')
                return { status: 200, body: this.exchanges.map(({ n, at, service, method, url, operation, status, injected, ms }) =>
                    ({ n, at, service, method, url, operation, status, injected, ms })) };
            if (x.method !== 'POST') throw new Error(`unknown control: ${what}`);
            if (what === 'faults') {
                this.faults.clear();
                for (const r of JSON.parse(text || '[]'))
                    if (r.random) this.faults.random(r.random);
                    else this.faults.add(Object.fromEntries(Object.entries(r).map(([k, v]) => [k, v?.regex ? new RegExp(v.regex) : v])));
            } else if (what === 'seed') this.seed(JSON.parse(text));
            else if (what === 'expire_tokens') this.tokens.expireAll();
            else if (what === 'revoke_tokens') this.tokens.revokeAll();
            else if (what === 'approve') this.login.approve(text.trim());
            else if (what === 'decline') this.login.decline(text.trim());
            else if (what === 'end') this.world.end(this.world.byId(text.trim()));
            else throw new Error(`unknown control: ${what}`);
            return done;
        } catch (e) {
            return { status: 400, body: { error: e.message } };
        }
    }

    async stop() {
        await this.operations.stop();
        this.account.stop();
        await Promise.all(this.services.map((s) => s.close()));
        if (this.ownArcDir) fs.rmSync(this.arcDir, { recursive: true, force: true });
    }
}

async function main() {
    const at = process.argv.indexOf('--seed');
    const d = await AzureDouble.start({ check: !process.argv.includes('--no-check') });
    if (at > 0) d.seed(JSON.parse(fs.readFileSync(process.argv[at + 1], 'utf8')));
    process.stdout.write(`${JSON.stringify(d.config())}\n`);
    const over = async () => {
        await d.stop();
        process.exit(0);
    };
    process.on('SIGTERM', over);
    process.on('SIGINT', over);
}
if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
