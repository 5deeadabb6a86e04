#!/bin/sh
# Runs every fuzz target of a build folder: run.sh FOLDER SECONDS [PATTERN]. First each committed seed once, then new inputs for the time
# given, begun from the seeds and from what earlier runs found (FOLDER/found). A finding is left in FOLDER/crashes and fails.
# SECONDS 0: a sample that is the same each time, 20,000 runs from one seed.
set -u
dir=$1 seconds=$2 pattern=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
failed=0 ran=0
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
for source in "$here"/fuzz_*.c; do
    name=${source##*/fuzz_} name=${name%.c}
    case $name in *"$pattern"*) ;; *) continue ;; esac
    ran=$((ran + 1))
    mkdir -p "$dir/found/$name" "$dir/crashes"
    dict=""
    [ -f "$here/corpus/$name.dict" ] && dict="-dict=$here/corpus/$name.dict"
    log=$(mktemp)
    found=$dir/found/$name amount="-max_total_time=$seconds"
    if [ "$seconds" = 0 ]; then
        found=$(mktemp -d) amount="-runs=20000 -seed=20261123 -max_total_time=60"
    fi
    # shellcheck disable=SC2086
    if "$dir/fuzz_$name" -runs=0 -timeout=10 "$here/corpus/$name" >"$log" 2>&1 &&
        "$dir/fuzz_$name" $amount -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 $dict \
            -artifact_prefix="$dir/crashes/$name-" "$found" "$here/corpus/$name" >>"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
        echo "ok   fuzz $name ($(ls "$here/corpus/$name" | wc -l) seeds, ${runs:-0} runs, $cover edges)"
    else
        failed=$((failed + 1))
        echo "FAIL fuzz $name"
        tail -60 "$log"
    fi
    rm -f "$log"
    [ "$seconds" != 0 ] || rm -rf "$found"
done
echo "fuzz targets: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
