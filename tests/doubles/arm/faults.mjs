// What goes wrong, on request. Rules are looked at for every request of every service; each says which requests it means and what happens (marks
// of sources: double.mjs):
//
//   { on: 'arm',                     service, or a list of them: arm, login, imds, arc, disk, storage (default: any)
//     operation: 'Disks_GrantAccess' its name, a RegExp over it, or a function of the exchange (default: any)
//     path: /regex/, method: 'POST'
//     after: 0, times: 1, every: 1   leave the first `after` alone; hit at most `times` (0: for ever); each `every`th
//     … and one of: }
//   delay: MS                        a slow answer (may stand beside another)
//   reset: true                      a TCP reset, and nothing is done
//   lost: true                       it is done, and then a TCP reset instead of the answer
//   cut: N                           the answer ends in a reset after N bytes of its body
//   status: 503 [, code, message, body, retryAfter, headers]
//                                    an answer instead of doing it. Without code and body: empty, as Azure's gateway was recorded [R].
//                                    429 gets the body and Retry-After of Compute throttling [R]; body: 'html' is a gateway's page
//   fail: { code, message [, status: 'Canceled'] }
//                                    (ARM) the operation is accepted and then ends Failed, told under HTTP 200 [R]
//   wrong: (body) => body            the answer's body is changed: proves that the checker sees it
//   revoke: true                     (disk) access has ended when this request comes (after so many bytes: DiskHost.endAt)
//   rate: BYTES                      (disk, storage) bytes a second for one answer
//   stall: N [, ms]                  (disk, storage) nothing for ms (default for ever) after N bytes
//   short: N                         (disk, storage) the connection ends in order after N bytes
//
// random({ seed, rate, on, kinds }) adds a rule that hits each request with this probability, with one of: 503, 500, 429, html, reset, lost,
// slow, cut. The same seed and the same sequence of requests give the same faults.

import { storageError } from './storage_error.mjs';

const one = (list) => (Array.isArray(list) ? list : [list]);
const pages = { html: '<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h2>Our services aren\'t available right now</h2></body></html>' };

export class Faults {
    constructor() { this.rules = []; }
    add(...rules) {
        for (const r of rules) this.rules.push({ after: 0, times: 1, every: 1, ...r, seen: 0, hits: 0 });
        return this.rules.at(-1);
    }
    clear() { this.rules = []; }

    random({ seed = 1, rate = 0.1, on, operation, kinds = ['503', '429', 'reset', 'lost', 'slow'], slow = 300, retryAfter = 1 }) {
        const make = {
            503: () => ({ status: 503 }), 500: () => ({ status: 500, code: 'InternalServerError', message: 'An internal execution error occurred.' }),
            429: () => ({ status: 429, retryAfter }), html: () => ({ status: 502, body: 'html' }), reset: () => ({ reset: true }),
            lost: () => ({ lost: true }), slow: () => ({ delay: slow }), cut: () => ({ cut: 10 }),
        };
        for (const k of kinds) if (!make[k]) throw new Error(`unknown kind of fault: ${k}`);
        let a = seed >>> 0;                          // mulberry32
        const next = () => {
            a = (a + 0x6d2b79f5) >>> 0;
            let t = Math.imul(a ^ (a >>> 15), 1 | a);
            t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
            return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
        };
        return this.add({ on, operation, times: 0, choose: () => (next() < rate ? make[kinds[Math.floor(next() * kinds.length)]]() : null) });
    }

    means(r, x) {
        if (r.on && !one(r.on).includes(x.service)) return false;
        if (r.method && r.method !== x.method) return false;
        if (r.path && !r.path.test(x.path)) return false;
        if (r.operation instanceof RegExp) return r.operation.test(x.operation);
        if (typeof r.operation === 'function') return r.operation(x);
        return !r.operation || r.operation === x.operation;
    }

    // { status: rule, delay: rule, … }: at most one rule of each kind.
    hits(x) {
        const hit = {};
        for (const r of this.rules) {
            if (!this.means(r, x)) continue;
            r.seen++;
            if (r.seen <= r.after || (r.seen - r.after - 1) % r.every || (r.times && r.hits >= r.times)) continue;
            const what = r.choose ? r.choose() : r;
            if (!what) continue;
            r.hits++;
            for (const k of ['delay', 'reset', 'lost', 'cut', 'status', 'fail', 'wrong', 'revoke', 'rate', 'stall', 'short'])
                if (what[k] !== undefined) hit[k] ??= what;
        }
        return hit;
    }

    answer(f, x) {
        const headers = { ...(f.retryAfter === undefined ? {} : { 'Retry-After': String(f.retryAfter) }), ...f.headers };
        if (f.body === 'html') return { status: f.status, headers: { 'Content-Type': 'text/html', ...headers }, body: pages.html };
        if (f.body !== undefined) return { status: f.status, headers, body: f.body };
        if (x.service === 'disk' || x.service === 'storage')
            return storageError(x, f.status, f.code ?? { 500: 'InternalError', 503: 'ServerBusy' }[f.status] ?? 'InternalError', { headers });
        if (f.status === 429 && !f.code) return throttled(x, { retryAfter: 1, ...f });
        if (!f.code) return { status: f.status, headers, body: undefined };
        return { status: f.status, headers, body: { error: { code: f.code, message: f.message ?? f.code } } };
    }
}

// Compute's own throttling, as it was recorded [R]; sign-in services and storage answer in their own ways.
export function throttled(x, { retryAfter, rule = 'HighCostGet30Min', allowed = 900, measured = 954, headers = {} }) {
    const wait = { 'Retry-After': String(retryAfter), ...headers };
    if (x.service === 'login')
        return { status: 429, headers: wait, body: { error: 'temporarily_unavailable', error_description: 'AADSTS90055: Too many requests.',
            error_codes: [90055] } };
    if (x.service !== 'arm') return { status: 429, headers: wait, body: { error: 'too_many_requests', error_description: 'Too many requests' } };
    const detail = JSON.stringify({ operationGroup: rule, startTime: new Date(Date.now() - 60_000).toISOString(), endTime: new Date().toISOString(),
        allowedRequestCount: allowed, measuredRequestCount: measured });
    return { status: 429, headers: wait,
        body: { error: { code: 'OperationNotAllowed',
        message: 'The server rejected the request because too many requests have been received for this subscription.',
        details: [{ code: 'TooManyRequests', target: rule, message: detail }], innererror: { internalErrorCode: 'TooManyRequestsReceived' } } } };
}
