// One way to the VM's keyboard for all that this page presses, so that nothing overtakes: keys that come while a request is under way go together in
// the next.
import { at, post } from '../lib/api.js';

const MOST = 200;                                        // steps of a request; the API takes 1000

export function keySender(id, signal) {
    const waiting = [];
    let busy = false;

    async function flush() {
        if (busy) return;
        busy = true;
        while (waiting.length) {
            const batch = [waiting.shift()];
            for (let n = batch[0].steps.length; waiting.length && n + waiting[0].steps.length <= MOST; n += batch.at(-1).steps.length) batch.push(waiting.shift());
            try {
                await post(at`/v1/vms/${id}/keys`, { sequence: batch.flatMap((b) => b.steps) }, { signal });
                batch.forEach((b) => b.resolve());
            } catch (e) { batch.forEach((b) => b.reject(e)); }
        }
        busy = false;
    }
    // steps as the API has them; resolves when the last key was sent
    return (steps) => new Promise((resolve, reject) => {
        waiting.push({ steps, resolve, reject });
        flush();
    });
}
