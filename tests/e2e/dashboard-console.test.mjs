// The live console: a WebSocket (npm's ws is the peer) that carries the VM's own VNC connection. A small RFB client reads the screen through it.
import { before, after } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createRequire } from 'node:module';
import { Daemon } from './lib/daemon.mjs';
import { guests, test } from './lib/platform.mjs';
import { sleep, slow, waitFor } from './lib/util.mjs';

const WebSocket = createRequire(import.meta.url)('ws');
const MIB = 1 << 20;
let daemon, api, vm, job;

// A VM with an empty disk: its firmware finds nothing to boot, and says so.
const machine = async () => (await api.submit({ disks: [{ source: { type: 'blank', size: MIB } }], vm: { memory_mib: 64, cpus: 1 } })).id;
before(async () => {
    daemon = await Daemon.start();
    api = daemon.api;
    if (!guests) return;
    job = await machine();
    vm = (await api.waitJob(job)).vm_id;
});
after(() => daemon?.stop());

const url = (id = vm) => `ws://${daemon.address}/v1/vms/${id}/console`;
const byToken = () => ({ authorization: `Bearer ${daemon.token}` });

// Opens it: the socket, or the HTTP reply that refused it: { status, code }.
function open(headers = byToken(), { id, ...options } = {}) {
    const ws = new WebSocket(url(id), options.protocols ?? [], { headers, perMessageDeflate: false, ...options });
    ws.received = Buffer.alloc(0);
    ws.on('message', (data, binary) => { assert.ok(binary); ws.received = Buffer.concat([ws.received, data]); });
    ws.ended = new Promise((resolve) => ws.on('close', (status, reason) => resolve({ status, reason: String(reason) })));
    return new Promise((resolve, reject) => {
        ws.once('open', () => resolve(ws));
        ws.once('unexpected-response', (rq, rs) => {
            const parts = [];
            rs.on('data', (d) => parts.push(d));
            rs.on('end', () => { rq.destroy(); resolve({ status: rs.statusCode, code: JSON.parse(Buffer.concat(parts)).code }); });
        });
        ws.once('error', reject);
    });
}
async function take(ws, n) {
    await waitFor(() => `${n} bytes of the display; there are ${ws.received.length}`, () => ws.received.length >= n, { interval: 5 });
    const part = ws.received.subarray(0, n);
    ws.received = ws.received.subarray(n);
    return part;
}
// RFC 6143 up to ServerInit: { width, height, name }.
async function handshake(ws) {
    assert.equal(String(await take(ws, 12)), 'RFB 003.008\n');
    ws.send('RFB 003.008\n', { binary: true });
    const types = await take(ws, (await take(ws, 1))[0]);
    assert.ok(types.includes(1), 'security type None');
    ws.send(Buffer.from([1]));
    assert.equal((await take(ws, 4)).readUInt32BE(), 0, 'security result');
    ws.send(Buffer.from([1]));                       // shared
    const init = await take(ws, 24);
    return { width: init.readUInt16BE(0), height: init.readUInt16BE(2), name: String(await take(ws, init.readUInt32BE(20))) };
}
// One whole picture in raw encoding, 32 bits a pixel.
async function picture(ws, { width, height }) {
    const encodings = Buffer.from([2, 0, 0, 1, 0, 0, 0, 0]), want = Buffer.alloc(10);
    want[0] = 3;
    want.writeUInt16BE(width, 6);
    want.writeUInt16BE(height, 8);
    ws.send(encodings);
    ws.send(want);
    const pixels = Buffer.alloc(width * height * 4);
    const head = await take(ws, 4);
    assert.equal(head[0], 0, 'a framebuffer update');
    for (let i = head.readUInt16BE(2); i > 0; i--) {
        const r = await take(ws, 12), [x, y, w, h] = [0, 2, 4, 6].map((o) => r.readUInt16BE(o));
        assert.equal(r.readInt32BE(8), 0, 'raw');
        const data = await take(ws, w * h * 4);
        for (let row = 0; row < h; row++) data.copy(pixels, ((y + row) * width + x) * 4, row * w * 4, (row + 1) * w * 4);
    }
    return pixels;
}
const skip = guests ? {} : { skip: 'no guest runs here' };

