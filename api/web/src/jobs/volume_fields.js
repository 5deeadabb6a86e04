// Where the disks go: into the data folder, or onto a volume that is made of empty disks of this host.
import { h, replace, setHidden } from '../lib/dom.js';
import { get } from '../lib/api.js';
import { t } from '../lib/words.js';
import { bytes, dotted } from '../lib/format.js';
import { field, input, select } from '../lib/field.js';

// A disk that a request may name: eligible, or held back only until it is named.
const nameable = (d) => d.eligible || d.reasons.length > 0 && d.reasons.every((r) => /^(temporary|offline_by_policy): /.test(r));

export function volumeFields(signal, onChange) {
    const kind = select(['none', 'auto', 'chosen'].map((k) => [k, t(`submit.volume_${k}`)]), { value: 'none', onchange: () => { draw(); onChange(); } });
    const layout = select(['auto', 'single', 'striped'].map((l) => [l, t(`submit.layout_${l}`)]), { value: 'auto', onchange: onChange });
    const label = input({ maxlength: 12, oninput: onChange }), list = h('div', {});
    const disks = h('fieldset', { 'data-pointer': '/volume/disks' }, h('legend', {}, t('submit.volume_disks')), list);
    const more = h('div', { class: 'grid' }, field(t('submit.layout'), layout, { pointer: '/volume/layout' }),
        field(t('submit.label'), label, { note: t('submit.label_note'), pointer: '/volume/label' }));
    const node = h('div', { hidden: true }, field(t('submit.volume'), kind, { note: t('submit.volume_note'), pointer: '/volume' }), disks, more);
    const chosen = () => [...list.querySelectorAll('input:checked')].map((x) => x.value);
    function draw() {
        setHidden(disks, kind.value !== 'chosen');
        setHidden(more, kind.value === 'none');
    }
    draw();
    get('/v1/disks', { signal }).then(({ disks: all }) => {
        const fit = all.filter(nameable);
        replace(list, fit.length ? fit.map((d) => h('label', { class: 'choice' }, h('input', { type: 'checkbox', value: d.id, onchange: onChange }),
            h('span', {}, h('strong', {}, d.device ?? d.id), ` ${bytes(d.size)} `, h('span', { class: 'faint' }, dotted([d.model, d.serial]))))) : h('p', { class: 'faint' }, t('submit.no_disks')));
        setHidden(node, false);
    }, () => {});                                        // a host whose disks are not known has the data folder alone
    return {
        node,
        value() {
            if (kind.value === 'none') return null;
            const place = { disks: kind.value === 'auto' ? 'auto' : chosen() };
            if (layout.value !== 'auto') place.layout = layout.value;
            if (label.value.trim()) place.label = label.value.trim();
            return place;
        },
    };
}
