#!/bin/sh
# Packs what `make install` installs into a Debian package. Called by `make deb` with everything built:
#   packaging/deb/build.sh VERSION BUILD_FOLDER
# leaves BUILD_FOLDER/vmrecover_VERSION_ARCH.deb.
set -eu
export LC_ALL=C
umask 022
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
version=$1
build=$2
arch=$(dpkg --print-architecture)
out=$build/vmrecover_${version}_$arch.deb

work=$(mktemp -d "${TMPDIR:-/tmp}/vmdeb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/debian/vmrecover
mkdir -p "$root/DEBIAN"

# the same commit gives the same package
: "${SOURCE_DATE_EPOCH:=$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

make -s --no-print-directory -C "$top" install DESTDIR="$root" PREFIX=/usr UNITDIR=/lib/systemd/system
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/sbin/vmrecoverd" "$root/usr/bin/vmrecover"

doc=$root/usr/share/doc/vmrecover
mkdir -p "$doc"
install -m 644 "$here/copyright" "$doc/copyright"
gzip -9n <"$here/changelog" >"$doc/changelog.gz"
gzip -9n "$root"/usr/share/man/man*/*

# dpkg-shlibdeps finds the package's own root beside a debian/control
sed '/^$/d; 1i Source: vmrecover\n' "$here/control" >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O debian/vmrecover/usr/sbin/vmrecoverd debian/vmrecover/usr/bin/vmrecover | sed -n 's/^shlibs:Depends=//p')
size=$(du -sk --apparent-size "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" -e "s/@LIBRARIES@/$libraries/" "$here/control" >"$root/DEBIAN/control"

echo /etc/vmrecover/vmrecover.conf >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr lib -type f | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

dpkg-deb --root-owner-group -Zxz --build "$root" "$out" >/dev/null
echo "$out"
