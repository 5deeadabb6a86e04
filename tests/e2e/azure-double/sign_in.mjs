// Microsoft Entra, IMDS and the Arc agent of the double.
import test, { describe } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { ARM, azure, clean, token } from './context.mjs';

describe('Microsoft Entra', () => {
    const post = async (form, { tenant = azure.tenant, to = 'token', type = 'application/x-www-form-urlencoded' } = {}) => {
        const r = await fetch(`${azure.login.url}/${tenant}/oauth2/v2.0/${to}`, { method: 'POST', headers: { 'Content-Type': type },
            body: new URLSearchParams(form).toString() });
        return { status: r.status, ...(await r.json()) };
    };
    const scope = `${ARM}.default`.replace('.com/.', '.com/.');
    const jwt = (p, { alg = 'PS256', key = p.key, claims = {}, head = {} } = {}) => {
        const x = new crypto.X509Certificate(p.cert), now = Math.floor(Date.now() / 1000);
        const b64 = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
        const text = `${b64({ alg, typ: 'JWT', 'x5t#S256': crypto.createHash('sha256').update(x.raw).digest('base64url'), ...head })}.${b64({ aud: `${azure.login.url}/${azure.tenant}/oauth2/v2.0/token`,
            iss: p.clientId, sub: p.clientId, jti: crypto.randomUUID(), nbf: now, iat: now, exp: now + 300, ...claims })}`;
        return `${text}.${crypto.sign('sha256', Buffer.from(text), alg === 'PS256' ? { key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : key).toString('base64url')}`;
    };
    const assertion = (p, text) => ({ grant_type: 'client_credentials', client_id: p.clientId, scope,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: text });

    test('what is refused, with its code', async () => {
        const p = azure.principal('refusals'), good = { grant_type: 'client_credentials', client_id: p.clientId, scope, client_secret: p.secret };
        assert.equal((await post(good)).token_type, 'Bearer');
        const cases = [
            [{ ...good, client_secret: 'x' }, {}, 401, 'invalid_client', 7000215], [{ ...good, client_secret: '' }, {}, 401, 'invalid_client',
                7000218],
            [{ ...good, client_id: crypto.randomUUID() }, {}, 400, 'unauthorized_client', 700016],
            [{ ...good, scope: 'https://management.azure.com/' }, {}, 400, 'invalid_scope', 1002012],
            [{ ...good, scope: '/.default' }, {}, 400, 'invalid_scope', 70011], [{ ...good, grant_type: 'password' }, {}, 400,
                'unsupported_grant_type', 70003], [{ ...good, scope: '' }, {}, 400, 'invalid_request', 900144],
            [good, { tenant: crypto.randomUUID() }, 400, 'invalid_request', 90002], [good, { type: 'application/json' }, 400, 'invalid_request',
                900144],
            [{ grant_type: 'refresh_token', client_id: 'x', scope, refresh_token: 'x' }, {}, 400, 'invalid_grant', 700082],
        ];
        for (const [form, o, status, error, number] of cases) {
            const r = await post(form, o);
            assert.deepEqual([r.status, r.error, r.error_codes], [status, error, [number]], JSON.stringify(r));
            assert.match(r.error_description, new RegExp(`AADSTS${number}: .+Correlation ID: ${r.correlation_id}`));
        }
    });

    test('a doubled slash of the scope is kept', async () => {
        const p = azure.principal('slashes');
        const r = await post({ grant_type: 'client_credentials', client_id: p.clientId, scope: 'https://disk.azure.com//.default',
            client_secret: p.secret });
        assert.equal(azure.tokens.all.get(r.access_token).audience, 'https://disk.azure.com/');
    });

    test('certificates: PS256 is checked, and so is all that it says', async () => {
        const p = await azure.certificatePrincipal('ps256'), other = await azure.certificatePrincipal('other'), now = Math.floor(Date.now() / 1000);
        assert.equal((await post(assertion(p, jwt(p)))).status, 200);
        assert.equal((await post(assertion(p, jwt(p, { alg: 'RS256' })))).status, 200);
        const once = jwt(p);
        assert.equal((await post(assertion(p, once))).status, 200);
        const bad = { replayed: once, 'key of another': jwt(p, { key: other.key }), 'other thumbprint': jwt(p, { head: { 'x5t#S256': 'x' } }),
            'alg none': jwt(p, { head: { alg: 'none' } }),
            'RS256 said, PS256 signed': jwt(p, { head: { alg: 'RS256' } }),
            'other audience': jwt(p, { claims: { aud: 'https://login.example/token' } }), 'no jti': jwt(p, { claims: { jti: '' } }),
            'other issuer': jwt(p, { claims: { iss: other.clientId, sub: other.clientId } }),
            expired: jwt(p, { claims: { nbf: now - 900, exp: now - 600 } }), early: jwt(p, { claims: { nbf: now + 900, exp: now + 1200 } }),
            cut: jwt(p).slice(0, -9), 'no JWT': 'x.y' };
        for (const [what, text] of Object.entries(bad)) {
            const r = await post(assertion(p, text));
            assert.deepEqual([r.status, r.error], [401, 'invalid_client'], `${what}: ${JSON.stringify(r)}`);
        }
    });

    test('federated tokens: of the issuer, for the subject, in time', async () => {
        const p = azure.federatedPrincipal('w1'), q = azure.federatedPrincipal('w2');
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).status, 200);
        assert.equal((await post(assertion(p, fs.readFileSync(q.file, 'utf8')))).error_codes[0], 700213);
        p.write({ audience: 'other' });
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).error_codes[0], 700213);
        p.write({ seconds: -10 });
        assert.equal((await post(assertion(p, fs.readFileSync(p.file, 'utf8')))).error_codes[0], 700024);
    });

    test('device code: pending, too fast, declined, expired, approved, refreshed', async () => {
        const client = '04b07795-8ddb-461a-bbee-02f9e1bf7b46', want = { client_id: client,
            scope: 'https://management.azure.com/user_impersonation offline_access' };
        const code = () => post(want, { tenant: 'organizations', to: 'devicecode' });
        const poll = async (c) => post({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: client, device_code: c.device_code },
            { tenant: 'organizations' });
        azure.login.options.interval = 0;
        const a = await code();
        assert.deepEqual([a.expires_in, a.interval], [900, 0]);
        assert.match(a.message, new RegExp(a.user_code));
        const first = await poll(a);
        assert.deepEqual([first.status, first.error], [400, 'authorization_pending']);
        azure.login.decline(a.user_code);
        assert.equal((await poll(a)).error, 'authorization_declined');
        const b = await code();
        azure.login.pending(b.user_code).interval = 5;
        await poll(b);
        assert.equal((await poll(b)).error, 'slow_down');
        const c = await code();
        azure.login.pending(c.user_code).expiresAt = 0;
        assert.equal((await poll(c)).error, 'expired_token');
        const d = await code();
        azure.login.approve(d.user_code);
        const r = await poll(d);
        assert.ok(r.access_token && r.refresh_token);
        assert.equal((await poll(d)).error, 'bad_verification_code');
        const again = await post({ grant_type: 'refresh_token', client_id: client, scope: 'https://disk.azure.com//.default offline_access',
            refresh_token: r.refresh_token });
        assert.equal(azure.tokens.all.get(again.access_token).audience, 'https://disk.azure.com/');
        azure.login.revokeRefresh();
        assert.equal((await post({ grant_type: 'refresh_token', client_id: client, scope, refresh_token: again.refresh_token })).error,
            'invalid_grant');
        azure.login.options.interval = 5;
        for (const secret of [d.device_code, r.refresh_token, r.access_token]) assert.ok(azure.double.secrets().includes(secret));
    });
});

