#!/bin/sh
# Builds the libraries that the Windows executables are linked with, from Debian's own source packages:
#   packaging/windows/deps.sh CACHE            build what is missing, take the rest from CACHE
#   packaging/windows/deps.sh CACHE --refresh  ask for newer source packages first
# It leaves CACHE/root: include, lib (all static), copyright/NAME, and VERSIONS: "NAME SOURCE-PACKAGE VERSION" a line.
#
# apt fetches the packages by name, through a state of its own that leaves /etc alone, from the places that the machine's apt is
# configured for, and refuses what is not signed. A library is built again when its recipe below, its source, the compiler or a library
# that it needs changes, and only then. Every step works in a temporary folder and ends with a rename: it may be interrupted anywhere.
set -eu
export LC_ALL=C
umask 022
me=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
host=x86_64-w64-mingw32

# NAME SOURCE-PACKAGE NEEDS…; the order is that of building
libraries='
winpthreads   mingw-w64
libmicrohttpd libmicrohttpd
jansson       jansson
sqlite3       sqlite3
curl          curl
expat         expat
zlib          zlib
libpng        libpng1.6     zlib
cmocka        cmocka
'

fail()
{
    echo "deps.sh: $*" >&2
    exit 1
}

[ $# -ge 1 ] || fail "usage: deps.sh CACHE [--refresh]"
mkdir -p "$1"
cache=$(cd "$1" && pwd)
refresh=${2:-}
for tool in apt-get dpkg-source $host-gcc $host-windres cmake make tclsh flock; do
    command -v "$tool" >/dev/null || fail "$tool is missing: run \`make deps\` first"
done
exec 9>"$cache/lock"
flock 9                                              # two builds may share the cache: the second waits

# --- how everything is compiled: for the universal C runtime, which Windows has since version 10 (the compiler's default is the old
# msvcrt). libmingwex and the start code of mingw-w64 are the same for both; only the import library decides.
crt=$cache/crt
cflags="-O2 -g -D_UCRT -D_WIN32_WINNT=0x0A00 -fstack-protector-strong -fno-ident -ffile-prefix-map=$cache=."
ldflags="-L$crt -static"
jobs=$(nproc)
compiler=$($host-gcc --version | head -n 1)

# --- the recipes: each runs in its unpacked source ($src), and installs into $out. $root has what it needs.
# POSIX threads. The compiler's package has them too, but for the old C runtime.
build_winpthreads()
{
    cd mingw-w64-libraries/winpthreads
    ./configure --host=$host --prefix=/ --disable-shared --enable-static CFLAGS="$cflags" LDFLAGS="$ldflags"
    make -j "$jobs" install DESTDIR="$out"
}

build_libmicrohttpd()
{
    ./configure --host=$host --prefix=/ --disable-shared --enable-static --disable-https --disable-doc --disable-examples --disable-curl \
        --disable-nls --disable-dauth --disable-bauth CFLAGS="$cflags" LDFLAGS="$ldflags"
    make -C src/include install DESTDIR="$out"
    make -C src/microhttpd -j "$jobs" install-libLTLIBRARIES DESTDIR="$out"
}

build_jansson()
{
    with_cmake -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF -DJANSSON_BUILD_SHARED_LIBS=OFF
}

# DQS=0: a misspelt name in "quotes" is an error, not a text. No extension is ever loaded.
build_sqlite3()
{
    ./configure --disable-tcl
    make sqlite3.c
    $host-gcc $cflags -DSQLITE_THREADSAFE=1 -DSQLITE_DQS=0 -DSQLITE_OMIT_LOAD_EXTENSION -c sqlite3.c -o sqlite3.o
    mkdir -p "$out/lib" "$out/include"
    $host-ar rcs "$out/lib/libsqlite3.a" sqlite3.o
    cp sqlite3.h "$out/include/"
}

# http and https only; TLS, proxy authentication and certificates are the system's; file names are UTF-8 (unicode)
build_curl()
{
    mkdir -p lib/$host
    CFLAGS=$cflags CPPFLAGS="-DHTTP_ONLY" make -C lib -j "$jobs" -f Makefile.mk CROSSPREFIX=$host- TRIPLET=$host CFG=-schannel-sspi-ipv6-unicode libcurl.a
    mkdir -p "$out/lib" "$out/include/curl"
    cp lib/libcurl.a "$out/lib/"
    cp include/curl/*.h "$out/include/curl/"
}

# the options as autoconf would write them: Debian's fixes compare them with numbers
build_expat()
{
    cd expat
    sed -i 's/^#cmakedefine \(XML_DTD\|XML_NS\)$/#define \1 1/' expat_config.h.cmake
    with_cmake -DEXPAT_SHARED_LIBS=OFF -DEXPAT_BUILD_TOOLS=OFF -DEXPAT_BUILD_EXAMPLES=OFF -DEXPAT_BUILD_TESTS=OFF -DEXPAT_BUILD_DOCS=OFF \
        -DEXPAT_BUILD_PKGCONFIG=OFF
}

# Debian leaves out zlib's own makefile for Windows; the library is the C files of the top folder
build_zlib()
{
    $host-gcc $cflags -c ./*.c
    mkdir -p "$out/lib" "$out/include"
    $host-ar rcs "$out/lib/libz.a" ./*.o
    cp zlib.h zconf.h "$out/include/"
}

build_libpng()
{
    with_cmake -DPNG_SHARED=OFF -DPNG_TESTS=OFF -DPNG_EXECUTABLES=OFF -DZLIB_INCLUDE_DIR="$root/include" -DZLIB_LIBRARY="$root/lib/libz.a"
}

build_cmocka()
{
    target=cmocka-static with_cmake -DWITH_STATIC_LIB=ON -DWITH_EXAMPLES=OFF -DUNIT_TESTING=OFF
    mkdir -p "$out/lib" "$out/include"
    cp build/src/libcmocka-static.a "$out/lib/libcmocka.a"
    cp include/cmocka.h "$out/include/"
}

with_cmake()
{
    cmake -S . -B build -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_SYSTEM_PROCESSOR=x86_64 -DCMAKE_C_COMPILER=$host-gcc -DCMAKE_RC_COMPILER=$host-windres \
        -DCMAKE_C_FLAGS="$cflags" -DCMAKE_EXE_LINKER_FLAGS="$ldflags" -DCMAKE_BUILD_TYPE=None -DCMAKE_INSTALL_PREFIX="$out" \
        -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_FIND_ROOT_PATH="$root" -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY \
        -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY "$@"
    cmake --build build -j "$jobs" ${target:+--target "$target"}
    [ -n "${target:-}" ] || cmake --install build
}

# --- apt, with a state of its own
apt_ready=""
apt()
{
    tool=$1; shift
    "$tool" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$cache/apt/sources.d" -o Dir::State::lists="$cache/apt/lists" \
        -o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::AllowInsecureRepositories=false -o Acquire::Retries=2 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60 "$@"
}

apt_update()
{
    [ -z "$apt_ready" ] || return 0
    rm -rf "$cache/apt/sources.d"
    mkdir -p "$cache/apt/sources.d" "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types: .*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$cache/apt/sources.d/source.sources"
    elif [ -f /etc/apt/sources.list ]; then
        sed -n 's/^deb \(.*\) \(bookworm.*\)$/deb-src \1 \2/p' /etc/apt/sources.list >"$cache/apt/sources.d/source.list"
    fi
    [ -s "$cache/apt/sources.d/source.sources" ] || [ -s "$cache/apt/sources.d/source.list" ] ||
        fail "this machine's apt names no Debian repository (debian.sources or sources.list in /etc/apt): where should source packages come from?"
    apt apt-get -qq update >"$cache/apt/log" 2>&1 || fail "apt could not read the lists of source packages: $(tail -n 3 "$cache/apt/log")"
    apt_ready=1
}

# The newest version that can be fetched. Debian's servers drop a security revision when the next one comes, and mirrors lag behind
# the lists: an older one of the same release is taken then, and every run says so.
fetch()                                              # NAME PACKAGE
{
    apt_update
    new=$cache/source/$1.new
    versions=$(apt apt-cache showsrc "$2" 2>/dev/null | sed -n 's/^Version: //p' | sort -u | while read -r v; do
        i=0; for w in $(apt apt-cache showsrc "$2" | sed -n 's/^Version: //p' | sort -u); do dpkg --compare-versions "$w" gt "$v" && i=$((i + 1)); done
        echo "$i $v"
    done | sort -n | cut -d ' ' -f 2)
    [ -n "$versions" ] || fail "the lists of source packages have no $2"
    newest=""
    for version in $versions; do
        newest=${newest:-$version}
        rm -rf "$new"; mkdir -p "$new"
        if (cd "$new" && apt apt-get -qq source --download-only "$2=$version") >"$cache/apt/log" 2>&1; then
            [ "$version" = "$newest" ] || echo "$newest" >"$new/newer"
            rm -rf "${cache:?}/source/$1"
            mv "$new" "$cache/source/$1"
            return 0
        fi
    done
    fail "the source package $2 ($newest) cannot be fetched: $(grep '^E:' "$cache/apt/log" | head -n 3)
deps.sh: is the mirror complete, and this machine online? The libraries that were built are kept; run it again later."
}

# --- one library
recipe()                                             # NAME: the lines of this file that decide how it is built
{
    own=$(sed -n "/^build_$1()/,/^}/p" "$me")
    echo "$own"
    case $own in *with_cmake*) sed -n '/^with_cmake()/,/^}/p' "$me";; esac
    sed -n '/^cflags=/p; /^ldflags=/p' "$me"
}

key()                                                # NAME NEEDS…: what a library is made of
{
    name=$1; shift
    { recipe "$name"; echo "$compiler"; cat "$cache/source/$name/"*.dsc; for need in "$@"; do cat "$cache/built/$need/key"; done; } | sha256sum | cut -d ' ' -f 1
}

library()                                            # NAME PACKAGE NEEDS…
{
    name=$1 package=$2; shift 2
    if [ -n "$refresh" ] || ! ls "$cache/source/$name/"*.dsc >/dev/null 2>&1; then
        fetch "$name" "$package"
    fi
    if [ -e "$cache/source/$name/newer" ]; then
        echo "  NOTE  $package $(cat "$cache/source/$name/newer") could not be fetched, an older one is used; try again: packaging/windows/deps.sh $cache --refresh"
    fi
    want=$(key "$name" "$@")
    [ "$(cat "$cache/built/$name/key" 2>/dev/null)" != "$want" ] || return 0
    version=$(sed -n 's/^Version: //p' "$cache/source/$name/"*.dsc | head -n 1)
    echo "  DEP   $name $version"
    work=$cache/work/$name
    rm -rf "$work"
    mkdir -p "$work/out" "$cache/built"
    # apt has checked the signatures of the lists and the hashes of the files
    set +e
    (
        set -e
        exec >"$work/log" 2>&1
        set -x
        out=$work/out src=$work/src root=$cache/root.new
        dpkg-source --no-check -x "$cache/source/$name/"*.dsc "$src"
        find "$src" -type f -exec touch -d "@$(dpkg-parsechangelog -l "$src/debian/changelog" -S Timestamp)" {} +
        cp "$src/debian/copyright" "$work/copyright"
        cd "$src"
        build_"$name"
    )
    failed=$?
    set -e
    [ $failed = 0 ] || fail "$name $version did not build; the end of $work/log:
$(tail -n 15 "$work/log")"
    find "$work/out" -mindepth 1 -maxdepth 1 ! -name include ! -name lib -exec rm -rf {} +
    find "$work/out/lib" -mindepth 1 ! -name '*.a' -prune -exec rm -rf {} +
    mkdir -p "$work/out/copyright"
    cp "$work/copyright" "$work/out/copyright/$name"
    echo "$version" >"$work/out/VERSION"
    echo "$want" >"$work/out/key"
    rm -rf "${cache:?}/built/$name"
    mv "$work/out" "$cache/built/$name"
    rm -rf "$work"
    changed=1
}

mkdir -p "$crt" "$cache/source"
ln -sf "$($host-gcc -print-file-name=libucrt.a)" "$crt/libmsvcrt.a"
changed=""
[ -e "$cache/root/VERSIONS" ] || changed=1
rm -rf "$cache/root.new"
mkdir -p "$cache/root.new"
while read -r name package needs; do
    [ -n "$name" ] || continue
    # shellcheck disable=SC2086
    library "$name" "$package" $needs
    cp -al "$cache/built/$name/." "$cache/root.new/"
    echo "$name $package $(cat "$cache/built/$name/VERSION")" >>"$cache/root.new/VERSIONS"
done <<LIST
$libraries
LIST
rm -f "$cache/root.new/VERSION" "$cache/root.new/key"
ln -s "$(readlink "$crt/libmsvcrt.a")" "$cache/root.new/lib/libmsvcrt.a"
if [ -n "$changed" ]; then
    rm -rf "$cache/root.old" "$cache/root.copy"
    cp -a "$cache/root.new" "$cache/root.copy"       # no links: who replaces a library there changes nothing in built/
    [ ! -e "$cache/root" ] || mv "$cache/root" "$cache/root.old"
    mv "$cache/root.copy" "$cache/root"
    rm -rf "$cache/root.old"
fi
rm -rf "$cache/root.new"
