// The hosts behind a disk's SAS (md-….blob.storage.azure.net): a proxy in front of the storage emulator that lets through what such hosts do,
// for as long as the access lasts. Marks of sources: double.mjs.
//
// SAS without se=, a stored policy instead; snapshot= inside the signature of an incremental snapshot [R, I]. A bearer token beside the SAS in the
// mode AzureActiveDirectory, with the recorded challenge [R]. Disks closed to the internet answer 403 [I]. HEAD, ranges and page ranges alone, no
// condition headers, the diff of page ranges by header only [A, I]; x-ms-version of the SAS [R]. Page lists begin with a byte order mark [R]. Words
// of an expired SAS [I], of one whose policy is gone [M]. 60 MiB a second and disk when `rate` says so [D]. What such a host answers to a
// condition header is not known: here it is 400, so that a test sees one.
import crypto from 'node:crypto';
import { relay, sleep } from './service.mjs';
import { signed, whole } from './storage_client.mjs';
import { storageError } from './storage_error.mjs';
import { isDisk } from './tokens.mjs';

const CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'x-ms-if-sequence-number-eq',
    'x-ms-if-tags'];
const PASS = ['range', 'x-ms-range', 'x-ms-range-get-content-md5'];
const BACK = ['content-length', 'content-range', 'content-type', 'content-md5', 'etag', 'last-modified', 'accept-ranges', 'x-ms-blob-type',
    'x-ms-blob-content-length', 'x-ms-blob-sequence-number'];
export const DISK_RATE = 60 << 20;                   // bytes a second of one disk

export class DiskHost {
    constructor(double, options = {}) {
        this.double = double;
        this.options = {
            rate: 0,                                 // bytes a second of each disk, over all connections; DISK_RATE is Azure's
            privateNetwork: false,                   // this host is inside: disks that refuse the internet answer
            challenge: 401,                          // or 403: what a missing bearer token is answered with
            hosts: 2,                                // ports in use, in turn: a new SAS may be at another host
            ...options,
        };
        this.counts = { requests: 0, bytes: 0, conditions: 0, uninvited: 0, refused: 0 };
        this.turn = 0;
        this.points = new Map();                     // record → bytes at which its access ends
    }

    // Access to this disk or snapshot ends when so many bytes of it have been sent in all (a list: once for each). The answer that crosses
    // the point breaks off.
    endAt(record, ...points) { this.points.set(record, points.sort((a, b) => a - b)); }

    sas(g, origin, guest = false) {
        const r = g.record;
        g.port ??= this.double.disk.service.ports[this.turn++ % this.double.disk.service.ports.length];
        const incremental = r.type === 'snapshots' && r.incremental;
        const snapshot = incremental ? `snapshot=${encodeURIComponent(`${r.created.toISOString().slice(0, -1)}0000Z`)}&` : '';
        g.query ??= `${snapshot}sv=${incremental ? '2018-11-09&sr=bs' : '2018-03-28&sr=b'}&si=${g.si}&sig=${encodeURIComponent(g.sig)}`;
        const base = /^https:/.test(origin) && this.double.disk.service.tlsUrl ? this.double.disk.service.tlsUrl : `http://127.0.0.1:${g.port}`;
        return `${base}/${g.path}${guest ? '_vmgs' : ''}?${g.query}`;
    }

    operation(x) {
        if (x.method === 'HEAD') return 'Disk_Head';
        if (x.method !== 'GET') return 'Disk_Other';
        return x.query.get('comp') === 'pagelist' ? 'Disk_PageRanges' : 'Disk_Get';
    }

    async handle(x) {
        this.counts.requests++;
        x.res.setHeader('x-ms-request-id', crypto.randomUUID());
        x.res.setHeader('Server', 'Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0');
        const g = this.double.world.grants.get(x.query.get('si') ?? '');
        if (g) x.res.setHeader('x-ms-version', x.query.get('sv') ?? '');
        if (g && x.hits.revoke) this.double.world.end(g.record);
        const refused = this.refuse(x, g);
        if (refused) {
            this.counts.refused++;
            return refused;
        }
        return this.send(x, g);
    }