test('what is no WebSocket, or not for this caller, is refused by HTTP', async () => {
    const path_ = `/v1/vms/${vm ?? '11111111-2222-4333-8444-555555555555'}/console`;
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': crypto.randomBytes(16).toString('base64') };
    assert.equal((await api.exchange({ path: path_ })).status, 400);
    for (const wrong of [{ 'sec-websocket-version': '8' }, { 'sec-websocket-key': 'x' }, { 'sec-websocket-key': crypto.randomBytes(15).toString('base64') }, { upgrade: 'h2c' }])
        assert.equal((await api.exchange({ path: path_, headers: { ...upgrade, ...wrong } })).json.code, 'bad_request', JSON.stringify(wrong));
    assert.deepEqual(await open({}, { id: vm }), { status: 401, code: 'unauthorized' });
    assert.deepEqual(await open({ ...byToken(), origin: 'http://evil.example' }), { status: 403, code: 'origin_not_allowed' });
    assert.deepEqual(await open({ ...byToken(), host: `evil.example:${daemon.address.split(':').pop()}` }), { status: 403, code: 'host_not_allowed' });
    const missing = await open(byToken(), { id: '99999999-2222-4333-8444-555555555555' });
    assert.equal(missing.code, guests ? 'not_found' : 'not_supported');
});

async function session() {
    const { path: link } = await api.post('/v1/sign_in_links', undefined, 201);
    const r = await api.exchange({ path: link, token: null });
    return r.headers['set-cookie'][0].split(';')[0];
}

test('with the cookie the upgrade needs an own origin, and ends with the session', skip, async () => {
    const cookie = await session(), own = `http://${daemon.address}`, port = daemon.address.split(':').pop();
    for (const origin of [undefined, 'null', 'http://evil.example', 'http://127.0.0.1:1', `http://localhost:${port}`, `https://${daemon.address}`])
        assert.deepEqual(await open({ cookie, ...(origin ? { origin } : {}) }), { status: 403, code: 'origin_not_allowed' }, origin);
    const ws = await open({ cookie, origin: own, 'sec-fetch-site': 'same-origin' });
    await handshake(ws);
    assert.equal((await api.exchange({ path: '/v1/session', method: 'DELETE', token: null, headers: { cookie, origin: own } })).status, 204);
    assert.equal((await ws.ended).status, 4001);
});

test('screen and keyboard of the machine', skip, async () => {
    await api.waitScreen(vm, /No bootable device/);
    const ws = await open(byToken(), { protocols: ['binary'] });
    assert.equal(ws.protocol, 'binary');
    const size = await handshake(ws);
    assert.ok(size.width >= 640 && size.height >= 400 && size.name.includes(vm), JSON.stringify(size));
    const pixels = await picture(ws, size);
    assert.ok(new Set(pixels.toString('latin1').match(/[^]{4}/g)).size > 1, 'there is something on the screen');
    // what the API shows is the same picture
    const png = await api.screenPng(vm);
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [size.width, size.height]);
    // Ctrl+Alt+Delete (RFB's keysyms): the machine starts anew, and the screen is cleared for a moment
    for (const [down, key] of [[1, 0xffe3], [1, 0xffe9], [1, 0xffff], [0, 0xffff], [0, 0xffe9], [0, 0xffe3]]) {
        const e = Buffer.alloc(8);
        e[0] = 4;
        e[1] = down;
        e.writeUInt32BE(key, 4);
        ws.send(e);
    }
    await waitFor('the machine starts anew', async () => !/No bootable device/.test(await api.screenText(vm)), { interval: 20, timeout: 20_000 });
    ws.close(1000);
    assert.equal((await ws.ended).status, 1000);
});

test('bytes arrive as they were sent, whatever the frames', skip, async () => {
    const ws = await open(byToken());
    assert.equal(String(await take(ws, 12)), 'RFB 003.008\n');
    for (const c of 'RFB 003.008') ws.send(c, { binary: true, fin: false });
    ws.ping('between fragments');
    const pong = new Promise((resolve) => ws.once('pong', (d) => resolve(String(d))));
    ws.send('\n', { binary: true, fin: true });
    assert.equal(await pong, 'between fragments');
    await take(ws, 2);
    ws.terminate();
    // three pictures a byte a frame from a client that reads slowly
    const slowly = await open(byToken());
    const size = await handshake(slowly), first = await picture(slowly, size);
    slowly.pause();
    const want = Buffer.from([3, 0, 0, 0, 0, 0, size.width >> 8, size.width & 255, size.height >> 8, size.height & 255]);
    for (let i = 0; i < 3; i++) for (const b of want) slowly.send(Buffer.from([b]));
    await sleep(500);
    slowly.resume();
    const head = await take(slowly, 4 + 12);
    assert.equal(head[0], 0);
    assert.equal(first.length, size.width * size.height * 4);
    slowly.close();
    await slowly.ended;
});

