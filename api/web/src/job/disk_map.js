// The disk as it fills: a cell for each part of it, row by row. Asked for when its download moved, at most once a second; hidden where the daemon does
// not know it.
import { h, perFrame, setHidden, setText } from '../lib/dom.js';
import { at, get } from '../lib/api.js';
import { t } from '../lib/words.js';
import { bytes, percent } from '../lib/format.js';
import { colour } from '../lib/theme.js';

const APART_MS = 1000, CELL = 11, GAP = 1;
// letters of the API, name in the legend, colour of the style sheet
const KINDS = [['f', 'fetched', 'map-fetched'], ['p', 'part', 'map-part'], ['b', 'busy', 'map-busy'],
    ['w', 'waits', 'map-waits'], ['e', 'empty', 'map-empty'], ['s', 'free', 'map-free']];

export function diskMap(job, disk, signal) {
    const canvas = h('canvas', { role: 'img' });
    const shares = Object.fromEntries(KINDS.map(([letter]) => [letter, h('span', {}, '')]));
    const node = h('figure', { class: 'map', hidden: true }, h('figcaption', {}, t('map.title', { n: disk })), canvas,
        h('ul', { class: 'legend' }, KINDS.map(([letter, name, shade]) =>
            h('li', {}, h('span', { class: `swatch ${shade}`, 'aria-hidden': 'true' }), t(`map.${name}`), ' ', shares[letter]))));
    let map = null, moved = null, asking = false, again = false;

    const draw = perFrame(() => {
        const w = canvas.clientWidth, scale = devicePixelRatio || 1;
        if (!map || !w) return;
        const { cells } = map, columns = Math.max(1, Math.floor(w / CELL)), rows = Math.ceil(cells.length / columns);
        const shades = Object.fromEntries(KINDS.map(([letter, , shade]) => [letter, colour(shade)]));
        canvas.style.height = `${rows * CELL}px`;
        [canvas.width, canvas.height] = [w * scale, rows * CELL * scale];
        const c = canvas.getContext('2d');
        c.scale(scale, scale);
        for (let i = 0; i < cells.length; i++) {
            c.fillStyle = shades[cells[i]];
            c.fillRect(i % columns * CELL, Math.floor(i / columns) * CELL, CELL - GAP, CELL - GAP);
        }
        const said = [];
        for (const [letter, name] of KINDS) {
            const part = cells.split(letter).length - 1;
            setText(shares[letter], part ? percent(part / cells.length) : '');
            if (part) said.push(`${t(`map.${name}`)} ${percent(part / cells.length)}`);
        }
        canvas.setAttribute('aria-label', `${t('map.title', { n: disk })}: ${said.join(', ')}`);
        canvas.title = t('map.cell', { size: bytes(map.cell_bytes) });
    });
    async function ask() {
        if (asking) { again = true; return; }
        asking = true;
        try {
            const now = await get(`${at`/v1/jobs/${job}/disks/${disk}`}/map`, { signal });
            if (now.cells) map = now;
            setHidden(node, !map);
            draw();
        } catch (e) {
            if (e.name === 'AbortError') return;
        } finally {
            setTimeout(() => {
                asking = false;
                if (again && !signal.aborted) { again = false; ask(); }
            }, APART_MS);
        }
    }
    const resized = new ResizeObserver(draw);
    resized.observe(canvas);
    addEventListener('themechange', draw, { signal });
    signal.addEventListener('abort', () => resized.disconnect());
    return {
        disk, node,
        // the disk's download as it is now; undefined where there is none
        touch(task) {
            if (!task || task.state === 'skipped' || task.state === 'pending' && !task.attempts) return;
            const key = `${task.state} ${task.progress.done_bytes}`;
            if (key === moved) return;
            moved = key;
            ask();
        },
    };
}
