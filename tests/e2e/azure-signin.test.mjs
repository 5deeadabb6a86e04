// Signing in to Azure with every kind of credential: tokens are kept and renewed, one renewal serves all who wait, refusals say what to do, and
// no secret appears anywhere. Sign-in services and Azure Resource Manager are the double's.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Azure } from './lib/azure.mjs';
import { Daemon } from './lib/daemon.mjs';
import { buildDir, must, run, sleep, slow, tempDir, waitFor } from './lib/util.mjs';

let azure, daemon, api, dir, texts = [];
const out = () => path.join(dir, 'az.json'), argv = () => path.join(dir, 'az.argv');

// An `az` that prints a file, and notes how it was called.
function fakeAz() {
    fs.mkdirSync(path.join(dir, 'bin'));
    fs.writeFileSync(path.join(dir, 'bin/az'), `#!/bin/sh\nprintf '%s\\n' "$@" >>'${argv()}'\necho 'WARNING: something is old' >&2\n[ -f '${out()}' ] || { echo "ERROR: Please run 'az login' to setup account." >&2; exit 1; }\ncat '${out()}'\n`,
        { mode: 0o755 });
}
const azToken = (seconds = 3600, extra = {}) => {
    const token = azure.tokens.give({ name: 'cli', clientId: '04b07795-8ddb-461a-bbee-02f9e1bf7b46', objectId: '0c0c0c0c-0000-4000-8000-000000000001', tenant: azure.tenant }, `${azure.arm.url}/`, seconds, 'az');
    fs.writeFileSync(out(), JSON.stringify({ accessToken: token.text, expires_on: Math.floor(token.expiresAt / 1000), expiresOn: '2001-01-01 00:00:00.000000', subscription: azure.subscription.id,
        tenant: azure.tenant, tokenType: 'Bearer', ...extra }));
    return token;
};

before(async () => {
    dir = tempDir('signin');
    fakeAz();
    azure = await Azure.start({ storage: false, login: { interval: 1 } });
    daemon = await Daemon.start({ ...azure.config(), log_level: 'debug', env: { PATH: `${path.join(dir, 'bin')}:${process.env.PATH}` } });
    watch();
});
after(async () => {
    await daemon?.stop();
    await azure?.stop();
});

// every reply of the whole test is looked at in the end
function watch() {
    api = daemon.api;
    const exchange = api.exchange.bind(api);
    api.exchange = async (o) => { const r = await exchange(o); texts.push([o.path, `${JSON.stringify(r.headers)} ${r.text}`]); return r; };
}

const put = (name, body) => api.request({ method: 'PUT', path: `/v1/credentials/${name}`, json: body });
const subscriptions = (name) => api.request({ path: `/v1/azure/subscriptions?credential=${name}` });
const signIn = (name, shown) => api.request({ method: 'POST', path: `/v1/credentials/${name}/sign_in${shown ? `?shown=${shown}` : ''}`, timeout: 60_000 * slow });
async function works(name) {
    const r = await subscriptions(name);
    assert.equal(r.status, 200, r.text);
    assert.deepEqual(r.json.subscriptions, [{ id: azure.subscription.id, name: 'Production', tenant_id: azure.tenant, state: 'Enabled' }]);
}
const lastIdentity = () => azure.double.exchanges.findLast((x) => x.operation === 'Subscriptions_List').identity;

