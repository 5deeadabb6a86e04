// Keys that are pressed on a picture of the screen, sent as the API takes them: a key with the modifiers that are held, a modifier alone when
// it is let go with nothing pressed meanwhile. In order; those that come while a request is under way go together in the next.
import { at, post } from '../lib/api.js';
import { complain } from '../lib/notice.js';

const MODIFIERS = ['ControlLeft', 'ControlRight', 'ShiftLeft', 'ShiftRight', 'AltLeft', 'AltRight', 'MetaLeft', 'MetaRight'];
const MOST = 200, SETTLE_MS = 60;

export function keyboard(node, id, signal) {
    const held = new Set();
    let alone = null, queue = [], busy = false, wake = () => {};

    async function flush() {
        if (busy) return;
        busy = true;
        try {
            while (queue.length && !signal.aborted) {
                const sequence = queue.splice(0, MOST).map((press) => ({ press, interval_ms: 0 }));
                await post(at`/v1/vms/${id}/keys`, { sequence }, { signal });
                setTimeout(() => wake(), SETTLE_MS);
            }
        } catch (e) {
            queue = [];
            complain(e);
        } finally { busy = false; }
    }
    function press(codes) {
        queue.push(codes);
        flush();
    }
    node.addEventListener('keydown', (e) => {
        if (!e.code || e.isComposing) return;
        e.preventDefault();
        if (MODIFIERS.includes(e.code)) {
            if (!e.repeat) alone = e.code;
            held.add(e.code);
            return;
        }
        alone = null;
        press([...held, e.code]);
    });
    node.addEventListener('keyup', (e) => {
        e.preventDefault();
        held.delete(e.code);
        if (alone === e.code) press([e.code]);
        alone = null;
    });
    node.addEventListener('blur', () => { held.clear(); alone = null; });
    node.addEventListener('pointerdown', () => node.focus());
    return { pressed: () => new Promise((r) => { wake = r; }) };
}
