// A text that is typed on the guest's keyboard, for what would be pasted. The guest's layout is the reader's to say: nobody else knows it.
import { h } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { remember, remembered } from '../lib/memory.js';
import { attempt } from '../lib/notice.js';
import { check, checkbox, field, select } from '../lib/field.js';

const LAYOUTS = ['us', 'jp', 'de', 'fr', 'uk'], STEP = 4096;

export function typing({ vm, signal }) {
    const kept = remembered('layout');
    const text = h('textarea', { rows: 6, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', name: 'text' });
    const layout = select(LAYOUTS.map((l) => [l, t(`layout.${l}`)]), { value: LAYOUTS.includes(kept) ? kept : 'us', onchange: () => remember('layout', layout.value) });
    const enter = checkbox({ checked: true });
    const send = h('button', { type: 'submit', class: 'primary' }, icon('keyboard'), t('console.type'));
    async function submit(e) {
        e.preventDefault();
        const all = text.value.replaceAll('\r', '') + (enter.checked ? '\n' : '');
        const own = layout.value === 'us' ? {} : { layout: layout.value }, sequence = [];
        for (let i = 0; i < all.length; i += STEP) sequence.push({ text: all.slice(i, i + STEP), ...own });
        if (sequence.length && await attempt(() => post(at`/v1/vms/${vm().id}/keys`, { sequence }, { signal }), { button: send, done: t('console.typed') }))
            text.value = '';
    }
    return h('form', { class: 'stack', onsubmit: submit }, field(t('console.text_to_type'), text, { note: t('console.typing_note') }),
        field(t('console.layout'), layout), check(t('console.enter'), enter), h('div', { class: 'buttons' }, send));
}
