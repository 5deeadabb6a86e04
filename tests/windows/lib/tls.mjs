// Private CAs, certificates, and an https front before a plain server, which counts what it sends.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { must } from '../../e2e/lib/util.mjs';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

// A CA in `dir`; its certificate is ca.file.
export async function makeCa(dir, name) {
    const file = path.join(dir, `${name}.pem`), key = path.join(dir, `${name}.key`);
    await must('openssl', ['req', '-x509', ...KEY, '-keyout', key, '-out', file, '-days', '2', '-subj', `/CN=${name}`]);
    return { dir, name, file, key };
}

// A certificate for a host, from a CA; with days < 0 it is over.
export async function issue(ca, host, days = 2) {
    const base = path.join(ca.dir, `${ca.name}-${host}-${days}`);
    fs.writeFileSync(`${base}.ext`, `subjectAltName=DNS:${host}\nextendedKeyUsage=serverAuth\n`);
    await must('openssl', ['req', ...KEY, '-keyout', `${base}.key`, '-out', `${base}.csr`, '-subj', `/CN=${host}`]);
    await must('openssl', ['x509', '-req', '-in', `${base}.csr`, '-CA', ca.file, '-CAkey', ca.key, '-days', String(days), '-extfile', `${base}.ext`, '-out', `${base}.pem`]);
    return { cert: fs.readFileSync(`${base}.pem`), key: fs.readFileSync(`${base}.key`) };
}

export class Front {
    // In front of http://127.0.0.1:port; with a certificate it speaks https, as localhost.
    static async start(port, certificate) {
        const f = new Front();
        f.sent = 0;                                  // bytes of blobs, lists of pages not counted
        f.requests = 0;
        f.sockets = new Set();
        const serve = (rq, rs) => {
            f.requests++;
            const forward = http.request({ host: '127.0.0.1', port, method: rq.method, path: rq.url, headers: rq.headers }, (answer) => {
                rs.writeHead(answer.statusCode, answer.headers);
                if (rq.method === 'GET' && !/comp=/.test(rq.url)) answer.on('data', (d) => { f.sent += d.length; });
                answer.pipe(rs);
            });
            forward.on('error', () => rs.destroy());
            rs.on('close', () => forward.destroy());
            rq.pipe(forward);
        };
        f.server = certificate ? https.createServer(certificate, serve) : http.createServer(serve);
        f.server.on('connection', (s) => { f.sockets.add(s); s.on('close', () => f.sockets.delete(s)); });
        await new Promise((r) => f.server.listen(0, '127.0.0.1', r));
        f.url = `${certificate ? 'https://localhost' : 'http://127.0.0.1'}:${f.server.address().port}`;
        return f;
    }
    // The same blob behind this front.
    of(url) { return url.replace(/^http:\/\/[^/]+/, this.url); }
    stop() {
        for (const s of this.sockets) s.destroy();
        return new Promise((r) => this.server.close(r));
    }
}
