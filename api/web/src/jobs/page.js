// The list of jobs, newest first. Pages are asked for as the reader comes near their end; what streams in is drawn once a frame.
import { h, perFrame, replace, setHidden, setText } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { get } from '../lib/api.js';
import { t } from '../lib/words.js';
import { input, select } from '../lib/field.js';
import { problemView } from '../lib/problem.js';
import { setQuery } from '../lib/router.js';
import { JobRow } from './row.js';
import { watchJobs } from './store.js';

const PAGE = 50, SEARCH_PAGE = 200, ENOUGH = 100;
const STATES = ['running', 'queued', 'paused', 'failed', 'succeeded', 'cancelled'];
const COLUMNS = ['name', 'state', 'stage', 'progress', 'speed', 'eta', 'created', 'actions'];

export function jobsPage({ query, signal }) {
    let state = STATES.includes(query.get('state')) ? query.get('state') : '', needle = query.get('search') ?? '';
    const rows = new Map(), dirty = new Set();
    let cursor = null, ended = false, loading = null, turn = 0;

    const body = h('tbody', { role: 'rowgroup' });
    const table = h('table', { role: 'table', class: 'jobs', 'aria-label': t('nav.jobs') },
        h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, COLUMNS.map((c) => h('th', { role: 'columnheader', scope: 'col', class: c }, t(`jobs.${c}`))))), body);
    const note = h('p', { class: 'list-note', role: 'status' }), trouble = h('div');
    const filter = select([['', t('jobs.all')], ...STATES.map((s) => [s, t(`state.${s}`)])], { value: state, onchange: () => again(filter.value, needle), 'aria-label': t('jobs.filter') });
    const search = input({ type: 'search', value: needle, placeholder: t('jobs.search'), 'aria-label': t('jobs.search'), oninput: () => again(state, search.value) });
    const more = h('button', { type: 'button', onclick: () => load() }, t('jobs.more'));
    const end = h('div', { class: 'list-end' }, more);
    const empty = h('div', { class: 'empty', hidden: true });
    const scroll = h('div', { class: 'scroll' }, table);

    const fits = (job) => (!state || job.state === state) && (!needle || `${job.name} ${job.id}`.toLowerCase().includes(needle.toLowerCase()));
    const draw = perFrame(() => {
        for (const id of dirty) rows.get(id)?.update();
        dirty.clear();
    });
    const store = watchJobs({ signal, wanted: (id, type) => type === 'job_created' || type === `job_${state}`,
        onChange(job, why) {
            const row = rows.get(job.id);
            if (row) {
                row.job = job;
                dirty.add(job.id);
                draw();
            } else if (why !== 'progress' && state && fits(job)) place(job);
        },
        onNew: (job) => fits(job) && place(job),
        onGone: (id) => { rows.get(id)?.node.remove(); rows.delete(id); tell(); },
        onConnected: () => again(state, needle, true) });

    // Newest first: a job that comes later goes where its time says.
    function place(job) {
        if (rows.has(job.id)) return;
        const row = new JobRow(job);
        rows.set(job.id, row);
        let next = body.firstChild;
        while (next && rows.get(next.dataset.id).job.created_at > job.created_at) next = next.nextSibling;
        body.insertBefore(row.node, next);
        tell();
    }
    function tell() {
        setText(note, !ended && !rows.size ? '' : t(ended ? 'jobs.count' : 'jobs.count_more', { n: rows.size }));
        setHidden(more, ended);
        setHidden(empty, !ended || rows.size > 0);
        setHidden(scroll, ended && rows.size === 0);
        if (ended && !rows.size)
            replace(empty, h('p', {}, state || needle ? t('jobs.none_fit') : t('jobs.none')), state || needle ? null : h('a', { class: 'button primary', href: '#/new' }, t('nav.new')));
    }

    async function load() {
        if (loading || ended) return loading;
        const mine = turn;
        loading = (async () => {
            more.disabled = true;
            try {
                let found = 0;
                do {                                     // a search looks through page after page until there is something to show
                    const q = new URLSearchParams({ limit: needle ? SEARCH_PAGE : PAGE, ...(state ? { state } : {}), ...(cursor ? { cursor } : {}) });
                    const page = await get(`/v1/jobs?${q}`, { signal });
                    if (mine !== turn) return;
                    const part = document.createDocumentFragment();
                    for (const job of page.jobs) {
                        if (!fits(job)) continue;
                        store.put(job);
                        if (rows.has(job.id)) {
                            rows.get(job.id).job = job;
                            dirty.add(job.id);
                            continue;
                        }
                        const row = new JobRow(job);
                        rows.set(job.id, row);
                        part.append(row.node);
                        found++;
                    }
                    body.append(part);
                    draw();
                    cursor = page.next_cursor;
                    ended = cursor === null;
                    tell();
                } while (needle && !ended && found < ENOUGH);
                replace(trouble);
            } catch (e) {
                if (e.name !== 'AbortError') replace(trouble, problemView(e));
            } finally {
                if (mine === turn) { loading = null; more.disabled = false; look(); }
            }
        })();
        return loading;
    }

    // From the start. What is shown stays until the new page is there, so that nothing jumps when only the connection came back.
    let pause = 0;
    function again(newState, newNeedle, keep = false) {
        const other = newState !== state || newNeedle !== needle;
        [state, needle] = [newState, newNeedle.trim()];
        const q = new URLSearchParams({ ...(state ? { state } : {}), ...(needle ? { search: needle } : {}) });
        if (other) setQuery('/jobs', q);
        clearTimeout(pause);
        pause = setTimeout(() => {
            if (signal.aborted) return;
            turn++;
            loading = null;
            cursor = null;
            ended = false;
            if (!keep || other) { rows.clear(); body.replaceChildren(); store.jobs.clear(); }
            load();
        }, other ? 150 : 0);
    }

    // Near the end of what is there: ask for more.
    const near = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && load(), { rootMargin: '600px' });
    function look() { near.unobserve(end); if (!ended && !signal.aborted) near.observe(end); }
    signal.addEventListener('abort', () => near.disconnect());
    load();

    return h('section', {},
        h('div', { class: 'title' }, h('h1', {}, t('nav.jobs')), h('a', { class: 'button primary', href: '#/new' }, icon('add'), t('nav.new'))),
        h('div', { class: 'filters', role: 'search' }, filter, search, note), trouble, scroll, empty, end);
}
