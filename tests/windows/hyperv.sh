#!/bin/bash
# The shipped vmrecoverd.exe under Wine, unchanged, against the double of Windows' WMI (tests/doubles/com) in place of Wine's own:
# hyperv.sh BUILD_FOLDER [PATTERN], from the root of the repository. hyperv.test.mjs has the tests.
set -u
build=$(realpath "$1")
. tests/windows/wine.sh
work=$(mktemp -d)
trap 'wine_stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for f in vmrecoverd.exe wmi_double.dll; do
    [ -f "$build/$f" ] || { echo "FAIL: $build/$f is missing: run \`make windows windows-unit\`"; exit 1; }
done
wine_start || exit 1
wine_double "$build/wmi_double.dll" || exit 1
BUILD=$build timeout -k 20 "${WINE_TIMEOUT:-900}" node --test --test-reporter=spec ${2:+--test-name-pattern="$2"} tests/windows/hyperv.test.mjs 9>&- >"$work/log" 2>&1
status=$?
if [ $status = 0 ]; then
    echo "ok   hyperv.test.mjs ($(sed -n 's/^[^ ]* tests \([0-9]*\)$/\1/p' "$work/log") tests)"
    grep -h '^# ' "$work/log" || :
else
    cat "$work/log"
fi
exit $status
