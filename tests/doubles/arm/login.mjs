// Microsoft Entra's token endpoint: service principals by secret, by certificate (assertion, PS256 checked against the registered certificate;
// RS256 too, the old form) and by a federated token, refresh tokens, and the device code flow with a person who is an API call here. Marks of
// sources: double.mjs.
//
// Requests and answers, expires_in as a number, the certificate's assertion, device code and its pending states, all of them HTTP 400 [D].
// Audiences with a doubled slash [A]. Error codes (AADSTS…) as Microsoft's reference lists them; their sentences are shortened [M].
import crypto from 'node:crypto';
import { URLSearchParams } from 'node:url';

const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const b64 = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');
export const AZ_CLI = '04b07795-8ddb-461a-bbee-02f9e1bf7b46';

class Denied extends Error {
    constructor(status, error, number, message) {
        super(`AADSTS${number}: ${message}`);
        Object.assign(this, { status, error, number });
    }
}

export class Login {
    constructor(double, options = {}) {
        this.double = double;
        this.options = {
            interval: 5, deviceLife: 900,            // seconds, of device codes [D]
            enforceInterval: true,                   // slow_down for who polls faster
            ...options,
        };
        this.apps = new Map();                       // client id → app
        this.codes = new Map();                      // device code → state
        this.refresh = new Map();                    // refresh token → { identity, clientId }
        this.assertions = new Set();                 // jti: each is good once
        this.proofs = new Set();                     // assertions as they came, for secrets()
        this.issuer = null;                          // of federated tokens
        this.counts = { client_secret: 0, certificate: 0, federated: 0, refresh: 0, device: 0, refused: 0 };
    }

    addApp({ tenant, name = 'app', clientId = crypto.randomUUID(), secrets = [], certificates = [], federated = [] }) {
        const app = { tenant, name, clientId, secrets, certificates, federated, identity: { name, clientId, objectId: crypto.randomUUID(), tenant } };
        this.apps.set(clientId, app);
        return app;
    }

    // A token of an outside identity provider, for an app whose `federated` names it: [{ issuer, subject }].
    federatedToken(subject, { issuer = 'https://issuer.example/', audience = 'api://AzureADTokenExchange', seconds = 600 } = {}) {
        this.issuer ??= crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
        const now = Math.floor(Date.now() / 1000);
        const text = `${b64({ alg: 'RS256', typ: 'JWT', kid: 'issuer' })}.${b64({ iss: issuer, sub: subject, aud: audience, iat: now, nbf: now, exp: now + seconds, jti: crypto.randomUUID() })}`;
        return `${text}.${crypto.sign('sha256', Buffer.from(text), this.issuer.privateKey).toString('base64url')}`;
    }

    // What the person does who was shown the code.
    approve(userCode, person = this.person()) { Object.assign(this.pending(userCode), { state: 'approved', person }); }
    decline(userCode) { this.pending(userCode).state = 'declined'; }
    person() { return { name: 'person', clientId: AZ_CLI, objectId: 'aaaaaaaa-0000-4000-8000-000000000001',
        tenant: [...this.double.world.subscriptions.values()][0]?.tenant ?? crypto.randomUUID() }; }
    pending(userCode) {
        const c = [...this.codes.values()].find((k) => k.userCode === userCode);
        if (!c) throw new Error(`there is no sign-in with the code ${userCode}`);
        return c;
    }

    operation(x) {
        const p = x.path.toLowerCase();
        if (p.endsWith('/oauth2/v2.0/token')) return 'Login_Token';
        if (p.endsWith('/oauth2/v2.0/devicecode')) return 'Login_DeviceCode';
        if (p.endsWith('/.well-known/openid-configuration')) return 'Login_Configuration';
        return 'Login_Unknown';
    }