    refuse(x, g) {
        if (!x.query.has('sig')) return storageError(x, 404, 'ResourceNotFound');
        const wrong = (detail) => storageError(x, 403, 'AuthenticationFailed', { detail });
        if (!g || x.query.get('sig') !== g.sig || ![`/${g.path}`, ...(g.guest ? [`/${g.path}_vmgs`] : [])].includes(x.path))
            return wrong('Signature did not match.');
        if (!x.uri.search.slice(1).startsWith(g.query)) {
            this.double.problem('sas', x, 'the query of a disk SAS was changed: it must be kept as it came');
            return wrong('Signature did not match.');
        }
        this.double.world.activeGrant(g.record);
        if (g.ended === 'expired')
            return wrong(`Signature not valid in the specified time frame: Start [${new Date(g.startedAt).toUTCString()}] - Expiry [${new Date(g.expiresAt).toUTCString()}] - Current [${new Date().toUTCString()}]`);
        if (g.ended) return wrong('SAS identifier cannot be found for specified signed identifier');
        const r = g.record;
        if ((r.networkAccessPolicy !== 'AllowAll' || r.publicNetworkAccess === 'Disabled') && !this.options.privateNetwork)
            return storageError(x, 403, 'AuthorizationFailure');
        if (r.dataAccessAuthMode === 'AzureActiveDirectory') {
            const { token, why } = this.double.tokens.check(x.headers.authorization, isDisk);
            if (why)
                return storageError(x, this.options.challenge, 'InvalidAuthenticationInfo', { headers: { 'WWW-Authenticate':
                    `Bearer authorization_uri=https://login.microsoftonline.com/${[...this.double.world.subscriptions.values()][0]?.tenant}/oauth2/authorize resource_id=https://disk.compute.azure.com/` } });
            if (this.double.arm.denied(token.identity, `Microsoft.Compute/${r.type}/download/action`))
                return storageError(x, 403, 'AuthorizationPermissionMismatch');
        } else if (x.headers.authorization)
            this.counts.uninvited++;
        if (CONDITIONS.some((h) => x.headers[h] !== undefined)) {
            this.counts.conditions++;
            return storageError(x, 400, 'ConditionHeadersNotSupported');
        }
        if (x.operation === 'Disk_Other') return storageError(x, 405, 'UnsupportedHttpVerb', { headers: { Allow: 'GET,HEAD' } });
        if (x.query.has('prevsnapshot')) return storageError(x, 400, 'InvalidQueryParameterValue');
        if (x.query.has('comp') && x.query.get('comp') !== 'pagelist') return storageError(x, 400, 'UnsupportedQueryParameter');
        return null;
    }

    async send(x, g) {
        const r = g.record;
        await r.ready;
        const content = x.path.endsWith('_vmgs') ? r.guestState : r.content;
        if (!content) {
            this.double.problem('content', x, `${r.name} has no content`);
            return storageError(x, 404, 'ResourceNotFound');
        }
        const headers = {};
        for (const h of PASS) if (x.headers[h] !== undefined) headers[h] = x.headers[h];
        const list = x.operation === 'Disk_PageRanges' ? `${content.url.includes('?') ? '&' : '?'}comp=pagelist` : '';
        const from = await signed(this.double.storage, x.method, content.url + list, { headers });
        for (const h of BACK) if (from.headers[h] !== undefined) x.res.setHeader(h, from.headers[h]);
        if (from.headers['x-ms-error-code']) x.res.setHeader('x-ms-error-code', from.headers['x-ms-error-code']);
        x.status = from.statusCode;
        x.answer = { headers: { ...from.headers } };
        if (x.operation === 'Disk_PageRanges' && from.statusCode === 200) {
            await this.list(x, from);
            return undefined;
        }
        x.res.writeHead(from.statusCode);
        if (x.method === 'HEAD') { from.resume(); x.res.end(); return undefined; }
        await this.pump(x, g, from);
        return undefined;
    }

    async list(x, from) {
        const xml = Buffer.concat([Buffer.from('\uFEFF'), await whole(from)]);
        x.sent = xml.length;
        x.res.setHeader('Content-Length', String(xml.length));
        x.res.writeHead(from.statusCode);
        x.res.end(xml);
    }

    pump(x, g, from) {
        const r = g.record;
        return relay(x, from, {
            // Bytes of this part that may still go out; fewer than all: the access ended here.
            allow: (n) => {
                const point = this.points.get(r)?.[0];
                if (point === undefined || r.sent + n < point) return n;
                this.points.get(r).shift();
                this.double.world.end(r);
                return Math.max(0, point - r.sent);
            },
            sent: (n) => {
                r.sent += n;
                g.sent += n;
                this.counts.bytes += n;
            },
            pace: (n) => (this.options.rate ? this.pace(r, n) : undefined),
        });
    }

    // All answers of one disk share its rate.
    async pace(r, bytes) {
        r.free = Math.max(r.free ?? 0, Date.now() - 100) + (bytes / this.options.rate) * 1000;
        await sleep(Math.max(0, r.free - Date.now()));
    }
}
