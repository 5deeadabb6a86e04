// The screen as pictures: asked for as soon as the last one is there, with its ETag, so that only one that changed is sent. Keys go to the API.
import { h } from '../lib/dom.js';
import { at, request } from '../lib/api.js';
import { keyboard } from './keyboard.js';

const BUSY_MS = 150, IDLE_MS = 600, TROUBLE_MS = 3000;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

export function polled(glass, id, { onFrame }) {
    const canvas = h('canvas', { class: 'picture', tabIndex: 0 });
    const control = new AbortController();
    const keys = keyboard(canvas, id, control.signal);
    glass.replaceChildren(canvas);

    // True when it changed; `tag` is that of the picture that is shown.
    let tag = null;
    async function look() {
        const answer = await request('GET', at`/v1/vms/${id}/screen`, { accept: 'image/png', signal: control.signal, headers: tag ? { 'if-none-match': tag } : {} });
        if (answer.status !== 200) return false;
        const was = tag;
        tag = answer.headers.get('etag');
        const picture = await createImageBitmap(await answer.blob());
        if (canvas.width !== picture.width || canvas.height !== picture.height) [canvas.width, canvas.height] = [picture.width, picture.height];
        canvas.getContext('2d').drawImage(picture, 0, 0);
        picture.close();
        onFrame(canvas);
        return tag !== was;
    }
    (async () => {
        while (!control.signal.aborted) {
            let pause = IDLE_MS;
            try {
                if (!document.hidden && await look()) pause = BUSY_MS;
            } catch (e) {
                if (control.signal.aborted || e.status === 401) return;
                pause = TROUBLE_MS;
            }
            await Promise.race([sleep(pause), keys.pressed()]);
        }
    })();
    return { focus: () => canvas.focus(), blur: () => canvas.blur(), stop() { control.abort(); canvas.remove(); } };
}
