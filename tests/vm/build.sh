#!/bin/bash
# Builds a small Linux VM, whole or broken, as a fixed VHD: Debian's cloud kernel, GRUB, a busybox system that honours /etc/fstab.
# Nothing is mounted and nothing is installed on this machine; it works in a container and needs no root.
#
#   tests/vm/build.sh OUT.vhd [--fault FAULT] [--lock-root] [--size-mib N] [--gpt-efi]
#   tests/vm/build.sh --kernel FOLDER       the kernel and the initramfs alone, as FOLDER/vmlinuz and FOLDER/initrd.img; and what volumes need of
#                                           the kernel, in FOLDER/modules, in the order of the list there
#
# FAULT:  none            boots to "recoverme login:" on tty1 and ttyS0
#                         (prompt of the shell: "root@recoverme:~#")
#         fstab           the UUID of /srv in /etc/fstab is on no disk: emergency mode, which asks for root's password on both consoles
#         initramfs-fsck  two files share blocks: e2fsck stops in the initramfs, "(initramfs)" on the serial port
#         no-boot-code    no boot code in the MBR (with --gpt-efi: no boot loader in the EFI system partition)
# --lock-root  no password for root, as in Azure's images; boot with systemd.setenv=SYSTEMD_SULOGIN_FORCE=1 (GRUB: e, Ctrl-X) to get in
# --size-mib   size of the disk, 40 at least; 48 without
# --gpt-efi    GPT and an EFI system partition, for a Generation 2 VM; else MBR and BIOS, for Generation 1
#
# User root, password "recover". Drivers: IDE, NVMe, virtio-blk, virtio-scsi, Hyper-V. Mending the fstab fault, typed on either console:
#   recover⏎  mount -o remount,rw /⏎  sed -i '/srv/d' /etc/fstab⏎  reboot⏎
# Emulated (TCG, 96 MiB; Generation 2: 256): login after 8 s (Generation 2 the same), emergency mode after 11 s, login some 9 s after "reboot".
#
# The pieces are kept in build/vm, so that the second call takes about a second. VM_CACHE moves that folder.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
here=$(cd "$(dirname "$0")" && pwd)
cache=${VM_CACHE:-$here/../../build/vm}

die() { echo "build.sh: $*" >&2; exit 1; }

out='' fault=none size_mib=48 layout=mbr lock_root='' kernel_only=''
while [ $# -gt 0 ]; do
    case $1 in
    --fault) fault=${2:?--fault needs a value}; shift ;;
    --size-mib) size_mib=${2:?--size-mib needs a value}; shift ;;
    --gpt-efi) layout=gpt ;;
    --kernel) kernel_only=1 ;;
    --lock-root) lock_root=1 ;;
    -*) die "unknown option $1" ;;
    *) [ -z "$out" ] || die "one output file, not also $1"; out=$1 ;;
    esac
    shift
done
[ -n "$out" ] || die "usage: build.sh OUT.vhd [--fault fstab|initramfs-fsck|no-boot-code|none] [--lock-root] [--size-mib N] [--gpt-efi]"
case $fault in none | fstab | initramfs-fsck | no-boot-code) ;; *) die "unknown fault $fault" ;; esac
[[ $size_mib =~ ^[1-9][0-9]{1,6}$ && $size_mib -ge 40 ]] || die "--size-mib: a whole number from 40 on, not $size_mib"

# Fixed, so that what is cached can name them.
root_uuid=6f3d1c5e-8a57-4f0a-9c43-5b1e7d20a911
srv_uuid=a2b4f6d8-1357-4e9b-8d02-3c5e7f9a1b24
bogus_uuid=0badd15c-dead-4bad-8bad-0badd15c0bad
srv_mib=4 esp_mib=6

