// The fault server (tests/doubles/blob_server.mjs) as a child; its options and faults are described there.
import path from 'node:path';
import { planted } from './secrets.mjs';
import { root, start, waitFor } from './util.mjs';

export class BlobServer {
    static async start(...options) {
        const s = new BlobServer();
        options.forEach(planted);
        s.child = start(process.execPath, [path.join(root, 'tests/doubles/blob_server.mjs'), ...options]);
        let out = '', err = '', over = null;
        s.child.stdout.on('data', (d) => { out += d; });
        s.child.stderr.on('data', (d) => { err += d; });
        s.child.exited.then((r) => { over = r; });
        s.port = Number(await waitFor(() => `the blob server's port: ${err}`, () => {
            if (over) throw new Error(`the blob server ended: ${JSON.stringify(over)} ${err}`);
            return out.match(/^(\d+)\n/)?.[1];
        }, { interval: 30, timeout: 20_000 }));
        const at = options.indexOf('--path');
        s.base = `http://127.0.0.1:${s.port}`;
        s.url = s.base + (at < 0 ? '/vhds/disk.vhd' : options[at + 1]);
        return s;
    }
    async control(what, body) {
        const r = await fetch(`${this.base}/_control/${what}`, { method: 'POST', body });
        if (!r.ok) throw new Error(`blob server: ${what}: ${r.status} ${await r.text()}`);
    }
    faults(...specs) { return this.control('faults', specs.join('\n')); }
    reset() { return this.control('reset'); }
    async stats() { return (await fetch(`${this.base}/_control/stats`)).json(); }
    async stop() {
        this.child.kill('SIGTERM');
        const timer = setTimeout(() => this.child.kill('SIGKILL'), 3000);
        await this.child.exited;
        clearTimeout(timer);
    }
}
