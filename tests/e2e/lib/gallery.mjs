// Disks that no volume may be made of, each with why: the code of the reason and what its sentence must say. `fill` writes to the file before it is
// attached, `dress` to the device behind it; `live` holds it in some use and gives back what ends that.
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { must, run, tempDir } from './util.mjs';

const MIB = 1 << 20, GIB = 1 << 30;

// [offset, text or bytes] into the file; a negative offset counts from its end.
function poke(...list) {
    return (file) => {
        const fd = fs.openSync(file, 'r+'), { size } = fs.fstatSync(fd);
        for (const [at, bytes] of list) {
            const b = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
            fs.writeSync(fd, b, 0, b.length, at < 0 ? size + at : at);
        }
        fs.closeSync(fd);
    };
}
const tool = (...argv) => (file) => must(argv[0], argv.slice(1).map((a) => (a === '@' ? file : a)));
const table = (script) => (file) => must('sfdisk', ['--quiet', file], { input: script });
const then = (...steps) => async (file) => { for (const s of steps) await s(file); };
const u32 = (v) => { const b = Buffer.alloc(4); b.writeUInt32LE(v >>> 0); return b; };
const u64 = (v) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(v)); return b; };
const text = (s, n) => Buffer.concat([Buffer.from(s), Buffer.alloc(n - s.length)]);
const UUID = '8c1f3f64-6c2e-4f5c-9d55-0a7f3f0d6b11';
const LINUX = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

// Linux md, metadata 1.x (drivers/md/md_p.h): the place of the superblock is part of it.
function md1(offset) {
    return (file) => {
        const at = offset < 0 ? fs.statSync(file).size + offset : offset;
        const b = Buffer.alloc(256);
        b.writeUInt32LE(0xa92b4efc, 0);
        b.writeUInt32LE(1, 4);
        Buffer.from(UUID.replaceAll('-', ''), 'hex').copy(b, 16);
        text('backup:0', 32).copy(b, 32);
        b.writeUInt32LE(0, 72);                      // level 0
        u64(at / 512).copy(b, 144);                  // super_offset
        poke([at, b])(file);
    };
}
// Metadata 0.90: 64 KiB before the end, on a multiple of that.
function md0(file) {
    const b = Buffer.alloc(4096), size = fs.statSync(file).size;
    b.writeUInt32LE(0xa92b4efc, 0);
    b.writeUInt32LE(0, 4);
    b.writeUInt32LE(90, 8);
    b.fill(7, 20, 24);
    poke([Math.floor(size / 65536) * 65536 - 65536, b])(file);
}
// ZFS: labels at both ends, each with a ring of uberblocks at 128 KiB.
function zfs(file) {
    const size = Math.floor(fs.statSync(file).size / 262144) * 262144, label = Buffer.alloc(262144);
    for (let i = 0; i < 128; i++) {
        u64(0x00bab10c).copy(label, 131072 + i * 1024);
        u64(5000).copy(label, 131072 + i * 1024 + 8);
    }
    poke(...[0, 262144, size - 524288, size - 262144].map((at) => [at, label]))(file);
}
const empty = { fill: () => {} };

async function mounted(device) {
    const place = tempDir('gallery');
    await must('mount', ['-o', 'ro', device, place]);
    return () => must('umount', [place]);
}
// A program that has the device open.
async function opened(device, how) {
    const child = spawn('perl', ['-MFcntl', '-e', `sysopen(F, $ARGV[0], ${how}) or die $!; $| = 1; print "open\n"; sleep 600`, device], { stdio: ['ignore', 'pipe', 'inherit'] });
    const end = () => child.kill('SIGKILL');
    process.on('exit', end);
    await new Promise((resolve, reject) => { child.stdout.once('data', resolve); child.once('exit', () => reject(new Error(`${device} cannot be opened`))); });
    return async () => { const gone = new Promise((r) => child.once('exit', r)); end(); await gone; process.off('exit', end); };
}