describe('what a host finds on itself', () => {
    const imds = async (where, headers = { Metadata: 'true' }, base = azure.imds.url) => {
        const r = await fetch(base + where, { headers });
        const text = await r.text();
        return { status: r.status, headers: r.headers, text, json: text.startsWith('{') ? JSON.parse(text) : null };
    };
    const want = `/metadata/identity/oauth2/token?api-version=2018-02-01&resource=${encodeURIComponent(ARM)}`;

    test('IMDS: numbers are strings, the token is cached, the region is told', async () => {
        const a = await imds(want);
        assert.equal(a.status, 200);
        for (const k of ['expires_in', 'expires_on', 'not_before']) assert.match(a.json[k], /^\d+$/);
        assert.equal((await imds(want)).json.access_token, a.json.access_token);
        assert.equal((await imds('/metadata/instance?api-version=2021-02-01')).json.compute.location, 'westeurope');
        assert.equal((await imds('/metadata/instance/compute/location?api-version=2021-02-01&format=text')).text, 'westeurope');
        await clean();
    });

    test('IMDS refuses what it must', async () => {
        for (const [where, headers, word] of [[want, {}, 'invalid_request'], [want, { Metadata: 'True' }, 'invalid_request'],
            [want, { Metadata: 'true', 'X-Forwarded-For': '10.0.0.1' }, 'invalid_request'],
            [want.replace(/&resource.*/, ''), undefined, 'invalid_request'], [`${want}&client_id=${crypto.randomUUID()}`, undefined,
                'invalid_request'], [want.replace(/api-version=[^&]*/, ''), undefined, 'invalid_request']]) {
            const r = await imds(where, headers);
            assert.deepEqual([r.status, r.json.error], [400, word], `${where} ${JSON.stringify(headers)} ${r.text}`);
        }
        assert.match((await imds(`${want}&client_id=${crypto.randomUUID()}`)).json.error_description, /Identity not found/);
        await clean();
    });

    test('Arc: a challenge file for each token, good once', async () => {
        const where = `/metadata/identity/oauth2/token?api-version=2020-06-01&resource=${encodeURIComponent(ARM)}`;
        const ask = (headers) => imds(where, { Metadata: 'true', ...headers }, azure.arc.url);
        assert.equal((await imds(where, {}, azure.arc.url)).status, 400);
        const challenge = await ask({});
        assert.equal(challenge.status, 401);
        const file = /^Basic realm=(.+\.key)$/.exec(challenge.headers.get('www-authenticate'))[1];
        assert.equal(path.dirname(file), azure.arcDir);
        const proof = { Authorization: `Basic ${fs.readFileSync(file, 'utf8')}` };
        const r = await ask(proof);
        assert.equal(r.status, 200);
        assert.equal(azure.tokens.all.get(r.json.access_token).identity.name, 'arc-host');
        assert.equal((await ask(proof)).status, 401);
        assert.ok(!fs.existsSync(file));
    });
});
