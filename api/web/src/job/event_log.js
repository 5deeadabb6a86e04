// The events of a job, newest first: a page of what was, then what comes. Bounded: old ones make room, and are all in the JSON.
import { h, perFrame, setHidden } from '../lib/dom.js';
import { at, get } from '../lib/api.js';
import { onEvents } from '../lib/events.js';
import { t, word } from '../lib/words.js';
import { bytes, clockText, time } from '../lib/format.js';

const MOST = 400, PAGE = 500;

// The members of an event in a few words; all of them are in its fold.
function inShort({ kind, disk, code, reason, detail, what, error, bytes_at_most: most, skipped_bytes: skipped, user_code: userCode, verification_url: url }) {
    return [kind && word('kind', kind), Number.isInteger(disk) ? t('job.disk', { n: disk }) : null, what, code ?? error?.code, detail ?? error?.detail ?? reason, userCode && `${userCode} ${url}`,
        most !== undefined ? bytes(most) : null, skipped !== undefined ? bytes(skipped) : null].filter(Boolean).join(' · ');
}
const line = (e) => h('li', { class: 'event', 'data-type': e.type }, time(e.at, clockText), h('span', { class: 'event-type' }, word('event', e.type)),
    h('span', { class: 'event-text' }, inShort(e.data)),
    Object.keys(e.data).length ? h('details', {}, h('summary', { 'aria-label': t('job.event_data') }, '…'), h('pre', { tabIndex: 0 }, JSON.stringify(e.data, null, 2))) : null);

export function eventLog(id, signal) {
    const list = h('ol', { class: 'events', reversed: true, role: 'log', 'aria-live': 'off', 'aria-label': t('job.events'), tabIndex: 0 });
    const note = h('p', { class: 'note', hidden: true }, t('job.events_more'));
    let newest = 0, waiting = [];
    const flush = perFrame(() => {
        for (const e of waiting.splice(0)) {
            if (e.id <= newest) continue;
            newest = e.id;
            list.prepend(line(e));
        }
        while (list.children.length > MOST) { list.lastChild.remove(); setHidden(note, false); }
    });
    function take(events) {
        waiting.push(...events);
        waiting.sort((a, b) => a.id - b.id);
        flush();
    }
    async function load() {
        try {
            for (let after = newest; ;) {
                const page = await get(`${at`/v1/jobs/${id}/events`}?after=${after}&limit=${PAGE}`, { signal });
                take(page.events);
                if (page.events.length < PAGE) return;
                after = page.next_after;
            }
        } catch (e) { if (e.name !== 'AbortError' && e.status !== 404) setTimeout(() => !signal.aborted && load(), 3000); }
    }
    let loaded = false, early = [];
    const stop = onEvents((e) => {
        if (e.type === 'connected') load();
        else if (e.job_id === id && e.id !== undefined) {
            if (loaded) take([e]);
            else early.push(e);
        }
    });
    load().finally(() => { loaded = true; take(early.splice(0)); });
    signal.addEventListener('abort', stop);
    return { node: h('div', {}, list, note) };
}