export const gallery = [
    // ---- file systems, without a table ----
    { name: 'ext2', says: /^signature: it holds ext2/, fill: tool('mkfs.ext2', '-q', '@') },
    { name: 'ext3', says: /^signature: it holds ext3/, fill: tool('mkfs.ext3', '-q', '@') },
    { name: 'bare ext4', says: /^signature: it holds ext4 archive at byte 1080/, fill: tool('mkfs.ext4', '-q', '-L', 'archive', '@') },
    { name: 'XFS', says: /^signature: it holds xfs data at byte 0/, fill: tool('mkfs.xfs', '-q', '-L', 'data', '@') },
    { name: 'btrfs', says: /^signature: it holds btrfs pool/, fill: tool('mkfs.btrfs', '-q', '-L', 'pool', '@') },
    { name: 'FAT32', says: /^(signature|partitions): .*vfat/, fill: tool('mkfs.vfat', '-F', '32', '@') },
    { name: 'exFAT', says: /^(signature|partitions): .*exfat/, fill: tool('mkfs.exfat', '@') },
    { name: 'NTFS', says: /^(signature|partitions): .*ntfs/, fill: tool('mkntfs', '-q', '-Q', '-F', '-L', 'windows', '@') },
    { name: 'ReFS', says: /^signature: it holds ReFS/, fill: poke([3, 'ReFS\0\0\0\0']) },
    { name: 'minix', says: /^signature: it holds minix/, fill: tool('mkfs.minix', '@') },
    { name: 'ISO 9660', says: /^signature: it holds iso9660/, fill: poke([32768, '\x01CD001\x01'], [34816, '\xffCD001\x01']) },
    { name: 'squashfs', says: /^signature: it holds squashfs/, fill: poke([0, 'hsqs'], [28, [4, 0, 0, 0]]) },
    { name: 'F2FS', says: /^signature: it holds f2fs/, fill: tool('mkfs.f2fs', '-q', '@') },
    { name: 'HFS+', says: /^signature: it holds hfsplus/, fill: poke([1024, 'H+\0\x04'], [1064, [0, 0, 0x10, 0]]) },
    { name: 'VMFS', says: /^signature: it holds VMFS/, fill: poke([2097152, [0x5e, 0xf1, 0xab, 0x2f]], [1048576, [0x0d, 0xd0, 0x01, 0xc0]]) },
    // ---- parts of something larger ----
    { name: 'swap', says: /^signature: it holds swap/, fill: tool('mkswap', '--quiet', '@') },
    { name: 'LVM', says: /^signature: it holds LVM2_member/, dress: tool('pvcreate', '--quiet', '--quiet', '--config', 'devices { use_devicesfile=0 }', '@') },
    { name: 'LUKS 1', says: /^signature: it holds crypto_LUKS/, fill: (f) => must('cryptsetup', ['luksFormat', '-q', '--type', 'luks1', '--pbkdf-force-iterations', '1000', '--key-file', '-', f], { input: 'secret' }) },
    { name: 'LUKS 2', says: /^signature: it holds crypto_LUKS/, fill: (f) => must('cryptsetup', ['luksFormat', '-q', '--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--key-file', '-', f], { input: 'secret' }) },
    { name: 'BitLocker', says: /^(signature|partitions): .*BitLocker/, fill: poke([0, [0xeb, 0x58, 0x90]], [3, '-FVE-FS-'], [176, u64(MIB)], [MIB, '-FVE-FS-'], [MIB + 10, [2, 0]]) },
    { name: 'md 0.90', says: /^signature: it holds linux_raid_member/, fill: md0 },
    { name: 'md 1.0', says: /^signature: it holds linux_raid_member/, fill: md1(-8192) },
    { name: 'md 1.1', says: /^signature: it holds linux_raid_member/, fill: md1(0) },
    { name: 'md 1.2', says: /^signature: it holds linux_raid_member/, fill: md1(4096) },
    { name: 'ZFS', says: /^signature: it holds zfs_member/, fill: zfs },
    { name: 'bcache', says: /^(signature: it holds bcache|not_blank: byte 4120)/, fill: poke([4096 + 24, [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81]]) },
    { name: 'Intel RAID', says: /^signature: it holds isw_raid_member/, fill: poke([-1024, 'Intel Raid ISM Cfg Sig. 1.3.00']) },
    { name: 'DDF RAID', says: /^signature: it holds ddf_raid_member/, fill: poke([-512, [0xde, 0x11, 0xde, 0x11]], [-512 + 96, u64(0)]) },
    { name: 'Ceph', says: /^signature: it holds ceph_bluestore/, fill: poke([0, 'bluestore block device\n']) },
    { name: 'dynamic disk', says: /^partitions: it has an MBR with 1 partition/, fill: then(table('label: dos\nstart=63, size=1000000, type=42\n'), poke([3072, 'PRIVHEAD'])) },
    // ---- tables ----
    { name: 'GPT', says: /^partitions: it has a GPT with 2 partitions/, fill: table('label: gpt\nsize=100MiB\nsize=200MiB\n') },
    { name: 'GPT, no partition', says: /^partitions: it has a GPT with 0 partitions/, fill: table('label: gpt\n') },
    { name: 'GPT, damaged header, backup intact', says: /^partitions: it has a GPT with 1 partition/, fill: then(table('label: gpt\nsize=100MiB\n'), poke([520, [1, 2, 3, 4]])) },
    { name: 'GPT, backup alone', says: /^partitions: it has a GPT/, fill: then(table('label: gpt\nsize=100MiB\n'), poke([0, Buffer.alloc(MIB)])) },
    { name: 'GPT of 4 KiB sectors', says: /^partitions: it has a GPT with 1 partition/, options: ['--sector-size', '4096'], dress: table('label: gpt\nsize=100MiB\n') },
    { name: 'GPT that looks like ours', says: /^partitions: it has a GPT with 1 partition/, fill: table(`label: gpt\nstart=2048, size=1000000, type=${LINUX}, name="${UUID}"\n`) },
    { name: 'protective MBR alone', says: /^(partitions|signature): .*(GPT|PMBR)/, fill: poke([450, [0xee]], [454, u32(1)], [458, u32(0xffffffff)], [510, [0x55, 0xaa]]) },
    { name: 'MBR', says: /^partitions: it has an MBR with 1 partition/, fill: table('label: dos\nsize=100MiB, type=83\n') },
    { name: 'MBR, no partition', says: /^partitions: it has an MBR with 0 partitions/, fill: table('label: dos\n') },
    { name: 'Sun label', says: /^(partitions|signature): /, fill: table('label: sun\nsize=100MiB\n') },
    { name: 'file system in a partition', says: /^partitions: it has a GPT with 1 partition, with ext4 mine/,
        dress: then(table(`label: gpt\nstart=2048, size=1000000, type=${LINUX}\n`), tool('partx', '--update', '@'), (d) => must('mkfs.ext4', ['-q', '-L', 'mine', `${d}p1`])) },
    // ---- nothing that a tool knows ----
    { name: 'one byte, the first', says: /^not_blank: byte 0 /, fill: poke([0, [1]]) },
    { name: 'one byte, at the end of the first MiB', says: /^not_blank: byte 1048575 /, fill: poke([MIB - 1, [1]]) },
    { name: 'one byte in the middle of what is sampled', says: /^not_blank: byte 671100000 /, fill: poke([671100000, [0x80]]) },
    { name: 'one byte, the last', says: new RegExp(`^not_blank: byte ${1.25 * GIB - 1} `), fill: poke([-1, [1]]) },
    { name: 'boot code', says: /^not_blank: byte 0 /, fill: poke([0, [0xfa, 0x31, 0xc0, 0x8e, 0xd8]]) },
    { name: 'a database on the raw disk', says: /^not_blank: byte 131072 /, fill: (f) => { const b = Buffer.alloc(64 * MIB, 'row '); poke([131072, b])(f); } },
    // ---- in use, or not to be used ----
    { name: 'mounted', says: /^mounted: it is mounted at /, fill: tool('mkfs.ext4', '-q', '@'), live: mounted },
    { name: 'partition mounted', says: /^mounted: its partition 1 is mounted at /,
        dress: then(table(`label: gpt\nstart=2048, size=1000000, type=${LINUX}\n`), tool('partx', '--update', '@'), (d) => must('mkfs.xfs', ['-q', `${d}p1`])), live: (d) => mounted(`${d}p1`) },
    { name: 'swapped to', kernel: true, says: /^mounted: the system swaps to it/, fill: tool('mkswap', '--quiet', '@'), live: async (d) => { await must('swapon', [d]); return () => must('swapoff', [d]); } },
    { name: 'held by a program', says: /^in_use: the program perl \(process \d+\) has it open/, ...empty, live: (d) => opened(d, 'O_RDONLY') },
    { name: 'claimed by a program', says: /^in_use: the program perl/, ...empty, live: (d) => opened(d, 'O_RDWR|O_EXCL') },
    { name: 'read-only', says: /^read_only: it is read-only/, ...empty, options: ['--read-only'] },
    { name: 'too small', says: /^too_small: it has \d+ bytes/, ...empty, size: 512 * MIB },
    { name: 'cut off', says: /^unreadable: cannot read .* at/, ...empty, dress: (d, file) => fs.truncateSync(file, 600 * MIB) },
];

