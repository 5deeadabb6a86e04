#!/bin/sh
# Who may include whom: holds the rules of the layout. layers.sh [ROOT]; exits 1 with file:line for every violation.
# Before it judges the tree it proves on a small wrong one that it can.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)

# FILES (a pattern of paths) : what they may include of ours (prefixes of paths). The first row that fits a file counts.
rules='
common/*            : common/
storage/image/*     : common/ storage/image/
storage/volume/*    : common/ storage/volume/
storage/azure/*     : common/ storage/azure/ storage/http.h
storage/transfer/*  : common/ storage/
storage/*           : common/ storage/
hyperv/*            : common/ hyperv/
db/*                : common/ db/
service/main.c      : common/ storage/ hyperv/ db/ service/ api/api.h
service/*           : common/ storage/ hyperv/ db/ service/
api/cli/*           : common/ api/cli/ api/wire.h
api/*               : common/ db/ hyperv/hypervisor.h api/
tests/*             : common/ storage/ hyperv/ db/ service/ api/ tests/
'
# HEADERS (a pattern of names in <>) : the files that may include them. Platform headers belong to the platform's files (tests may use any).
system='
sqlite3.h           : db/*
microhttpd.h        : api/*
curl/*              : storage/* api/cli/* common/url.c
png.h               : api/*
expat.h             : storage/azure/* common/wmi/wmi_text.c
openssl/*           : common/*
ext2fs/*            : storage/image/fsmap_ext_posix.c
unistd.h            : *_posix.c
fcntl.h             : *_posix.c *_win32.c
poll.h              : *_posix.c
dirent.h            : *_posix.c
signal.h            : *_posix.c
sys/*               : *_posix.c
netinet/*           : *_posix.c
arpa/*              : *_posix.c
netdb.h             : *_posix.c
windows.h           : *_win32.c *_win32.h
winsock2.h          : *_win32.c *_win32.h
ws2tcpip.h          : *_win32.c
wincrypt.h          : *_win32.c
winhttp.h           : *_win32.c
schannel.h          : *_win32.c
security.h          : *_win32.c
sddl.h              : *_win32.c
aclapi.h            : *_win32.c
oleauto.h           : *_win32.h
wbemidl.h           : *_win32.h
cpuid.h             : *_win32.c
shellapi.h          : *_win32.c
messages.h          : *_win32.c
web_assets.h        : api/assets.c
'

judge()
{
    cd "$1" || return 2
    files=$(find api common db hyperv service storage tests -name node_modules -prune -o -name '*.[ch]' -print 2>/dev/null | sort)
    # shellcheck disable=SC2086
    RULES=$rules SYSTEM=$system awk '
    function table(text, keys, values,    lines, n, i, at, k) {
        n = split(text, lines, "\n"); k = 0
        for (i = 1; i <= n; i++) {
            at = index(lines[i], ":")
            if (!at) continue
            keys[++k] = substr(lines[i], 1, at - 1); gsub(/ /, "", keys[k])
            values[k] = substr(lines[i], at + 1)
        }
        return k
    }
    function fits(name, pattern) {                   # * stands for anything
        gsub(/[.+]/, "[&]", pattern); gsub(/\*/, ".*", pattern)
        return name ~ "^" pattern "$"
    }
    function bad(text) { print FILENAME ":" FNR ": " text; wrong = 1 }
    BEGIN { n_rules = table(ENVIRON["RULES"], who, may); n_system = table(ENVIRON["SYSTEM"], header, owner) }
    FNR == 1 { seen++ }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, part, "\""); target = part[2]
        for (r = 1; r <= n_rules && !fits(FILENAME, who[r]); r++) ;
        n = split(may[r], prefix, " "); ok = 0
        for (i = 1; i <= n; i++) ok = ok || index(target, prefix[i]) == 1
        # db/sql.h and most of storage/image are private to their folders
        if (target ~ /^storage\/image\// && target !~ /^storage\/image\/(image|fsmap|open|writer|convert)\.h$/ && FILENAME !~ /^(storage\/image|tests)\//) ok = 0
        # of storage/volume the two that others see
        if (target ~ /^storage\/volume\// && target !~ /^storage\/volume\/(volume|hostdisk)\.h$/ && FILENAME !~ /^(storage\/volume|tests)\//) ok = 0
        if (target ~ /_win32\.h$/ && FILENAME !~ /_win32\.[ch]$/) ok = 0
        if (target == "db/sql.h" && FILENAME !~ /^(db|tests)\//) ok = 0
        if (!ok) bad(FILENAME " may not include \"" target "\"")
    }
    /^[ \t]*#[ \t]*include[ \t]*</ && FILENAME !~ /^tests\// {
        target = $0; sub(/^[^<]*</, "", target); sub(/>.*/, "", target)
        for (s = 1; s <= n_system; s++) {
            if (!fits(target, header[s]) || target == "sys/types.h") continue      # that one is everywhere
            n = split(owner[s], pattern, " "); ok = 0
            for (i = 1; i <= n; i++) ok = ok || fits(FILENAME, pattern[i])
            if (!ok) bad("<" target "> belongs in" owner[s])
        }
    }
    # but not the guard of a header that is named so
    /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif).*(_WIN32|__linux__|__unix__)/ && !/^#ifndef VMR_[A-Z0-9_]*_WIN32_H$/ { bad("platforms are split by file (_posix.c, _win32.c), not by #if") }
    END {
        if (!seen) { print "layers: no sources found"; exit 2 }
        exit wrong
    }' $files /dev/null
}

