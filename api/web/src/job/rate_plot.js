// The throughput of the last ten minutes. The figures beside it say the same in words.
import { h, perFrame } from '../lib/dom.js';
import { t } from '../lib/words.js';
import { rate } from '../lib/format.js';
import { colour } from '../lib/theme.js';

const SPAN_MS = 600_000, STEP_MS = 900, LEFT = 86, PAD = 6;

// The next number above n that a scale ends at well, in powers of two.
const top = (n) => 2 ** Math.ceil(Math.log2(Math.max(n, 1024)));

export function ratePlot(signal) {
    const canvas = h('canvas', { class: 'plot', role: 'img', 'aria-label': t('job.plot') });
    const samples = [];
    const draw = perFrame(() => {
        const { clientWidth: w, clientHeight: hgt } = canvas, scale = devicePixelRatio || 1;
        if (!w) return;
        canvas.width = w * scale;
        canvas.height = hgt * scale;
        const c = canvas.getContext('2d');
        c.scale(scale, scale);
        const ink = colour('faint'), line = colour('accent'), end = Date.now();
        const begin = Math.max(end - SPAN_MS, Math.min(samples[0]?.[0] ?? end, end - 60_000)), high = top(Math.max(...samples.map(([, v]) => v), 0));
        const x = (at) => LEFT + (at - begin) / (end - begin) * (w - LEFT - PAD), y = (v) => hgt - PAD - v / high * (hgt - 3 * PAD);
        c.font = '12px system-ui, sans-serif';
        c.fillStyle = ink;
        c.strokeStyle = ink;
        c.textAlign = 'right';
        c.textBaseline = 'middle';
        for (const part of [0, 0.5, 1]) {
            c.globalAlpha = 0.25;
            c.beginPath();
            c.moveTo(LEFT, y(high * part));
            c.lineTo(w - PAD, y(high * part));
            c.stroke();
            c.globalAlpha = 1;
            c.fillText(rate(high * part), LEFT - 8, y(high * part), LEFT - 10);
        }
        if (samples.length < 2) return;
        c.beginPath();
        samples.forEach(([at, v], i) => (i ? c.lineTo(x(at), y(v)) : c.moveTo(x(at), y(v))));
        c.strokeStyle = line;
        c.lineWidth = 2;
        c.stroke();
        c.lineTo(x(samples.at(-1)[0]), y(0));
        c.lineTo(x(samples[0][0]), y(0));
        c.globalAlpha = 0.15;
        c.fillStyle = line;
        c.fill();
        c.globalAlpha = 1;
    });
    const resized = new ResizeObserver(draw);
    resized.observe(canvas);
    addEventListener('themechange', draw, { signal });
    signal.addEventListener('abort', () => resized.disconnect());
    return {
        node: canvas,
        add(v) {
            const now = Date.now();
            canvas.hidden = false;
            canvas.dataset.drawn = 'yes';
            if (samples.length && now - samples.at(-1)[0] < STEP_MS) samples.at(-1)[1] = v;
            else samples.push([now, v]);
            while (samples.length && samples[0][0] < now - SPAN_MS) samples.shift();
            draw();
        },
    };
}