test('every kind of credential signs in', async () => {
    const user = azure.imds.addIdentity({ tenant: azure.tenant, name: 'user-assigned' });
    const secret = azure.principal('by-secret'), cert = await azure.certificatePrincipal('by-cert'), file = azure.federatedPrincipal('by-file');
    const pfx = path.join(dir, 'cert.pfx');
    await must('openssl', ['pkcs12', '-export', '-in', cert.certFile, '-inkey', cert.keyFile, '-out', pfx, '-passout', 'pass:Pfx pass planted']);
    azToken();
    const rows = {
        system: [{ type: 'managed_identity' }, azure.identity.clientId],
        user: [{ type: 'managed_identity', client_id: user.clientId }, user.clientId],
        arc: [{ type: 'arc' }, azure.arc.identity.clientId],
        secret: [{ type: 'service_principal', tenant_id: secret.tenant, client_id: secret.clientId, client_secret: secret.secret }, secret.clientId],
        cert: [{ type: 'service_principal', tenant_id: cert.tenant, client_id: cert.clientId, certificate: cert.pem }, cert.clientId],
        pfx: [{ type: 'service_principal', tenant_id: cert.tenant, client_id: cert.clientId, certificate: fs.readFileSync(pfx).toString('base64'), certificate_password: 'Pfx pass planted' }, cert.clientId],
        file: [{ type: 'service_principal', tenant_id: file.tenant, client_id: file.clientId, token_file: file.file }, file.clientId],
        az: [{ type: 'az_cli', tenant_id: azure.tenant }, '04b07795-8ddb-461a-bbee-02f9e1bf7b46'],
    };
    for (const [name, [body, client]] of Object.entries(rows)) {
        const r = await put(name, body);
        assert.equal(r.status, 201, r.text);
        await works(name);
        assert.equal(lastIdentity().clientId, client, name);
    }
    const { json } = await api.request({ path: '/v1/credentials' });
    assert.deepEqual(json.credentials.map((c) => [c.name, c.type, c.proof ?? null, c.client_id ?? null]), Object.entries(rows).map(([n, [b]]) => [n, b.type, n === 'secret' ? 'client_secret' : n === 'file' ? 'token_file' : ['cert', 'pfx'].includes(n) ? 'certificate' : null, b.client_id ?? null]).sort((a, b) => (a[0] < b[0] ? -1 : 1)));
    // as each service asks for it
    const assertions = azure.double.exchanges.filter((x) => x.assertion).map((x) => [x.assertion.alg, x.assertion.thumbprint, x.assertion.seconds]);
    assert.deepEqual(assertions, [['PS256', 'sha256', 600], ['PS256', 'sha256', 600]]);
    assert.deepEqual(fs.readFileSync(argv(), 'utf8').trim().split('\n'), ['account', 'get-access-token', '--resource', `${azure.arm.url}/`, '--output', 'json', '--tenant', azure.tenant]);
    const imds = azure.double.exchanges.filter((x) => x.service === 'imds' && x.operation === 'Imds_Token');
    assert.deepEqual(imds.map((x) => [x.query.get('api-version'), x.query.get('resource'), x.query.get('client_id')]), [['2018-02-01', `${azure.arm.url}/`, null], ['2018-02-01', `${azure.arm.url}/`, user.clientId]]);
    assert.equal(azure.arc.counts.tokens, 1);
});

test('a token is kept: asking again signs in nowhere', async () => {
    const given = azure.tokens.given, calls = fs.readFileSync(argv(), 'utf8').length;
    for (const name of ['system', 'user', 'arc', 'secret', 'cert', 'pfx', 'file', 'az']) await works(name);
    assert.equal(azure.tokens.given, given);
    assert.equal(fs.readFileSync(argv(), 'utf8').length, calls);
});

test('one renewal serves all who wait', async () => {
    const app = azure.principal('many');
    await put('many', { type: 'service_principal', tenant_id: app.tenant, client_id: app.clientId, client_secret: app.secret });
    azure.faults.add({ on: 'login', delay: 700 });
    const before_ = azure.login.counts.client_secret;
    const all = await Promise.all(Array.from({ length: 20 }, () => subscriptions('many')));
    assert.ok(all.every((r) => r.status === 200), all.find((r) => r.status !== 200)?.text);
    assert.equal(azure.login.counts.client_secret - before_, 1);
    // a token that is refused in the middle of its life: one renewal again, and nobody sees an error
    azure.tokens.revokeAll();
    azure.faults.add({ on: 'login', delay: 700 });
    const again = await Promise.all(Array.from({ length: 20 }, () => subscriptions('many')));
    assert.ok(again.every((r) => r.status === 200), again.find((r) => r.status !== 200)?.text);
    assert.equal(azure.login.counts.client_secret - before_, 2);
    // and when it fails, all get the same answer from one attempt
    azure.tokens.revokeAll();
    app.app.secrets = [];
    azure.faults.add({ on: 'login', delay: 700 });
    const refused = azure.login.counts.refused;
    const bad = await Promise.all(Array.from({ length: 10 }, () => subscriptions('many')));
    assert.ok(bad.every((r) => r.status === 422 && r.json.code === 'credential_unusable' && /7000215/.test(r.json.detail)), bad[0].text);
    assert.ok(azure.login.counts.refused - refused <= 3, `${azure.login.counts.refused - refused} attempts`);
});

