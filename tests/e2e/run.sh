#!/bin/sh
# Runs the end-to-end tests, one file after the other: run.sh [PATTERN]. From the environment: BUILD (folder of the programs),
# IN (another folder of tests, from here), PLATFORM=wine (lib/platform.mjs), LEFT_OUT (files that are not run), SOAK=1 (full counts),
# VALGRIND=1 (the daemon under valgrind), SLOW (waits times this: sanitizers, valgrind), SEED, RUNS (of the tests that run many
# times), KEEP=1 (leave temporary folders), TOTAL (seconds for all files), PER_FILE (seconds for one).
set -u
cd "$(dirname "$0")/${IN:-.}"
pattern=${1:-}
[ -z "${VALGRIND:-}" ] || export SLOW="${SLOW:-10}"
times=${SLOW:-1} hour=0
[ "${SOAK:-}" != 1 ] || { times=$((times * 4)); hour=3600; }         # dashboard-scale looks on for an hour
total=${TOTAL:-$((times * 2400 + hour))}
per_file=${PER_FILE:-$((total / 2))}
end=$(($(date +%s) + total))
ran=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for t in *.test.mjs; do
    case $t in *"$pattern"*) ;; *) continue ;; esac
    case " ${LEFT_OUT:-} " in *" $t "*) continue ;; esac
    ran=$((ran + 1))
    start=$(date +%s)
    left=$((end - start))
    [ "$left" -lt "$per_file" ] || left=$per_file
    if [ "$left" -le 0 ]; then
        failed=$((failed + 1))
        echo "FAIL $t: the time for all files is over ($total s)"
        continue
    fi
    # TERM lets the test end its children; KILL is for a test that does not listen
    if timeout -k 20 "$left" node --test --test-reporter=spec "$t" >"$log" 2>&1; then
        echo "ok   $t ($(sed -n 's/^[^ ]* tests \([0-9]*\)$/\1/p' "$log") tests, $(($(date +%s) - start)) s)"
        grep -h '^# ' "$log" || :
    else
        failed=$((failed + 1))
        echo "FAIL $t ($(($(date +%s) - start)) s)"
        cat "$log"
    fi
done
echo "end-to-end files: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
