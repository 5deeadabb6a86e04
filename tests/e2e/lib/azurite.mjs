// Microsoft's storage emulator on a free port, and Microsoft's SDK to fill it. Keys and names are made for each run.
import fs from 'node:fs';
import path from 'node:path';
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { planted, secret } from './secrets.mjs';
import { freePort, removeTemp, root, start, tempDir, waitFor } from './util.mjs';

const require = createRequire(import.meta.url);
const blob = require('@azure/storage-blob');

export const PAGE = 512;
const WRITE_MAX = 4 << 20;                           // Put Page takes 4 MiB

export class Azurite {
    static async start() {
        const a = new Azurite();
        a.dir = tempDir('azurite');
        a.account = 'devstoreaccount1';
        a.key = crypto.randomBytes(64).toString('base64');
        secret(a.key);
        a.port = await freePort();
        const main = path.join(root, 'tests/e2e/node_modules/azurite/dist/src/blob/main.js');
        a.child = start(process.execPath, [main, '--blobHost', '127.0.0.1', '--blobPort', String(a.port), '--location', a.dir,
            '--skipApiVersionCheck', '--silent', '--disableTelemetry'], { env: { ...process.env, AZURITE_ACCOUNTS: `${a.account}:${a.key}` } });
        let text = '', over = null;
        a.child.stdout.on('data', (d) => { text += d; });
        a.child.stderr.on('data', (d) => { text += d; });
        a.child.exited.then((r) => { over = r; });
        a.url = `http://127.0.0.1:${a.port}/${a.account}`;
        a.credential = new blob.StorageSharedKeyCredential(a.account, a.key);
        a.service = new blob.BlobServiceClient(a.url, a.credential, { retryOptions: { maxTries: 1 } });      // for the start; once it answers, a connection that it closed is tried again
        await waitFor(() => `Azurite answers: ${text}`, async () => {
            if (over) throw new Error(`Azurite ended: ${JSON.stringify(over)} ${text}`);
            try { await a.service.getAccountInfo(); return true; } catch (e) { return e.statusCode !== undefined; }
        }, { timeout: 60_000, interval: 200 });
        a.service = new blob.BlobServiceClient(a.url, a.credential, { retryOptions: { maxTries: 4, retryDelayInMs: 50 } });
        return a;
    }

    async container(name, access) {
        const c = this.service.getContainerClient(name);
        await c.createIfNotExists(access ? { access } : {});
        return c;
    }

    // `file` as a page blob of which only the pages that hold something are written. Returns { url, pages: bytes in use }.
    async uploadPages(container, name, file) {
        const c = await this.container(container);
        const size = fs.statSync(file).size;
        const client = c.getPageBlobClient(name);
        await client.create(size);
        const fd = fs.openSync(file, 'r');
        const buffer = Buffer.alloc(WRITE_MAX);
        const zero = Buffer.alloc(PAGE);
        let used = 0;
        try {
            for (let at = 0; at < size; at += WRITE_MAX) {
                const n = fs.readSync(fd, buffer, 0, Math.min(WRITE_MAX, size - at), at);
                for (let from = 0; from < n;) {
                    if (buffer.compare(zero, 0, PAGE, from, from + PAGE) === 0) { from += PAGE; continue; }
                    let to = from + PAGE;
                    while (to < n && buffer.compare(zero, 0, PAGE, to, to + PAGE) !== 0) to += PAGE;
                    await client.uploadPages(Buffer.from(buffer.subarray(from, to)), at + from, to - from);
                    used += to - from;
                    from = to;
                }
            }
        } finally {
            fs.closeSync(fd);
        }
        return { url: client.url, pages: used, client };
    }

    async uploadBlock(container, name, file) {
        const client = (await this.container(container)).getBlockBlobClient(name);
        await client.uploadFile(file, { blockSize: 8 << 20 });
        return { url: client.url, client };
    }

    // A SAS for one blob; `expires` in seconds from now (negative: it is over).
    sas(container, name, { permissions = 'r', expires = 3600, starts = -7200 } = {}) {
        const at = (s) => new Date(Date.now() + s * 1000);
        const sas = blob.generateBlobSASQueryParameters({
            containerName: container, blobName: name, permissions: blob.BlobSASPermissions.parse(permissions),
            startsOn: at(starts), expiresOn: at(expires), protocol: blob.SASProtocol.HttpsAndHttp,
        }, this.credential).toString();
        planted(sas);
        return sas;
    }
    sasUrl(container, name, options) {
        return `${this.url}/${container}/${encodeURIComponent(name)}?${this.sas(container, name, options)}`;
    }

    async stop() {
        this.child.kill('SIGTERM');
        const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
        await this.child.exited;
        clearTimeout(timer);
        removeTemp(this.dir);
    }
}
