// The daemon's public API. What it refuses is a Problem (RFC 9457), with what to do.
export class Problem extends Error {
    constructor(problem, status) {
        super(problem.detail);
        Object.assign(this, { problem, status });
    }
}

let onSignedOut = () => {};
export function whenSignedOut(fn) { onSignedOut = fn; }

const unreachable = (e) => new Problem({ title: '', code: 'unreachable', detail: '', hint: '', reason: String(e.message ?? e) }, 0);

// The raw answer of a request that was not refused. `json` is the body.
export async function request(method, path, { json, headers, signal, accept = 'application/json' } = {}) {
    const body = json === undefined ? undefined : JSON.stringify(json);
    let answer;
    try {
        answer = await fetch(path, { method, body, signal, cache: 'no-cache', credentials: 'same-origin',
            headers: { accept, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers } });
    } catch (e) {
        if (e.name === 'AbortError') throw e;
        throw unreachable(e);
    }
    if (answer.ok || answer.status === 304) return answer;
    let problem;
    try { problem = await answer.json(); } catch { /* not the daemon's own words */ }
    if (answer.status === 401) onSignedOut();
    throw new Problem(problem ?? { title: answer.statusText, code: `http_${answer.status}`, detail: `${method} ${path}: ${answer.status} ${answer.statusText}`, hint: '' },
        answer.status);
}

async function bodyOf(answer) {
    const text = await answer.text();
    return text ? JSON.parse(text) : null;
}
const call = (method) => async (path, json, options) => bodyOf(await request(method, path, { json, ...options }));
export const get = async (path, options) => bodyOf(await request('GET', path, options));
export const post = call('POST');
export const put = call('PUT');
export const patch = call('PATCH');
export const del = async (path, options) => bodyOf(await request('DELETE', path, options));

// A path with its parts escaped: at`/v1/jobs/${id}`.
export const at = (strings, ...values) => strings.reduce((all, s, i) => all + s + (i < values.length ? encodeURIComponent(values[i]) : ''), '');
