// Event streams: they begin where asked, resume by Last-Event-ID without a gap or a repetition, and are limited.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { Daemon } from './lib/daemon.mjs';
import { test } from './lib/platform.mjs';
import { BlobServer } from './lib/blobserver.mjs';
import { sleep, waitFor } from './lib/util.mjs';

const MIB = 1 << 20;
let daemon, api;
before(async () => { daemon = await Daemon.start({ max_streams: 6 }); api = daemon.api; });
after(() => daemon?.stop());

class Stream {
    static async open(path = '/v1/events', { lastId, headers = {} } = {}) {
        const s = new Stream();
        s.events = [];
        s.text = '';
        s.ended = false;
        await new Promise((resolve, reject) => {
            s.request = http.get({ host: api.host, port: api.port, path, agent: false, headers: { authorization: `Bearer ${daemon.token}`,
                accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': String(lastId) }), ...headers } }, (rs) => {
                s.response = rs;
                rs.setEncoding('utf8').on('data', (d) => s.take(d)).on('end', () => { s.ended = true; }).on('error', () => { s.ended = true; });
                resolve();
            });
            s.request.on('error', (e) => { s.ended = true; reject(e); });
        });
        return s;
    }
    take(d) {
        this.text += d;
        for (let at; (at = this.text.indexOf('\n\n')) >= 0; this.text = this.text.slice(at + 2)) {
            const e = {};
            for (const line of this.text.slice(0, at).split('\n')) {
                const m = line.match(/^(id|event|data): ?(.*)$/);
                if (m) e[m[1]] = m[1] === 'data' ? (e.data ?? '') + m[2] : m[2];
                else assert.match(line, /^(:.*|retry: \d+)?$/, 'a line of the protocol');
            }
            if (e.data !== undefined) this.events.push({ ...e, data: JSON.parse(e.data) });
        }
    }
    lasting() { return this.events.filter((e) => e.event !== 'progress'); }
    close() { this.request.destroy(); }
}
const job = async () => (await api.submit({ disks: [{ source: { type: 'blank', size: MIB } }], until: 'download' })).id;
const page = async (path = '/v1/events', after = 0) => (await api.get(`${path}?after=${after}&limit=500`)).events;

test('what happens is told at once, in order, as the page tells it', async () => {
    const s = await Stream.open();
    try {
        assert.equal(s.response.statusCode, 200);
        assert.match(s.response.headers['content-type'], /^text\/event-stream/);
        assert.match(s.response.headers['cache-control'], /no-store|no-cache/);
        const id = await job();
        await api.waitJob(id);
        await waitFor('the end is told', () => s.lasting().some((e) => e.data.job_id === id && /succeeded/.test(JSON.stringify(e.data))), { timeout: 10_000 });
        await sleep(700);
        const all = await page();
        assert.deepEqual(s.lasting().map((e) => e.data), all);
        for (const e of s.lasting()) assert.deepEqual([Number(e.id), e.event], [e.data.id, e.data.type]);
        const ids = all.map((e) => e.id);
        assert.deepEqual(ids, [...ids].sort((a, b) => a - b));
        assert.equal(all[0].type, 'job_created');
        for (const e of all) assert.match(e.at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    } finally { s.close(); }
});

test('Last-Event-ID: nothing twice, nothing left out, also over a death of the daemon', async () => {
    await api.waitJob(await job());
    const all = await page();
    const middle = all[Math.floor(all.length / 2)].id;
    let s = await Stream.open('/v1/events', { lastId: middle });
    await waitFor('what was missed', () => s.lasting().length >= all.filter((e) => e.id > middle).length);
    assert.deepEqual(s.lasting().map((e) => e.data), all.filter((e) => e.id > middle));
    const last = s.lasting().at(-1).id;
    await daemon.kill9();
    await waitFor('the stream is over', () => s.ended);
    await daemon.restart();
    api = daemon.api;
    await api.waitJob(await job());
    s = await Stream.open('/v1/events', { lastId: last });
    try {
        const missed = await page('/v1/events', last);
        assert.ok(missed.length > 2);
        await waitFor('what was missed', () => s.lasting().length >= missed.length);
        assert.deepEqual(s.lasting().map((e) => e.data).slice(0, missed.length), missed);
    } finally { s.close(); }
});

test('?after= is where a stream without Last-Event-ID begins', async () => {
    const all = await page();
    const from = all.at(-3).id;
    const s = await Stream.open(`/v1/events?after=${from}`);
    try {
        await waitFor('two events', () => s.lasting().length >= 2);
        assert.deepEqual(s.lasting().map((e) => e.data), all.slice(-2));
    } finally { s.close(); }
});

test('a job\'s own stream: its events alone, its progress, and an end when it is deleted', async () => {
    const server = await BlobServer.start('--size', '16M', '--vhd', '--rate', String(MIB));
    try {
        const { id } = await api.submit({ disks: [{ source: { type: 'blob', url: server.url } }], until: 'download', max_bytes_per_second: 4 * MIB });
        const s = await Stream.open(`/v1/jobs/${id}/events`);
        await api.waitJob(await job());
        await api.waitJob(id);
        const progress = s.events.filter((e) => e.event === 'progress');
        assert.ok(progress.length >= 1 && progress.length <= 12, `${progress.length} progress messages`);
        for (const p of progress) {
            assert.equal(p.id, undefined, 'progress is not resumed');
            assert.equal(p.data.job_id, id);
            assert.equal(p.data.tasks[0].kind === 'download' || p.data.tasks[0].kind === 'preflight', true);
        }
        await api.del(`/v1/jobs/${id}?disks=delete`, 202);
        await waitFor('the stream ends by itself', () => s.ended);
        assert.equal(s.lasting().at(-1).event, 'job_deleted');
        assert.ok(s.lasting().slice(0, -1).every((e) => e.data.job_id === id));
    } finally { await server.stop(); }
});

test('streams are limited; one that ends makes room', async () => {
    const open = [];
    try {
        for (let i = 0; i < 6; i++) open.push(await Stream.open());
        assert.ok(open.every((s) => s.response.statusCode === 200));
        const refused = await api.request({ path: '/v1/events', headers: { accept: 'text/event-stream' } });
        assert.deepEqual([refused.status, refused.json.code], [429, 'too_many_requests']);
        await api.get('/v1/jobs');
        open.pop().close();
        await waitFor('there is room again', async () => {
            const s = await Stream.open();
            open.push(s);
            return s.response.statusCode === 200;
        }, { timeout: 30_000, interval: 300 });
    } finally { open.forEach((s) => s.close()); }
});

test('an orderly stop ends streams at once', async () => {
    const s = await Stream.open();
    const began = Date.now();
    assert.equal((await daemon.terminate()).code, 0);
    assert.ok(Date.now() - began < 8000);
    await waitFor('the stream is over', () => s.ended);
    await daemon.restart();
    api = daemon.api;
});

test('a stream needs the token, the right Host and Origin', async () => {
    for (const [headers, status] of [[{ authorization: 'Bearer x' }, 401], [{ host: 'evil.example' }, 403], [{ origin: 'https://evil.example' }, 403]]) {
        const s = await Stream.open('/v1/events', { headers });
        assert.equal(s.response.statusCode, status);
        s.close();
    }
});
