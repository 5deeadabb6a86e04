#!/bin/sh
# Judges the Windows executables without running them: executables.sh BUILD_FOLDER
# They import only DLLs that every Windows Server 2016 has, are hardened, and carry version, manifest and event messages.
# Before it judges them it proves on a small wrong program that it can.
set -u
build=$1
host=x86_64-w64-mingw32
work=$(mktemp -d "${TMPDIR:-/tmp}/vmexe.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# DLLs of Windows Server 2016 (build 14393), Server Core included. api-ms-win-crt-* is its C runtime.
allowed='
advapi32.dll bcrypt.dll crypt32.dll kernel32.dll ncrypt.dll ole32.dll oleaut32.dll secur32.dll shell32.dll user32.dll winhttp.dll ws2_32.dll
api-ms-win-crt-conio-l1-1-0.dll api-ms-win-crt-convert-l1-1-0.dll api-ms-win-crt-environment-l1-1-0.dll
api-ms-win-crt-filesystem-l1-1-0.dll api-ms-win-crt-heap-l1-1-0.dll api-ms-win-crt-locale-l1-1-0.dll api-ms-win-crt-math-l1-1-0.dll
api-ms-win-crt-multibyte-l1-1-0.dll api-ms-win-crt-private-l1-1-0.dll api-ms-win-crt-process-l1-1-0.dll
api-ms-win-crt-runtime-l1-1-0.dll api-ms-win-crt-stdio-l1-1-0.dll api-ms-win-crt-string-l1-1-0.dll api-ms-win-crt-time-l1-1-0.dll
api-ms-win-crt-utility-l1-1-0.dll
'

check()                                              # WHAT OK(0/1) [DETAIL]
{
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $1${3:+: $3}"
    fi
}

imports() { LC_ALL=C $host-objdump -p "$1" 2>/dev/null | sed -n 's/^[[:space:]]*DLL Name: //p' | tr '[:upper:]' '[:lower:]' | sort -u; }

# Prints the imports that are not allowed; 1 if there are some, or none at all (not an executable, then).
judge_imports()
{
    found=$(imports "$1")
    [ -n "$found" ] || { echo "no imports: is $1 an executable?"; return 1; }
    bad="" words=" $(echo "$allowed" | tr '\n' ' ') "
    for dll in $found; do
        case $words in *" $dll "*) ;; *) bad="$bad $dll";; esac
    done
    [ -z "$bad" ] || { echo "not a DLL of Windows Server 2016:$bad"; return 1; }
}

hardened()
{
    flags=$(LC_ALL=C $host-objdump -p "$1" 2>/dev/null)
    for flag in HIGH_ENTROPY_VA DYNAMIC_BASE NX_COMPAT; do
        echo "$flags" | grep -qw $flag || { echo "without $flag"; return 1; }
    done
    $host-objdump -h "$1" | grep -q '\.reloc' || { echo "without relocations: its addresses cannot be random"; return 1; }
}

# --- that this can fail: a program that needs a DLL which comes with no Windows, without hardening
printf 'LIBRARY libwinpthread-1.dll\nEXPORTS\nfrom_elsewhere\n' >"$work/else.def"
$host-dlltool -d "$work/else.def" -l "$work/libelse.a"
echo 'int from_elsewhere(void); int main(void) { return from_elsewhere(); }' >"$work/bad.c"
$host-gcc "$work/bad.c" -o "$work/bad.exe" -L"$work" -lelse -Wl,--disable-dynamicbase -Wl,--disable-nxcompat -Wl,--disable-high-entropy-va ||
    { echo "FAIL: the wrong program could not be made"; exit 1; }
said=$(judge_imports "$work/bad.exe")
case $said in *libwinpthread-1.dll*) check "a foreign DLL is found" 0;; *) check "a foreign DLL is found" 1 "$said";; esac
judge_imports "$work/bad.c" >/dev/null; check "a file that is no executable is refused" $((!$?))
hardened "$work/bad.exe" >/dev/null; check "missing hardening is found" $((!$?))

# --- the executables
utf16() { printf '%s' "$1" | iconv -f utf-8 -t utf-16le | od -An -v -tx1 | tr -d ' \n'; }
holds() { od -An -v -tx1 "$1" | tr -d ' \n' | grep -q "$2"; }

for exe in vmrecoverd vmrecover; do
    file=$build/$exe.exe
    if [ ! -f "$file" ]; then
        check "$file" 1 "missing: run \`make windows\`"
        continue
    fi
    said=$(judge_imports "$file"); check "$exe.exe: imports" $? "$said"
    said=$(hardened "$file"); check "$exe.exe: hardening" $? "$said"
    rc=$($host-windres -i "$file" -O rc 2>/dev/null | tr -d '\0')
    case $rc in *"\"OriginalFilename\", \"$exe.exe\""*) r=0;; *) r=1;; esac; check "$exe.exe: version" $r
    for word in longPathAware '<activeCodePage[^>]*>UTF-8<' 'level="asInvoker"' '8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a'; do
        LC_ALL=C grep -aq "$word" "$file"; check "$exe.exe: manifest says $word" $?
    done
    symbols=$($host-objdump -t "$file" 2>/dev/null | grep -c '^\[')
    [ "$symbols" = 0 ] && [ -s "$file.debug" ]; check "$exe.exe: stripped, with its debug information beside it" $?
done
holds "$build/vmrecoverd.exe" "$(utf16 '仮想マシン')"; check "vmrecoverd.exe: messages in Japanese" $?
$host-windres -i "$build/vmrecoverd.exe" -O rc 2>/dev/null | grep -aq MESSAGETABLE; check "vmrecoverd.exe: message table" $?

echo "executables: $passed passed, $failed failed"
[ $failed = 0 ]
