// The last pictures that differed, so that what flashed by can be read. They are this page's alone and bounded in number.
import { h, download } from '../lib/dom.js';
import { icon } from '../lib/icon.js';
import { t } from '../lib/words.js';
import { clockText } from '../lib/format.js';

const MOST = 60, APART_MS = 250, SIDE = 64, DIFFERENT = 12, VISIBLE = 24;

export function filmstrip(vm, signal) {
    const strip = h('ol', { class: 'film', reversed: true }), none = h('p', { class: 'faint' }, t('film.none'));
    const large = h('img', { alt: '' }), caption = h('p', { class: 'faint' });
    const save = h('button', { type: 'button', class: 'quiet', onclick: () => chosen && download(chosen.blob, `${vm.name}-${chosen.at}.png`) }, icon('save'), t('console.save_screen'));
    const viewer = h('dialog', { class: 'viewer', 'aria-label': t('console.film') }, large, caption,
        h('div', { class: 'buttons end' }, save, h('button', { type: 'button', class: 'primary', onclick: () => viewer.close() }, t('dialog.close'))));
    // a small copy tells whether something changed; a cursor that blinks is no change
    const small = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE }), c = small.getContext('2d', { willReadFrequently: true });
    const frames = [];
    let last = null, lastAt = 0, chosen = null;

    function differs(source) {
        c.drawImage(source, 0, 0, SIDE, SIDE);
        const now = c.getImageData(0, 0, SIDE, SIDE).data;
        let n = last ? 0 : DIFFERENT;
        for (let i = 0; last && i < now.length && n < DIFFERENT; i += 4)
            if (Math.abs(now[i] - last[i]) + Math.abs(now[i + 1] - last[i + 1]) + Math.abs(now[i + 2] - last[i + 2]) > VISIBLE) n++;
        if (n < DIFFERENT) return false;
        last = now;
        return true;
    }
    function open(blob, url, iso) {
        chosen = { blob, at: iso.replaceAll(':', '-') };
        large.src = url;
        large.alt = t('film.at', { time: clockText(iso) });
        caption.textContent = clockText(iso);
        viewer.showModal();
    }
    function add(blob, at) {
        const url = URL.createObjectURL(blob), iso = new Date(at).toISOString();
        const node = h('li', {}, h('button', { type: 'button', class: 'frame-button', onclick: () => open(blob, url, iso), 'aria-label': t('film.at', { time: clockText(iso) }) },
            h('img', { src: url, alt: '' }), h('span', {}, clockText(iso))));
        frames.push({ node, url });
        strip.prepend(node);
        none.hidden = true;
        while (frames.length > MOST) {
            const old = frames.shift();
            old.node.remove();
            URL.revokeObjectURL(old.url);
        }
    }
    signal.addEventListener('abort', () => frames.forEach((f) => URL.revokeObjectURL(f.url)));
    return {
        node: h('div', { class: 'stack' }, h('p', {}, t('film.text')), none, strip, viewer),
        take(canvas) {
            const at = Date.now();
            if (at - lastAt < APART_MS || !differs(canvas)) return;
            lastAt = at;
            canvas.toBlob((blob) => blob && !signal.aborted && add(blob, at), 'image/png');
        },
    };
}
