// The serial console: followed from when it is looked at first, typed into line by line.
import { h, download, perFrame } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, post, request } from '../lib/api.js';
import { follow } from '../lib/sse.js';
import { t } from '../lib/words.js';
import { attempt } from '../lib/notice.js';
import { field, input } from '../lib/field.js';

const MOST = 200_000, NEAR_END = 40, CONTROL = [['Enter', '\n'], ['Ctrl+C', '\x03'], ['Ctrl+D', '\x04'], ['Esc', '\x1b']];
// Colours and cursor movements of a terminal are not shown: this is a text that grows.
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g, REST = /[\x00-\x08\x0b-\x1f\x7f]/g;
const plain = (text) => text.replace(ESCAPES, '').replace(/\r+\n/g, '\n').replace(REST, '');

export function serial(vm, signal) {
    const path = at`/v1/vms/${vm.id}/serial`;
    const out = h('pre', { class: 'serial', tabIndex: 0, role: 'log', 'aria-live': 'off', 'aria-label': t('console.serial') });
    const line = input({ name: 'serial', class: 'mono' });
    let opened = false, all = '';
    const draw = perFrame(() => {
        const end = out.scrollHeight - out.scrollTop - out.clientHeight < NEAR_END;
        if (all.length > MOST) all = all.slice(-MOST / 2);
        out.textContent = plain(all);
        if (end) out.scrollTop = out.scrollHeight;
    });
    const send = (text, button) => attempt(() => post(path, { text }, { signal }), { button });
    async function whole() {
        const parts = [];
        for (let after = 0; ;) {
            const answer = await request('GET', `${path}?after=${after}`, { accept: 'application/octet-stream', signal });
            parts.push(await answer.blob());
            const next = Number(answer.headers.get('vmrecover-next-after'));
            if (next <= after || next >= Number(answer.headers.get('vmrecover-size'))) break;
            after = next;
        }
        download(new Blob(parts, { type: 'text/plain' }), `${vm.name}-serial.log`);
    }
    const save = h('button', { type: 'button', class: 'quiet', onclick: () => attempt(whole, { button: save }) }, icon('save'), t('serial.save'));
    return {
        node: h('div', { class: 'stack' }, out,
            h('form', { class: 'inline', onsubmit: (e) => { e.preventDefault(); send(`${line.value}\n`); line.value = ''; } }, field(t('serial.line'), line), h('button', { type: 'submit' }, t('serial.send'))),
            h('div', { class: 'buttons' }, CONTROL.map(([name, what]) => h('button', { type: 'button', class: 'key', onclick: (e) => send(what, e.currentTarget) }, name)), save)),
        open() {
            if (opened) return;
            opened = true;
            follow(path, { after: 0, signal, onEvent: ({ data }) => { all += data.text; draw(); } });
        },
    };
}
