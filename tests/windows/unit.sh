#!/bin/bash
# Runs the unit test programs of a Windows build under Wine: unit.sh FOLDER [PATTERN], from the root of the repository.
set -u
dir=$1 pattern=${2:-}
. tests/windows/wine.sh
ran=0 failed=0 helper=""
work=$(mktemp -d)
volume_mib=12

finish()
{
    [ -z "$helper" ] || kill "$helper" 2>/dev/null
    wine_stop
    mountpoint -q "$work/volume" && umount "$work/volume"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

wine_start || exit 1

# a small volume, where disks can be full: a drive of its own, if we may mount
mkdir "$work/volume"
if mount -t tmpfs -o size=${volume_mib}m none "$work/volume" 2>/dev/null; then
    ln -sfn "$work/volume" "$WINEPREFIX/dosdevices/s:"
    export VMR_TEST_VOLUME='S:\' VMR_TEST_VOLUME_MIB=$volume_mib
fi

# what the programs need of this machine
node tests/windows/helper.mjs >"$work/helper" 2>&1 </dev/null 9>&- &
helper=$!
for _ in $(seq 200); do
    [ -s "$work/helper" ] && break
    sleep 0.05
done
VMR_TEST_HELPER=$(head -n 1 "$work/helper")
export VMR_TEST_HELPER
export CMOCKA_MESSAGE_OUTPUT=stdout WINE_TIMEOUT=600

for t in "$dir"/test_*.exe; do
    name=${t##*/}
    name=${name%.exe}
    case $name in *"$pattern"*) ;; *) continue ;; esac
    ran=$((ran + 1))
    start=$(date +%s%3N)
    if wine_run "$work/log" "$t"; then
        skipped=$(grep -c '^\[  SKIPPED' "$work/log")
        echo "ok   $name ($(grep -c '^\[       OK' "$work/log") tests, $(($(date +%s%3N) - start)) ms)"
        [ "$skipped" = 0 ] || grep -A1000 'SKIPPED TEST' "$work/log" | sed -n 's/^\[ *SKIPPED *\] *\(.*\)$/     skipped: \1/p'
    else
        status=$?
        failed=$((failed + 1))
        echo "FAIL $name (status $status)"
        cat "$work/log"
    fi
done
echo "unit programs under Wine: $((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
