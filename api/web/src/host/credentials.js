// Credentials: their names and kinds; what is secret goes in and never comes out.
import { h, replace } from '../lib/dom.js';
import { at, del, get, put } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { time } from '../lib/format.js';
import { attempt } from '../lib/notice.js';
import { problemView } from '../lib/problem.js';
import { ask } from '../lib/dialog.js';
import { clearComplaints, complainAt, field, input, select } from '../lib/field.js';

// The members of each kind: [name, needed, secret, long].
const KINDS = {
    managed_identity: [['client_id']],
    arc: [],
    service_principal: [['tenant_id', true], ['client_id', true], ['client_secret', false, true], ['certificate', false, true, true], ['certificate_password', false, true], ['token_file']],
    az_cli: [['tenant_id']],
    device_code: [['tenant_id'], ['client_id']],
    account_key: [['account', true], ['key', true, true]],
    sas: [['sas', true, true]],
};

export function credentials(signal) {
    const list = h('ul', { class: 'rows' });
    async function load() {
        try {
            const all = (await get('/v1/credentials', { signal })).credentials;
            replace(list, all.length ? all.map((c) => row(c, signal, load)) : h('li', { class: 'faint' }, t('credentials.none')));
        } catch (e) { if (e.name !== 'AbortError') replace(list, h('li', {}, problemView(e))); }
    }
    load();
    return h('div', {}, list, h('details', { class: 'advanced' }, h('summary', {}, t('credentials.add')), form(signal, load)));
}

function row(c, signal, after) {
    const remove = h('button', { type: 'button', class: 'small quiet', 'aria-label': `${t('credentials.remove')}: ${c.name}`, onclick: async () => {
        if (!await ask({ title: t('credentials.remove_title', { name: c.name }), body: h('p', {}, t('credentials.remove_text')), confirm: t('credentials.remove'), danger: true })) return;
        await attempt(() => del(at`/v1/credentials/${c.name}`, { signal }), { button: remove });
        after();
    } }, t('credentials.remove'));
    return h('li', {}, h('strong', {}, c.name), ' ', word('credential', c.type), ' ',
        h('span', { class: 'faint' }, [c.account, c.tenant_id, c.client_id, c.token_file, c.signed_in === false ? t('credentials.not_signed_in') : null].filter(Boolean).join(' · '), ' ', time(c.updated_at)), ' ', remove);
}

function form(signal, after) {
    const name = input({ name: 'credential', maxlength: 64 }), kind = select(Object.keys(KINDS).map((k) => [k, word('credential', k)]), { value: 'managed_identity', onchange: () => draw() });
    const fields = h('div', { class: 'grid' }), trouble = h('div', { role: 'alert' }), save = h('button', { type: 'submit', class: 'primary' }, t('credentials.save'));
    let controls = {};
    function draw() {
        controls = Object.fromEntries(KINDS[kind.value].map(([member, needed, secret, long]) => [member,
            long ? h('textarea', { rows: 4, spellcheck: 'false', autocomplete: 'off' }) : input({ type: secret ? 'password' : 'text', required: needed, autocomplete: secret ? 'new-password' : 'off' })]));
        replace(fields, Object.entries(controls).map(([member, control]) => field(t(`credentials.${member}`), control, { pointer: `/${member}` })),
            kind.value === 'service_principal' ? h('p', { class: 'note' }, t('credentials.one_proof')) : null);
    }
    draw();
    return h('form', { novalidate: true, onsubmit: async (e) => {
        e.preventDefault();
        const node = e.currentTarget;
        clearComplaints(node);
        replace(trouble);
        save.disabled = true;
        try {
            const given = Object.entries(controls).map(([k, c]) => [k, k.startsWith('certificate') || c.type === 'password' ? c.value : c.value.trim()]).filter(([, v]) => v);
            await put(at`/v1/credentials/${name.value.trim()}`, { type: kind.value, ...Object.fromEntries(given) }, { signal });
            await attempt(async () => {}, { done: t('credentials.saved', { name: name.value.trim() }) });
            name.value = '';
            draw();
            after();
        } catch (x) {
            if (!complainAt(node, x.problem)) replace(trouble, problemView(x));
        } finally { save.disabled = false; }
    } }, field(t('credentials.name'), name, { note: t('credentials.name_note'), pointer: '/name' }), field(t('credentials.kind'), kind, { pointer: '/type' }), fields, trouble,
    h('div', { class: 'buttons' }, save));
}
