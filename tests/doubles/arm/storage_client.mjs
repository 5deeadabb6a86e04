// Requests of the double to the storage emulator behind it, with an account SAS or SharedKey of its own.
import crypto from 'node:crypto';
import http from 'node:http';

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

// Opens a request; resolves to the answer's stream. body: a Buffer, or nothing. A connection that was kept and is closed by now is no error.
export function ask(url, { method = 'GET', headers = {}, body } = {}) {
    const length = method === 'PUT' || method === 'POST' ? { 'Content-Length': String(body?.length ?? 0) } : {};
    return new Promise((done, fail) => {
        const once = () => {
            const req = http.request(url, { method, agent, headers: { ...headers, ...length } }, done);
            req.on('error', (e) => (req.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(e.code) ? once() : fail(e)));
            req.end(body);
        };
        once();
    });
}

export async function whole(stream) {
    const parts = [];
    for await (const part of stream) parts.push(part);
    return Buffer.concat(parts);
}

// SharedKey authorization, as the REST reference of Azure Storage tells it.
export function sharedKey(account, key, method, url, headers) {
    const h = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), String(v)]));
    const u = new URL(url);
    const length = h['content-length'] === '0' ? '' : h['content-length'] ?? '';
    const plain = ['content-encoding', 'content-language'].map((k) => h[k] ?? '').concat(length,
        ['content-md5', 'content-type'].map((k) => h[k] ?? ''), h['x-ms-date'] ? '' : h.date ?? '',
        ['if-modified-since', 'if-match', 'if-none-match', 'if-unmodified-since', 'range'].map((k) => h[k] ?? ''));
    const own = Object.keys(h).filter((k) => k.startsWith('x-ms-')).sort().map((k) => `${k}:${h[k].trim().replace(/\s+/g, ' ')}\n`).join('');
    const query = new Map();
    for (const [k, v] of u.searchParams) query.set(k.toLowerCase(), [...(query.get(k.toLowerCase()) ?? []), v]);
    const resource = `/${account}${u.pathname}${[...query.keys()].sort().map((k) => `\n${k}:${query.get(k).sort().join(',')}`).join('')}`;
    const text = `${[method, ...plain].join('\n')}\n${own}${resource}`;
    return `SharedKey ${account}:${crypto.createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64')}`;
}

export async function signed(storage, method, url, { headers = {}, body } = {}) {
    const all = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06', ...headers,
        ...(method === 'PUT' ? { 'Content-Length': String(body?.length ?? 0) } : {}) };
    all.Authorization = sharedKey(storage.account, storage.key, method, url, all);
    return ask(url, { method, headers: all, body });
}
