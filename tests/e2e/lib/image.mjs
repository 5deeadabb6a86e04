// Disk images to recover: fixed VHDs with known content, sparse on the host, and files that only look like one.
import fs from 'node:fs';
import { random } from './util.mjs';

const MIB = 1 << 20;

// The footer of a fixed VHD, as Azure takes it (Virtual Hard Disk Image Format Specification).
export function vhdFooter(size, { creator = 'wa\0\0', type = 2 } = {}) {
    const f = Buffer.alloc(512);
    f.write('conectix', 0, 'latin1');
    f.writeUInt32BE(2, 8);                           // features: reserved, always set
    f.writeUInt32BE(0x00010000, 12);
    f.writeBigUInt64BE(0xffffffffffffffffn, 16);     // a fixed disk has no header behind
    f.writeUInt32BE(0x2f000000, 24);
    f.write(creator, 28, 'latin1');
    f.writeUInt32BE(0x000a0000, 32);
    f.write('Wi2k', 36, 'latin1');
    f.writeBigUInt64BE(BigInt(size), 40);
    f.writeBigUInt64BE(BigInt(size), 48);
    const [c, h, s] = geometry(size / 512);
    f.writeUInt16BE(c, 56);
    f.writeUInt8(h, 58);
    f.writeUInt8(s, 59);
    f.writeUInt32BE(type, 60);
    f.write('0123456789abcdef', 68, 'latin1');       // unique id
    checksum(f);
    return f;
}
export function checksum(f) {
    f.writeUInt32BE(0, 64);
    let sum = 0;
    for (const b of f) sum += b;
    f.writeUInt32BE(~sum >>> 0, 64);
}
function geometry(sectors) {
    let total = Math.min(sectors, 65535 * 16 * 255), s, h, ch;
    if (total >= 65535 * 16 * 63) { s = 255; h = 16; ch = Math.floor(total / s); } else {
        s = 17; ch = Math.floor(total / s); h = Math.max(4, Math.floor((ch + 1023) / 1024));
        if (ch >= h * 1024 || h > 16) { s = 31; h = 16; ch = Math.floor(total / s); }
        if (ch >= h * 1024) { s = 63; h = 16; ch = Math.floor(total / s); }
    }
    return [Math.floor(ch / h), h, s];
}

// One Linux partition over all of it, so that the generation can be told (1).
function mbr(size) {
    const m = Buffer.alloc(512);
    m.writeUInt8(0x80, 446);
    m.writeUInt8(0x83, 450);
    m.writeUInt32LE(2048, 454);
    m.writeUInt32LE(size / 512 - 2048, 458);
    m.writeUInt16LE(0xaa55, 510);
    return m;
}

// The smallest guest: a boot sector that writes a text (at most 59 characters) to screen and serial port, then halts.
//   cli; ax = ds = es = ss = 0; sp = 7C00; sti; mode 3; si = 7D80; loop: lodsb; or al, al; jz halt; screen (int 10); wait for the port;
//   port = al; jmp loop; halt: hlt; jmp halt
const GUEST = 'fa31c08ed88ec08ed0bc007cfb b80300cd10 be807d ac08c07416 50b40e31dbcd10 bafd03eca82074f8 58baf803ee ebe5 f4ebfd'.replaceAll(' ', '');
export function bootSector(size, text) {
    const m = mbr(size);
    Buffer.from(GUEST, 'hex').copy(m, 0);
    m.write(`${text}\r\n\0`, 0x180, 'latin1');
    return m;
}

// A fixed VHD of `size` bytes (a multiple of 1 MiB) plus footer. Of its space about the part `used` holds random bytes, in runs of
// `run` bytes; with `boot` it boots and says that. Returns the number of bytes written, without the footer.
export function makeVhd(file, size, { used = 0.25, run = MIB, seed = 1, footer = vhdFooter(size), boot } = {}) {
    const rand = random(seed);
    const fd = fs.openSync(file, 'w');
    let written = 512;
    fs.ftruncateSync(fd, size);
    fs.writeSync(fd, boot ? bootSector(size, boot) : mbr(size), 0, 512, 0);
    const block = Buffer.alloc(run);
    const step = Math.round(run / used);
    for (let at = MIB; at + run <= size; at += step) {
        for (let i = 0; i < run; i += 4) block.writeUInt32LE((rand() * 4294967295 | 1) >>> 0, i);
        fs.writeSync(fd, block, 0, run, at);
        written += run;
    }
    if (footer) fs.writeSync(fd, footer, 0, 512, size);
    fs.closeSync(fd);
    return written;
}
