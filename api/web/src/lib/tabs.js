// Tabs as the ARIA pattern has them: arrow keys move, one is shown. onShow(name) is called when one is looked at.
import { h, freshId } from './dom.js';

export function tabs(label, items, onShow = () => {}) {
    const list = h('div', { role: 'tablist', 'aria-label': label, class: 'tablist' });
    const root = h('div', { class: 'tabs' }, list);
    const made = items.map(({ name, title, node }) => {
        const tabId = freshId('tab'), panelId = freshId('panel');
        const tab = h('button', { type: 'button', role: 'tab', id: tabId, 'aria-controls': panelId, onclick: () => select(name) }, title);
        const panel = h('div', { role: 'tabpanel', id: panelId, 'aria-labelledby': tabId, class: 'tabpanel' }, node);
        list.append(tab);
        root.append(panel);
        return { name, tab, panel };
    });
    function select(name, focus) {
        for (const m of made) {
            const on = m.name === name;
            m.tab.setAttribute('aria-selected', on);
            m.tab.tabIndex = on ? 0 : -1;
            m.panel.hidden = !on;
            if (on && focus) m.tab.focus();
        }
        onShow(name);
    }
    list.addEventListener('keydown', (e) => {
        const at = made.findIndex((m) => m.tab === e.target);
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: made.length - 1 }[e.code];
        if (to === undefined || at < 0) return;
        e.preventDefault();
        select(made[(to + made.length) % made.length].name, true);
    });
    select(items[0].name);
    return { node: root, select };
}