test('tokens are renewed in time', async () => {
    const app = azure.principal('short');
    await put('short', { type: 'service_principal', tenant_id: app.tenant, client_id: app.clientId, client_secret: app.secret });
    azure.tokens.lifetime = 5;
    try {
        const before_ = azure.login.counts.client_secret, refused = azure.double.calls.Subscriptions_List ?? 0;
        const end = Date.now() + 11_000;
        while (Date.now() < end) { await works('short'); await sleep(200); }
        const renewals = azure.login.counts.client_secret - before_;
        assert.ok(renewals >= 3 && renewals <= 4, `${renewals} tokens of 5 s in 11 s`);
        const late = azure.double.exchanges.filter((x) => x.service === 'arm' && x.status === 401 && x.n > 0 && x.at > end - 11_000);
        assert.deepEqual(late.map((x) => x.answer.body.error.code), [], 'no request went out with a token that had expired');
        assert.ok((azure.double.calls.Subscriptions_List ?? 0) > refused + 20);
    } finally {
        azure.tokens.lifetime = 3599;
    }
});

test('a token file is read anew at each renewal', async () => {
    const file = azure.federatedPrincipal('rotating');
    await put('rotating', { type: 'service_principal', tenant_id: file.tenant, client_id: file.clientId, token_file: file.file });
    await works('rotating');
    file.write();
    const renewed = fs.readFileSync(file.file, 'utf8');
    azure.tokens.revokeAll();
    await works('rotating');
    const sent = azure.double.exchanges.findLast((x) => x.service === 'login');
    assert.ok(sent.raw.includes(`client_assertion=${renewed.trim()}`));
    fs.writeFileSync(file.file, '\n');
    azure.tokens.revokeAll();
    const empty = await subscriptions('rotating');
    assert.deepEqual([empty.status, empty.json.code], [422, 'credential_unusable'], empty.text);
    assert.match(empty.json.detail, /holds no token/);
    fs.rmSync(file.file);
    const gone = await subscriptions('rotating');
    assert.deepEqual([gone.status, gone.json.code], [422, 'credential_unusable'], gone.text);
    assert.match(gone.json.hint, /must be there/);
});

test('services that are busy are asked again as they wish', async () => {
    for (const [name, on] of [['secret', 'login'], ['system', 'imds'], ['arc', 'arc']]) {
        azure.tokens.revokeAll();
        azure.faults.add({ on, status: 503, times: 1 }, { on, status: 429, retryAfter: 1, times: 1, after: 1 });
        const began = Date.now();
        await works(name);
        assert.ok(Date.now() - began >= 1000, `${name} waited ${Date.now() - began} ms`);
        azure.faults.clear();
    }
    azure.tokens.revokeAll();
    azure.faults.add({ on: 'login', reset: true, times: 1 });
    await works('secret');
    azure.faults.clear();
    azure.double.assertPatient();
});

