// The console of one VM: its screen and keyboard, and beside it what a repair needs.
import { h, download, replace, setAttribute, setText } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { at, get, request } from '../lib/api.js';
import { t, word } from '../lib/words.js';
import { attempt, complain } from '../lib/notice.js';
import { problemView } from '../lib/problem.js';
import { setTitle } from '../lib/router.js';
import { tabs } from '../lib/tabs.js';
import { onEvents } from '../lib/events.js';
import { screen } from './screen.js';
import { keyBar } from './key_bar.js';
import { power } from './power.js';
import { typing } from './typing.js';
import { bootPanel } from './boot.js';
import { checkpoints } from './checkpoints.js';
import { media } from './media.js';
import { serial } from './serial.js';
import { filmstrip } from './filmstrip.js';

const LOOK_MS = 3000;                                    // no event tells that a guest switched itself off

export function consolePage({ params: { id }, signal }) {
    const page = h('section', { class: 'console' }, h('h1', {}, t('loading')));
    (async () => {
        try {
            const [vm, host] = await Promise.all([get(at`/v1/vms/${id}`, { signal }), get('/v1/host', { signal })]);
            setTitle(`${vm.name} · ${t('console.title')}`);
            replace(page, view(vm, host.capabilities, signal));
        } catch (e) {
            if (e.name !== 'AbortError') replace(page, h('h1', {}, t('console.missing')), problemView(e), h('p', {}, h('a', { href: '#/jobs' }, t('job.back'))));
        }
    })();
    return page;
}

function view(vm, capabilities, signal) {
    const can = (name) => capabilities.includes(name);
    const badge = h('span', { class: 'badge' }), detail = h('span', { class: 'faint', lang: 'en' });
    const film = filmstrip(vm, signal);
    const show = screen(vm, { signal, onFrame: film.take });
    const context = { vm: () => vm, signal, look, can };
    const orders = power(context), medium = media(context), boots = bootPanel(context), points = can('checkpoints') ? checkpoints(context) : null;
    const line = can('serial') ? serial(vm, signal) : null;
    const text = h('pre', { class: 'screen-text', hidden: true, tabIndex: 0, 'aria-label': t('console.text') });

    function shown(now) {
        vm = now;
        setText(badge, word('vm', vm.state));
        setAttribute(badge, 'data-state', vm.state);
        setText(detail, vm.state_detail ?? '');
        show.setState(vm.state);
        orders.update(vm);
        medium.update(vm);
    }
    async function look() {
        try { shown(await get(at`/v1/vms/${vm.id}`, { signal })); } catch (e) {
            if (e.status === 404 || e.status === 410) replace(node, h('h1', {}, t('console.missing')), problemView(e));
        }
    }
    const timer = setInterval(() => !document.hidden && look(), LOOK_MS);
    const stop = onEvents((e) => e.job_id === vm.job_id && e.type !== 'progress' && look());
    signal.addEventListener('abort', () => { clearInterval(timer); stop(); });

    const saveScreen = h('button', { type: 'button', class: 'quiet', onclick: () => attempt(async () =>
        download(await (await request('GET', at`/v1/vms/${vm.id}/screen`, { accept: 'image/png', signal })).blob(), `${vm.name}.png`), { button: saveScreen }) },
    icon('save'), t('console.save_screen'));
    const asText = h('button', { type: 'button', class: 'quiet', onclick: async () => {
        if (!text.hidden) { text.hidden = true; return; }
        try {
            setText(text, await (await request('GET', at`/v1/vms/${vm.id}/screen`, { accept: 'text/plain', signal })).text());
            text.hidden = false;
            text.focus();
        } catch (e) { complain(e); }
    } }, t('console.as_text'));

    const side = tabs(t('console.tools'), [
        { name: 'typing', title: t('console.typing'), node: typing(context) },
        { name: 'boot', title: t('console.boot'), node: boots.node },
        points && { name: 'points', title: t('console.points'), node: points.node },
        { name: 'media', title: t('console.media'), node: medium.node },
        line && { name: 'serial', title: t('console.serial'), node: line.node },
        { name: 'film', title: t('console.film'), node: film.node },
    ].filter(Boolean), (name) => {
        if (name === 'serial') line.open();
        if (name === 'points') points.load();
    });

    const node = h('div', { class: 'console-grid' },
        h('div', { class: 'title' }, h('h1', {}, vm.name), badge, detail, orders.node, h('a', { href: `#/jobs/${vm.job_id}` }, t('console.job'))),
        h('div', { class: 'console-main' }, keyBar(context), show.node, h('div', { class: 'buttons' }, show.mode, saveScreen, can('screen_text') ? asText : null), text),
        h('aside', { class: 'console-side', 'aria-label': t('console.tools') }, side.node));
    shown(vm);
    return node;
}
