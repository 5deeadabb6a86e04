// The API as a client sees it. Every exchange goes past the judge (openapi.mjs).
import http from 'node:http';
import assert from 'node:assert/strict';
import { Judge } from './openapi.mjs';
import { planted, seen } from './secrets.mjs';
import { slow, waitFor } from './util.mjs';

const isFinal = (state) => ['succeeded', 'failed', 'cancelled'].includes(state);

export class Api {
    constructor(address, token) {
        [this.host, this.port] = address.split(/:(?=\d+$)/);
        this.token = token;
        this.judge = null;
    }

    // One exchange, unjudged: { status, headers, body, text, json }. What it says is searched for secrets in the end (secrets.mjs), but for the
    // name of a member that is not known: that is the client's own word.
    async exchange(options) {
        planted(options.path);
        const r = await this.perform(options);
        if (options.path !== '/v1/openapi.json') seen(`the reply to ${options.method ?? 'GET'} ${options.path.split('?')[0]}`,
            `${JSON.stringify(r.headers)} ${r.status === 400 ? r.text.replace(/"field":"[^"]*"/, '') : r.text}`);
        return r;
    }
    perform({ method = 'GET', path, headers = {}, body, token = this.token, timeout = 120_000 * slow }) {
        return new Promise((resolve, reject) => {
            const rq = http.request({
                host: this.host, port: this.port, method, path, agent: false, setHost: !('host' in headers),
                headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
            });
            rq.setTimeout(timeout, () => rq.destroy(new Error(`no answer to ${method} ${path} in ${timeout} ms`)));
            let answered = false;
            rq.on('response', (rs) => {
                answered = true;
                const parts = [];
                rs.on('data', (d) => parts.push(d));
                rs.on('error', reject);
                rs.on('end', () => {
                    const buffer = Buffer.concat(parts);
                    const text = buffer.toString('utf8');
                    let json;
                    if (/json/.test(rs.headers['content-type'] ?? '') && method !== 'HEAD')
                        try { json = JSON.parse(text); } catch { reject(new Error(`${method} ${path}: the body is no JSON: ${text}`)); return; }
                    resolve({ status: rs.statusCode, headers: rs.headers, body: buffer, text, json });
                });
            });
            rq.on('error', (e) => { if (!answered) reject(e); });       // a refused body may be cut off after the answer
            rq.end(body);
        });
    }

    async learn() {
        const document = await this.exchange({ path: '/v1/openapi.json' });
        assert.equal(document.status, 200, document.text);
        this.judge = await Judge.create(document.json);
        return document.json;
    }

    async request(options) {
        const { json, ...rest } = options;
        if (json !== undefined) {
            planted(json);
            rest.body = Buffer.from(JSON.stringify(json));
            rest.headers = { 'content-type': 'application/json', ...rest.headers };
        }
        if (rest.body !== undefined && rest.headers?.['transfer-encoding'] === undefined)
            rest.headers = { 'content-length': Buffer.byteLength(rest.body), ...rest.headers };
        const response = await this.exchange(rest);
        if (!this.judge) await this.learn();
        this.judge.check({ method: 'GET', headers: {}, ...rest }, response);
        return response;
    }

    // The answer's JSON, when the status is the expected one.
    async expect(status, options) {
        const r = await this.request(options);
        assert.equal(r.status, status, `${options.method ?? 'GET'} ${options.path}: ${r.text}`);
        return r.json ?? r;
    }
    get(path) { return this.expect(200, { path }); }
    post(path, json, status = 202) { return this.expect(status, { method: 'POST', path, ...(json === undefined ? {} : { json }) }); }
    put(path, json, status) { return this.expect(status, { method: 'PUT', path, json }); }
    del(path, status) { return this.expect(status, { method: 'DELETE', path }); }

    submit(job) { return this.post('/v1/jobs', job, 201); }
    job(id) { return this.get(`/v1/jobs/${id}`); }

    // Until the job is in one of the states; a final state that was not asked for is an error with the job's own words.
    async waitJob(id, states = 'succeeded', { timeout = 120_000, interval = 150 } = {}) {
        const wanted = [states].flat();
        let job;
        return waitFor(() => `job ${id} is ${wanted}; it is ${JSON.stringify(job, null, 1)}`, async () => {
            job = await this.job(id);
            if (wanted.includes(job.state)) return job;
            if (isFinal(job.state)) throw new Error(`job ${id} ended as ${job.state}, not ${wanted}: ${JSON.stringify(job.tasks, null, 1)}`);
            return null;
        }, { timeout, interval });
    }
    async waitTask(id, kind, test, options) {
        let task;
        return waitFor(() => `task ${kind} of ${id}: ${JSON.stringify(task)}`, async () => {
            const job = await this.job(id);
            task = job.tasks.find((t) => t.kind === kind);
            return task && test(task, job) ? job : null;
        }, { interval: 50, ...options });
    }
    async deleteJob(id, disks = 'delete') {
        await this.del(`/v1/jobs/${id}?disks=${disks}`, 202);
        await this.waitGone(id);
    }
    async waitGone(id) {
        await waitFor(`job ${id} is gone`, async () => (await this.request({ path: `/v1/jobs/${id}` })).status === 404, { timeout: 60_000 });
    }

    // ---- virtual machines ----
    async vms() {
        return (await this.get('/v1/vms')).vms;
    }
    async screenText(vm) {
        const r = await this.request({ path: `/v1/vms/${vm}/screen`, headers: { accept: 'text/plain' } });
        return r.status === 200 ? r.text : '';
    }
    async screenPng(vm) {
        const r = await this.request({ path: `/v1/vms/${vm}/screen` });
        assert.equal(r.status, 200, r.text);
        assert.equal(r.body.subarray(0, 8).toString('hex'), '89504e470d0a1a0a', 'a PNG');
        return r.body;
    }
    async waitScreen(vm, pattern, { timeout = 180_000 } = {}) {
        let text;
        return waitFor(() => `${pattern} on the screen:\n${text}`, async () => {
            text = await this.screenText(vm);
            return pattern.test(text) ? text : null;
        }, { timeout, interval: 500 });
    }
    async keys(vm, ...sequence) {
        const steps = sequence.map((s) => (typeof s === 'string' ? { text: s } : s));
        const r = await this.request({ method: 'POST', path: `/v1/vms/${vm}/keys`, json: { sequence: steps }, timeout: 600_000 * slow });
        assert.ok(r.status >= 200 && r.status < 300, r.text);
    }
}
