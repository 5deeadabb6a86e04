// Keys that a browser or its system keeps to itself, or a telephone does not have.
import { h } from '../lib/dom.js';
import { at, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { attempt } from '../lib/notice.js';
import { select } from '../lib/field.js';

const BAR = [['Ctrl+Alt+Del', ['ControlLeft', 'AltLeft', 'Delete']], ['Esc', ['Escape']], ['F8', ['F8']], ['F11', ['F11']], ['Tab', ['Tab']], ['Alt+F4', ['AltLeft', 'F4']],
    ['Win', ['MetaLeft']], ['Shift+F10', ['ShiftLeft', 'F10']]];
const MORE = [...Array.from({ length: 12 }, (_, i) => [`F${i + 1}`, [`F${i + 1}`]]), ['Enter', ['Enter']], ['←', ['ArrowLeft']], ['→', ['ArrowRight']],
    ['↑', ['ArrowUp']], ['↓', ['ArrowDown']], ['Home', ['Home']], ['End', ['End']], ['PgUp', ['PageUp']], ['PgDn', ['PageDown']], ['Ins', ['Insert']], ['Del', ['Delete']],
    ['Backspace', ['Backspace']], ['Ctrl+C', ['ControlLeft', 'KeyC']], ['Ctrl+D', ['ControlLeft', 'KeyD']], ['Ctrl+X', ['ControlLeft', 'KeyX']], ['Alt+Tab', ['AltLeft', 'Tab']],
    ['Alt+F1', ['AltLeft', 'F1']], ['Alt+F2', ['AltLeft', 'F2']], ['PrtSc', ['PrintScreen']], ['Pause', ['Pause']]];

export function keyBar({ vm, signal }) {
    const press = (codes, button) => attempt(() => post(at`/v1/vms/${vm().id}/keys`, { sequence: [{ press: codes }] }, { signal }), { button });
    const more = select([['', t('console.more_keys')], ...MORE.map(([name], i) => [String(i), name])], { 'aria-label': t('console.more_keys'), value: '', onchange: () => {
        if (more.value !== '') press(MORE[Number(more.value)][1]);
        more.value = '';
    } });
    return h('div', { class: 'key-bar', role: 'group', 'aria-label': t('console.keys') },
        BAR.map(([name, codes]) => h('button', { type: 'button', class: 'key', 'data-key': name, onclick: (e) => press(codes, e.currentTarget) }, name)), more);
}