test('refusals say who said no, and what to do', async () => {
    const app = azure.principal('wrong');
    const sp = (o) => ({ type: 'service_principal', tenant_id: app.tenant, client_id: app.clientId, client_secret: 'PlantedWrongSecret', ...o });
    const rows = [
        ['wrong', sp(), 422, 'credential_unusable', /7000215/, /secret's value/, ['entra', 401, 'invalid_client']],
        ['tenant', sp({ tenant_id: '11111111-2222-3333-4444-555555555555' }), 422, 'credential_unusable', /90002/, /tenant_id/, ['entra', 400, 'invalid_request']],
        ['app', sp({ client_id: '11111111-2222-3333-4444-555555555555' }), 422, 'credential_unusable', /700016/, /client_id/, ['entra', 400, 'unauthorized_client']],
        ['identity', { type: 'managed_identity', client_id: '11111111-2222-3333-4444-555555555555' }, 422, 'credential_unusable', /Identity not found/, /managed identity/, ['imds', 400, 'invalid_request']],
    ];
    for (const [name, body, status, code, detail, hint, [service, upstream, word]] of rows) {
        await put(name, body);
        const r = await subscriptions(name);
        assert.deepEqual([r.status, r.json.code], [status, code], r.text);
        assert.match(r.json.detail, detail);
        assert.match(r.json.hint, hint);
        assert.deepEqual([r.json.upstream.service, r.json.upstream.status, r.json.upstream.code], [service, upstream, word]);
        const test_ = await signIn(name);
        assert.deepEqual([test_.status, test_.json.code], [status, code]);
    }
    const other = await azure.certificatePrincipal('other-cert'), mine = await azure.certificatePrincipal('mine-cert');
    await put('unregistered', { type: 'service_principal', tenant_id: mine.tenant, client_id: mine.clientId, certificate: other.pem });
    const unregistered = await subscriptions('unregistered');
    assert.match(unregistered.json.hint, /not registered/, unregistered.text);
    // the Azure CLI is signed out, or prints nonsense
    fs.rmSync(out());
    await put('az2', { type: 'az_cli' });
    const signedOut = await subscriptions('az2');
    assert.deepEqual([signedOut.status, signedOut.json.code], [422, 'credential_unusable'], signedOut.text);
    assert.match(`${signedOut.json.detail} ${signedOut.json.hint}`, /az login.*sudo az login --use-device-code/);
    fs.writeFileSync(out(), 'no json');
    assert.match((await subscriptions('az2')).json.detail, /no JSON/);
    azToken(-5);
    assert.match((await subscriptions('az2')).json.detail, /expired already/);
    assert.equal((await api.request({ path: '/v1/azure/subscriptions?credential=nobody' })).json.code, 'credential_unusable');
    const several = await api.request({ path: '/v1/azure/subscriptions' });
    assert.deepEqual([several.status, several.json.code, several.json.field], [400, 'missing_field', '?credential'], several.text);
    await put('key', { type: 'account_key', account: 'acct', key: 'a2V5' });
    assert.match((await subscriptions('key')).json.detail, /does not sign in/);
    assert.equal((await signIn('nobody')).status, 404);
});

test('an Arc agent may name challenge files in its own folder only', async () => {
    const good = azure.arc.name;
    fs.mkdirSync(path.join(azure.arcDir, 'deeper'));
    const link = path.join(azure.arcDir, 'link.key');
    for (const name of ['/etc/shadow', path.join(dir, 'secret.key'), path.join(azure.arcDir, 'x.txt'), `${azure.arcDir}/../${path.basename(dir)}.key`, path.join(azure.arcDir, 'deeper/x.key'), `${azure.arcDir}/.key`]) {
        azure.tokens.revokeAll();
        azure.arc.challenge = () => ({ status: 401, headers: { 'WWW-Authenticate': `Basic realm=${name}` }, body: {} });
        const before_ = azure.double.exchanges.filter((x) => x.service === 'arc').length;
        const r = await subscriptions('arc');
        assert.deepEqual([r.status, r.json.code], [502, 'upstream_refused'], `${name}: ${r.text}`);
        assert.match(r.json.detail, /no \.key file/);
        assert.equal(azure.double.exchanges.filter((x) => x.service === 'arc').length, before_ + 1, 'nothing was sent back');
    }
    // a file that is too large, one that is none
    fs.writeFileSync(link, 'x'.repeat(5000));
    for (const name of [link, path.join(azure.arcDir, 'missing.key')]) {
        azure.arc.challenge = () => ({ status: 401, headers: { 'WWW-Authenticate': `Basic realm=${name}` }, body: {} });
        assert.match((await subscriptions('arc')).json.detail, /challenge file/);
    }
    delete azure.arc.challenge;
    azure.arc.name = good;
    await works('arc');
});

test('device code: a person signs in, once, for this daemon and the next', async () => {
    await put('person', { type: 'device_code', tenant_id: azure.tenant });
    const needed = await subscriptions('person');
    assert.deepEqual([needed.status, needed.json.code], [409, 'sign_in_needed'], needed.text);
    assert.match(needed.json.hint, /vmrecover credential sign-in person/);
    const asked = await signIn('person');
    assert.equal(asked.status, 202, asked.text);
    assert.match(asked.json.message, new RegExp(asked.json.user_code));
    assert.equal(asked.json.verification_url, `${azure.login.url}/device`);
    // waits until it was entered; a second client joins
    const waiting = [signIn('person', asked.json.user_code), signIn('person', asked.json.user_code)];
    await sleep(1500);
    azure.login.approve(asked.json.user_code);
    for (const r of await Promise.all(waiting)) assert.deepEqual([r.status, r.json], [200, { state: 'signed_in' }], r.text);
    await works('person');
    assert.equal(azure.login.counts.device, 1);
    const stored = (await api.get('/v1/credentials')).credentials.find((c) => c.name === 'person');
    assert.equal(stored.signed_in, true);
    // the next daemon needs nobody
    await daemon.terminate();
    await daemon.restart();
    watch();
    await works('person');
    assert.deepEqual([azure.login.counts.device, azure.login.counts.refresh > 0], [1, true]);
    // signing in is over when the tenant says so, and when the credential is put again
    azure.login.refresh.clear();
    azure.tokens.revokeAll();
    assert.equal((await subscriptions('person')).json.code, 'sign_in_needed');
    await put('person', { type: 'device_code', tenant_id: azure.tenant });
    assert.equal((await api.get('/v1/credentials')).credentials.find((c) => c.name === 'person').signed_in, false);
    const declined = await signIn('person');
    azure.login.decline(declined.json.user_code);
    const over = await signIn('person', declined.json.user_code);
    assert.deepEqual([over.status, over.json.code], [422, 'credential_unusable'], over.text);
    assert.match(over.json.hint, /declined/);
});

test('the client sets credentials without secrets in argv, and shows the code', async () => {
    const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
    const cli = (args, options = {}) => run(path.join(buildDir, 'vmrecover'), args, { env, ...options });
    const app = azure.principal('cli-app'), cert = await azure.certificatePrincipal('cli-cert');
    const pem = path.join(dir, 'cli.pem'), pfx = path.join(dir, 'cli.pfx'), password = path.join(dir, 'cli.password');
    fs.writeFileSync(pem, cert.pem);
    fs.writeFileSync(password, 'Cli pass planted\n');
    await must('openssl', ['pkcs12', '-export', '-in', cert.certFile, '-inkey', cert.keyFile, '-out', pfx, '-passout', 'pass:Cli pass planted']);
    const sp = (c) => ['--type', 'service_principal', '--tenant', c.tenant, '--client-id', c.clientId];
    for (const [name, args, options] of [['c-secret', sp(app), { input: `${app.secret}\n` }], ['c-pem', [...sp(cert), '--certificate-file', pem]], ['c-pfx', [...sp(cert), '--certificate-file', pfx, '--password-file', password]],
        ['c-mi', ['--type', 'managed_identity']], ['c-arc', ['--type', 'arc']]]) {
        const r = await cli(['credential', 'set', name, ...args], options);
        assert.equal(r.code, 0, r.stderr);
        const signed = await cli(['credential', 'sign-in', name]);
        assert.deepEqual([signed.code, signed.stdout, signed.stderr], [0, '', ''], name);
        const list = await cli(['azure', 'subscriptions', '--credential', name]);
        assert.equal(list.code, 0, list.stderr);
        assert.match(list.stdout, new RegExp(`^${azure.subscription.id} .*Production\n$`));
    }
    for (const [args, says] of [[['x', '--type', 'service_principal', '--tenant', 't'], /--client-id/], [['x', '--type', 'arc', '--tenant', 't'], /--tenant does not go/],
        [['x', '--type', 'sas', '--certificate-file', pem], /--certificate-file does not go/], [['x', ...sp(app), '--certificate-file', pem, '--token-file', '/t'], /does not go/],
        [['x', '--type', 'nothing'], /--type takes/]]) {
        const r = await cli(['credential', 'set', ...args], { input: 'x' });
        assert.equal(r.code, 2, r.stderr);
        assert.match(r.stderr, says);
    }
    const refused = await cli(['credential', 'set', 'x', ...sp(cert), '--certificate-file', pfx]);
    assert.deepEqual([refused.code, /\/certificate/.test(refused.stderr)], [2, true], refused.stderr);
    const listed = await cli(['credential', 'list']);
    assert.match(listed.stdout, new RegExp(`^c-pem +service_principal +${cert.clientId}$`, 'm'));
    // device code: shown on standard error, then the list
    assert.equal((await cli(['credential', 'set', 'c-person', '--type', 'device_code'])).code, 0);
    assert.match((await cli(['credential', 'list'])).stdout, /^c-person +device_code +\(not signed in\)$/m);
    const known = new Set(azure.login.codes.keys());
    const listing = cli(['azure', 'subscriptions', '--credential', 'c-person']);
    const code = await waitFor('a code', () => [...azure.login.codes.values()].find((c) => !known.has(c.deviceCode)));
    await sleep(500);
    azure.login.approve(code.userCode);
    const r = await listing;
    assert.equal(r.code, 0, r.stderr);
    assert.match(r.stderr, new RegExp(`enter the code ${code.userCode}`));
    assert.match(r.stdout, new RegExp(azure.subscription.id));
});

test('a job that needs a person says so in its events and to who watches it, and goes on', async () => {
    await put('job-person', { type: 'device_code', tenant_id: azure.tenant });
    const disk = await azure.disk({ name: 'job-disk' });
    const known = new Set(azure.login.codes.keys());
    const { id } = await api.submit({ name: 'job1', disks: [{ source: { type: 'managed_disk', id: azure.id(disk), credential: 'job-person' } }], until: 'preflight' });
    const code = await waitFor('a code', () => [...azure.login.codes.values()].find((c) => !known.has(c.deviceCode)));
    const event = await waitFor('the event', async () => (await api.get(`/v1/jobs/${id}/events`)).events.find((e) => e.type === 'sign_in_needed'));
    assert.deepEqual([event.data.credential, event.data.user_code, event.data.verification_url], ['job-person', code.userCode, `${azure.login.url}/device`]);
    const env = { VMRECOVER_URL: daemon.url, VMRECOVER_TOKEN_FILE: daemon.tokenFile };
    const watching = run(path.join(buildDir, 'vmrecover'), ['watch', id], { env });
    await sleep(1500);
    azure.login.approve(code.userCode);
    const watched = await watching;
    assert.match(watched.stderr, new RegExp(`enter the code ${code.userCode}`));
    assert.equal(watched.stderr.split(code.userCode).length, 2, 'once');
    await api.waitJob(id, ['succeeded', 'failed']);
    assert.equal((await api.get(`/v1/jobs/${id}/events`)).events.filter((e) => e.type === 'sign_in_needed').length, 1);
    // one that is cancelled meanwhile does not wait for the person
    await put('job-nobody', { type: 'device_code', tenant_id: azure.tenant });
    const second = (await api.submit({ name: 'job2', disks: [{ source: { type: 'managed_disk', id: azure.id(disk), credential: 'job-nobody' } }], until: 'preflight' })).id;
    await waitFor('the event', async () => (await api.get(`/v1/jobs/${second}/events`)).events.find((e) => e.type === 'sign_in_needed'));
    await api.post(`/v1/jobs/${second}/cancel`);
    await api.waitJob(second, 'cancelled', { timeout: 10_000 });
});

test('https with a CA of its own, and hosts that get no token', async () => {
    const tls = await Azure.start({ storage: false, tls: true });
    const app = tls.principal('tls');
    const body = { type: 'service_principal', tenant_id: app.tenant, client_id: app.clientId, client_secret: app.secret };
    const config = { ...tls.config(), arm_endpoint: tls.arm.tlsUrl, login_endpoint: tls.login.tlsUrl };
    let d = await Daemon.start({ ...config, ca_file: tls.ca });
    await d.api.put('/v1/credentials/sp', body, 201);
    assert.equal((await d.api.get('/v1/azure/subscriptions')).subscriptions.length, 1);
    assert.ok(tls.double.exchanges.every((x) => x.origin.startsWith('https:') || ['imds', 'arc'].includes(x.service)));
    await d.stop();
    d = await Daemon.start(config);
    await d.api.put('/v1/credentials/sp', body, 201);
    const r = await d.api.request({ path: '/v1/azure/subscriptions' });
    assert.equal(r.json.code, 'tls_failed', r.text);
    await d.stop();
    await tls.stop();
});

test('configuration that would send tokens anywhere is refused at the start', async () => {
    for (const [options, says] of [[{ cloud: 'mars' }, /cloud must be/], [{ cloud: 'custom' }, /arm_endpoint must be given/], [{ arm_endpoint: 'http://arm.example' }, /arm_endpoint is plain http/],
        [{ login_endpoint: 'http://10.0.0.1:8080' }, /login_endpoint is plain http/], [{ imds_endpoint: 'http://10.0.0.1' }, /imds_endpoint is plain http/], [{ arm_endpoint: 'https://arm.example/path' }, /arm_endpoint must be/],
        [{ arm_endpoint: 'ftp://arm.example' }, /arm_endpoint must be/], [{ disk_sas_suffix: 'a/b' }, /disk_sas_suffix must be/], [{ arc_token_dir: 'tokens' }, /arc_token_dir must be an absolute/]]) {
        const r = await run(path.join(buildDir, 'vmrecoverd'), ['run', '--data-dir', path.join(dir, 'refused'), '--listen', '127.0.0.1:0', ...Object.entries(options).map(([k, v]) => `--${k.replaceAll('_', '-')}=${v}`)]);
        assert.equal(r.code, 2, `${JSON.stringify(options)}: ${r.stderr}`);
        assert.match(r.stderr, says);
    }
});

test('nothing that is secret is in a log, a reply, an event or the database', async () => {
    for (const p of ['/v1/credentials', '/v1/events?after=0&limit=500', '/v1/host', '/metrics']) await api.request({ path: p });
    await daemon.terminate();
    const secrets = [...azure.double.secrets(), 'PlantedWrongSecret', 'Pfx pass planted', 'Cli pass planted'];
    const keys = [...azure.login.apps.values()].flatMap((a) => a.certificates);
    assert.ok(secrets.length > 30 && keys.length > 0);
    const places = [...texts, ['log', daemon.log], ['stdout', daemon.stdout]];
    for (const f of daemon.files().filter((x) => !/^token$|^secret\.key$/.test(x))) places.push([f, fs.readFileSync(path.join(daemon.dir, f), 'latin1')]);
    assert.ok(places.some(([n]) => n === 'vmrecover.db') && texts.length > 100);
    const pem = fs.readFileSync(path.join(dir, 'cli.pem'), 'utf8').match(/BEGIN (?:RSA )?PRIVATE KEY-----\n([^\n]+)\n([^\n]+)/);
    for (const secret of [...secrets, pem[2]])
        for (const [where, text] of places) assert.ok(!text.includes(secret), `${secret.slice(0, 12)}… in ${where}`);
    assert.match(daemon.log, /level=debug/);
    await azure.double.assertClean();
    await daemon.restart();
});
