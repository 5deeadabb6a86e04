#!/bin/bash
# The end-to-end tests of tests/e2e against a Windows build under Wine: e2e.sh BUILD_FOLDER [PATTERN], from the root of the repository.
# Hyper-V is the double's, as in hyperv.sh: it makes and starts virtual machines, in which nothing runs.
# Tests that Windows or Wine cannot be put to are named in skips.mjs, and listed at the end.
set -u
build=$1 pattern=${2:-}
. tests/windows/wine.sh
work=$(mktemp -d)
trap 'wine_stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

list()                                               # EXPRESSION over s, a row of the table
{
    node --input-type=module -e "import { skips } from './tests/windows/skips.mjs'; for (const s of skips) { const x = $1; if (x) console.log(x); }"
}
wine_start && wine_double "$build/wmi_double.dll" || exit 1
export SKIPPED=$work/skipped
list "s.tests[0] === '*' && s.file.includes('$pattern') && \`\${s.file}: \${s.why}\`" >"$SKIPPED"
LEFT_OUT=$(list "s.tests[0] === '*' && s.file" | tr '\n' ' ') PLATFORM=wine BUILD=$build sh tests/e2e/run.sh "$pattern" 9>&-
status=$?
echo "left out under Wine: $(wc -l <"$SKIPPED")"
sed 's/^/     /' "$SKIPPED"
exit $status
