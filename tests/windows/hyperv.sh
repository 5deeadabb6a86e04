#!/bin/bash
# The shipped vmrecoverd.exe under Wine, unchanged, against the doubles of Windows' WMI (tests/doubles/com) and of its servicing (tests/doubles/dism):
# hyperv.sh BUILD_FOLDER [PATTERN], from the root of the repository. FILES: hyperv (hyperv.test.mjs), role.
set -u
build=$(realpath "$1")
. tests/windows/wine.sh
work=$(mktemp -d)
trap 'wine_stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for f in vmrecoverd.exe vmrecover.exe wmi_double.dll dismapi.dll; do
    [ -f "$build/$f" ] || { echo "FAIL: $build/$f is missing: run \`make windows windows-unit\`"; exit 1; }
done
wine_start || exit 1
wine_double "$build/wmi_double.dll" || exit 1
cp "$build/dismapi.dll" "$WINEPREFIX/drive_c/windows/system32/" || exit 1
export WINEDLLOVERRIDES="$WINEDLLOVERRIDES;dismapi=n"
failed=0
for file in ${FILES:-hyperv role}; do
    if BUILD=$build timeout -k 20 "${WINE_TIMEOUT:-900}" node --test --test-reporter=spec ${2:+--test-name-pattern="$2"} "tests/windows/$file.test.mjs" \
        9>&- >"$work/log" 2>&1; then
        echo "ok   $file.test.mjs ($(sed -n 's/^[^ ]* tests \([0-9]*\)$/\1/p' "$work/log") tests)"
        grep -h '^# ' "$work/log" || :
    else
        failed=1
        cat "$work/log"
    fi
done
exit $failed
