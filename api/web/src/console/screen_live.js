// Live by noVNC over the daemon's WebSocket. Keys go as positions (`code`), so the guest's own layout decides what they mean.
import RFB from '@novnc/novnc';
import { at } from '../lib/api.js';

const SAMPLE_MS = 300;

export function live(glass, id, { onFrame }) {
    const url = new URL(at`/v1/vms/${id}/console`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const rfb = new RFB(glass, url.href, { shared: true });
    rfb.scaleViewport = true;
    rfb.background = 'transparent';
    let over = false, timer = 0;
    const connected = new Promise((resolve, reject) => {
        rfb.addEventListener('connect', resolve);
        rfb.addEventListener('disconnect', () => reject(new Error('the console was closed')));
        rfb.addEventListener('securityfailure', (e) => reject(new Error(e.detail.reason)));
    });
    const closed = new Promise((resolve) => rfb.addEventListener('disconnect', () => { over = true; clearInterval(timer); resolve(); }));
    connected.then(() => {
        const canvas = glass.querySelector('canvas');
        timer = setInterval(() => !document.hidden && canvas.width && onFrame(canvas), SAMPLE_MS);
    }, () => {});
    return {
        connected, closed,
        focus: () => rfb.focus(),
        blur: () => rfb.blur(),
        stop() {
            clearInterval(timer);
            if (!over) rfb.disconnect();
        },
    };
}