    async handle(x) {
        const headers = { 'Cache-Control': 'no-store, no-cache', Pragma: 'no-cache', 'x-ms-request-id': crypto.randomUUID() };
        try {
            return { status: 200, headers, body: await this.answer(x) };
        } catch (e) {
            if (!(e instanceof Denied)) throw e;
            this.counts.refused++;
            const trace = crypto.randomUUID(), correlation = x.headers['client-request-id'] ?? crypto.randomUUID();
            return { status: e.status, headers,
                body: { error: e.error, error_description: `${e.message} Trace ID: ${trace} Correlation ID: ${correlation} Timestamp: ${new Date().toISOString().slice(0, 19).replace('T', ' ')}Z`,
                error_codes: [e.number], timestamp: `${new Date().toISOString().slice(0, 19).replace('T', ' ')}Z`, trace_id: trace,
                correlation_id: correlation, error_uri: `${x.origin}/error?code=${e.number}` } };
        }
    }

    answer(x) {
        const tenant = x.path.split('/')[1];
        if (x.operation === 'Login_Configuration') return this.configuration(x, tenant);
        if (x.operation === 'Login_Unknown' || x.method !== 'POST')
            throw new Denied(404, 'invalid_request', 900561, 'The endpoint only accepts POST requests to a known path.');
        if (!/^application\/x-www-form-urlencoded\b/.test(x.headers['content-type'] ?? ''))
            throw new Denied(400, 'invalid_request', 900144, "The request body must contain the following parameter: 'grant_type'.");
        if (!['organizations', 'common'].includes(tenant) && ![...this.double.world.subscriptions.values()].some((s) =>
            s.tenant === tenant.toLowerCase()))
            throw new Denied(400, 'invalid_request', 90002,
                `Tenant '${tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.`);
        const form = new URLSearchParams(x.raw);
        for (const k of form.keys()) if (form.getAll(k).length > 1)
            throw new Denied(400, 'invalid_request', 9000410, `Malformed request: '${k}' is there twice.`);
        if (x.operation === 'Login_DeviceCode') return this.deviceCode(x, form);
        const grants = { client_credentials: () => this.application(x, tenant, form), refresh_token: () => this.refreshed(form),
            [DEVICE]: () => this.device(form),
            device_code: () => this.device(form) };      // as MSAL 2 names it
        const grant = form.get('grant_type');
        if (!grant) throw new Denied(400, 'invalid_request', 900144, "The request body must contain the following parameter: 'grant_type'.");
        if (!grants[grant]) throw new Denied(400, 'unsupported_grant_type', 70003, `The app requested an unsupported grant type '${grant}'.`);
        return grants[grant]();
    }

    configuration(x, tenant) {
        const at = `${x.origin}/${tenant}`;
        return { token_endpoint: `${at}/oauth2/v2.0/token`, issuer: `${at}/v2.0`, authorization_endpoint: `${at}/oauth2/v2.0/authorize`,
            device_authorization_endpoint: `${at}/oauth2/v2.0/devicecode`,
            jwks_uri: `${at}/discovery/v2.0/keys`, token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt'],
            response_types_supported: ['code'], subject_types_supported: ['pairwise'],
            id_token_signing_alg_values_supported: ['RS256'], scopes_supported: ['openid', 'offline_access'], tenant_region_scope: 'EU',
            cloud_instance_name: 'double' };
    }

    need(form, ...names) {
        for (const n of names) if (!form.get(n))
            throw new Denied(400, 'invalid_request', 900144, `The request body must contain the following parameter: '${n}'.`);
    }

    // "https://x//.default" stands for the resource "https://x/": what is cut is "/.default" alone.
    audience(scope) {
        const asked = scope.split(' ').filter((s) => !['offline_access', 'openid', 'profile'].includes(s));
        if (asked.length !== 1)
            throw new Denied(400, 'invalid_scope', 70011, `The provided value for the input parameter 'scope' is not valid: ${scope}.`);
        const m = /^(https?:\/\/.+)\/(\.default|user_impersonation)$/.exec(asked[0]);
        if (!m) throw new Denied(400, 'invalid_scope', 70011, `The provided value for the input parameter 'scope' is not valid: ${scope}.`);
        return m[1];
    }

