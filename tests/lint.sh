#!/bin/sh
# Static checks: the layout's include rules, clang's warnings, clang-tidy, cppcheck. `make lint` gives FLAGS and SOURCES; all are run, any
# finding fails. Tests get the warnings only: asserting macros and bad input on purpose are what the analyzers trip over.
set -u
cd "$(dirname "$0")/.."
failed=0
step() { printf '  LINT  %s\n' "$1"; shift; "$@" || failed=1; }

own=""
for f in $SOURCES; do case $f in tests/*) ;; *) own="$own $f" ;; esac; done

# shellcheck disable=SC2086
warnings() { clang $FLAGS -fsyntax-only $SOURCES; }

# shellcheck disable=SC2086
tidy()
{
    out=$(printf '%s\n' $own | xargs -P "$(nproc)" -n 8 sh -c 'clang-tidy --quiet "$@" -- $FLAGS 2>/dev/null' sh)
    [ -z "$out" ] || { printf '%s\n' "$out"; return 1; }
}

# This cppcheck does not know __VA_OPT__, so it reads a copy whose variadic macros drop their arguments; nor cleanup
# attributes, so leaks are left to valgrind and the sanitizers.
cpp_check()
{
    copy=$(mktemp -d) || return 1
    find common storage hyperv db service api -name '*.[ch]' | tar -cf - -T - | tar -xf - -C "$copy"
    grep -rl __VA_OPT__ "$copy" | xargs sed -i 's/__VA_ARGS__ *__VA_OPT__([^)]*)//'
    cat >"$copy/macros.h" <<'MACROS'
#define json_array_foreach(a, i, v) for (i = 0; i < json_array_size(a) && (v = json_array_get(a, i)); i++)
#define json_object_foreach(o, k, v) for (void *at = json_object_iter(o); (k = json_object_iter_key(at)) && (v = json_object_iter_value(at)); at = json_object_iter_next(o, at))
MACROS
    cp build/web/web_assets.h "$copy"
    (cd "$copy" && cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -j "$(nproc)" \
        --suppress=missingIncludeSystem --suppress=memleak --suppress=resourceLeak --include=macros.h -D_GNU_SOURCE '-DVMR_VERSION=""' -I. .)
    r=$?
    rm -rf "$copy"
    return $r
}

export FLAGS
step layers sh tests/layers.sh
step "clang's warnings" warnings
step clang-tidy tidy
step cppcheck cpp_check
[ $failed = 0 ] && echo "lint: clean"
exit $failed
