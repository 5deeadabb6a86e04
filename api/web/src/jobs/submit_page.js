// A form for a new job, and beside it the command that would do the same.
import { h, replace, setText } from '../lib/dom.js';
import { get, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { clearComplaints, complainAt, field, input } from '../lib/field.js';
import { problemView } from '../lib/problem.js';
import { copyButton } from '../lib/copy.js';
import { open } from '../lib/router.js';
import { sourceFields } from './source_fields.js';
import { advancedFields } from './advanced_fields.js';
import { curlCommand } from './curl.js';

export function submitPage({ signal }) {
    const page = h('section', { class: 'submit' }, h('h1', {}, t('submit.title')));
    (async () => {
        let credentials = [];
        const trouble = h('div', { role: 'alert' });
        try { credentials = (await get('/v1/credentials', { signal })).credentials; } catch (e) {
            if (e.name === 'AbortError' || e.status === 401) return;
            replace(trouble, problemView(e));
        }
        page.append(form(credentials, trouble, signal));
    })();
    return page;
}

function form(credentials, trouble, signal) {
    // the same press of the button twice makes one job
    let key = crypto.randomUUID();
    const name = input({ maxlength: 100, oninput: change });
    const command = h('pre', { class: 'command', tabIndex: 0, 'aria-label': t('submit.command') });
    const source = sourceFields(credentials, signal, change), advanced = advancedFields(change);
    const submit = h('button', { type: 'submit', class: 'primary' }, t('submit.submit'));

    const request = () => advanced.apply({ ...(name.value.trim() ? { name: name.value.trim() } : {}), disks: source.disks().map((s) => ({ source: s })) }, source.dvd());
    function change() { queueMicrotask(() => setText(command, curlCommand(location.origin, request()))); }

    async function send(e) {
        e.preventDefault();
        submit.disabled = true;
        clearComplaints(node);
        replace(trouble);
        try {
            const job = await post('/v1/jobs', request(), { headers: { 'idempotency-key': key }, signal });
            open(`/jobs/${job.id}`);
        } catch (e2) {
            if (e2.name === 'AbortError') return;
            if (e2.status) key = crypto.randomUUID();
            if (!complainAt(node, e2.problem)) {
                replace(trouble, problemView(e2));
                trouble.scrollIntoView({ block: 'nearest' });
            }
        } finally { submit.disabled = false; }
    }
    const node = h('form', { novalidate: true, onsubmit: send },
        h('div', { class: 'form-main' }, source.node,
            field(t('submit.name'), name, { note: t('submit.name_note'), pointer: '/name' }), advanced.node, trouble,
            h('div', { class: 'buttons' }, submit)),
        h('aside', { class: 'form-side', 'aria-label': t('submit.command') }, h('h2', {}, t('submit.command')), h('p', { class: 'note' }, t('submit.command_note')),
            command, copyButton(() => command.textContent)));
    change();
    return node;
}
