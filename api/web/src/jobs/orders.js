// What a person tells a job: pause, resume, cancel, retry, delete. Deleting says first what will be gone.
import { h } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, del, get, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { bytes } from '../lib/format.js';
import { attempt } from '../lib/notice.js';
import { ask } from '../lib/dialog.js';
import { input, field } from '../lib/field.js';

// A button for an order; `after` is called when it was taken.
export function orderButton(order, job, { small = false, after = () => {} } = {}) {
    const name = t(`order.${order}`);
    const button = h('button', { type: 'button', class: small ? 'small quiet' : order === 'delete' ? 'quiet' : '', 'data-order': order,
        title: small ? name : null, 'aria-label': small ? `${name}: ${job().name}` : null }, icon(order), small ? null : name);
    button.addEventListener('click', async () => {
        if (await give(order, job(), button)) after(order);
    });
    return button;
}

async function give(order, job, button) {
    if (order === 'delete') return deleteJob(job, button);
    if (order === 'retry') return retry(job, button);
    if (order === 'cancel' && !await ask({ title: t('cancel.title', { name: job.name }), body: h('p', {}, t('cancel.text')), confirm: t('order.cancel'), danger: true }))
        return false;
    return attempt(() => post(`${at`/v1/jobs/${job.id}`}/${order}`), { button, done: t(`done.${order}`, { name: job.name }) });
}

// A SAS that ran out is asked for anew, for each disk that came by one.
async function retry(job, button) {
    const code = job.tasks.find((x) => x.error)?.error.code;
    let json;
    if (['sas_expired', 'source_denied'].includes(code)) {
        const blobs = job.disks.filter((d) => d.source.type === 'blob');
        const answer = await ask({ title: t('retry.title', { name: job.name }), confirm: t('order.retry'), body: [h('p', {}, t('retry.text')),
            blobs.map((d) => field(t('retry.url', { disk: d.index }), input({ type: 'url', name: `url${d.index}`, placeholder: d.source.url }), { note: t('retry.note') }))] });
        if (!answer) return false;
        const sources = blobs.map((d) => ({ disk: d.index, url: String(answer.get(`url${d.index}`)).trim() })).filter((s) => s.url);
        if (sources.length) json = { sources };
    }
    return attempt(() => post(at`/v1/jobs/${job.id}/retry`, json), { button, done: t('done.retry', { name: job.name }) });
}

// What is in Azure because of this job, by its own account.
async function borrowed(job) {
    const open = new Map();
    for (let after = 0; ;) {
        const page = await get(`${at`/v1/jobs/${job.id}/events`}?after=${after}&limit=500`);
        for (const { type, data } of page.events) {
            if (type === 'borrowed') open.set(`${data.kind} ${data.what}`, data);
            if (type === 'given_back') open.delete(`${data.kind} ${data.what}`);
        }
        if (page.events.length < 500) return [...open.values()];
        after = page.next_after;
    }
}

async function deleteJob(job, button) {
    let loans = [], vm = null;
    const told = await attempt(async () => {
        [job, loans] = await Promise.all([get(at`/v1/jobs/${job.id}`), borrowed(job)]);
        if (job.vm_id) vm = await get(at`/v1/vms/${job.vm_id}`).catch(() => ({ name: job.name }));
    }, { button });
    if (!told) return false;
    const own = job.disks.filter((d) => d.path && d.source.type !== 'file'), foreign = job.disks.filter((d) => d.path && d.source.type === 'file');
    const exports = job.tasks.filter((x) => x.kind === 'export_vm' && x.state === 'succeeded' && x.params?.path);
    const fileOf = (d) => h('li', {}, t('delete.file', { size: bytes(d.virtual_size) }), ' ', h('code', {}, d.path));
    const choice = (value, text, checked) => h('label', { class: 'choice' }, h('input', { type: 'radio', name: 'disks', value, checked }), text);
    const answer = await ask({ title: t('delete.title', { name: job.name }), confirm: t('order.delete'), danger: true, body: [
        h('p', {}, t('delete.goes')),
        h('ul', {},
            vm ? h('li', {}, t('delete.vm', { name: vm.name }), ' ', h('code', {}, job.vm_id)) : null,
            vm ? h('li', {}, t('delete.layers')) : null,
            loans.map((l) => h('li', {}, t('delete.loan'), ' ', h('code', {}, `${l.kind} ${l.what}`))),
            h('li', {}, t('delete.record'))),
        own.length ? h('fieldset', {}, h('legend', {}, t('delete.disks')), h('ul', {}, own.map(fileOf)),
            choice('keep', t('delete.keep'), true), choice('delete', t('delete.remove'), false)) : null,
        foreign.length || exports.length ? [h('p', {}, t('delete.stays')), h('ul', {}, foreign.map(fileOf),
            exports.map((x) => h('li', {}, h('code', {}, x.params.path))))] : null] });
    if (!answer) return false;
    return attempt(() => del(`${at`/v1/jobs/${job.id}`}?disks=${answer.get('disks') ?? 'keep'}`), { button, done: t('done.delete', { name: job.name }) });
}
