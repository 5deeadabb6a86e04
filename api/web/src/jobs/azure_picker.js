// A VM in Azure: by its id, or chosen from those that a credential may see, each with what speaks against it.
import { h, replace } from '../lib/dom.js';
import { at, get, post } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { bytes, count } from '../lib/format.js';
import { problemView } from '../lib/problem.js';
import { field, input, select } from '../lib/field.js';

const SHOWN = 100;
export const signsIn = (c) => !['account_key', 'sas'].includes(c.type);

// credentials: those of the host. onChange() after each change; value() is a source, or null.
export function azurePicker(credentials, signal, onChange) {
    const usable = credentials.filter(signsIn);
    const credential = select([['', t('submit.only_credential')], ...usable.map((c) => [c.name, `${c.name} (${word('credential', c.type)})`])], { value: usable[0]?.name ?? '', onchange: onChange });
    const id = input({ placeholder: '/subscriptions/…/virtualMachines/web01', oninput: onChange });
    const find = h('button', { type: 'button', onclick: () => look() }, t('submit.find'));
    const filter = input({ type: 'search', placeholder: t('submit.find_filter'), 'aria-label': t('submit.find_filter'), hidden: true, oninput: () => draw() });
    const list = h('ul', { class: 'vm-list', hidden: true }), news = h('div', { role: 'status' });
    let vms = [];

    async function look(again = true) {
        find.disabled = true;
        replace(news, h('p', { class: 'note' }, t('submit.finding')));
        try {
            const q = credential.value ? `?credential=${encodeURIComponent(credential.value)}` : '';
            const found = await get(`/v1/azure/vms${q}`, { signal });
            vms = found.vms;
            replace(news, h('p', { class: 'note' }, t('submit.found', { n: count(vms.length) })),
                found.unreadable.map((u) => [h('p', { class: 'note' }, t('submit.unreadable', { id: u.subscription_id })), problemView(u.error)]));
            filter.hidden = list.hidden = vms.length === 0;
            draw();
        } catch (e) {
            if (e.name === 'AbortError') return;
            if (e.problem?.code === 'sign_in_needed' && again && credential.value) await signIn();
            else replace(news, problemView(e));
        } finally { find.disabled = false; }
    }
    // A person signs in by a code; the daemon waits for it, and so does this.
    async function signIn() {
        for (let shown = ''; !signal.aborted;) {
            const answer = await post(`${at`/v1/credentials/${credential.value}/sign_in`}${shown ? `?shown=${encodeURIComponent(shown)}` : ''}`, undefined, { signal });
            if (answer.state === 'signed_in') return look(false);
            shown = answer.user_code;
            replace(news, h('p', {}, t('submit.sign_in'), ' ', h('a', { href: /^https:/.test(answer.verification_url) ? answer.verification_url : null, target: '_blank', rel: 'noopener noreferrer' }, answer.verification_url)),
                h('p', {}, t('submit.code'), ' ', h('code', { class: 'big' }, answer.user_code)));
            await new Promise((r) => setTimeout(r, 2000));
        }
    }
    function draw() {
        const needle = filter.value.trim().toLowerCase();
        const fit = vms.filter((v) => !needle || `${v.name} ${v.resource_group} ${v.location} ${v.os_name}`.toLowerCase().includes(needle));
        replace(list, fit.slice(0, SHOWN).map((v) => {
            const size = v.disks.reduce((all, d) => all + (d.size ?? 0), 0);
            const reasons = v.reasons.filter((r) => r.weight !== 'note');
            return h('li', {},
                h('label', { class: 'choice' }, h('input', { type: 'radio', name: 'azure-vm', value: v.id, checked: v.id === id.value, disabled: !v.recoverable,
                    onchange: () => { id.value = v.id; onChange(); } }),
                h('span', {}, h('strong', {}, v.name), ' ', h('span', { class: 'faint' }, [v.resource_group, v.location, v.os_name ?? v.os_type, word('power', v.power_state), `${v.disks.length} × ${bytes(size)}`].filter(Boolean).join(' · ')))),
                reasons.map((r) => h('p', { class: `note ${r.weight}`, lang: 'en' }, r.detail, ' ', r.remedy)));
        }), fit.length > SHOWN ? h('li', { class: 'note' }, t('submit.more_vms', { n: count(fit.length - SHOWN) })) : null);
    }
    const node = h('div', {},
        usable.length ? null : h('p', { class: 'note' }, t('submit.no_credential'), ' ', h('a', { href: '#/host' }, t('host.credentials'))),
        field(t('submit.credential'), credential, { pointer: '/disks/0/source/credential' }),
        field(t('submit.azure_id'), id, { note: t('submit.azure_id_note'), pointer: '/disks/0/source/id' }),
        usable.length ? h('div', { class: 'buttons' }, find) : null, news, filter, list);
    return {
        node,
        value() {
            const text = id.value.trim();
            const type = /\/disks\/[^/]+$/i.test(text) ? 'managed_disk' : /\/snapshots\/[^/]+$/i.test(text) ? 'snapshot' : 'vm';
            return { type, id: text, ...(credential.value ? { credential: credential.value } : {}) };
        },
    };
}
