// Where the disks come from: four kinds, of which the chosen one's fields are shown.
import { h, setHidden } from '../lib/dom.js';
import { t, word } from '../lib/words.js';
import { check, checkbox, field, input, select } from '../lib/field.js';
import { azurePicker, signsIn } from './azure_picker.js';

const GIB = 1024 ** 3, MOST_DISKS = 4;

// Several of one kind, the OS disk first: rows of a text field, with a button for a further one.
function several(label, kind, props, onChange) {
    const list = h('div', {});
    const more = h('button', { type: 'button', class: 'quiet', onclick: () => { add(); list.lastChild.querySelector('input').focus(); } }, t('submit.further_disk'));
    function add() {
        const n = list.children.length;
        const control = input({ ...props, oninput: onChange });
        list.append(field(n ? t('submit.data_disk', { n }) : label, control, { pointer: `/disks/${n}/source/${kind}` }));
        setHidden(more, n + 1 >= MOST_DISKS);
        onChange();
    }
    queueMicrotask(add);
    return { node: h('div', {}, list, more), values: () => [...list.querySelectorAll('input')].map((x) => x.value.trim()).filter((v, i) => v || i === 0) };
}

export function sourceFields(credentials, signal, onChange) {
    const picker = azurePicker(credentials, signal, onChange);
    const dataDisks = checkbox({ onchange: onChange }), deallocate = checkbox({ onchange: onChange });
    const storage = credentials.filter((c) => c.type !== 'arc' || signsIn(c));
    const urls = several(t('submit.url'), 'url', { type: 'url', placeholder: 'https://acct.blob.core.windows.net/vhds/web01.vhd?sv=…' }, onChange);
    const blobCredential = select([['', t('submit.in_url')], ...storage.map((c) => [c.name, `${c.name} (${word('credential', c.type)})`])], { value: '', onchange: onChange });
    const paths = several(t('submit.path'), 'path', { placeholder: '/srv/web01.vhd' }, onChange);
    const size = h('input', { type: 'number', min: 1, max: 65536, step: 1, value: '32', oninput: onChange });
    const iso = input({ placeholder: '/srv/debian.iso', oninput: onChange });

    const kinds = {
        blob: { node: h('div', {}, urls.node, field(t('submit.credential'), blobCredential, { note: t('submit.url_note'), pointer: '/disks/0/source/credential' })),
            disks: () => urls.values().map((url) => ({ type: 'blob', url, ...(blobCredential.value ? { credential: blobCredential.value } : {}) })) },
        azure: { node: h('div', {}, picker.node,
            check(t('submit.data_disks'), dataDisks, { pointer: '/disks/0/source/data_disks' }),
            check(t('submit.deallocate'), deallocate, { note: t('submit.deallocate_note'), pointer: '/disks/0/source/deallocate' })),
            disks: () => {
                const source = picker.value();
                if (source.type === 'vm') Object.assign(source, dataDisks.checked ? { data_disks: true } : {}, deallocate.checked ? { deallocate: true } : {});
                return [source];
            } },
        file: { node: h('div', {}, paths.node, h('p', { class: 'note' }, t('submit.path_note'))), disks: () => paths.values().map((path) => ({ type: 'file', path })) },
        blank: { node: h('div', {}, field(t('submit.size'), size, { pointer: '/disks/0/source/size' }), field(t('submit.iso'), iso, { note: t('submit.iso_note'), pointer: '/vm/dvd' })),
            disks: () => [{ type: 'blank', size: Math.round(Number(size.value) * GIB) }], dvd: () => iso.value.trim() },
    };
    let kind = 'blob';
    const choices = Object.keys(kinds).map((name) => h('label', { class: 'choice' },
        h('input', { type: 'radio', name: 'source', value: name, checked: name === kind, onchange: () => choose(name) }), t(`submit.from_${name}`)));
    function choose(name) {
        kind = name;
        for (const [key, k] of Object.entries(kinds)) setHidden(k.node, key !== name);
        onChange();
    }
    queueMicrotask(() => choose(kind));
    return {
        node: h('fieldset', { class: 'source' }, h('legend', {}, t('submit.source')), h('div', { class: 'choices' }, choices), Object.values(kinds).map((k) => k.node)),
        disks: () => kinds[kind].disks(),
        dvd: () => kinds[kind].dvd?.() || '',
    };
}
