// Access tokens that the double gave out: who they are for, how long, and whether they are still good. They look like real ones (JWTs of more
// than a kilobyte) and mean nothing outside.
import crypto from 'node:crypto';

const b64 = (v) => Buffer.from(typeof v === 'string' ? v : JSON.stringify(v)).toString('base64url');

export class Tokens {
    // lifetime: seconds of tokens from sign-in, metadataLifetime: from IMDS and Arc (as documented)
    constructor({ lifetime = 3599, metadataLifetime = 86399 } = {}) {
        Object.assign(this, { lifetime, metadataLifetime });
        this.all = new Map();                        // text → token
        this.given = 0;
    }

    // identity: { name, clientId, objectId, tenant }
    give(identity, audience, seconds = this.lifetime, by = 'login') {
        const now = Math.floor(Date.now() / 1000);
        const claims = { aud: audience, iss: `https://sts.windows.net/${identity.tenant}/`, iat: now, nbf: now, exp: now + seconds,
            appid: identity.clientId,
            oid: identity.objectId, tid: identity.tenant, uti: crypto.randomUUID(), xms_filler: crypto.randomBytes(600).toString('base64') };
        const text = `${b64({ typ: 'JWT', alg: 'RS256', kid: 'double' })}.${b64(claims)}.${crypto.randomBytes(256).toString('base64url')}`;
        const token = { text, identity, audience, by, givenAt: Date.now(), expiresAt: Date.now() + seconds * 1000, seconds, revoked: false, used: 0 };
        this.all.set(text, token);
        this.given++;
        return token;
    }

    // What the Authorization header proves: { token } or { why }: missing, malformed, unknown, expired, revoked, audience.
    check(header, isAudience) {
        if (!header) return { why: 'missing' };
        const m = /^Bearer ([A-Za-z0-9._-]+)$/.exec(header);
        if (!m) return { why: 'malformed' };
        const token = this.all.get(m[1]);
        if (!token) return { why: 'unknown' };
        token.used++;
        if (token.revoked) return { why: 'revoked', token };
        if (Date.now() >= token.expiresAt) return { why: 'expired', token };
        return isAudience(token.audience) ? { token } : { why: 'audience', token };
    }

    expireAll() { for (const t of this.all.values()) t.expiresAt = Math.min(t.expiresAt, Date.now()); }
    revokeAll() { for (const t of this.all.values()) t.revoked = true; }
}

export const isDisk = (a) => /^https:\/\/disk\.(compute\.)?azure\.com\/?$/.test(a);
export const isStorage = (a) => /^https:\/\/storage\.azure\.com\/?$/.test(a) || /^https:\/\/[a-z0-9]+\.blob\.core\./.test(a);
