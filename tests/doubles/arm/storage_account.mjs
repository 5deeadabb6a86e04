// The user's storage account: the emulator, behind what it lacks. Everything passes through except
//   bearer tokens      checked here (audience and rights), then signed with the account's key: the emulator takes them over https alone
//   Copy Blob          from another host, such as a disk's SAS: done here, page by page, through that host's front door; the emulator copies
//                      inside itself only
//
// Marks of sources: double.mjs. Copy Blob answers 202 with x-ms-copy-id, HEAD tells x-ms-copy-status and -progress, the SAS must outlive the copy [D].
// Abort, 409 PendingCopyOperation, and what is said of a failed copy [M].
import crypto from 'node:crypto';
import { relay, sleep } from './service.mjs';
import { ask, sharedKey, signed, whole } from './storage_client.mjs';
import { storageError } from './storage_error.mjs';
import { isStorage } from './tokens.mjs';

const CHUNK = 4 << 20;                               // Put Page takes so much
const TRIES = 5;
const HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'proxy-connection']);

export class StorageAccount {
    // rate: bytes a second of a copy, 0: as fast as it goes
    constructor(double, options = {}) {
        this.double = double;
        this.options = { rate: 0, ...options };
        this.copies = new Map();                     // path of the blob → copy
        this.counts = { copies: 0, copied: 0 };
    }

    operation(x) {
        const comp = x.query.get('comp');
        if (x.method === 'PUT' && x.headers['x-ms-copy-source'] && !comp) return 'Storage_CopyBlob';
        if (x.method === 'PUT' && comp === 'copy') return 'Storage_AbortCopy';
        if (x.method === 'HEAD') return 'Storage_Head';
        if (x.method === 'GET' && comp === 'pagelist') return 'Storage_PageRanges';
        if (x.method === 'PUT' && comp === 'snapshot') return 'Storage_Snapshot';
        return x.method === 'GET' && !comp && !x.query.has('restype') ? 'Storage_Get' : 'Storage_Other';
    }

    get back() { return new URL(this.double.storage.url).origin; }

    async handle(x) {
        x.res.setHeader('x-ms-request-id', crypto.randomUUID());
        const headers = Object.fromEntries(Object.entries(x.headers).filter(([k]) => !HOP.has(k)));
        if (/^Bearer /.test(headers.authorization ?? '')) {
            const refused = this.bearer(x);
            if (refused) return refused;
            delete headers.authorization;
            headers['x-ms-date'] = new Date().toUTCString();
            headers.authorization = sharedKey(this.double.storage.account, this.double.storage.key, x.method, this.back + x.url, headers);
        }
        const copy = this.copies.get(x.path);
        if (x.operation === 'Storage_CopyBlob') return this.copy(x, headers);
        if (x.operation === 'Storage_AbortCopy') return this.abort(x, headers, copy);
        if (copy?.status === 'pending' && ['PUT', 'DELETE'].includes(x.method) && x.operation !== 'Storage_Snapshot')
            return storageError(x, 409, 'PendingCopyOperation');
        const from = await this.pass(x, headers);
        if (x.method === 'DELETE' && from.statusCode < 300) this.copies.delete(x.path);
        return this.answer(x, from, copy);
    }

    bearer(x) {
        const { token, why } = this.double.tokens.check(x.headers.authorization, isStorage);
        const challenge = { 'WWW-Authenticate': `Bearer authorization_uri=https://login.microsoftonline.com/${[...this.double.world.subscriptions.values()][0]?.tenant}/oauth2/authorize resource_id=https://storage.azure.com` };
        if (why) return storageError(x, 401, 'InvalidAuthenticationInfo', { headers: challenge });
        if (!(x.headers['x-ms-version'] >= '2017-11-09'))
            return storageError(x, 403, 'AuthenticationFailed', { detail: 'Authentication scheme Bearer is not supported in this version.' });
        const action = `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/${['GET', 'HEAD'].includes(x.method) ? 'read' : 'write'}`;
        return this.double.arm.denied(token.identity, action) ? storageError(x, 403, 'AuthorizationPermissionMismatch') : null;
    }

    async pass(x, headers) {
        const url = this.back + x.url;
        if (!headers['content-length'] || headers['content-length'] === '0') return ask(url, { method: x.method, headers });
        return ask(url, { method: x.method, headers, body: await whole(x.req) });
    }

    async answer(x, from, copy) {
        if (x.hits.lost) {                           // it is done, and nobody hears of it
            await whole(from);
            return undefined;
        }
        for (const [k, v] of Object.entries(from.headers)) if (!HOP.has(k)) x.res.setHeader(k, v);
        if (copy && ['GET', 'HEAD'].includes(x.method)) for (const [k, v] of Object.entries(this.told(copy))) x.res.setHeader(k, v);
        x.status = from.statusCode;
        x.answer = { headers: { ...from.headers } };
        x.res.writeHead(from.statusCode);
        if (x.method === 'HEAD') {
            from.resume();
            x.res.end();
        } else
            await relay(x, from);
    }

    told(c) {
        return { 'x-ms-copy-id': c.id, 'x-ms-copy-source': c.source.replace(/\?.*/, ''), 'x-ms-copy-status': c.status,
            'x-ms-copy-progress': `${c.done}/${c.total}`,
            ...(c.completed ? { 'x-ms-copy-completion-time': c.completed.toUTCString() } : {}),
            ...(c.description ? { 'x-ms-copy-status-description': c.description } : {}) };
    }

    // ---- copies ----

