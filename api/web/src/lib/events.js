// The one stream of all jobs' events that this page holds, and who listens to it. A browser opens six connections to a host, so a tab that
// nobody sees lets go of its own after a while and catches up when it is looked at.
import { follow } from './sse.js';

const HIDDEN_MS = 60_000;
const listeners = new Set(), watchers = new Set();
let control = null, last = null, state = 'closed', timer = 0;

// fn({ type, id?, at?, job_id, data } | { type: 'progress', job_id, tasks } | { type: 'connected' }): after 'connected' what is shown is to be
// asked for again, for something may have happened before. Returns how to stop.
export function onEvents(fn) {
    listeners.add(fn);
    return () => listeners.delete(fn);
}
export function onConnection(fn) {
    watchers.add(fn);
    fn(state);
}

function tell(e) {
    for (const fn of listeners) fn(e);
}
function setState(now, error) {
    if (now === 'open' && last === null) tell({ type: 'connected' });
    if (now === state) return;
    state = now;
    for (const fn of watchers) fn(state, error);
}

export function start() {
    if (control) return;
    control = new AbortController();
    follow('/v1/events', { last, after: 'latest', signal: control.signal, onState: setState, onEvent: ({ id, event, data }) => {
        if (id !== undefined) last = id;
        tell(event === 'progress' ? { type: 'progress', ...data } : data);
    } });
}
export function stop() {
    control?.abort();
    control = null;
    setState('closed');
}

document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(stop, HIDDEN_MS);
    else start();
});
