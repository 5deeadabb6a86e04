#!/bin/bash
# The Debian package where it belongs: in a machine whose PID 1 is systemd. Builds the package, lets lintian judge it, boots a minimal
# Debian in QEMU (emulated, no KVM needed) and runs guest.sh in it, which reports over a serial port. Wants root or fakeroot, and
# Debian's servers at the first run; the guest's root file system is kept in build/systemd. BUILD: where the programs are (build).
# SYSTEMD_ONLY=volumes: the part about volumes alone. SYSTEMD_ONLY=bench: the throughput of volumes, on throttled disks (make bench).
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
build=${BUILD:-build}
case $build in /*) ;; *) build=$top/$build ;; esac
cache=$top/build/systemd
packages=systemd,systemd-sysv,init-system-helpers,libmicrohttpd12,libcurl4,libjansson4,libsqlite3-0,libpng16-16,libexpat1,libssl3,curl,procps,dbus,udev,lvm2,xfsprogs,fdisk,busybox-static,qemu-system-x86,qemu-utils,seabios

fail() { echo "systemd: FAIL: $*" >&2; exit 1; }
for tool in mmdebstrap lintian qemu-system-x86_64 mke2fs; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: make deps"
done
work=$(mktemp -d "${TMPDIR:-/tmp}/vmsystemd.XXXXXX")
qemu=''
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || :; rm -rf "$work"' EXIT

# ---- the package ----
deb=$(make -s --no-print-directory -C "$top" deb | tail -1)
case $deb in /*) ;; *) deb=$top/$deb ;; esac
lintian --allow-root --fail-on error "$deb" >"$work/lintian" 2>&1 || { cat "$work/lintian"; fail "lintian finds errors"; }
echo "ok - lintian finds no error"

# every key of the daemon stands in the packaged configuration, with its default
"$build/vmrecoverd" --help | sed -n -e 's/^\[\(.*\)\]$/\1/p' -e 's/^  \([a-z_]*\) .*(default: \(.*\))$/\1 = \2/p' | sed 's/ = empty$/ =/' >"$work/keys"
sed -n -e 's/^\[\(.*\)\]$/\1/p' -e 's/^#\{0,1\}\([a-z_]* =.*\)$/\1/p' "$top/packaging/vmrecover.conf" | sed 's/^run_as = vmrecover$/run_as =/' >"$work/documented"
diff "$work/keys" "$work/documented" >&2 || fail "packaging/vmrecover.conf (>) does not list the keys and defaults of the daemon (<)"
echo "ok - the packaged configuration lists every key with its default"

# ---- the machine ----
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
base=$cache/base-$( (echo "$packages"; cat "$here/vmtest.service") | sha256sum | cut -c1-12).ext4
if [ ! -s "$base" ]; then
    mmdebstrap --quiet --variant=minbase --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" bookworm "$work/base.tar" 2>"$work/mmdebstrap" ||
        { tail -5 "$work/mmdebstrap" >&2; fail "mmdebstrap could not build the guest: are Debian's servers reachable?"; }
    fakeroot=''
    [ "$(id -u)" = 0 ] || fakeroot=fakeroot
    $fakeroot bash -eu -s "$work" "$here/vmtest.service" "$base" <<'BASE'
    mkdir "$1/root"
    tar -C "$1/root" --exclude=./dev/* -xf "$1/base.tar"
    cp "$2" "$1/root/etc/systemd/system/"
    mkdir -p "$1/root/etc/systemd/system/multi-user.target.wants"
    ln -s ../vmtest.service "$1/root/etc/systemd/system/multi-user.target.wants/"
    echo '/dev/vda / ext4 defaults 0 0' >"$1/root/etc/fstab"
    echo guest >"$1/root/etc/hostname"
    echo 5f0c1a2b3c4d5e6f708192a3b4c5d6e7 >"$1/root/etc/machine-id"
    mke2fs -q -F -t ext4 -E root_owner=0:0 -d "$1/root" "$3.part" 1G >/dev/null
    mv "$3.part" "$3"
BASE
    rm -rf "$work/root" "$work/base.tar"
fi
exec 9>&-
"$top/tests/vm/build.sh" --kernel "$work"

# the second disk: the package, the tests, and a VHD whose boot sector lives
mkdir -p "$work/second/www"
cp "$deb" "$work/second/vmrecover.deb"
cp "$here/guest.sh" "$here/volumes.sh" "$work/second/"
cp -r "$work/modules" "$work/second/"
echo "${SYSTEMD_ONLY:-}" >"$work/second/only"
echo "$([ "${SOAK:-}" = 1 ] && echo 100 || echo 1)" >"$work/second/kills"
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "$seed" >"$work/second/seed"
as --32 -o "$work/alive.o" "$here/alive.S"
objcopy -O binary -j .text "$work/alive.o" "$work/alive.raw"
truncate -s 2M "$work/alive.raw"
qemu-img convert -q -f raw -O vpc -o subformat=fixed,force_size=on "$work/alive.raw" "$work/second/www/alive.vhd"
chmod -R a+rX "$work/second"
mke2fs -q -F -t ext4 -O ^has_journal -E root_owner=0:0 -d "$work/second" "$work/second.ext4" 32M >/dev/null

# where this machine has no loop devices (VOLUMES_IN_GUEST=1: or is to be taken for such a one), the end-to-end tests of volumes run in the guest
tree=()
if [ "${VOLUMES_IN_GUEST:-}" = 1 ] || ! (cd "$top/tests/e2e" && node -e 'import("./lib/loop.mjs").then((m) => process.exit(m.noLoops() ? 1 : 0))'); then
    echo "# no loop devices here: tests/e2e/volume*.test.mjs run in the guest"
    BUILD=$build "$here/tree.sh" "$work/tree"
    mke2fs -q -F -t ext4 -E root_owner=0:0 -d "$work/tree" "$work/tree.ext4" 8G >/dev/null
    rm -rf "$work/tree"
    tree=(-drive "file=$work/tree.ext4,format=raw,if=virtio,cache=unsafe")
    limit=3600
fi

# disks to make volumes of, and one that must stay as it is
throttle=''
[ "${SYSTEMD_ONLY:-}" != bench ] || throttle=",throttling.bps-total=${BENCH_DISK_BYTES:-10000000}"
volumes=()
for k in 1 2 3 4 5; do
    truncate -s 1280M "$work/disk$k.raw"
    keep=on
    [ "$k" != 5 ] || { mke2fs -q -F -t ext4 -L archive "$work/disk$k.raw"; keep=off; }       # what is written to it would show
    volumes+=(-drive "file=$work/disk$k.raw,format=raw,if=none,snapshot=$keep,id=disk$k,discard=unmap,cache=unsafe$throttle" -device "scsi-hd,drive=disk$k,serial=VOLUME$k")
done
archive=$(sha256sum <"$work/disk5.raw")

# ---- the run ----
# -snapshot: the base stays as it is. Unneeded units are left out, emulated time is dear.
mask=''
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
    serial-getty@ttyS0.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service \
    systemd-pstore.service systemd-tmpfiles-clean.timer; do
    mask="$mask systemd.mask=$unit"
done
: >"$work/results"
start=$SECONDS
qemu-system-x86_64 -nodefaults -no-user-config -display none -machine pc -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m 768 -snapshot -no-reboot \
    -kernel "$work/vmlinuz" -initrd "$work/initrd.img" -append "root=/dev/vda console=ttyS0 quiet loglevel=4 panic=-1 $mask" \
    -drive "file=$base,format=raw,if=virtio" -drive "file=$work/second.ext4,format=raw,if=virtio" \
 -device virtio-scsi-pci "${volumes[@]}" "${tree[@]}" \
    -serial "file:$work/console" -serial "file:$work/results" >"$work/qemu" 2>&1 &
qemu=$!

limit=${SYSTEMD_TEST_SECONDS:-${limit:-$([ "${SOAK:-}" = 1 ] && echo 6000 || echo 1200)}}
while kill -0 "$qemu" 2>/dev/null && [ $((SECONDS - start)) -lt "$limit" ]; do
    sleep 1
done
tr -d '\r' <"$work/results"
if ! grep -q '^done' "$work/results" || grep -q '^not ok' "$work/results"; then
    echo "---- the guest's console ----"
    tail -n 150 "$work/console" | tr -d '\r'
    cat "$work/qemu"
    kill -0 "$qemu" 2>/dev/null && fail "the guest did not end within $limit s"
    grep -q '^done' "$work/results" || fail "the guest ended before its tests did"
    fail "$(grep -c '^not ok' "$work/results") checks in the guest failed"
fi
wait "$qemu" || :
qemu=''
[ "$(sha256sum <"$work/disk5.raw")" = "$archive" ] || fail "the disk that holds something has changed"
echo "ok - the disk that holds something is as it was, byte for byte"
echo "systemd: seed $seed; $(grep -c '^ok' "$work/results") checks passed in the guest, $((SECONDS - start)) s"
