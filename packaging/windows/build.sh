#!/bin/sh
# Packs the Windows executables. Called by `make windows` with both built:
#   packaging/windows/build.sh VERSION BUILD_FOLDER CACHE
# leaves in BUILD_FOLDER: vmrecover-VERSION-x64.msi, the same as a .zip, and vmrecover-VERSION-lgpl-source.tar.
# The same executables give the same packages.
set -eu
export LC_ALL=C TZ=UTC
umask 022
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
version=$1
build=$(cd "$2" && pwd)
cache=$3
name=vmrecover-$version-x64

work=$(mktemp -d "${TMPDIR:-/tmp}/vmwin.XXXXXX")
trap 'rm -rf "$work"' EXIT
: "${SOURCE_DATE_EPOCH:=$(git -C "$top" log -1 --format=%ct 2>/dev/null || date +%s)}"
files=$work/$name
mkdir "$files"

crlf() { sed -e "s|@VERSION@|$version|g" -e 's/$/\r/'; }
cp "$build/vmrecoverd.exe" "$build/vmrecover.exe" "$files/"
crlf <"$here/README.txt" >"$files/README.txt"
crlf <"$top/LICENSE" >"$files/LICENSE.txt"
crlf <"$here/vmrecover.conf" >"$files/vmrecover.conf.sample"
sh "$here/notices.sh" "$version" "$cache/root" | crlf >"$files/THIRD-PARTY-NOTICES.txt"
chmod 644 "$files"/*
find "$files" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

# --- the zip
(cd "$work" && find "$name" -type f | sort | zip -q -X -@ "$work/$name.zip")

# --- the MSI. Product and package are known by codes of their own: here made of the version, and of the contents.
uuid() { sha256sum | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-5\3-8\4-\5/' | tr a-f A-F; }
product=$(echo "vmrecover $version" | uuid)
package=$(cat "$files"/* "$here/vmrecover.wxs" "$0" | uuid)
(cd "$files" && wixl -a x64 -D VERSION="$version" -D PRODUCT_CODE="$product" -o "$work/$name.msi" "$here/vmrecover.wxs")
edit() { msibuild "$work/$name.msi" -q "$1"; }
printf 'Environment\tName\tValue\tComponent_\r\ns72\tl255\tL255\ts72\r\nEnvironment\tEnvironment\r\nPath\t=-*PATH\t[~];[INSTALLDIR]\tClient\r\n' >"$work/Environment.idt"
msibuild "$work/$name.msi" -i "$work/Environment.idt"
# a service that cannot be installed fails the installation (normal 1, and vital 0x8000)
edit "UPDATE ServiceInstall SET ErrorControl = 32769"
# Versions of the files. Without them an upgrade would leave the executables out: a file with a version is never replaced by one without.
for f in vmrecoverd.exe vmrecover.exe; do
    edit "UPDATE File SET Version = '$version.0', Language = '1033' WHERE File = '$f'"
    edit "DELETE FROM MsiFileHash WHERE File_ = '$f'"
done
# the property also counts when an account that is not elevated yet starts msiexec
edit "UPDATE Property SET Value = 'WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED;REMOVEDATA' WHERE Property = 'SecureCustomProperties'"
# summary: the package's code (9) and the times (12, 13)
msiinfo export "$work/$name.msi" _SummaryInformation |
    sed -E "s|^9\t.*|9\t{$package}\r|; s|^(12\|13)\t.*|\1\t$(date -d "@$SOURCE_DATE_EPOCH" '+%Y/%m/%d %H:%M:%S')\r|" >"$work/summary.idt"
msibuild "$work/$name.msi" -i "$work/summary.idt"

# --- the source of the library that is under the LGPL, as Debian published it
tar -C "$cache/source" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf "$work/vmrecover-$version-lgpl-source.tar" libmicrohttpd

for f in "$name.zip" "$name.msi" "vmrecover-$version-lgpl-source.tar"; do
    mv "$work/$f" "$build/$f"
    echo "$build/$f"
done
