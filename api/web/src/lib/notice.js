// Short news at the bottom of the page, read out by screen readers: what an order came to.
import { h } from './dom.js';
import { problemView } from './problem.js';

const SHOWN_MS = 6000;
const area = h('div', { class: 'notices', role: 'status', 'aria-live': 'polite' });
export const noticeArea = () => area;

function put(node, ms) {
    const box = h('div', { class: 'notice' }, node);
    const close = h('button', { type: 'button', class: 'quiet close', 'aria-label': '×', onclick: () => box.remove() }, '×');
    box.append(close);
    area.append(box);
    while (area.children.length > 4) area.firstChild.remove();
    if (ms) setTimeout(() => box.remove(), ms);
}
export const say = (text) => put(h('p', {}, text), SHOWN_MS);
export const complain = (error) => { if (error?.name !== 'AbortError') put(problemView(error), 0); };

// Runs an order of the reader; a button that gave it rests meanwhile. True when it was carried out.
export async function attempt(fn, { button, done } = {}) {
    if (button) button.disabled = true;
    try {
        await fn();
        if (done) say(done);
        return true;
    } catch (e) {
        complain(e);
        return false;
    } finally { if (button) button.disabled = false; }
}
