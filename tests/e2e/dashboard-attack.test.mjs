// Who gets in by the dashboard, and what is tried against it: links used twice, cookies on requests of other pages, names that rebind, framed and
// scripted content. By raw requests, with the headers that browsers send.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { Daemon } from './lib/daemon.mjs';
import { exec, native, test } from './lib/platform.mjs';

let daemon, api, origin, cookie;
before(async () => {
    daemon = await Daemon.start();
    api = daemon.api;
    origin = `http://${daemon.address}`;
});
after(() => daemon?.stop());

const HTML = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
// As a browser asks: no token.
const browse = (path, headers = {}, rest = {}) => api.exchange({ path, token: null, headers: { accept: HTML, ...headers }, ...rest });
const byCookie = (path, headers = {}, rest = {}) => api.exchange({ path, token: null, headers: { cookie, ...headers }, ...rest });
const own = () => ({ origin, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' });
const code = (r) => r.json?.code;

async function link() {
    const r = await exec('vmrecover', ['dashboard'], { env: { VMRECOVER_URL: origin, VMRECOVER_TOKEN_FILE: native(daemon.tokenFile) } });
    assert.equal(r.code, 0, r.stderr);
    assert.match(r.stdout, new RegExp(`^http://${daemon.address}/sign-in\\?code=[0-9a-f]{64}\n$`), 'the link, alone on a line');
    return r.stdout.trim().slice(origin.length);
}
async function signIn(path) {
    const r = await browse(path ?? await link(), { 'sec-fetch-site': 'none' });
    assert.equal(r.status, 303, r.text);
    assert.equal(r.headers.location, '/');
    const [set] = r.headers['set-cookie'];
    assert.match(set, new RegExp(`^vmrecover_${daemon.address.split(':').pop()}=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Strict$`));
    return set.split(';')[0];
}

test('a link is traded for a cookie once', async () => {
    const path = await link();
    const looked = await browse(path, {}, { method: 'HEAD' });
    assert.equal(looked.status, 401, 'HEAD does not use the link up');
    assert.equal((await browse(path, { 'sec-purpose': 'prefetch;prerender' })).status, 401);
    cookie = await signIn(path);
    for (const attempt of [path, `/sign-in?code=${'0'.repeat(64)}`, '/sign-in?code=x', '/sign-in']) {
        const again = await browse(attempt);
        assert.equal(again.status, 401, attempt);
        assert.match(again.headers['content-type'], /^text\/html/);
        assert.match(again.text, /vmrecover dashboard/, 'it says how to get another');
        assert.equal(again.headers['set-cookie'], undefined);
        assert.ok(!again.text.includes('code='));
    }
    assert.equal((await api.exchange({ path, token: null })).json.code, 'unauthorized', 'JSON for programs');
    assert.ok(!daemon.log.includes(path.split('=')[1]) && !daemon.log.includes(cookie.split('=')[1]));
});

test('links are made with the token alone, and only the last few are good', async () => {
    await api.post('/v1/sign_in_links', undefined, 201);
    assert.equal((await browse('/v1/sign_in_links', {}, { method: 'POST' })).status, 401);
    assert.equal(code(await byCookie('/v1/sign_in_links', own(), { method: 'POST' })), 'unauthorized');
    const first = (await api.post('/v1/sign_in_links', undefined, 201)).path;
    for (let i = 0; i < 8; i++) await api.post('/v1/sign_in_links', undefined, 201);
    assert.equal((await browse(first)).status, 401, 'eight are newer');
});

test('without a cookie there is a page that says how to get one', async () => {
    for (const headers of [{}, { cookie: `${cookie.split('=')[0]}=${'0'.repeat(64)}` }, { cookie: `vmrecover_1=${cookie.split('=')[1]}` }]) {
        const r = await browse('/', headers);
        assert.equal(r.status, 401);
        assert.match(r.text, /vmrecover dashboard/);
        assert.equal(r.headers['cache-control'], 'no-store');
    }
    assert.equal(code(await api.exchange({ path: '/', token: null })), 'unauthorized');
    // led here by another page, when the browser holds the cookie back: one more request, of our own
    const led = await browse('/', { 'sec-fetch-site': 'cross-site' });
    assert.equal(led.status, 401);
    assert.match(led.text, /http-equiv="refresh" content="0; url=\/"/);
    assert.doesNotMatch((await browse('/', { 'sec-fetch-site': 'same-origin' })).text, /http-equiv/, 'and not for ever');
});

test('the page and its files', async () => {
    const page = await byCookie('/', { 'sec-fetch-site': 'none', 'accept-encoding': 'gzip' });
    assert.equal(page.status, 200);
    assert.equal(page.headers['content-encoding'], 'gzip');
    assert.equal(page.headers['cache-control'], 'no-cache');
    const text = zlib.gunzipSync(page.body).toString();
    assert.equal((await byCookie('/')).text, text, 'the same without compression');
    const same = await byCookie('/', { 'accept-encoding': 'gzip', 'if-none-match': page.headers.etag });
    assert.equal(same.status, 304);
    assert.equal((await browse('/', { 'accept-encoding': 'gzip', 'if-none-match': page.headers.etag })).status, 401, 'nobody else is told what is known');
    let bytes = page.body.length;
    const named = [...text.matchAll(/(?:href|src)="([^"]+)"/g)].map((m) => m[1]);
    assert.ok(named.length >= 2);
    for (const path of named) {
        assert.match(path, /^\/assets\/[\w.-]+\.[0-9A-Za-z]{8,16}\.\w+$/);
        const r = await browse(path, { 'accept-encoding': 'gzip, br' });
        assert.equal(r.status, 200);
        assert.match(r.headers['cache-control'], /immutable/);
        bytes += r.body.length;
        const plain = await browse(path, { 'accept-encoding': 'gzip;q=0' });
        assert.ok(plain.headers['content-encoding'] === undefined && plain.body.equals(zlib.gunzipSync(r.body)));
        assert.equal((await browse(path, { 'accept-encoding': 'gzip', 'if-none-match': `W/"x", ${r.headers.etag}` })).status, 304);
    }
    assert.ok(bytes < 100 * 1024, `first view: ${bytes} bytes`);
    assert.doesNotMatch(text, /<script(?![^>]*\bsrc=)|\son\w+=|style=|javascript:|https?:\/\//, 'nothing inline, nothing from elsewhere');
    for (const path of ['/assets/', '/assets/none.js', '/assets/index.html', '/assets/..%2f..%2ftoken', '/assets/%2e%2e', `/assets/${'a'.repeat(65)}`, '/index.html'])
        assert.ok([401, 404].includes((await browse(path)).status), path);
});

test('every reply has the policy', async () => {
    const asset = (await byCookie('/')).text.match(/\/assets\/[^"]+/)[0];
    for (const r of [await byCookie('/'), await browse('/'), await browse(asset), await browse('/sign-in'), await browse('/healthz'), await browse('/nothing'),
        await byCookie('/v1/jobs'), await browse('/v1/jobs'), await api.exchange({ path: '/v1/openapi.json' }), await signInReply(),
        await byCookie('/', { host: 'evil.example' }), await byCookie('/v1/jobs', { origin: 'http://evil.example' })]) {
        const policy = r.headers['content-security-policy'];
        assert.match(policy, /default-src 'none'/);
        assert.match(policy, /frame-ancestors 'none'/);
        assert.doesNotMatch(policy, /unsafe|\*|https?:/);
        assert.equal(r.headers['x-content-type-options'], 'nosniff');
        assert.equal(r.headers['referrer-policy'], 'no-referrer');
        assert.equal(r.headers['cross-origin-opener-policy'], 'same-origin');
        assert.equal(r.headers['cross-origin-resource-policy'], 'same-origin');
        assert.equal(r.headers['access-control-allow-origin'], undefined);
    }
    const policy = (await byCookie('/')).headers['content-security-policy'];
    assert.match(policy, new RegExp(`^default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws://${daemon.address}; `));
    async function signInReply() { return browse(await link()); }
});

// Every way in which another page can have the browser send the cookie along.
test('the cookie counts on requests of the own page alone', async () => {
    const job = JSON.stringify({ disks: [{ source: { type: 'blank', size: 1 << 20 } }], until: 'download' });
    const json = { 'content-type': 'application/json', 'content-length': String(job.length) };
    const port = daemon.address.split(':').pop();
    const before = (await api.get('/v1/jobs')).jobs.length;
    const refused = [
        ['POST without an origin', { ...json }, 'origin_not_allowed'],
        ['POST of another site', { ...json, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 'origin_not_allowed'],
        ['POST of a sandboxed frame or a file', { ...json, origin: 'null' }, 'origin_not_allowed'],
        ['POST of another port of this machine', { ...json, origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' }, 'origin_not_allowed'],
        ['POST of this port under another name', { ...json, origin: `http://localhost:${port}`, 'sec-fetch-site': 'cross-site' }, 'origin_not_allowed'],
        ['POST of this port by IPv6', { ...json, origin: `http://[::1]:${port}` }, 'origin_not_allowed'],
        ['POST of https', { ...json, origin: `https://${daemon.address}` }, 'origin_not_allowed'],
        ['POST of an origin that begins like ours', { ...json, origin: `${origin}.evil.example` }, 'origin_not_allowed'],
        ['POST with an own origin that the browser contradicts', { ...json, origin, 'sec-fetch-site': 'same-site' }, 'origin_not_allowed'],
        ['POST by a form', { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(job.length), origin: 'http://evil.example',
            'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, 'origin_not_allowed'],
        ['POST by a form of ours', { 'content-type': 'text/plain', 'content-length': String(job.length), ...own() }, 'unsupported_media_type'],
        ['a name that rebinds', { ...json, host: `evil.example:${port}`, origin: `http://evil.example:${port}`, 'sec-fetch-site': 'same-origin' }, 'host_not_allowed'],
        ['a name that rebinds, with an origin of ours', { ...json, host: `evil.example:${port}`, ...own() }, 'host_not_allowed'],
        ['an own name and another port', { ...json, host: '127.0.0.1:1', origin: 'http://127.0.0.1:1' }, 'host_not_allowed'],
    ];
    for (const [what, headers, expected] of refused)
        assert.equal(code(await byCookie('/v1/jobs', headers, { method: 'POST', body: job })), expected, what);
    for (const [method, path] of [['DELETE', '/v1/session'], ['PUT', '/v1/credentials/x'], ['PATCH', '/v1/jobs/11111111-2222-4333-8444-555555555555'],
        ['POST', '/v1/vms/11111111-2222-4333-8444-555555555555/reset']])
        assert.equal(code(await byCookie(path, {}, { method })), 'origin_not_allowed', `${method} without an origin`);
    for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'null' }, { origin: 'http://127.0.0.1:1' }])
        for (const path of ['/v1/jobs', '/v1/host'])
            assert.equal(code(await byCookie(path, headers)), 'origin_not_allowed', `GET with ${JSON.stringify(headers)}`);
    assert.equal((await api.get('/v1/jobs')).jobs.length, before, 'nothing was made');

    // and what is the dashboard's own, or no browser's at all
    assert.equal((await byCookie('/v1/jobs')).status, 200, 'a program with the cookie');
    assert.equal((await byCookie('/v1/jobs', { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' })).status, 200, 'typed by the user');
    assert.equal((await byCookie('/v1/jobs', { 'sec-fetch-site': 'same-origin' })).status, 200);
    const made = await byCookie('/v1/jobs', { ...json, ...own() }, { method: 'POST', body: job });
    assert.equal(made.status, 201, made.text);
    await api.waitJob(made.json.id);
    // the token asks for no origin, and a wrong one is not helped by a cookie
    assert.equal((await api.exchange({ path: '/v1/jobs', headers: { cookie: 'vmrecover_1=x' } })).status, 200);
    assert.equal(code(await api.exchange({ path: '/v1/jobs', token: 'x'.repeat(64), headers: { cookie } })), 'unauthorized');
});

test('scripts in names come back as JSON text', async () => {
    const evil = '<script>alert(1)<!-- "><img src=x onerror=alert(2)>';
    const job = await api.submit({ name: evil, disks: [{ source: { type: 'blank', size: 1 << 20 } }], until: 'download' });
    await api.waitJob(job.id);
    for (const path of [`/v1/jobs/${job.id}`, '/v1/jobs', `/v1/jobs/${job.id}/events`]) {
        const r = await byCookie(path, { accept: HTML });
        assert.equal(r.status, 200);
        assert.equal(r.headers['content-type'], 'application/json', path);
        assert.equal(r.headers['x-content-type-options'], 'nosniff');
    }
    const missing = await byCookie(`/v1/jobs/${encodeURIComponent('<script>alert(1)</script>')}`, { accept: HTML });
    assert.equal(missing.status, 404);
    assert.equal(missing.headers['content-type'], 'application/problem+json');
});

test('signing out ends the session and its streams, and no other', async () => {
    const other = await signIn(), mine = cookie;
    cookie = other;
    const stream = await new Promise((resolve, reject) => {
        import('node:http').then(({ default: http }) => {
            const rq = http.get(`${origin}/v1/events?after=latest`, { headers: { cookie: other, accept: 'text/event-stream' }, agent: false }, resolve);
            rq.on('error', reject);
        });
    });
    const ended = new Promise((resolve) => { stream.on('end', resolve); stream.on('close', resolve); stream.resume(); });
    const out = await byCookie('/v1/session', own(), { method: 'DELETE' });
    assert.equal(out.status, 204);
    assert.match(out.headers['set-cookie'][0], /^vmrecover_\d+=; .*Max-Age=0/);
    assert.equal(code(await byCookie('/v1/jobs')), 'unauthorized');
    await Promise.race([ended, new Promise((_, reject) => setTimeout(() => reject(new Error('the stream goes on')), 20_000).unref())]);
    cookie = mine;
    assert.equal((await byCookie('/v1/jobs')).status, 200);
    assert.equal(code(await api.exchange({ path: '/v1/session', method: 'DELETE' })), 'wrong_state');
    await daemon.terminate();
    daemon.config.listen = daemon.address;           // the same port, so the same cookie
    await daemon.restart();
    api = daemon.api;
    assert.equal(code(await byCookie('/v1/jobs')), 'unauthorized', 'a restart signs out');
});
