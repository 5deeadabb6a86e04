// Keys that are pressed on a picture of the screen, as the API takes them: a key with the modifiers that are held, a modifier alone when it is let go
// with nothing pressed meanwhile.
import { complain } from '../lib/notice.js';

const MODIFIERS = ['ControlLeft', 'ControlRight', 'ShiftLeft', 'ShiftRight', 'AltLeft', 'AltRight', 'MetaLeft', 'MetaRight'];
const SETTLE_MS = 60;

// send: of key_sender.js. pressed() resolves when a key has reached the VM and had a moment to show.
export function keyboard(node, send) {
    const held = new Set();
    let alone = null, wake = () => {};

    function press(codes) {
        send([{ press: codes, interval_ms: 0 }]).then(() => setTimeout(() => wake(), SETTLE_MS), complain);
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
