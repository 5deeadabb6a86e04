// What must appear nowhere, and where it is looked for: every test that uses the daemon ends with a search of its log, its output, its files (the
// database too), its command line and environment, of all replies of its API and of what the client printed. Secrets are what the doubles give
// out, and what is sent to the daemon as one.
//
//   secret(...texts), secretsFrom(() => texts)    known now, known at the time of the search
//   planted(json)                                 those in the body of a request: credentials, signatures in URLs
//   seen(where, text)                             to be searched
//   search(more)                                  throws when something is found; more: [where, text] beside what was seen
import assert from 'node:assert/strict';

const LENGTH_MIN = 12;                               // shorter ones are found by chance
// Secrets are made of these; a text is cut into its runs of them, each kept once, so that what a test has seen stays small.
const RUN = /[A-Za-z0-9+/=_.~%-]{12,}/g;
const PLAIN = /^[A-Za-z0-9+/=_.~%-]+$/;

const known = new Set(), sources = [];
const runs = new Map(), texts = [];                  // run → where it was seen first; texts: whole, for secrets with other characters
const counts = { texts: 0 };

export function secret(...values) {
    for (const v of values) if (typeof v === 'string' && v.length >= LENGTH_MIN) known.add(v);
}
export const secretsFrom = (fn) => { sources.push(fn); };
// Of a PEM the lines of its keys; the certificate is public.
export function pemSecret(text) {
    for (const [, lines] of text.matchAll(/-----BEGIN [A-Z ]*PRIVATE KEY-----\n([^-]+)-----END/g)) secret(...lines.trim().split('\n').slice(1, -1));
}

const SECRET_MEMBERS = new Set(['client_secret', 'certificate_password', 'key', 'secret', 'token']);
function signatures(text) {
    for (const [, value] of text.matchAll(/[?&]?\bsig=([^&\s"']+)/g)) {
        secret(value);
        try { secret(decodeURIComponent(value)); } catch { /* as it is */ }
    }
}
export function planted(json) {
    if (typeof json === 'string') signatures(json);
    else if (json && typeof json === 'object')
        for (const [k, v] of Object.entries(json)) {
            if (typeof v !== 'string') planted(v);
            else if (k === 'certificate') /-----BEGIN/.test(v) ? pemSecret(v) : secret(v.slice(0, 200));
            else if (SECRET_MEMBERS.has(k)) secret(v);
            else signatures(v);
        }
}

export function seen(where, text) {
    counts.texts++;
    for (const [run] of text.matchAll(RUN)) if (!runs.has(run)) runs.set(run, where);
    texts.push([where, text.length > 65536 ? text.slice(0, 65536) : text]);
    if (texts.length > 2000) texts.splice(0, 1000);
}

const forms = (s) => new Set([s, Buffer.from(s).toString('base64').replace(/=+$/, '').slice(2, -2), Buffer.from(s).toString('hex')]);

// { secrets, texts }: how many of each were looked at.
export function search(more = []) {
    for (const fn of sources) secret(...fn());
    const all = new Map(runs);
    for (const [where, text] of more) for (const [run] of text.matchAll(RUN)) if (!all.has(run)) all.set(run, where);
    const list = [...all.keys()], joined = list.join('\n');
    for (const s of known)
        for (const form of forms(s)) {
            const found = PLAIN.test(form) ? (joined.includes(form) ? all.get(list.find((run) => run.includes(form))) : null)
                : [...texts, ...more].find(([, text]) => text.includes(form))?.[0];
            assert.ok(!found, `the secret ${s.slice(0, 4)}… (${s.length} characters${form === s ? '' : ', encoded'}) is in ${found}`);
        }
    return { secrets: known.size, texts: counts.texts + more.length };
}
