#!/bin/sh
# Runs the unit test programs of a build folder, as many at a time as there are processors (JOBS): run.sh FOLDER [PATTERN].
# VALGRIND=1 runs them under valgrind, SOAK=1 the random ones with their full counts.
set -u
if [ "$1" = --one ]; then
    t=$2 limit=600 run=""
    [ "${SOAK:-}" != 1 ] || limit=7200
    [ -z "${VALGRIND:-}" ] || run="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite" limit=3600
    log=$RESULTS.${t##*/}
    start=$(date +%s%3N)
    # shellcheck disable=SC2086
    if CMOCKA_MESSAGE_OUTPUT=stdout timeout "$limit" $run "$t" >"$log" 2>&1; then
        echo "ok   ${t##*/} ($(grep -c '^\[       OK' "$log") tests, $(($(date +%s%3N) - start)) ms)"
    else
        echo "failed" >>"$RESULTS"
        { echo "FAIL ${t##*/}"; cat "$log"; } >"$log.out"
        cat "$log.out"
    fi
    rm -f "$log" "$log.out"
    exit 0
fi
dir=$1 pattern=${2:-}
RESULTS=$(mktemp)
export RESULTS
trap 'rm -f "$RESULTS"*' EXIT
ran=$(find "$dir" -maxdepth 1 -name 'test_*' ! -name '*.*' -path "*$pattern*" | wc -l)
find "$dir" -maxdepth 1 -name 'test_*' ! -name '*.*' -path "*$pattern*" | sort | xargs -r -P "${JOBS:-$(nproc)}" -n 1 sh "$0" --one
failed=$(wc -l <"$RESULTS")
echo "unit programs: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
