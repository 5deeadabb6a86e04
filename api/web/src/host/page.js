// The host: whether it can do its work and what to do where not, its disks and volumes, the VMs, credentials, the daemon itself.
import { h, replace } from '../lib/dom.js';
import { get, request } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { bytes, count, duration } from '../lib/format.js';
import { problemView } from '../lib/problem.js';
import { copyButton } from '../lib/copy.js';
import { checks } from './checks.js';
import { role } from './role.js';
import { credentials } from './credentials.js';
import { disksView, volumesView } from './disks.js';
import { vmsView } from './vms.js';

export function hostPage({ signal }) {
    const card = (title, ...children) => h('section', { class: 'card', 'aria-label': title }, h('h2', {}, title), ...children);
    const later = () => h('div', { class: 'later' }, h('p', { class: 'faint' }, t('loading')));
    const report = later(), daemon = later(), vms = later(), disks = later(), volumes = later();

    async function fill(node, ask, draw) {
        try { replace(node, draw(await ask())); } catch (e) {
            if (e.name === 'AbortError') return;
            replace(node, e.status === 404 ? h('p', { class: 'faint' }, t('host.not_there')) : problemView(e));
        }
    }
    const load = () => Promise.all([
        fill(report, () => get('/v1/host', { signal }), (host) => [summary(host), host.role ? role(host.role, signal, load) : null, checks(host.checks)]),
        fill(daemon, () => health(signal), (d) => d),
        fill(vms, () => get('/v1/vms', { signal }), (x) => vmsView(x.vms)),
        fill(disks, () => get('/v1/disks', { signal }), (x) => disksView(x.disks)),
        fill(volumes, () => get('/v1/volumes', { signal }), (x) => volumesView(x.volumes)),
    ]);
    load();
    return h('section', { class: 'host' },
        h('div', { class: 'title' }, h('h1', {}, t('nav.host')), h('button', { type: 'button', class: 'quiet', onclick: load }, t('host.again'))),
        card(t('host.report'), report), card(t('host.daemon'), daemon), card(t('host.vms'), vms), card(t('host.credentials'), credentials(signal)),
        card(t('host.disks'), disks), card(t('host.volumes'), volumes));
}

function summary(host) {
    const facts = [[t('host.name'), host.host_name], [t('host.version'), host.version], [t('host.hypervisor'), host.hypervisor ? word('hypervisor', host.hypervisor) : t('host.none')],
        [t('host.cpus'), count(host.cpus)], [t('host.memory'), t('host.free_of', { free: bytes(host.memory_available), all: bytes(host.memory_total) })],
        [t('host.free_space'), bytes(host.free_space)], [t('host.region'), host.azure_region ?? t('host.unknown')]];
    return h('dl', { class: 'facts wide' }, facts.map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v))));
}

// Where the log is depends on the system that the daemon runs on; only Hyper-V hosts are Windows.
async function health(signal) {
    const [well, text, host] = await Promise.all([get('/healthz', { signal }), request('GET', '/metrics', { accept: 'text/plain', signal }).then((r) => r.text()), get('/v1/host', { signal })]);
    const value = (name) => Number(text.match(new RegExp(`^${name} ([0-9.]+)$`, 'm'))?.[1] ?? NaN);
    const windows = host.hypervisor === 'hyperv' || host.checks.some((c) => c.check === 'windows');
    const log = windows ? 'C:\\ProgramData\\vmrecover\\logs\\vmrecoverd.log' : 'journalctl -u vmrecoverd';
    const facts = [[t('host.status'), well.status === 'ok' ? t('host.well') : well.status], [t('host.uptime'), duration(value('vmrecover_uptime_seconds'))],
        [t('host.streams'), count(value('vmrecover_http_streams'))]];
    return [h('dl', { class: 'facts wide' }, facts.map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v)))),
        h('p', {}, t('host.log'), ' ', h('code', {}, log), ' ', copyButton(() => log)),
        h('p', {}, h('a', { href: '/metrics', target: '_blank' }, t('host.metrics')), ' · ', h('a', { href: '/v1/openapi.json', target: '_blank' }, t('host.api')))];
}
