#!/bin/sh
# Runs the unit test programs of a build folder: run.sh FOLDER [PATTERN]. VALGRIND=1 runs them under valgrind, SOAK=1 the random ones with their full counts.
set -u
dir=$1 pattern=${2:-}
limit=600
[ "${SOAK:-}" != 1 ] || limit=7200
ran=0 failed=0
run=""
[ -n "${VALGRIND:-}" ] && run="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
for t in "$dir"/test_*; do
    case $t in *.*) continue ;; *"$pattern"*) ;; *) continue ;; esac
    ran=$((ran + 1))
    log=$(mktemp)
    start=$(date +%s%3N)
    if CMOCKA_MESSAGE_OUTPUT=stdout timeout $limit $run "$t" >"$log" 2>&1; then
        echo "ok   ${t##*/} ($(grep -c '^\[       OK' "$log") tests, $(($(date +%s%3N) - start)) ms)"
    else
        failed=$((failed + 1))
        echo "FAIL ${t##*/}"
        cat "$log"
    fi
    rm -f "$log"
done
echo "unit programs: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