    async copy(x, headers) {
        const source = x.headers['x-ms-copy-source'];
        let host;
        try { ({ host } = new URL(source)); } catch { return storageError(x, 400, 'InvalidHeaderValue'); }
        // The emulator judges who asks; what it then says is that it does not know the source's host.
        const judged = await this.pass(x, headers);
        if (host === x.headers.host || judged.headers['x-ms-error-code'] !== 'CannotVerifyCopySource') return this.answer(x, judged);
        judged.resume();
        if (this.copies.get(x.path)?.status === 'pending') return storageError(x, 409, 'PendingCopyOperation');
        const at = await this.read(source, { method: 'HEAD' });
        if (at.status !== 200) return storageError(x, at.status >= 400 && at.status < 500 ? at.status : 500, 'CannotVerifyCopySource');
        const total = Number(at.headers['content-length']);
        const meta = Object.fromEntries(Object.entries(x.headers).filter(([k]) => k.startsWith('x-ms-meta-')));
        const only = x.headers['if-none-match'] ? { 'If-None-Match': x.headers['if-none-match'] } : {};
        const made = await signed(this.double.storage, 'PUT', this.back + x.path,
            { headers: { 'x-ms-blob-type': 'PageBlob', 'x-ms-blob-content-length': String(total), ...meta, ...only } });
        if (made.statusCode !== 201) return this.answer(x, made);
        made.resume();
        const c = { id: crypto.randomUUID(), source, path: x.path, status: 'pending', done: 0, total, started: new Date(), completed: null,
            description: '' };
        this.copies.set(x.path, c);
        this.counts.copies++;
        c.over = this.run(c).catch((e) => this.end(c, 'failed', `500 InternalError "${e.message}"`));
        return { status: 202, headers: { 'x-ms-version': x.headers['x-ms-version'] ?? '2021-08-06', ETag: made.headers.etag,
            'Last-Modified': made.headers['last-modified'], 'x-ms-copy-id': c.id, 'x-ms-copy-status': 'pending' }, body: undefined };
    }

    end(c, status, description = '') {
        if (c.status === 'pending') Object.assign(c, { status, description, completed: new Date() });
    }

    // A request to the source, tried again after what passes.
    async read(url, { method = 'GET', headers = {} } = {}) {
        for (let i = 1; ; i++) {
            try {
                const r = await ask(url, { method, headers: { 'User-Agent': 'azure-server-side-copy', 'x-ms-version': '2018-03-28', ...headers } });
                const body = method === 'HEAD' ? (r.resume(), null) : await whole(r);
                if (r.statusCode < 500 || i === TRIES) return { status: r.statusCode, headers: r.headers, body };
            } catch (e) {
                if (i === TRIES) return { status: 500, headers: {}, body: Buffer.from(e.message) };
            }
            await sleep(50 * i);
        }
    }

    async run(c) {
        const failed = (r) => this.end(c, 'failed',
            `${r.status} ${r.headers['x-ms-error-code'] ?? 'InternalError'} "Copy failed when reading the source."`);
        const list = await this.read(`${c.source}&comp=pagelist`);
        if (list.status !== 200) return failed(list);
        const ranges = [...list.body.toString().matchAll(/<PageRange><Start>(\d+)<\/Start><End>(\d+)<\/End><\/PageRange>/g)].map((m) => [Number(m[1]),
            Number(m[2]) + 1]);
        const began = Date.now();
        for (const [start, end] of ranges)
            for (let at = start; at < end && c.status === 'pending';) {
                const to = Math.min(at + CHUNK, end);
                const r = await this.read(c.source, { headers: { 'x-ms-range': `bytes=${at}-${to - 1}` } });
                if (r.status !== 206) return failed(r);
                if (c.status !== 'pending') return undefined;
                const put = await signed(this.double.storage, 'PUT', `${this.back}${c.path}?comp=page`,
                    { headers: { 'x-ms-page-write': 'update', 'x-ms-range': `bytes=${at}-${to - 1}` }, body: r.body });
                put.resume();
                if (put.statusCode !== 201)
                    return this.end(c, 'failed', `500 InternalError "Copy failed when writing the destination: ${put.statusCode}."`);
                this.counts.copied += to - at;
                c.done = to;
                if (this.options.rate) await sleep(Math.max(0, began + (c.done / this.options.rate) * 1000 - Date.now()));
                at = to;
            }
        c.done = c.total;
        this.end(c, 'success');
        return undefined;
    }

    async abort(x, headers, copy) {
        // whoever may not write may not abort: asked of the emulator, which knows no such copy
        const judged = await this.pass(x, headers);
        if ([401, 403].includes(judged.statusCode) || judged.headers['x-ms-error-code'] === 'AuthenticationFailed') return this.answer(x, judged);
        judged.resume();
        if (x.headers['x-ms-copy-action'] !== 'abort') return storageError(x, 400, 'InvalidHeaderValue');
        if (copy?.status !== 'pending' || x.query.get('copyid') !== copy.id) return storageError(x, 409, 'NoPendingCopyOperation');
        this.end(copy, 'aborted');
        const gone = await signed(this.double.storage, 'PUT', `${this.back}${x.path}`,
            { headers: { 'x-ms-blob-type': 'PageBlob', 'x-ms-blob-content-length': '0' } });
        gone.resume();                               // an aborted copy leaves a blob of no length
        return { status: 204, headers: { 'x-ms-version': x.headers['x-ms-version'] ?? '2021-08-06' }, body: undefined };
    }

    stop() { for (const c of this.copies.values()) this.end(c, 'aborted'); }
}
