// One HTTP service of the double on loopback, plain and (when a certificate is given) TLS on a second port: reads bounded requests, keeps a
// record of every exchange, applies faults, writes answers. What is answered is for its handler to say.
//
// A handler gets the exchange and returns { status, headers, body } (an object becomes JSON, undefined is no body at all), or undefined
// when it wrote to x.res itself.
import http from 'node:http';
import https from 'node:https';

const BODY_MAX = 8 << 20;
const KEEP_MAX = 64 << 10;                           // bytes of a body that the record keeps

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Service {
    // name: "arm", "login", "imds" …; operation(x): what the request is called, for counting and for faults; handle(x): the answer
    constructor(double, name, { operation, handle, stream = () => false }) {
        Object.assign(this, { double, name, operation, handle, stream });
        this.servers = [];
        this.sockets = new Set();
    }

    async listen({ cert, key, ports = 1 } = {}) {
        const options = { keepAliveTimeout: 30_000, maxHeaderSize: 64 << 10, highWaterMark: 1 << 20 };
        const made = [];
        for (let i = 0; i < ports; i++) made.push(http.createServer(options, (req, res) => this.take(req, res, 'http')));
        if (cert) made.push(https.createServer({ ...options, cert, key }, (req, res) => this.take(req, res, 'https')));
        for (const s of made) {
            s.on('connection', (c) => { this.sockets.add(c); c.on('close', () => this.sockets.delete(c)); });
            s.on('clientError', (e, c) => c.destroy());
            await new Promise((done, fail) => { s.once('error', fail); s.listen(0, '127.0.0.1', done); });
            this.servers.push(s);
        }
        this.ports = made.slice(0, ports).map((s) => s.address().port);
        this.url = `http://127.0.0.1:${this.ports[0]}`;
        this.tlsUrl = cert ? `https://localhost:${made.at(-1).address().port}` : null;
    }

    async close() {
        const over = this.servers.map((s) => new Promise((done) => s.close(done)));
        for (const c of this.sockets) c.destroy();
        await Promise.all(over);
    }

    take(req, res, scheme) {
        const x = { n: ++this.double.serial, at: Date.now(), service: this.name, method: req.method, url: req.url, headers: req.headers, req, res,
            origin: `${scheme}://${req.headers.host ?? '127.0.0.1'}`, status: 0, injected: null, port: req.socket.localPort };
        this.double.keep(x);
        res.on('error', () => {});
        req.on('error', () => {});
        const closed = new Promise((over) => res.on('close', over)).then(() => { x.ms = Date.now() - x.at; });
        this.serve(x).catch((e) => {
            if (!res.destroyed && !res.headersSent && x.status === 0) this.double.problem('broken', x, e.stack);
            res.destroy();
        }).then(() => closed).then(() => { delete x.req; delete x.res; });     // the record is kept, the connection is not
    }

    async serve(x) {
        const { req, res } = x;
        try {
            x.uri = new URL(x.url, x.origin);
            x.path = x.uri.pathname;
            x.query = x.uri.searchParams;
        } catch {
            return this.write(x, { status: 400, headers: {}, body: 'Bad Request' });
        }
        if (x.path.startsWith('/_control/')) {
            this.double.exchanges.splice(this.double.exchanges.indexOf(x), 1);
            return this.write(x, await this.double.control(x, await read(req)));
        }
        x.operation = this.operation(x);
        this.double.count(x);
        x.hits = this.double.faults.hits(x);
        if (!this.stream(x)) {
            const raw = await read(req);
            if (raw === null) return this.write(x, { status: 413, headers: {}, body: undefined });
            x.raw = raw.toString('utf8');
            x.body = x.raw;
            if (/json/.test(req.headers['content-type'] ?? '') && raw.length)
                try { x.body = JSON.parse(x.raw); } catch { /* the handler says so */ }
        }
        const { delay, reset, status, lost } = x.hits;
        if (delay) await sleep(delay.delay);
        if (res.destroyed) return undefined;
        if (reset) { x.injected = 'reset'; return reset_(req); }
        if (status) {
            x.injected = 'status';
            const answer = this.double.faults.answer(status, x);
            return this.write(x, answer);
        }
        const answer = await this.handle(x);
        if (lost) { x.injected = 'lost'; x.lost = answer; return reset_(req); }
        return answer && this.write(x, answer);
    }

    write(x, { status, headers = {}, body }) {
        const { res } = x;
        if (x.hits?.wrong && body !== undefined) {
            const other = structuredClone(body);
            body = x.hits.wrong.wrong(other) ?? other;
        }
        const isJson = body !== undefined && typeof body !== 'string';
        const text = body === undefined ? '' : isJson ? JSON.stringify(body) : body;
        const all = { ...(isJson ? { 'Content-Type': 'application/json; charset=utf-8' } : {}), ...headers,
            'Content-Length': String(Buffer.byteLength(text)) };
        if (status === 204) delete all['Content-Length'];
        x.status = status;
        x.answer = { headers: all, body: text.length > KEEP_MAX ? text.slice(0, KEEP_MAX) : body };
        for (const [k, v] of Object.entries(all)) res.setHeader(k, v);
        const cut = x.hits?.cut;
        res.writeHead(status);
        if (cut) {
            x.injected = 'cut';
            res.write(text.slice(0, Math.min(cut.cut, Math.max(0, text.length - 1))));
            const { req } = x;                       // the record may have lost it by then
            setTimeout(() => reset_(req), 20);
        } else
            res.end(x.method === 'HEAD' || status === 204 ? undefined : text);
        this.double.answered(x);
    }
}

function drained(res) {
    return new Promise((done) => {
        const over = () => {
            res.off('drain', over);
            res.off('close', over);
            done();
        };
        res.on('drain', over);
        res.on('close', over);
    });
}

// Sends what `from` gives as the body of the answer, with the faults that hit this exchange. hooks: allow(n) → how many of the next n bytes
// go out (fewer: the connection is reset behind them), sent(n), pace(n): a promise to wait for.
export async function relay(x, from, hooks = {}) {
    const { res } = x, { cut, short, stall, rate } = x.hits;
    const stop = cut?.cut ?? short?.short ?? Infinity;
    const began = Date.now();
    let n = 0, stalled = false;
    for await (let part of from) {
        const allowed = hooks.allow?.(part.length) ?? part.length;
        const ends = allowed < part.length;
        part = part.subarray(0, Math.min(allowed, stop - n));
        if (stall && !stalled && n + part.length >= stall.stall) {
            stalled = true;
            await Promise.race([sleep(stall.ms ?? 2 ** 30), new Promise((over) => res.once('close', over))]);
        }
        if (res.destroyed) break;
        n += part.length;
        hooks.sent?.(part.length);
        if (!res.write(part)) await drained(res);
        if (rate) await sleep(Math.max(0, began + (n / rate.rate) * 1000 - Date.now()));
        await hooks.pace?.(part.length);
        if (ends || n >= stop) {
            x.injected = ends ? 'ended' : cut ? 'cut' : 'short';
            if (short) x.req.socket.end();
            else {
                const { req } = x;
                setTimeout(() => reset_(req), 10);
            }
            break;
        }
    }
    x.sent = n;
    from.destroy();
    if (!x.injected) res.end();
}

export function reset_(req) {
    if (req.socket.resetAndDestroy && !req.socket.encrypted) req.socket.resetAndDestroy();
    else req.socket.destroy();
}

async function read(req) {
    const parts = [];
    let n = 0;
    for await (const part of req) {
        n += part.length;
        if (n > BODY_MAX) return null;
        parts.push(part);
    }
    return Buffer.concat(parts);
}
