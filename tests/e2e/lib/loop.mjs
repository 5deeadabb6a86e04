// Disks to make volumes of: sparse files behind loop devices. Nothing but such files is ever written to by tests.
import fs from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { must, run, tempDir } from './util.mjs';

export const GIB = 1 << 30;

// Why there can be none, or false: one is attached, and XFS must be a file system here. What cannot be shown then is shown in a guest
// (tests/systemd/run.sh asks this very function).
export function noLoops() {
    if (process.getuid?.() !== 0) return 'needs root; shown in the guest of tests/systemd';
    spawnSync('modprobe', ['-a', 'loop', 'xfs']);
    if (!/\txfs\n/.test(fs.readFileSync('/proc/filesystems', 'utf8'))) return 'the kernel has no XFS; shown in the guest of tests/systemd';
    const file = path.join(tempDir('loop'), 'probe.img');
    fs.writeFileSync(file, '');
    fs.truncateSync(file, 1 << 20);
    const r = spawnSync('losetup', ['--find', '--show', file], { encoding: 'utf8' });
    if (r.status === 0) spawnSync('losetup', ['--detach', r.stdout.trim()]);
    return r.status === 0 ? false : `no loop devices (${(r.stderr || String(r.error ?? '')).trim()}); shown in the guest of tests/systemd`;
}

const attached = new Set();
// before the folders go that the files lie in
process.prependListener('exit', () => { for (const l of attached) l.detachNow(); });

export class Loop {
    // A new file of `size` bytes, attached. `fill(file)` is called before that, `options` go to losetup.
    static async make({ size = 1.25 * GIB, name = 'disk', folder = tempDir('loop'), fill, options = [] } = {}) {
        const l = new Loop();
        l.file = path.join(folder, `${name}.img`);
        l.options = options;
        fs.closeSync(fs.openSync(l.file, 'wx'));
        fs.truncateSync(l.file, size);
        await fill?.(l.file);
        await l.attach();
        return l;
    }

    async attach() {
        this.device = (await must('losetup', ['--find', '--show', ...this.options, this.file])).trim();
        attached.add(this);
        // some hosts have nodes for the first ones only
        if (!fs.existsSync(this.device)) await must('mknod', [this.device, 'b', '7', this.device.slice('/dev/loop'.length)]);
    }

    get id() { return `loop-${this.file}`; }

    // Partitions that the kernel should know: it may not understand the table itself.
    async partitions() { await must('partx', ['--update', this.device]); }

    async detach() {
        await run('partx', ['--delete', this.device]);
        await must('losetup', ['--detach', this.device]);
        attached.delete(this);
    }

    mounts() { return fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter((m) => new RegExp(` ${this.device}(p\\d+)? `).test(m)).map((m) => m.split(' ')[4]); }

    // Empty, whatever was done with it.
    async reset() {
        for (const m of this.mounts().reverse()) await must('umount', [m]);
        await run('partx', ['--delete', this.device]);
        await must('blkdiscard', ['--force', this.device]);
    }

    detachNow() {
        for (const m of this.mounts().reverse()) spawnSync('umount', [m]);
        spawnSync('swapoff', [this.device]);
        spawnSync('partx', ['--delete', this.device]);
        spawnSync('losetup', ['--detach', this.device]);
        attached.delete(this);
    }

    // Of all that is not zero: holes, and zeros in their place, are the same.
    fingerprint() { return fingerprint(this.file); }
}

// 64 KiB at a time, each once, however the file lies on its own file system.
const SHA = `use Digest::SHA; my $d = Digest::SHA->new(256); open(F, '<:raw', $ARGV[0]) or die $!; my ($at, $next) = (0, 0);
while (defined(my $from = sysseek(F, $at, 3))) { $from += 0; my $to = sysseek(F, $from, 4) + 0; my $p = $from & ~65535; $p = $next if $p < $next;
for (; $p < $to; $p += 65536) { sysseek(F, $p, 0); my $n = sysread(F, my $b, 65536); last unless $n; $d->add("$p:", $b) if $b =~ /[^\\0]/; }
$next = $p; $at = $to; } print $d->hexdigest;`;
export async function fingerprint(file) {
    spawnSync('sync', ['-f', file]);
    return must('perl', ['-e', SHA, file]);
}
export const emptyPrint = () => must('perl', ['-MDigest::SHA', '-e', 'print Digest::SHA->new(256)->hexdigest']);
