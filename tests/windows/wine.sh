# Wine as Windows, for every test that needs it; to be sourced by bash or sh from the root of the repository. Headless, one prefix per run.
#
#   . tests/windows/wine.sh
#   wine_start                       # a fresh prefix in $WINEPREFIX; nothing of another run is seen
#   wine_run OUT program.exe ARG...  # stdout and stderr to the file OUT; the program's exit status (WINE_TIMEOUT seconds at most)
#   wine_double DLL                  # the double of Windows' WMI (tests/doubles/com) takes the place of Wine's own
#   wine_path FILE                   # C:\ or Z:\ path of a file on this machine, on stdout
#   wine_stop                        # ends all of the prefix and removes it
#
# Rules that were learned the hard way: a wine command's output must never be a pipe (Wine's own daemons inherit it and the reader
# hangs), so everything goes to files; Wine ends services two seconds after the last ordinary process, so a keeper holds the prefix
# open; a prefix takes 11 seconds to make, so one template is made and copied.

export WINEDEBUG=${WINEDEBUG:--all} WINEDLLOVERRIDES='mscoree,mshtml=' WINEARCH=win64
unset DISPLAY WAYLAND_DISPLAY

wine_cache=$(pwd)/.cache/wine
wine_template=$wine_cache/template

# The template: made once, under another name until it is whole. The version of Wine is part of it.
wine_make_template()
{
    mkdir -p "$wine_cache"
    (
        flock 8
        { wine --version; echo 'winecfg -v win10'; } >"$wine_cache/version.new" 2>/dev/null </dev/null
        if [ -e "$wine_template/.vmrecover" ] && cmp -s "$wine_cache/version.new" "$wine_template/.vmrecover"; then
            exit 0
        fi
        rm -rf "$wine_template" "$wine_template.new"
        WINEPREFIX=$wine_template.new
        export WINEPREFIX
        # Windows 10, in the registry too, where the installer looks for the build; 8.3 names and the rest as Wine does it
        { wineboot -i && wine winecfg -v win10; } >"$wine_cache/log" 2>&1 </dev/null 8>&- || {
            echo "wine: the prefix could not be made:" >&2
            cat "$wine_cache/log" >&2
            exit 1
        }
        wineserver -w
        cp "$wine_cache/version.new" "$wine_template.new/.vmrecover"
        mv "$wine_template.new" "$wine_template"
    ) 8>"$wine_cache/lock"
}

wine_start()
{
    wine_make_template || return 1
    wine_dir=$(mktemp -d "${TMPDIR:-/tmp}/vmr-wine-XXXXXX") || return 1
    export WINEPREFIX="$wine_dir/prefix"
    cp -a --reflink=auto "$wine_template" "$WINEPREFIX" || return 1
    mkfifo "$wine_dir/hold"
    # the keeper: it lives as long as descriptor 9 is open
    wine cmd.exe <"$wine_dir/hold" >/dev/null 2>&1 9>&- &
    wine_keeper=$!
    exec 9>"$wine_dir/hold"
}

# wine_run OUT PROGRAM ARG...: the exit status is the program's (its lowest 8 bits), 124 after WINE_TIMEOUT seconds.
wine_run()
{
    wine_out=$1
    shift
    timeout -k 5 "${WINE_TIMEOUT:-300}" wine "$@" >"$wine_out" 2>&1 </dev/null 9>&-
}

# WbemLocator and WbemObjectTextSrc become the double's. Its store is the folder that VMR_DOUBLE_DIR names, its schema WMI_SCHEMA.
wine_double()
{
    for class in 4590F811-1D3A-11D0-891F-00AA004B2E24 8D1C559D-84F0-4BB3-A7D5-56A7435A9BA6; do
        key="HKLM\\Software\\Classes\\CLSID\\{$class}\\InprocServer32"
        wine_run "$wine_dir/out" reg add "$key" /ve /d "$(wine_path "$1")" /f &&
            wine_run "$wine_dir/out" reg add "$key" /v ThreadingModel /d Both /f ||
            { echo "FAIL: the double cannot be registered:"; cat "$wine_dir/out"; return 1; }
    done
}

wine_path()
{
    printf 'Z:%s\n' "$(realpath -m "$1")" | tr / '\\'
}

wine_stop()
{
    [ -n "${wine_dir:-}" ] || return 0
    exec 9>&-
    wineserver -k >/dev/null 2>&1
    wineserver -w >/dev/null 2>&1
    wait "$wine_keeper" 2>/dev/null
    rm -rf "$wine_dir"
    unset WINEPREFIX
    wine_dir=
}
