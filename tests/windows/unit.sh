#!/bin/bash
# Runs the unit test programs of a Windows build under Wine: unit.sh FOLDER [PATTERN], from the root of the repository. JOBS at a time (1: some measure time).
set -u
dir=$1 pattern=${2:-}
. tests/windows/wine.sh
jobs=${JOBS:-1} helper=""
work=$(mktemp -d)
volume_mib=12

finish()
{
    [ -z "$helper" ] || kill "$helper" 2>/dev/null
    wine_stop
    for v in "$work"/volume.*; do
        if mountpoint -q "$v"; then umount "$v"; fi
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

wine_start || exit 1

# What the programs need of this machine: a shell and the doubles.
node tests/windows/helper.mjs >"$work/helper" 2>&1 </dev/null 9>&- &
helper=$!
for _ in $(seq 200); do
    [ -s "$work/helper" ] && break
    sleep 0.05
done
VMR_TEST_HELPER=$(head -n 1 "$work/helper")
export VMR_TEST_HELPER CMOCKA_MESSAGE_OUTPUT=stdout WINE_TIMEOUT=600

# A small volume, where disks can be full: a drive for each that runs at a time, if we may mount. Without it those tests are skipped.
small_volume()
{
    mkdir "$work/volume.$1"
    mount -t tmpfs -o size=${volume_mib}m none "$work/volume.$1" 2>/dev/null || return 0
    ln -sfn "$work/volume.$1" "$WINEPREFIX/dosdevices/$1:"
    export VMR_TEST_VOLUME="${1^}:\\" VMR_TEST_VOLUME_MIB=$volume_mib
}

run_one()
{
    local start name=$1 log=$work/log.$1
    start=$(date +%s%3N)
    if wine_run "$log" "$dir/$name.exe"; then
        echo "ok   $name ($(grep -c '^\[       OK' "$log") tests, $(($(date +%s%3N) - start)) ms)"
        sed -n -e 's/^\[  SKIPPED \] \([^ ]*\)$/     skipped: \1/p' -e 's/^Wine lacks: /     Wine lacks: /p' "$log" | tr -d '\r' | sort -u
        echo ok >>"$work/results"
    else
        { echo "FAIL $name (status $?)"; cat "$log"; } >"$log.out"
        cat "$log.out"
        echo failed >>"$work/results"
    fi
}

worker()
{
    small_volume "$1"
    for t in "$dir"/test_*.exe; do
        name=${t##*/}
        name=${name%.exe}
        case $name in *"$pattern"*) ;; *) continue ;; esac
        mkdir "$work/claim.$name" 2>/dev/null || continue
        run_one "$name"
    done
}

: >"$work/results"
workers=""
for drive in s t u v w x; do
    [ "$jobs" -gt 0 ] || break
    jobs=$((jobs - 1))
    worker $drive &
    workers="$workers $!"
done
# shellcheck disable=SC2086
wait $workers
ran=$(wc -l <"$work/results") failed=$(grep -c failed "$work/results")
echo "unit programs under Wine: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
