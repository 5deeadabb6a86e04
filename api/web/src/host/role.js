// Windows' role Hyper-V: where it is off, it is turned on from here. No event tells how far that is.
import { h } from '../lib/dom.js';
import { post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { attempt } from '../lib/notice.js';
import { problemView } from '../lib/problem.js';
import { ask } from '../lib/dialog.js';

const LOOK_MS = 5000;

// again() draws the host report anew.
export function role({ state, percent, error }, signal, again) {
    const enable = h('button', { type: 'button', class: 'primary', 'data-order': 'enable-hyperv', onclick: async () => {
        if (!await ask({ title: t('role.title'), body: h('p', {}, t('role.text')), confirm: t('role.enable') })) return;
        await attempt(() => post('/v1/host/enable-hyperv', undefined, { signal }), { button: enable, done: t('role.done') });
        again();
    } }, t('role.enable'));
    const card = (...children) => h('div', { class: 'card warning', role: 'status' }, children);
    if (state === 'enabling') {
        const timer = setTimeout(again, LOOK_MS);
        signal.addEventListener('abort', () => clearTimeout(timer));
        return card(h('p', {}, t('role.enabling')), h('progress', { max: 100, 'aria-label': t('role.enabling'), ...(percent === null ? {} : { value: percent }) }));
    }
    if (state === 'restart_needed') return card(h('p', {}, t('role.pending')));
    if (state === 'failed') return card(h('p', {}, t('role.failed')), error ? problemView(error) : null, h('div', { class: 'buttons' }, enable));
    if (state === 'disabled') return card(h('p', {}, t('role.disabled')), h('div', { class: 'buttons' }, enable));
    return null;
}
