#!/bin/sh
# THIRD-PARTY-NOTICES.txt: what is inside of the executables, its versions and licences, made of what the source packages say.
#   packaging/windows/notices.sh VERSION ROOT     ROOT: as deps.sh leaves it
set -eu
version=$1 root=$2

# the compiler's runtime and the C library's startup code are linked too; their texts come with the compiler
toolchain='mingw-w64-x86-64-dev gcc-mingw-w64-base'
shipped=$(awk '$1 != "cmocka"' "$root/VERSIONS")      # cmocka is in the tests alone

title() { printf '\n%s\n%s\n\n' "$1" "$(echo "$1" | sed 's/./=/g')"; }

cat <<TEXT
vmrecover $version for Windows: third-party software

The executables contain these, statically linked. Each is built from Debian's source package of that version, unchanged:

$(echo "$shipped" | while read -r name package v; do echo "  $name: source package $package, version $v"; done)
$(for p in $toolchain; do echo "  runtime of the compiler: package $p, version $(dpkg-query -W -f '${Version}' "$p")"; done)

libmicrohttpd is under the GNU Lesser General Public License, version 2.1 or later (the text is at the end of this file). You may change
it and use vmrecover with your version:
- Its source, with all of Debian's changes, is in vmrecover-$version-lgpl-source.tar, which is published beside the executables.
- vmrecover's own source is free (Apache License 2.0). On Debian 12, in its source tree of version $version:
      make windows                                       builds everything, and libmicrohttpd.a among it
      cp YOURS/libmicrohttpd.a .cache/win64/root/lib/    your version, built with x86_64-w64-mingw32-gcc -D_UCRT
      touch .cache/win64/root/VERSIONS
      make windows                                       links vmrecoverd.exe with it

TEXT

echo "$shipped" | while read -r name package v; do
    title "$name ($package $v)"
    cat "$root/copyright/$name"
done
for p in $toolchain; do
    title "$p $(dpkg-query -W -f '${Version}' "$p")"
    cat "/usr/share/doc/$p/copyright"
done
echo
cat "$(dirname "$0")/../../build/web/licences.txt"
for licence in LGPL-2.1 GPL-3; do
    title "$licence"
    cat "/usr/share/common-licenses/$licence"
done
