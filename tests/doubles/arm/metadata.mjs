// What a host in Azure finds on itself: the instance metadata service (IMDS) with managed identities and the instance's region, and the
// Azure Arc agent's token endpoint with its challenge file. Marks of sources: double.mjs.
//
// IMDS: the header Metadata: true is required, X-Forwarded-For is refused, numbers are strings, tokens live a day and come from a cache [D, S, A];
// instance metadata 2021-02-01 and later [S]. Arc: 401 with "Basic realm=FILE", the file's content in the second request [A]; that a file is good
// once is from memory [M].
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const invalid = (text, error = 'invalid_request') => ({ status: 400, body: { error, error_description: text } });
const guard = (x) => {
    if (x.headers.metadata !== 'true') return invalid('Required metadata header not specified');
    if (x.headers['x-forwarded-for']) return invalid('Requests with the header X-Forwarded-For are not served');
    return x.method === 'GET' ? null : { status: 405, body: { error: 'method_not_allowed', error_description: 'Method not allowed' } };
};

export class Imds {
    // identities: the first is the system's
    constructor(double, { location = 'westeurope', identities = [], subscription = crypto.randomUUID(), vm = 'recovery-host' } = {}) {
        Object.assign(this, { double, location, identities, subscription, vm });
        this.cache = new Map();
        this.counts = { tokens: 0, instance: 0 };
    }

    addIdentity({ tenant, name = 'host', clientId = crypto.randomUUID() }) {
        const identity = { name, tenant, clientId, objectId: crypto.randomUUID() };
        this.identities.push(identity);
        return identity;
    }

    operation(x) {
        if (x.path === '/metadata/identity/oauth2/token') return 'Imds_Token';
        return x.path.startsWith('/metadata/instance') ? 'Imds_Instance' : 'Imds_Unknown';
    }

    handle(x) {
        const refused = guard(x);
        if (refused) return refused;
        if (x.operation === 'Imds_Unknown') return { status: 404, body: { error: 'Not found' } };
        if (!/^20\d\d-\d\d-\d\d$/.test(x.query.get('api-version') ?? ''))
            return invalid('Bad request. api-version was not specified in the request or is not supported.');
        return x.operation === 'Imds_Token' ? this.token(x) : this.instance(x);
    }

    token(x) {
        const resource = x.query.get('resource');
        if (!resource) return invalid('Required audience parameter not specified');
        const client = x.query.get('client_id'), object = x.query.get('object_id');
        const identity = this.identities.find((i) => (client ? i.clientId === client.toLowerCase() : object ? i.objectId === object : true));
        if (!identity) return invalid('Identity not found');
        const slot = `${identity.clientId} ${resource}`;
        let t = this.cache.get(slot);
        if (!t || t.revoked || t.expiresAt - Date.now() < 0.1 * t.seconds * 1000)
            this.cache.set(slot, t = this.double.tokens.give(identity, resource, this.double.tokens.metadataLifetime, 'imds'));
        this.counts.tokens++;
        return { status: 200, body: answer(t, resource, identity) };
    }

    instance(x) {
        this.counts.instance++;
        const all = { compute: { azEnvironment: 'AzurePublicCloud', location: this.location, name: this.vm, osType: 'Linux',
            resourceGroupName: 'recovery', sku: '12-gen2', offer: 'debian-12', publisher: 'Debian',
            subscriptionId: this.subscription, version: '0.20240717.1811', vmId: '13f56399-bd52-4150-9748-7190aae1ff21', vmSize: 'Standard_D4s_v5',
            zone: '1',
            resourceId: `/subscriptions/${this.subscription}/resourceGroups/recovery/providers/Microsoft.Compute/virtualMachines/${this.vm}`,
            tags: '' },
        network: { interface: [{ ipv4: { ipAddress: [{ privateIpAddress: '10.0.0.4', publicIpAddress: '' }],
            subnet: [{ address: '10.0.0.0', prefix: '24' }] }, ipv6: { ipAddress: [] }, macAddress: '0011AAFFBB22' }] } };
        let at = all;
        for (const p of x.path.slice('/metadata/instance'.length).split('/').filter(Boolean)) at = at?.[p];
        if (at === undefined) return { status: 404, body: { error: 'Not found' } };
        if (typeof at === 'object') return { status: 200, body: at };
        return x.query.get('format') === 'text' ? { status: 200, headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: String(at) }
            : invalid(`Bad request. The requested resource is not available in JSON: use format=text.`);
    }
}

// Numbers are strings, in both services.
function answer(t, resource, identity) {
    return { access_token: t.text, client_id: identity.clientId, expires_in: String(Math.max(0, Math.floor((t.expiresAt - Date.now()) / 1000))),
        expires_on: String(Math.floor(t.expiresAt / 1000)),
        ext_expires_in: String(t.seconds), not_before: String(Math.floor(t.givenAt / 1000)), resource, token_type: 'Bearer' };
}

export class Arc {
    // dir: where challenge files are written, the daemon's arc_token_dir
    constructor(double, { dir, identity = null } = {}) {
        Object.assign(this, { double, dir, identity });
        this.challenges = new Map();                 // content → file
        this.counts = { challenges: 0, tokens: 0, refused: 0 };
        this.name = () => path.join(this.dir, `${crypto.randomUUID()}.key`);       // a test may name another
    }

    operation(x) { return x.path === '/metadata/identity/oauth2/token' ? 'Arc_Token' : 'Arc_Unknown'; }

    handle(x) {
        const refused = guard(x);
        if (refused) return refused;
        if (x.operation === 'Arc_Unknown') return { status: 404, body: { error: 'not_found', error_description: 'Not found' } };
        if (!x.query.get('api-version')) return invalid('api-version is missing', 'bad_request_102');
        const resource = x.query.get('resource');
        if (!resource || !this.identity) return invalid(resource ? 'There is no managed identity' : 'Required query parameter is missing: resource',
            'invalid_resource');
        const proof = x.headers.authorization;
        if (!proof) return this.challenge();
        const content = /^Basic (.+)$/.exec(proof)?.[1];
        const file = this.challenges.get(content);
        this.challenges.delete(content);
        if (!file) {
            this.counts.refused++;
            return { status: 401, body: { error: 'unauthorized', error_description: 'The challenge file does not match' } };
        }
        fs.rmSync(file, { force: true });
        this.counts.tokens++;
        const t = this.double.tokens.give(this.identity, resource, this.double.tokens.metadataLifetime, 'arc');
        return { status: 200, body: answer(t, resource, this.identity) };
    }

    challenge() {
        const content = crypto.randomBytes(48).toString('base64url');
        const file = this.name();
        fs.writeFileSync(file, content, { mode: 0o640 });
        this.challenges.set(content, file);
        this.counts.challenges++;
        return { status: 401, headers: { 'WWW-Authenticate': `Basic realm=${file}` }, body: { error: 'unauthorized',
            error_description: 'Challenge' } };
    }
}
