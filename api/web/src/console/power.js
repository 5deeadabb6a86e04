// Start, shut down, power off, reset: those that the VM's state allows.
import { h, replace } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { attempt } from '../lib/notice.js';
import { ask } from '../lib/dialog.js';

const ALLOWED = { off: ['start'], running: ['shutdown', 'reset', 'stop'], paused: ['start', 'stop'], failed: ['start', 'stop'] };
const ASKED = new Set(['reset', 'stop']);

export function power({ vm, signal, look }) {
    const node = h('div', { class: 'buttons', role: 'group', 'aria-label': t('console.power') });
    let shown = '';
    async function give(order, button) {
        const { id, name } = vm();
        if (ASKED.has(order) && !await ask({ title: t(`power.${order}_title`, { name }), body: h('p', {}, t(`power.${order}_text`)), confirm: t(`power.${order}`), danger: true }))
            return;
        await attempt(() => post(`${at`/v1/vms/${id}`}/${order}`, undefined, { signal }), { button, done: t(`power.${order}_done`) });
        look();
    }
    return {
        node,
        update({ state }) {
            if (state === shown) return;
            shown = state;
            replace(node, (ALLOWED[state] ?? []).map((order) => h('button', { type: 'button', 'data-order': order, class: order === 'start' ? 'primary' : 'quiet',
                onclick: (e) => give(order, e.currentTarget) }, icon(order), t(`power.${order}`))));
        },
    };
}
