// A problem as the API tells it: what went wrong, what to do, and what the other system answered, folded away. The words are the daemon's, in
// English.
import { h } from './dom.js';
import { t } from './words.js';

export function problemView(error) {
    const p = error?.problem ?? (error?.detail ? error : null);
    if (!p) return h('div', { class: 'problem', role: 'alert' }, h('p', { lang: 'en' }, String(error?.message ?? error)));
    const up = p.upstream;
    const rows = [[t('problem.code'), p.code], [t('problem.field'), p.field], [t('problem.reason'), p.reason], [t('problem.service'), up?.service],
        [t('problem.status'), up?.status], [t('problem.their_code'), up?.code], [t('problem.request_id'), up?.request_id]].filter(([, v]) => v);
    const away = p.code === 'unreachable' && error.status === 0;
    return h('div', { class: 'problem' },
        h('p', { class: 'problem-detail', lang: away ? null : 'en' }, away ? t('problem.unreachable') : p.detail),
        away ? h('p', { class: 'hint' }, t('problem.unreachable_hint')) : p.hint ? h('p', { class: 'hint', lang: 'en' }, p.hint) : null,
        rows.length ? h('details', {}, h('summary', {}, up ? t('problem.upstream') : t('problem.more')),
            h('dl', { class: 'facts' }, rows.map(([k, v]) => [h('dt', {}, k), h('dd', { class: 'code' }, String(v))]))) : null);
}
