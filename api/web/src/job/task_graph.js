// The tasks of a job from left to right in the order of its graph; what is done for each disk stands one below the other. Times tick.
import { h, setAttribute, setHidden, setText } from '../lib/dom.js';
import { t, word } from '../lib/words.js';
import { between, clockText, dateText, percent } from '../lib/format.js';

const ORDER = ['preflight', 'export', 'volume', 'download', 'create_vm', 'start_vm', 'export_vm', 'verify'];

export function taskGraph(signal) {
    const node = h('ol', { class: 'graph' });
    const cards = new Map();
    let shown = '';

    function build(tasks) {
        const kinds = [...new Set(tasks.map((x) => x.kind))].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
        cards.clear();
        node.replaceChildren(...kinds.map((kind) => h('li', { class: 'stage' }, h('h3', {}, word('kind', kind)),
            h('ul', {}, tasks.map((task, i) => (task.kind === kind ? card(task, i) : null))))));
    }
    function card(task, i) {
        const state = h('span', { class: 'task-state' }), span = h('span', { class: 'task-time' }), at = h('time', { class: 'faint' });
        const bar = h('progress', { max: 1, 'aria-label': `${word('kind', task.kind)} ${task.disk ?? ''}` });
        const li = h('li', { class: 'task' }, task.disk === null ? null : h('span', { class: 'task-disk' }, t('job.disk', { n: task.disk })), state, bar, span, at);
        cards.set(i, { li, state, span, at, bar });
        return li;
    }
    let last = [];
    function draw() {
        last.forEach((task, i) => {
            const c = cards.get(i), { total_bytes: total, done_bytes: done } = task.progress;
            setAttribute(c.li, 'data-state', task.state);
            const tries = task.attempts > 1 ? ` ${t('job.attempt', { n: task.attempts })}` : '';
            setText(c.state, `${word('state', task.state)}${task.state === 'running' && total ? ` ${percent(done / total)}` : ''}${tries}`);
            setHidden(c.bar, task.state !== 'running' || !total);
            if (total) c.bar.value = done / total;
            setText(c.span, task.started_at && (task.finished_at || task.state === 'running') ? between(task.started_at, task.finished_at) : '');
            if (task.started_at) {
                setText(c.at, clockText(task.started_at));
                setAttribute(c.at, 'datetime', task.started_at);
                setAttribute(c.at, 'title', `${dateText(task.started_at)}${task.finished_at ? ` – ${dateText(task.finished_at)}` : ''}`);
            }
        });
    }
    const ticking = setInterval(() => last.some((x) => x.state === 'running') && draw(), 1000);
    signal.addEventListener('abort', () => clearInterval(ticking));
    return {
        node,
        update(tasks) {
            const shape = tasks.map((x) => `${x.kind} ${x.disk}`).join();
            if (shape !== shown) build(tasks);
            shown = shape;
            last = tasks;
            draw();
        },
    };
}
