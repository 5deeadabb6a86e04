// One job in the list. Its parts are made once; an update writes what changed.
import { h, replace, setAttribute, setHidden, setText } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { t, word } from '../lib/words.js';
import { bytes, duration, percent, rate, time } from '../lib/format.js';
import { orderButton } from './orders.js';
import { isFinal, orders, summary } from './state.js';

const cell = (name, ...children) => h('td', { role: 'cell', class: name }, ...children);

export class JobRow {
    constructor(job) {
        this.job = job;
        this.link = h('a', { href: `#/jobs/${job.id}` });
        this.badge = h('span', { class: 'badge' });
        this.stage = h('span', { class: 'stage-name' });
        this.bar = h('progress', { max: 1 });
        this.part = h('span', { class: 'part' });
        this.speed = cell('speed');
        this.eta = cell('eta');
        this.actions = h('div', { class: 'row-actions' });
        this.shown = '';
        this.node = h('tr', { role: 'row', 'data-id': job.id },
            cell('name', this.link), cell('state', this.badge), cell('stage', this.stage), cell('progress', this.bar, this.part),
            this.speed, this.eta, cell('created', time(job.created_at)), cell('actions', this.actions));
        this.update(job);
    }
    update(job = this.job) {
        this.job = job;
        const s = summary(job);
        const state = job.delete_requested ? 'deleting' : job.state;
        setText(this.link, job.name);
        setAttribute(this.link, 'title', job.name);
        setText(this.badge, word('state', state));
        setAttribute(this.badge, 'data-state', state);
        setText(this.stage, state === 'succeeded' ? '' : s.stage);
        const known = s.part !== null;
        setHidden(this.bar, !known || isFinal(job));
        if (known) this.bar.value = s.part;
        setAttribute(this.bar, 'aria-label', t('jobs.progress_of', { name: job.name }));
        setText(this.part, state === 'failed' ? (s.error?.code ?? '') : known && s.total ? (isFinal(job) ? bytes(s.total) : percent(s.part)) : '');
        setText(this.speed, s.speed ? rate(s.speed) : '');
        setText(this.eta, s.eta === null ? '' : duration(s.eta));
        const list = orders(job).join();
        const wanted = `${list} ${job.vm_id}`;
        if (wanted === this.shown) return;
        this.shown = wanted;
        replace(this.actions,
            job.vm_id ? h('a', { class: 'button small quiet', href: `#/vms/${job.vm_id}`, title: t('console.title'), 'aria-label': t('jobs.console_of', { name: job.name }) }, icon('console')) : null,
            orders(job).map((order) => orderButton(order, () => this.job, { small: true })));
    }
}
