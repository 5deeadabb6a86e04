// The rows of the host report: what was found, and what to do where it is not well.
import { h } from '../lib/dom.js';
import { word } from '../lib/words.js';

const ORDER = ['failed', 'warning', 'ok'];

export function checks(list) {
    const sorted = [...list].sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status));
    return h('ul', { class: 'checks' }, sorted.map((c) => h('li', { 'data-status': c.status, 'data-check': c.check },
        h('span', { class: 'badge', 'data-state': c.status }, word('status', c.status)), h('div', {}, h('strong', {}, word('check', c.check)),
            h('p', { lang: 'en' }, c.detail), c.remedy ? h('p', { class: 'hint', lang: 'en' }, c.remedy) : null))));
}
