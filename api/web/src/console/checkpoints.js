// Undo points: one before a try, and back to it after.
import { h, replace } from '../lib/dom.js';
import { at, del, get, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { time } from '../lib/format.js';
import { attempt } from '../lib/notice.js';
import { problemView } from '../lib/problem.js';
import { ask } from '../lib/dialog.js';
import { field, input } from '../lib/field.js';

export function checkpoints({ vm, signal, look }) {
    const path = (tail = '') => `${at`/v1/vms/${vm().id}/checkpoints`}${tail}`;
    const list = h('ul', { class: 'points' }), name = input({ maxlength: 100, name: 'checkpoint', placeholder: t('points.placeholder') });
    const make = h('button', { type: 'submit', class: 'primary' }, t('points.make'));

    async function load() {
        try {
            const all = (await get(path(), { signal })).checkpoints;
            replace(list, all.length ? all.map(row) : h('li', { class: 'faint' }, t('points.none')));
        } catch (e) { if (e.name !== 'AbortError') replace(list, h('li', {}, problemView(e))); }
    }
    async function submit(e) {
        e.preventDefault();
        const text = name.value.trim();
        if (await attempt(() => post(path(), text ? { name: text } : {}, { signal }), { button: make, done: t('points.made') })) name.value = '';
        load();
    }
    // An order about one of them that is asked for first; words: points.ORDER_title and so on.
    function order(c, verb, text, fn, props = {}) {
        return h('button', { type: 'button', 'aria-label': `${t(`points.${verb}`)}: ${c.name}`, ...props, onclick: async (e) => {
            const button = e.currentTarget;
            if (!await ask({ title: t(`points.${verb}_title`, { name: c.name }), body: h('p', {}, t(text)), confirm: t(`points.${verb}`), danger: true })) return;
            await attempt(fn, { button, done: t(`points.${verb}d`, { name: c.name }) });
            look();
            load();
        } }, t(`points.${verb}`));
    }
    const row = (c) => h('li', {},
        h('div', {}, h('strong', {}, c.name), ' ', h('span', { class: 'faint' }, time(c.created_at), c.with_memory ? ` · ${t('points.with_memory')}` : '')),
        h('div', { class: 'buttons' },
            order(c, 'restore', c.with_memory ? 'points.restore_running' : 'points.restore_off', () => post(path(`${at`/${c.id}`}/restore`), undefined, { signal })),
            order(c, 'remove', 'points.remove_text', () => del(path(at`/${c.id}`), { signal }), { class: 'quiet' })));
    return { load, node: h('div', { class: 'stack' }, h('p', {}, t('points.text')), h('form', { class: 'inline', onsubmit: submit }, field(t('points.name'), name), make), list) };
}
