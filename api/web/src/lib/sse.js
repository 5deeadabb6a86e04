// A stream of events (text/event-stream) by fetch, because EventSource tells neither why it was refused nor takes a place to begin.
// It is opened again, from where it was, until its signal is aborted.
import { request } from './api.js';

const FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 15_000;

const sleep = (ms, signal) => new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});

// onEvent({ id, event, data }); onState('open' | 'closed', error). `last` is the id to go on after; `after` where there is none yet.
export async function follow(path, { last = null, after = null, signal, onEvent, onState = () => {}, until = () => false }) {
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
        try {
            const query = last === null && after !== null ? `?after=${after}` : '';
            const answer = await request('GET', path + query, { accept: 'text/event-stream', signal, headers: last === null ? {} : { 'last-event-id': String(last) } });
            onState('open');
            pause = FIRST_PAUSE_MS;
            for await (const e of messages(answer.body)) {
                if (e.id !== undefined) last = e.id;
                onEvent(e);
            }
            onState('closed');
            if (until()) return;
        } catch (e) {
            if (signal.aborted) return;
            onState('closed', e);
            if (e.status === 401 || e.status === 404 || e.status === 410 || e.status === 501) return;
        }
        await sleep(pause * (0.5 + Math.random() / 2), signal);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
}

async function* messages(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    try {
        for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            text += value;
            for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
                const e = parse(text.slice(0, at));
                if (e) yield e;
            }
        }
    } finally { reader.cancel().catch(() => {}); }
}

function parse(block) {
    const e = { event: 'message', data: null };
    for (const line of block.split('\n')) {
        const colon = line.indexOf(':');
        if (colon <= 0) continue;                        // a comment keeps the connection alive
        const field = line.slice(0, colon), value = line.slice(colon + 1).replace(/^ /, '');
        if (field === 'data') e.data = e.data === null ? value : `${e.data}\n${value}`;
        else e[field] = value;
    }
    return e.data === null ? null : { ...e, data: JSON.parse(e.data) };
}