    given(identity, form, extra = {}) {
        const t = this.double.tokens.give(identity, this.audience(form.get('scope')));
        return { token_type: 'Bearer', expires_in: t.seconds, ext_expires_in: t.seconds, access_token: t.text, ...extra };
    }

    // ---- service principals ----

    application(x, tenant, form) {
        this.need(form, 'client_id', 'scope');
        const app = this.apps.get(form.get('client_id').toLowerCase());
        if (!app || app.tenant !== tenant.toLowerCase())
            throw new Denied(400, 'unauthorized_client', 700016,
                `Application with identifier '${form.get('client_id')}' was not found in the directory '${tenant}'.`);
        if (!/\/\.default$/.test(form.get('scope')))
            throw new Denied(400, 'invalid_scope', 1002012,
                `The provided value for scope ${form.get('scope')} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.`);
        if (form.get('client_assertion_type')) {
            if (form.get('client_assertion_type') !== ASSERTION)
                throw new Denied(400, 'invalid_request', 900144, 'client_assertion_type is not known.');
            this.need(form, 'client_assertion');
            this.assertion(x, tenant, app, form.get('client_assertion'));
        } else {
            if (!form.get('client_secret'))
                throw new Denied(401, 'invalid_client', 7000218,
                    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.");
            if (!app.secrets.includes(form.get('client_secret')))
                throw new Denied(401, 'invalid_client', 7000215,
                    `Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '${app.clientId}'.`);
            this.counts.client_secret++;
        }
        return this.given(app.identity, form);
    }

    assertion(x, tenant, app, text) {
        this.proofs.add(text);
        const [h, c, s, ...rest] = text.split('.');
        let head, claims;
        try {
            head = JSON.parse(Buffer.from(h, 'base64url'));
            claims = JSON.parse(Buffer.from(c, 'base64url'));
        } catch { /* below */ }
        if (!head || !claims || !s || rest.length) throw new Denied(401, 'invalid_client', 50027, 'JWT token is invalid or malformed.');
        const signed = Buffer.from(`${h}.${c}`), signature = Buffer.from(s, 'base64url');
        const now = Date.now() / 1000;
        if (!(claims.nbf <= now + 300 && claims.exp > now))
            throw new Denied(401, 'invalid_client', 700024, 'Client assertion is not within its valid time range.');
        if (claims.iss !== claims.sub) return this.federated(app, head, claims, signed, signature);
        const fail = (why) => { throw new Denied(401, 'invalid_client', 700027, `Client assertion failed signature validation. ${why}`); };
        const found = app.certificates.map((pem) => new crypto.X509Certificate(pem)).find((k) => {
            const der = (a) => crypto.createHash(a).update(k.raw).digest('base64url');
            return head['x5t#S256'] ? head['x5t#S256'] === der('sha256') : head.x5t === der('sha1');
        });
        if (!found) fail('The key was not found.');
        const key = head.alg === 'PS256' ? { key: found.publicKey, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
            : head.alg === 'RS256' ? found.publicKey : fail(`alg ${head.alg}`);
        if (!crypto.verify('sha256', signed, key, signature)) fail('Invalid signature.');
        if (claims.iss !== app.clientId) fail('Issuer is not the application.');
        const aud = String(claims.aud).toLowerCase();
        if (![`${x.origin}/${tenant}/oauth2/v2.0/token`, `${x.origin}/${tenant}/v2.0`].some((a) => a.toLowerCase() === aud))
            fail(`Audience ${claims.aud} is not the token endpoint.`);
        if (!claims.jti || this.assertions.has(claims.jti)) fail('jti is missing or was used before.');
        if (claims.exp - claims.nbf > 24 * 3600) fail('It lives too long.');
        this.assertions.add(claims.jti);
        x.assertion = { alg: head.alg, thumbprint: head['x5t#S256'] ? 'sha256' : 'sha1', seconds: claims.exp - claims.nbf };
        this.counts.certificate++;
    }

    federated(app, head, claims, signed, signature) {
        const ok = this.issuer && head.alg === 'RS256' && crypto.verify('sha256', signed, this.issuer.publicKey, signature);
        if (!ok) throw new Denied(401, 'invalid_client', 700027, 'Client assertion failed signature validation.');
        if (!app.federated.some((f) => f.issuer === claims.iss && f.subject === claims.sub) || claims.aud !== 'api://AzureADTokenExchange')
            throw new Denied(400, 'invalid_client', 700213,
                `No matching federated identity record found for presented assertion subject '${claims.sub}'.`);
        this.counts.federated++;
    }

    // ---- people ----

    deviceCode(x, form) {
        this.need(form, 'client_id', 'scope');
        this.audience(form.get('scope'));
        const alphabet = 'BCDFGHJKLMNPQRSTVWXZ23456789';
        const userCode = [...crypto.randomBytes(9)].map((b) => alphabet[b % alphabet.length]).join('');
        const code = { deviceCode: crypto.randomBytes(120).toString('base64url'), userCode, clientId: form.get('client_id'), state: 'pending',
            askedAt: 0, expiresAt: Date.now() + this.options.deviceLife * 1000, interval: this.options.interval };
        this.codes.set(code.deviceCode, code);
        const uri = `${x.origin}/device`;
        return { user_code: userCode, device_code: code.deviceCode, verification_uri: uri, expires_in: this.options.deviceLife,
            interval: code.interval,
            message: `To sign in, use a web browser to open the page ${uri} and enter the code ${userCode} to authenticate.` };
    }

    device(form) {
        this.need(form, 'client_id', 'device_code');
        const c = this.codes.get(form.get('device_code'));
        if (!c || c.clientId !== form.get('client_id') || c.state === 'used')
            throw new Denied(400, 'bad_verification_code', 7000014, 'The provided value for the input parameter device_code is not valid.');
        const soon = Date.now() - c.askedAt < c.interval * 1000 - 200;
        c.askedAt = Date.now();
        if (Date.now() >= c.expiresAt)
            throw new Denied(400, 'expired_token', 70020, 'The provided value for the input parameter device_code has expired.');
        if (c.state === 'declined') throw new Denied(400, 'authorization_declined', 70018, 'The end user denied the authorization request.');
        if (soon && this.options.enforceInterval) {
            c.interval += 5;
            throw new Denied(400, 'slow_down', 70019, 'Polling too often.');
        }
        if (c.state === 'pending')
            throw new Denied(400, 'authorization_pending', 70016, 'OAuth 2.0 device flow error. Authorization is pending. Continue polling.');
        c.state = 'used';
        this.counts.device++;
        const scope = new URLSearchParams({ scope: `${this.double.arm.url}/user_impersonation` });
        return this.given(c.person, form.get('scope') ? form : scope, { scope: scope.get('scope'), refresh_token: this.newRefresh(c.person,
            c.clientId) });
    }

    newRefresh(identity, clientId) {
        const text = `0.${crypto.randomBytes(500).toString('base64url')}`;
        this.refresh.set(text, { identity, clientId });
        return text;
    }

    refreshed(form) {
        this.need(form, 'client_id', 'scope', 'refresh_token');
        const r = this.refresh.get(form.get('refresh_token'));
        if (!r || r.clientId !== form.get('client_id') || r.revoked)
            throw new Denied(400, 'invalid_grant', 700082,
                'The refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.');
        this.counts.refresh++;
        return this.given(r.identity, form, { scope: form.get('scope'), refresh_token: this.newRefresh(r.identity, r.clientId) });
    }

    revokeRefresh() { for (const r of this.refresh.values()) r.revoked = true; }
}