// Device nodes that the kernel's device mapper and md would be needed for: where they are.
export const built = [
    { name: 'in a volume group', says: /^held: dm-\d+ \(gallery-lv\) is built on it/, dress: tool('pvcreate', '--quiet', '--quiet', '--yes', '--config', 'devices { use_devicesfile=0 }', '@'),
        live: async (d) => {
            const config = ['--config', 'devices { use_devicesfile=0 }', '--quiet', '--yes'];
            await must('vgcreate', [...config, 'gallery', d]);
            await must('lvcreate', [...config, '-l', '10', '-n', 'lv', 'gallery']);
            return () => must('vgchange', [...config, '-an', 'gallery']);
        } },
    { name: 'under dm-crypt', says: /^held: dm-\d+ \(gallery-crypt\) is built on it/,
        fill: (f) => must('cryptsetup', ['luksFormat', '-q', '--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--key-file', '-', f], { input: 'secret' }),
        live: async (d) => { await must('cryptsetup', ['open', '--key-file', '-', d, 'gallery-crypt'], { input: 'secret' }); return () => must('cryptsetup', ['close', 'gallery-crypt']); } },
    { name: 'under a device of the mapper', says: /^held: dm-\d+ \(gallery-linear\) is built on it/, ...empty,
        live: async (d) => { await must('dmsetup', ['create', 'gallery-linear', '--table', `0 1000000 linear ${d} 2048`]); return () => must('dmsetup', ['remove', 'gallery-linear']); } },
];
export const hasMapper = async () => (await run('dmsetup', ['version'])).code === 0;
