// How fast a job may download; it may be changed while it does.
import { h } from '../lib/dom.js';
import { at, patch } from '../lib/api.js';
import { t } from '../lib/words.js';
import { attempt } from '../lib/notice.js';
import { field } from '../lib/field.js';

const MIB = 1024 ** 2;

export function speedLimit(job, signal) {
    const control = h('input', { type: 'number', min: 0, step: 'any', name: 'limit', value: String(Number(((job.request?.max_bytes_per_second ?? 0) / MIB).toFixed(3))) });
    const button = h('button', { type: 'submit' }, t('job.set_limit'));
    const node = h('form', { class: 'inline', onsubmit: (e) => {
        e.preventDefault();
        attempt(() => patch(at`/v1/jobs/${job.id}`, { max_bytes_per_second: Math.round(Math.max(0, Number(control.value)) * MIB) }, { signal }), { button, done: t('job.limit_set') });
    } }, field(t('job.limit'), control), button);
    return { node };
}
