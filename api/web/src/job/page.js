// One job: its graph, how fast it goes, its disks as they fill, what happened, what it made.
import { h, perFrame, replace, setAttribute, setHidden, setText } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, get } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { bytes, duration, percent, rate, time } from '../lib/format.js';
import { problemView } from '../lib/problem.js';
import { open, setTitle } from '../lib/router.js';
import { orderButton } from '../jobs/orders.js';
import { watchJobs } from '../jobs/store.js';
import { isFinal, orders, summary } from '../jobs/state.js';
import { taskGraph } from './task_graph.js';
import { ratePlot } from './rate_plot.js';
import { eventLog } from './event_log.js';
import { speedLimit } from './speed_limit.js';

export function jobPage({ params: { id }, signal }) {
    const page = h('section', { class: 'job' });
    let job = null, view = null;

    const store = watchJobs({ signal, wanted: (other) => other === id,
        onChange: (now) => { job = now; draw(); }, onNew: (now) => { job = now; draw(); },
        onGone: () => { replace(page, h('h1', {}, t('job.gone')), h('p', {}, h('a', { href: '#/jobs' }, t('job.back')))); view = null; },
        onConnected: load });
    const draw = perFrame(() => {
        if (signal.aborted || !job) return;
        if (!view) {
            view = jobView(job, () => job, signal);
            replace(page, view.node);
            setTitle(job.name);
        }
        view.update(job);
    });
    async function load() {
        try {
            job = store.put(await get(at`/v1/jobs/${id}`, { signal }));
            draw();
        } catch (e) {
            if (e.name !== 'AbortError' && !view) replace(page, h('h1', {}, t('job.missing')), problemView(e), h('p', {}, h('a', { href: '#/jobs' }, t('job.back'))));
        }
    }
    replace(page, h('h1', {}, t('loading')));
    load();
    return page;
}

function jobView(first, job, signal) {
    const badge = h('span', { class: 'badge' }), actions = h('div', { class: 'buttons' });
    const error = h('div', { role: 'alert' }), made = h('div', { class: 'made' });
    const bar = h('progress', { max: 1, 'aria-label': t('jobs.progress') });
    const facts = Object.fromEntries(['part', 'speed', 'eta', 'transferred', 'skipped'].map((k) => [k, h('dd', {}, '–')]));
    const graph = taskGraph(signal), plot = ratePlot(signal), log = eventLog(first.id, signal);
    const limit = speedLimit(first, signal);
    const disks = h('ul', { class: 'disks' });
    let shown = '', shownDisks = '', shownError = null;

    const node = h('div', {},
        h('div', { class: 'title' }, h('h1', {}, first.name), badge, actions),
        error,
        h('section', { class: 'card', 'aria-label': t('job.tasks') }, h('h2', {}, t('job.tasks')), graph.node),
        h('section', { class: 'card now', 'aria-label': t('job.transfer') }, h('h2', {}, t('job.transfer')), bar,
            h('dl', { class: 'facts wide' }, Object.entries(facts).map(([k, dd]) => h('div', {}, h('dt', {}, t(`job.${k}`)), dd))), plot.node, limit.node),
        h('section', { class: 'card', 'aria-label': t('job.disks') }, h('h2', {}, t('job.disks')), disks),
        h('section', { class: 'card', 'aria-label': t('job.made') }, h('h2', {}, t('job.made')), made),
        h('section', { class: 'card', 'aria-label': t('job.events') }, h('h2', {}, t('job.events')), log.node));

    function drawActions(now) {
        const list = orders(now).join();
        if (list === shown) return;
        shown = list;
        const had = actions.contains(document.activeElement);
        replace(actions, orders(now).map((order) => orderButton(order, job, { after: (o) => o === 'delete' && open('/jobs') })));
        if (had) actions.querySelector('button')?.focus();
    }
    function drawError(now) {
        const failed = now.tasks.find((x) => x.error && x.state !== 'succeeded');
        const key = failed ? JSON.stringify([failed.kind, failed.disk, failed.error, failed.not_before]) : '';
        if (key === shownError) return;
        shownError = key;
        replace(error, failed ? h('div', { class: `card ${failed.state === 'failed' ? 'failed' : 'retrying'}` },
            h('h2', {}, t(failed.state === 'failed' ? 'job.failed_at' : 'job.retrying', { task: word('kind', failed.kind) }),
                failed.not_before ? [' ', time(failed.not_before)] : null), problemView(failed.error)) : null);
    }
    function drawDisks(now) {
        const key = JSON.stringify([now.disks, now.vm_id, now.tasks.filter((x) => x.kind === 'export_vm')]);
        if (key === shownDisks) return;
        shownDisks = key;
        replace(disks, now.disks.map((d) => h('li', {}, h('strong', {}, t('job.disk', { n: d.index })), ' ', word('source', d.source.type), ' ',
            h('code', {}, d.source.url ?? d.source.id ?? d.source.path ?? ''), d.virtual_size ? ` ${bytes(d.virtual_size)}` : '')));
        const exports = now.tasks.filter((x) => x.kind === 'export_vm' && x.params?.path);
        const files = now.disks.filter((d) => d.path && d.source.type !== 'file');
        replace(made, now.vm_id ? h('p', {}, h('a', { class: 'button primary', href: `#/vms/${now.vm_id}` }, icon('console'), t('job.console')), ' ',
            now.generation ? t('job.generation', { n: now.generation }) : '') : null,
        files.length || exports.length ? h('ul', {}, files.map((d) => h('li', {}, word('format', d.format), ' ', h('code', {}, d.path))),
            exports.map((x) => h('li', {}, word('kind', 'export_vm'), ', ', word('state', x.state), ' ', h('code', {}, x.params.path)))) : null,
        !now.vm_id && !files.length && !exports.length ? h('p', { class: 'faint' }, t('job.nothing_yet')) : null,
        h('p', {}, h('a', { href: at`/v1/jobs/${now.id}`, target: '_blank' }, t('job.json')), ' · ',
            h('a', { href: `${at`/v1/jobs/${now.id}/events`}?limit=500`, target: '_blank' }, t('job.events_json'))));
    }

    return {
        node,
        update(now) {
            const s = summary(now), state = now.delete_requested ? 'deleting' : now.state;
            setText(badge, word('state', state));
            setAttribute(badge, 'data-state', state);
            drawActions(now);
            drawError(now);
            drawDisks(now);
            graph.update(now.tasks);
            const moves = now.tasks.filter((x) => x.progress.total_bytes > 0);
            const sum = (k) => moves.filter((x) => x.kind === 'download').reduce((all, x) => all + x.progress[k], 0);
            bar.value = s.part ?? 0;
            setText(facts.part, s.total ? t('job.of', { part: percent(s.part), done: bytes(s.done), total: bytes(s.total) }) : '–');
            setText(facts.speed, isFinal(now) ? '–' : rate(s.speed));
            setText(facts.eta, s.eta === null ? '–' : duration(s.eta));
            setText(facts.transferred, bytes(sum('transferred_bytes')));
            setText(facts.skipped, bytes(sum('skipped_bytes')));
            if (!isFinal(now)) plot.add(s.speed);
            else if (!plot.node.dataset.drawn) setHidden(plot.node, true);
            setHidden(limit.node, isFinal(now));
        },
    };
}
