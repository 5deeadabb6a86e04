// What is put into the VM and taken out: an ISO, a further disk, and the repaired disk as a file.
import { h, replace, setHidden } from '../lib/dom.js';
import { at, del, post, put } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { bytes } from '../lib/format.js';
import { attempt, complain, say } from '../lib/notice.js';
import { clearComplaints, complainAt, field, input, select } from '../lib/field.js';

const SLOTS = [1, 2, 3];

export function media({ vm, signal, look, can }) {
    const path = (tail) => `${at`/v1/vms/${vm().id}`}${tail}`, free = () => SLOTS.find((s) => !vm().disks.some((d) => d.slot === s));
    const formats = (names) => names.map((f) => [f, word('format', f)]);
    const drive = h('p', {}), iso = input({ name: 'iso', placeholder: '/srv/rescue.iso' }), insert = h('button', { type: 'submit' }, t('media.insert'));
    const eject = h('button', { type: 'button', class: 'quiet', onclick: () => order(() => del(path('/dvd'), { signal }), { button: eject, done: t('media.ejected') }) }, t('media.eject'));
    const disks = h('ul', { class: 'disks' }), file = input({ name: 'file', placeholder: '/srv/backup.vhd' });
    const format = select(formats(['vhd', 'vhd_dynamic', 'vhdx', 'raw']), { value: 'vhd' });
    const attach = h('button', { type: 'submit' }, t('media.attach')), attachNote = h('p', { class: 'note' }, t('media.only_off'));
    const kind = select(formats(['azure', 'vhd', 'vhd_dynamic', 'vhdx', 'raw']), { value: 'azure' });
    const start = h('button', { type: 'submit', 'data-order': 'export' }, t('media.export'));
    let shown = '';

    async function order(fn, options) {
        if (await attempt(fn, options)) look();
    }
    // A form that gives an order; what the API says about a field stands at that field.
    const form = (fn, button, done, ...children) => h('form', { class: 'inline', onsubmit: async (e) => {
        e.preventDefault();
        const node = e.currentTarget;
        clearComplaints(node);
        button.disabled = true;
        try {
            await fn();
            say(done);
        } catch (x) { if (!complainAt(node, x.problem)) complain(x); } finally { button.disabled = false; }
        look();
    } }, children, button);

    return {
        node: h('div', { class: 'stack' },
            h('h2', {}, t('media.dvd')), drive,
            form(() => put(path('/dvd'), { path: iso.value.trim() }, { signal }), insert, t('media.inserted'), field(t('media.iso'), iso, { pointer: '/path' })), h('div', { class: 'buttons' }, eject),
            h('h2', {}, t('media.disks')), disks,
            can('attach_disk') ? [form(() => put(path(`/disks/${free()}`), { path: file.value.trim(), format: format.value }, { signal }), attach, t('media.attached'),
                field(t('media.file'), file, { pointer: '/path' }), field(t('media.format'), format, { pointer: '/format' })), attachNote] : null,
            can('export') ? [h('h2', {}, t('media.export_heading')), h('p', {}, t('media.export_text')),
                form(() => post(path('/export'), { format: kind.value }, { signal }), start, t('media.exporting'), field(t('media.format'), kind)),
                h('p', {}, h('a', { href: `#/jobs/${vm().job_id}` }, t('media.export_where')))] : null),
        update(now) {
            const key = JSON.stringify([now.dvd, now.disks, now.state]);
            if (key === shown) return;
            shown = key;
            replace(drive, now.dvd ? [t('media.in_drive'), ' ', h('code', {}, now.dvd)] : t('media.empty'));
            setHidden(eject, !now.dvd);
            attach.disabled = now.state !== 'off' || free() === undefined;
            setHidden(attachNote, now.state === 'off');
            replace(disks, now.disks.map((d) => h('li', {}, h('strong', {}, t('media.slot', { n: d.slot })), ' ', h('code', {}, d.path), d.virtual_size ? ` ${bytes(d.virtual_size)}` : '',
                d.slot > 0 && now.state === 'off' ? [' ', h('button', { type: 'button', class: 'small',
                    onclick: (e) => order(() => del(path(`/disks/${d.slot}`), { signal }), { button: e.currentTarget }) }, t('media.detach'))] : null)));
        },
    };
}