work=$(mktemp -d "${TMPDIR:-/tmp}/vmbuild.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- the pieces: kernel, initramfs, root tree, boot loaders ----

# The newest cloud kernel that apt knows, downloaded and unpacked into $1. Old package lists (the pool drops old revisions) are
# answered with fresh ones in a folder of our own, which leaves the machine's alone.
fetch_kernel() {
    local dir=$1 package opts=(-qq -o APT::Sandbox::User=root)
    mkdir -p "$dir/deb"
    for fresh in '' 1; do
        if [ -n "$fresh" ]; then
            mkdir -p "$dir/apt/lists/partial"
            opts+=(-o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt")
            apt-get "${opts[@]}" update >&2 || return 1
        fi
        package=$(apt-cache "${opts[@]:1}" depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -1)
        [ -n "$package" ] && (cd "$dir/deb" && apt-get "${opts[@]}" download "$package" >&2) && break
        [ -z "$fresh" ] || return 1
    done
    dpkg-deb -x "$dir"/deb/*.deb "$dir/kernel"
}

# initramfs TREE KERNEL_TREE: busybox, e2fsck and the drivers of every disk controller that a VM may have
make_initramfs() {
    local tree=$1 kernel=$2 version name path
    version=$(basename "$kernel"/lib/modules/*)
    mkdir -p "$tree"/{bin,proc,sys,dev,root,lib/modules}
    cp /bin/busybox "$tree/bin/busybox"
    for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "$tree/bin/$name"; done
    cp /sbin/e2fsck.static "$tree/bin/e2fsck"
    ln -s e2fsck "$tree/bin/fsck.ext4"
    ln -sf e2fsck "$tree/bin/fsck"
    cp "$here/guest/initramfs-init" "$tree/init"
    depmod -b "$kernel" "$version"
    for name in ata_piix sd_mod virtio_pci virtio_blk virtio_scsi hv_storvsc hyperv-keyboard evdev button; do
        modprobe -d "$kernel" -S "$version" --show-depends "$name" | sed -n 's/^insmod //p'
    done | awk '!seen[$1]++ { print $1 }' >"$work/modules"
    while read -r path; do
        cp "$path" "$tree/lib/modules/"
        basename "$path"
    done <"$work/modules" >"$tree/lib/modules/order"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -9n)
}

# volume_modules FOLDER KERNEL_TREE: device mapper, loop devices, XFS
volume_modules() {
    local dir=$1 kernel=$2 version name path
    version=$(basename "$kernel"/lib/modules/*)
    mkdir -p "$dir"
    for name in dm_mod loop xfs; do
        modprobe -d "$kernel" -S "$version" --show-depends "$name" | sed -n 's/^insmod //p'
    done | awk '!seen[$1]++ { print $1 }' >"$work/modules"
    while read -r path; do
        cp "$path" "$dir/"
        basename "$path"
    done <"$work/modules" >"$dir/order"
}

make_root() {
    local tree=$1 name
    mkdir -p "$tree"/{bin,sbin,boot/grub,dev,proc,sys,run,tmp,root,srv,etc/init.d,etc/acpi/PWRF,var/lib/app}
    ln -s ../run "$tree/var/run"
    chmod 1777 "$tree/tmp"; chmod 700 "$tree/root"
    cp /bin/busybox "$tree/bin/busybox"
    for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "$tree/bin/$name"; done
    for name in init reboot poweroff halt getty sulogin acpid findfs mount; do ln -s ../bin/busybox "$tree/sbin/$name"; done
    cp /sbin/e2fsck.static "$tree/sbin/e2fsck"
    cp "$here/guest/inittab" "$tree/etc/inittab"
    cp "$here/guest/boot" "$tree/etc/init.d/boot"
    cp "$here/guest/console" "$tree/sbin/console"
    cp "$here/guest/powerbtn" "$tree/etc/acpi/PWRF/00000080"
    echo recoverme >"$tree/etc/hostname"
    printf 'Tiny Linux \\n \\l\n\n' >"$tree/etc/issue"
    echo "export PS1='\\u@\\h:\\w# '" >"$tree/etc/profile"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    # the files that the fault initramfs-fsck makes share their blocks
    for name in a b; do head -c 16384 /dev/zero | tr '\0' "$name" >"$tree/var/lib/app/$name.db"; done
    # as Azure's images: both consoles, the serial port last, which makes it /dev/console; OVMF's console is on both by itself
    cat >"$tree/boot/grub/grub.cfg" <<CFG
if [ "\$grub_platform" = pc ]; then
    serial --unit=0 --speed=115200
    terminal_input console serial
    terminal_output console serial
fi
set timeout=1
menuentry "Tiny Linux" {
    search --no-floppy --fs-uuid --set=root $root_uuid
    linux /boot/vmlinuz root=UUID=$root_uuid ro console=tty1 console=ttyS0,115200 panic=0
    initrd /boot/initrd.img
}
CFG
}

# grub_modules NAME...: these GRUB modules of i386-pc and all that they need
grub_modules() {
    awk -v want="$*" '{ name = $1; sub(":", "", name); $1 = ""; needs[name] = $0 }
        function add(m, i, n, list) { if (seen[m]++) return; print m; n = split(needs[m], list, " "); for (i = 1; i <= n; i++) add(list[i]) }
        END { n = split(want, w, " "); for (j = 1; j <= n; j++) add(w[j]) }' /usr/lib/grub/i386-pc/moddep.lst
}

make_pieces() {
    local dir=$1 name
    fetch_kernel "$work" || die "the package linux-image-cloud-amd64 cannot be downloaded with apt-get: is this Debian, and are its servers reachable?"
    make_root "$dir/root"
    cp "$work"/kernel/boot/vmlinuz-* "$dir/root/boot/vmlinuz"
    make_initramfs "$work/initramfs" "$work/kernel" >"$dir/root/boot/initrd.img"
    volume_modules "$dir/modules" "$work/kernel"
    mkdir -p "$dir/root/boot/grub/i386-pc"
    for name in $(grub_modules normal linux search search_fs_uuid serial terminal echo ls cat reboot test minicmd); do
        cp "/usr/lib/grub/i386-pc/$name.mod" "$dir/root/boot/grub/i386-pc/"
    done
    cp /usr/lib/grub/i386-pc/{moddep,command,fs,terminal,crypto}.lst "$dir/root/boot/grub/i386-pc/"
    grub-mkimage -O i386-pc -o "$dir/core.img" -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2
    # shellcheck disable=SC2016  # GRUB's variables
    printf 'search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$root_uuid" >"$work/efi.cfg"
    grub-mkimage -O x86_64-efi -o "$dir/bootx64.efi" -c "$work/efi.cfg" -p /boot/grub \
        part_gpt part_msdos fat ext2 normal configfile linux search search_fs_uuid serial terminal echo ls cat reboot test minicmd all_video gzio
}

key=$(cat "$here/build.sh" "$here"/guest/* | sha256sum | cut -c1-16)
pieces=$cache/$key
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9                                                # one builds, the others wait for it
if [ ! -d "$pieces" ]; then
    rm -rf "$cache"/new
    mkdir "$cache/new"
    make_pieces "$cache/new"
    mv "$cache/new" "$pieces"
fi
exec 9>&-

if [ -n "$kernel_only" ]; then
    cp -r "$pieces/root/boot/vmlinuz" "$pieces/root/boot/initrd.img" "$pieces/modules" "$out/"
    exit
fi

# ---- the disk ----

disk=$work/disk.raw
truncate -s "${size_mib}M" "$disk"
cp -a "$pieces/root" "$work/root"
password=$(/bin/busybox mkpasswd -m sha512 -S tinylinuxsalt recover)
[ -z "$lock_root" ] || password='!'
echo "root:$password:19000:0:99999:7:::" >"$work/root/etc/shadow"
chmod 600 "$work/root/etc/shadow"
[ -z "$lock_root" ] || sed -i 's/timeout=1/timeout=4/' "$work/root/boot/grub/grub.cfg"     # time to press e
fstab_uuid=$srv_uuid
[ "$fault" != fstab ] || fstab_uuid=$bogus_uuid
cat >"$work/root/etc/fstab" <<FSTAB
# <file system> <mount point> <type> <options> <dump> <pass>
UUID=$root_uuid / ext4 errors=remount-ro 0 1
UUID=$fstab_uuid /srv ext4 defaults 0 2
FSTAB

# root between the first MiB (and the EFI system partition) and /srv; the last MiB is for the second GPT
srv_start=$((size_mib - srv_mib - 1))
if [ "$layout" = mbr ]; then
    root_start=1
    sfdisk -q "$disk" <<TABLE
label: dos
label-id: 0x5f0c1a2b
start=1MiB, size=$((srv_start - root_start))MiB, type=83, bootable
start=${srv_start}MiB, size=${srv_mib}MiB, type=83
TABLE
    [ "$(stat -c %s "$pieces/core.img")" -le $((2047 * 512)) ] || die "core.img does not fit before the first partition"
    [ "$fault" = no-boot-code ] || dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$pieces/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
else
    root_start=$((1 + esp_mib))
    sfdisk -q "$disk" <<TABLE
label: gpt
label-id: 7e1d2c3b-4a59-4687-9786-a5b4c3d2e1f0
start=1MiB, size=${esp_mib}MiB, type=uefi, name=esp
start=${root_start}MiB, size=$((srv_start - root_start))MiB, type=linux, name=root
start=${srv_start}MiB, size=${srv_mib}MiB, type=linux, name=srv
TABLE
    mformat -i "$disk@@1M" -T $((esp_mib * 2048)) -h 64 -s 32 -N 5a5a1234 -v ESP ::
    mmd -i "$disk@@1M" ::/EFI ::/EFI/BOOT
    [ "$fault" = no-boot-code ] || mcopy -i "$disk@@1M" "$pieces/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
fi

# without what GRUB 2.06 cannot read
mke2fs -q -F -t ext4 -b 4096 -O ^metadata_csum_seed,^orphan_file -U "$root_uuid" -L root -d "$work/root" \
    -E "offset=$((root_start << 20)),root_owner=0:0" "$disk" $(((srv_start - root_start) * 256))
mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -U "$srv_uuid" -L srv -E "offset=$((srv_start << 20)),root_owner=0:0" "$disk" $((srv_mib * 256))

if [ "$fault" = initramfs-fsck ]; then
    # b.db's only extent is made to start where a.db's does (word 5 of the inode's block map), the file system marked not clean
    root_fs="$disk?offset=$((root_start << 20))"
    block=$(debugfs -R 'bmap /var/lib/app/a.db 0' "$root_fs" 2>/dev/null)
    [ "$block" -gt 0 ]
    printf 'sif /var/lib/app/b.db block[5] %s\nssv state 0\n' "$block" | debugfs -w -f - "$root_fs" >/dev/null 2>&1
    [ "$(debugfs -R 'bmap /var/lib/app/b.db 0' "$root_fs" 2>/dev/null)" = "$block" ] || die "debugfs did not make the two files share their blocks"
fi

qemu-img convert -q -f raw -O vpc -o subformat=fixed,force_size=on "$disk" "$out.part"
mv "$out.part" "$out"
