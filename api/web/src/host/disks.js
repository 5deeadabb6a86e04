// The host's physical disks, each with why no volume is made of it, and its volumes.
import { h } from '../lib/dom.js';
import { t, word } from '../lib/words.js';
import { bytes } from '../lib/format.js';

export function disksView(disks) {
    if (!disks.length) return h('p', { class: 'faint' }, t('host.no_disks'));
    return h('ul', { class: 'rows' }, disks.map((d) => h('li', { 'data-disk': d.id },
        h('strong', {}, d.device ?? d.id), ' ', h('span', {}, bytes(d.size)), ' ', h('span', { class: 'faint' }, [d.model, d.serial, d.bus, word('disk_role', d.role)].filter(Boolean).join(' · ')), ' ',
        h('span', { class: 'badge', 'data-state': d.eligible ? 'ok' : 'none' }, t(d.eligible ? 'host.eligible' : 'host.not_eligible')),
        d.reasons.length ? h('details', {}, h('summary', {}, t('host.why')), h('ul', { lang: 'en' }, d.reasons.map((r) => h('li', {}, r.replace(/^\w+: /, ''))))) : null)));
}
export function volumesView(volumes) {
    if (!volumes.length) return h('p', { class: 'faint' }, t('host.no_volumes'));
    return h('ul', { class: 'rows' }, volumes.map((v) => h('li', { 'data-volume': v.id },
        h('strong', {}, v.mount_point ?? v.device ?? v.id), ' ', h('span', { class: 'faint' }, [v.file_system, v.label, v.size ? t('host.free_of', { free: bytes(v.free), all: bytes(v.size) }) : t('host.not_mounted')].filter(Boolean).join(' · ')),
        v.managed ? [' ', h('span', { class: 'badge', 'data-state': v.broken ? 'failed' : 'ok' }, t(v.broken ? 'host.broken' : 'host.managed'))] : null,
        v.jobs?.length ? [' ', v.jobs.map((id) => [h('a', { href: `#/jobs/${id}` }, id.slice(0, 8)), ' '])] : null)));
}