# One wrong include after the other in a tree of its own: each must be found at its line, and the right ones not.
self_test()
{
    t=$(mktemp -d) || return 1
    trap 'rm -rf "$t"' EXIT
    mkdir -p "$t/common" "$t/db" "$t/storage/image" "$t/storage/azure" "$t/hyperv" "$t/service" "$t/api/cli" "$t/tests/unit"
    while read -r file include expected; do
        mkdir -p "$t/${file%/*}"
        case $include in
        '#'*) line=$(echo "$include" | tr _ ' ' | sed 's/ WIN32/_WIN32/') ;;
        '<'*) line="#include $include" ;;
        *) line="#include \"$include\"" ;;
        esac
        printf '/* first line */\n%s\n' "$line" >"$t/$file"
        out=$(judge "$t"); status=$?
        case $expected in
        wrong) [ $status = 1 ] && [ "${out#"$file:2: "}" != "$out" ] ;;
        right) [ $status = 0 ] && [ -z "$out" ] ;;
        esac || { echo "layers: self-test failed: $file with $line is $expected, found: ${out:-nothing} (status $status)"; return 1; }
        rm "$t/$file"
        printf '\n' >"$t/common/empty.c"
    done <<CASES
common/a.c common/error.h right
common/a.c db/db.h wrong
common/a.c error.h wrong
db/a.c db/job.h right
db/a.c storage/http.h wrong
db/a.c <sqlite3.h> right
hyperv/a.c db/db.h wrong
hyperv/a.c <sqlite3.h> wrong
hyperv/a.c <unistd.h> wrong
hyperv/a_posix.c <unistd.h> right
hyperv/a_posix.c <windows.h> wrong
storage/azure/a.c storage/http.h right
storage/azure/a.c storage/transfer/transfer.h wrong
storage/image/a.c storage/image/disk.h right
storage/a.c storage/image/disk.h wrong
storage/volume/a.c storage/volume/linux.h right
storage/volume/a.c storage/image/image.h wrong
service/a.c storage/volume/volume.h right
service/a.c storage/volume/linux.h wrong
api/a.c storage/volume/volume.h wrong
service/a.c storage/image/fsmap.h right
service/a.c storage/image/fsmap_volume.h wrong
service/a.c storage/image/convert.h right
service/a.c storage/image/writer_format.h wrong
storage/image/fsmap_ntfs.c <ext2fs/ext2fs.h> wrong
storage/image/fsmap_ext_posix.c <ext2fs/ext2fs.h> right
storage/a.c hyperv/hypervisor.h wrong
service/worker.c api/api.h wrong
service/main.c api/api.h right
service/main.c api/internal.h wrong
service/worker.c storage/transfer/transfer.h right
service/worker.c db/sql.h wrong
service/worker.c <curl/curl.h> wrong
api/jobs.c db/job.h right
api/jobs.c service/daemon.h wrong
api/jobs.c storage/image/image.h wrong
api/jobs.c hyperv/hypervisor.h right
api/jobs.c hyperv/qmp.h wrong
api/cli/main.c common/json.h right
api/cli/main.c db/job.h wrong
api/cli/main.c api/api.h wrong
common/a.c ../db/db.h wrong
common/a.c #ifdef__WIN32 wrong
common/a_win32.h <windows.h> right
common/a_win32.c common/a_win32.h right
common/a.c common/a_win32.h wrong
common/a.h <windows.h> wrong
storage/a.c <winhttp.h> wrong
storage/a_win32.c <winhttp.h> right
tests/unit/test_a.c service/daemon.h right
tests/unit/test_a.c <unistd.h> right
CASES
    rm -rf "$t"
    trap - EXIT
}

self_test || exit 1
(judge "${1:-$here}") && echo "layers: every include follows the layout"
