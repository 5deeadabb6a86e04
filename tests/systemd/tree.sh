#!/bin/bash
# tree.sh FOLDER: what the end-to-end tests of volumes need of this machine, as a tree to chroot into: for a host that has no loop devices, whose tests
# run in the guest instead. BUILD: where the programs are.
set -euo pipefail
tree=$1 here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
build=${BUILD:-build}
case $build in /*) ;; *) build=$top/$build ;; esac

programs="node bash sh env sleep rm ls cat touch sync mknod chmod fallocate perl losetup mount umount swapon swapoff partx blkdiscard sfdisk wipefs
mkfs.ext2 mkfs.ext3 mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.vfat mkfs.exfat mkntfs mkfs.minix mkfs.f2fs mkswap cryptsetup pvcreate vgcreate lvcreate lvs vgs
vgchange vgremove dmsetup qemu-img cmp"

mkdir -p "$tree"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,root,etc,t/tests}
for d in bin sbin lib lib64; do ln -s "usr/$d" "$tree/$d"; done
# copy FILE...: what it leads to, in its own place
copy() {
    local f
    for f; do
        f=$(realpath "$f")
        [ -e "$tree$f" ] || { mkdir -p "$tree$(dirname "$f")"; cp -a "$f" "$tree$f"; }
    done
}
libraries() { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || :; }
# borrow PROGRAM: its libraries, by the names that it asks for
borrow() {
    local library
    for library in $(libraries "$1"); do
        [ -e "$tree$library" ] || { mkdir -p "$tree$(dirname "$library")"; cp -aL "$library" "$tree$library"; }
    done
}
for name in $programs; do
    file=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$name") || { echo "tree.sh: $name is not installed: make deps" >&2; exit 1; }
    copy "$file"
    borrow "$file"
    # the name that it is called by
    [ -e "$tree/usr/bin/$name" ] || [ -e "$tree/usr/sbin/$name" ] || ln -s "$(realpath "$file")" "$tree/usr/bin/$name"
done
for file in "$build/vmrecoverd" "$build/vmrecover"; do
    borrow "$file"
done
cp -a /etc/mke2fs.conf /etc/passwd /etc/group "$tree/etc/"
[ ! -d /etc/lvm ] || cp -a /etc/lvm "$tree/etc/"
for d in /usr/lib/*/perl /usr/lib/*/perl-base /usr/share/perl; do mkdir -p "$tree$(dirname "$d")"; cp -a "$d" "$tree$(dirname "$d")/"; done
cp -a /usr/lib/*/perl "$tree/usr/lib/" 2>/dev/null || :
mkdir -p "$tree/t/build" "$tree/t/tests/e2e/lib"
cp "$build/vmrecoverd" "$build/vmrecover" "$tree/t/build/"
cp -r "$top/tests/doubles" "$tree/t/tests/"
cp "$top"/tests/e2e/lib/*.mjs "$tree/t/tests/e2e/lib/"
cp "$top"/tests/e2e/volume*.test.mjs "$tree/t/tests/e2e/"
mkdir "$tree/t/api"
cp "$top/api/openapi.json" "$tree/t/api/"
# what judges the replies, without what other tests need
tar -C "$top/tests/e2e" -c --exclude='@azure*' --exclude=@opentelemetry --exclude='azurite*' --exclude='playwright*' node_modules | tar -C "$tree/t/tests/e2e" -x
