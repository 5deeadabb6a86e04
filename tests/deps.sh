#!/bin/sh
# Installs what building and testing need on Debian 12. Quiet and quick when everything is there. Run as root (or with sudo).
set -eu
cd "$(dirname "$0")/.."

packages="gcc make pkg-config libc6-dev git ca-certificates
libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libsqlite3-dev libpng-dev libexpat1-dev libssl-dev libext2fs-dev
libcmocka-dev valgrind clang clang-tidy libclang-rt-14-dev cppcheck
qemu-system-x86 qemu-utils seabios ovmf
busybox-static e2fsck-static e2fsprogs fdisk grub-pc-bin grub-efi-amd64-bin grub2-common kmod cpio mtools
ntfs-3g xfsprogs btrfs-progs f2fs-tools dosfstools exfatprogs lvm2 cryptsetup-bin
mmdebstrap
python3-libvhdi
sqlite3 curl openssl procps libsecret-1-0
dpkg-dev fakeroot lintian debhelper
gcc-mingw-w64-x86-64-win32 binutils-mingw-w64-x86-64 cmake tcl xz-utils zip unzip wixl msitools wine wine64 libgnutls30"

missing=""
for p in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | cut -c1-2)" = ii ] || missing="$missing $p"
done
# Node.js: any version from 18 on, from wherever it comes
if ! command -v node >/dev/null || ! command -v npm >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
    missing="$missing nodejs npm"
fi
if [ -n "$missing" ]; then
    sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

stamp=tests/e2e/node_modules/.installed
if [ -f tests/e2e/package.json ] && ! cmp -s tests/e2e/package-lock.json "$stamp"; then
    (cd tests/e2e && npm ci --no-audit --no-fund --loglevel=error)
    cp tests/e2e/package-lock.json "$stamp"
fi