test('what a client must not send ends the connection with the right code', skip, async () => {
    for (const [what, send, status] of [
        ['text', (ws) => ws.send('RFB 003.008\n', { binary: false }), 1003],
        ['a frame of more than 64 KiB', (ws) => ws.send(Buffer.alloc(65537)), 1009],
        ['a frame without a mask', (ws) => ws.send('x', { binary: true, mask: false }), 1002],
    ]) {
        const ws = await open(byToken());
        send(ws);
        assert.equal((await ws.ended).status, status, what);
    }
    // as bytes: reserved bits, a fragmented ping, a continuation of nothing, a length that is longer than it need be
    for (const bytes of [[0xf2, 0x80, 0, 0, 0, 0], [0x09, 0x80, 0, 0, 0, 0], [0x80, 0x80, 0, 0, 0, 0], [0x82, 0xfe, 0, 1, 0, 0, 0, 0, 1], [0x83, 0x80, 0, 0, 0, 0]]) {
        const ws = await open(byToken());
        ws._socket.write(Buffer.from(bytes));
        assert.equal((await ws.ended).status, 1002, String(bytes));
    }
});

test('at most four for one VM, and a place is free again when one closes', skip, async () => {
    const four = await Promise.all([1, 2, 3, 4].map(() => open(byToken())));
    assert.deepEqual(await open(byToken()), { status: 429, code: 'too_many_requests' });
    four[0].terminate();
    await four[0].ended;
    const again = await waitFor('a free place', async () => { const ws = await open(byToken()); return ws.received ? ws : null; }, { timeout: 10_000 });
    for (const ws of [...four.slice(1), again]) ws.close();
    await Promise.all([...four, again].map((ws) => ws.ended));
});

test('nobody else on this host reaches the display', skip, async () => {
    const folder = path.join(daemon.dir, 'vms', vm), mode = fs.statSync(folder).mode;
    assert.equal(mode & 0o007, 0, mode.toString(8));
    assert.ok(fs.statSync(path.join(folder, 'vnc.sock')).isSocket());
});

test('a VM that stops ends it, one that is off has none', skip, async () => {
    const ws = await open(byToken());
    await handshake(ws);
    await api.expect(200, { method: 'POST', path: `/v1/vms/${vm}/stop` });
    assert.equal((await ws.ended).status, 1000);
    assert.deepEqual(await open(byToken()), { status: 409, code: 'wrong_state' });
    assert.equal((await api.get(`/v1/vms/${vm}`)).live_screen, true);
    await api.expect(200, { method: 'POST', path: `/v1/vms/${vm}/start` });
    const again = await open(byToken());
    await handshake(again);
    again.close();
});

test('the daemon stops with consoles open, and the VM has its display after the next start', skip, async () => {
    const open_ = await Promise.all([open(byToken()), open(byToken())]);
    await Promise.all(open_.map(handshake));
    open_[1].pause();                                // one that does not even answer
    const begun = Date.now();
    const status = await daemon.terminate();
    assert.equal(status.code, 0);
    assert.ok(Date.now() - begun < 15_000 * slow, `took ${Date.now() - begun} ms`);
    assert.equal((await open_[0].ended).status, 1001);
    open_[1].terminate();
    await daemon.restart();
    api = daemon.api;
    const ws = await open(byToken());
    assert.ok((await handshake(ws)).name.includes(vm), 'the same machine, which ran on');
    ws.close();
    await ws.ended;
    // half a handshake, and then nothing
    const half = net.connect(daemon.address.split(':').pop(), '127.0.0.1');
    half.write(`GET /v1/vms/${vm}/console HTTP/1.1\r\nHost: ${daemon.address}\r\nConnection: Upgrade\r\n`);
    await sleep(100);
    half.destroy();
    await api.deleteJob(job);
    assert.deepEqual(daemon.vmProcesses(), []);
});
