// The screen: live by VNC where the daemon has it, else by pictures that are asked for again and again. Ctrl+Alt+G gives the keyboard back to
// the page.
import { h, setHidden, setText } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { t } from '../lib/words.js';
import { polled } from './screen_polled.js';

const TRIES = 3, PAUSE_MS = 1000;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

// onFrame(canvas): what is seen, at most some times a second.
export function screen({ id, live_screen: hasLive }, { signal, onFrame }) {
    const glass = h('div', { class: 'glass', role: 'application', 'aria-label': t('console.screen'), 'aria-describedby': 'screen-help', 'data-mode': 'none' });
    const off = h('p', { class: 'glass-off', role: 'status' });
    const mode = h('span', { class: 'faint mode', role: 'status' });
    const again = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => begin() }, t('console.live_again'));
    const frame = h('div', { class: 'frame' }, glass, off);
    const full = h('button', { type: 'button', class: 'quiet', onclick: () => (document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen()) },
        icon('full'), t('console.full'));
    const node = h('div', { class: 'screen' }, frame, h('p', { class: 'note', id: 'screen-help' }, t('console.keyboard_help')));
    let state = null, current = null, turn = 0;

    glass.addEventListener('keydown', (e) => {
        if (!(e.ctrlKey && e.altKey && e.code === 'KeyG')) return;
        e.preventDefault();
        e.stopImmediatePropagation();
        current?.blur();
        full.focus();
    }, true);

    function say(name) {
        glass.dataset.mode = name;
        setText(mode, t(`console.mode_${name}`));
        setHidden(again, name !== 'polled' || hasLive === false);
    }
    function end() {
        turn++;
        current?.stop();
        current = null;
        glass.replaceChildren();
    }
    // Live as long as it holds; a line that breaks is tried again before pictures do.
    async function begin() {
        end();
        const mine = turn, over = () => mine !== turn || signal.aborted || state !== 'running';
        for (let tries = hasLive === false ? TRIES : 0; tries < TRIES && !over();) {
            say('connecting');
            try {
                const { live } = await import('./screen_live.js');
                if (over()) return;
                current = live(glass, id, { onFrame });
                await current.connected;
                if (over()) return;
                tries = 0;
                say('live');
                await current.closed;
            } catch { tries++; }
            if (over()) return;
            current?.stop();
            glass.replaceChildren();
            await sleep(PAUSE_MS);
        }
        if (over()) return;
        say('polled');
        current = polled(glass, id, { onFrame });
    }
    signal.addEventListener('abort', end);
    return {
        node, mode: h('span', { class: 'buttons' }, full, again, mode),
        setState(now) {
            if (now === state) return;
            state = now;
            setText(off, now === 'running' ? '' : t(`console.is_${now}`));
            setHidden(off, now === 'running');
            if (now === 'running') begin();
            else { end(); say('none'); }
        },
    };
}
