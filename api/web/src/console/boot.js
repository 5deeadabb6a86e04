// Ways into the boot menu. F8 is held through a reset; where a guest ignores it, two boots that are cut off lead Windows to its recovery
// environment, and an ISO leads past the disk.
import { h, replace, setText } from '../lib/dom.js';
import { at, get, post } from '../lib/api.js';
import { t } from '../lib/words.js';
import { attempt, say } from '../lib/notice.js';
import { ask } from '../lib/dialog.js';
import { field } from '../lib/field.js';

const F8 = [{ press: ['F8'], repeat: 120, interval_ms: 150 }];      // 18 s: the firmware, then the loader's moment
const BOOTS = 2;
const sleep = (ms, signal) => new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});

// Whether the disk looks like Windows', by what the daemon found on it; null: it does not say.
async function looksLikeWindows(job, signal) {
    try {
        const { events } = await get(`${at`/v1/jobs/${job}/events`}?limit=500`, { signal });
        const found = events.filter((e) => e.type === 'free_space_skipped').map((e) => JSON.stringify(e.data).toLowerCase());
        return found.length ? found.some((x) => x.includes('ntfs')) : null;
    } catch { return null; }
}

export function bootPanel({ vm, signal, look }) {
    const path = (tail) => `${at`/v1/vms/${vm().id}`}${tail}`;
    const guess = h('p', {}, t('boot.unknown')), news = h('p', { role: 'status', class: 'note' });
    const hold = h('button', { type: 'button', class: 'primary', 'data-order': 'f8', onclick: holdF8 }, t('boot.f8'));
    const seconds = h('input', { type: 'number', min: 3, max: 120, value: '10', name: 'seconds' });
    const cut = h('button', { type: 'button', 'data-order': 'cut', onclick: cutTwice }, t('boot.cut'));
    const stop = h('button', { type: 'button', hidden: true, onclick: () => cutting?.abort() }, t('boot.stop'));
    let cutting = null;

    async function holdF8() {
        const { state, name } = vm();
        if (state === 'running' && !await ask({ title: t('boot.f8_title', { name }), body: [h('p', {}, t('power.reset_text')), h('p', {}, t('boot.f8_windows'))],
            confirm: t('boot.f8'), danger: true })) return;
        setText(news, t('boot.holding'));
        await attempt(async () => {
            await post(path(state === 'running' ? '/reset' : '/start'), undefined, { signal });
            await post(path('/keys'), { sequence: F8 }, { signal });
        }, { button: hold });
        setText(news, '');
        look();
    }
    async function cutTwice() {
        if (!await ask({ title: t('boot.cut_title', { name: vm().name }), body: [h('p', {}, t('boot.cut_text')), h('p', {}, t('boot.cut_price'))], confirm: t('boot.cut'), danger: true }))
            return;
        cutting = new AbortController();
        const either = AbortSignal.any([cutting.signal, signal]);
        stop.hidden = false;
        await attempt(async () => {
            for (let boot = 0; boot <= BOOTS && !either.aborted; boot++) {
                await post(path(vm().state === 'off' ? '/start' : '/reset'), undefined, { signal });
                look();
                for (let left = Number(seconds.value) || 10; boot < BOOTS && left > 0 && !either.aborted; left--) {
                    setText(news, t('boot.cutting', { n: boot + 1, of: BOOTS, left }));
                    await sleep(1000, either);
                }
            }
            if (!either.aborted) say(t('boot.cut_done'));
        }, { button: cut });
        setText(news, '');
        stop.hidden = true;
        cutting = null;
    }
    looksLikeWindows(vm().job_id, signal).then((windows) => { if (windows !== null) replace(guess, t(windows ? 'boot.windows' : 'boot.no_windows')); });
    return { node: h('div', { class: 'stack' },
        h('h2', {}, t('boot.f8_heading')), guess, h('p', {}, t('boot.f8_windows')), h('div', { class: 'buttons' }, hold), news,
        h('h2', {}, t('boot.cut_heading')), h('p', {}, t('boot.cut_text')), field(t('boot.seconds'), seconds, { note: t('boot.seconds_note') }),
        h('div', { class: 'buttons' }, cut, stop),
        h('h2', {}, t('boot.iso_heading')), h('p', {}, t('boot.iso_text'))) };
}
