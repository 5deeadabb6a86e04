#!/bin/bash
# The Windows service under Wine: service.sh BUILD_FOLDER, from the root of the repository. Installs, starts, stops, breaks and removes it
# through the service manager, with the programs that an administrator has (sc, net), and talks to it from this side.
# What Wine does not have: the settings that `install` then warns of, reading events back, failure actions.
set -u
build=$1
. tests/windows/wine.sh
work=$(mktemp -d)
passed=0 failed=0 blob="" other=""

finish()
{
    for pid in $blob $other; do kill "$pid" 2>/dev/null; done
    wine_stop
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

check()                                              # WHAT OK(0/1) [DETAIL]
{
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $1${3:+: $3}"
    fi
}

for f in vmrecoverd.exe late_service.exe; do
    [ -f "$build/$f" ] || { echo "FAIL: $build/$f is missing: run \`make windows\`"; exit 1; }
done
wine_start || exit 1
c=$WINEPREFIX/drive_c
mkdir -p "$c/Program Files/vmrecover"
cp "$build/vmrecoverd.exe" "$build/late_service.exe" "$c/Program Files/vmrecover/"
exe='C:\Program Files\vmrecover\vmrecoverd.exe'
data=$c/ProgramData/vmrecover
conf=$data/vmrecover.conf
log=$data/logs/vmrecoverd.log
out=$work/out

daemon() { wine_run "$out" "$exe" "$@"; }            # exit status; what it said is in $out
says() { grep -qF -- "$1" "$out"; }
said() { tr '\n' '|' <"$out"; }

field()                                              # SERVICE NAME: a field of `sc query`
{
    wine_run "$work/sc.$1" sc query "$1"
    sed -n "s/^ *$2 *: \([0-9a-fx]*\).*/\1/p" "$work/sc.$1"
}

# SERVICE STATE [SECONDS]: until it is in that state (1 stopped, 4 running). `net start` returns while the start is still pending.
becomes()
{
    for _ in $(seq $((${3:-30} * 4))); do
        [ "$(field "$1" STATE)" = "$2" ] && return 0
        sleep 0.25
    done
    return 1
}

api()                                                # METHOD PATH [BODY]
{
    curl -sS --max-time 10 -X "$1" -H "Authorization: Bearer $(cat "$data/token")" -H 'Content-Type: application/json' ${3:+-d "$3"} \
        "http://$(head -n 1 "$data/address")$2"
}
json() { node -pe "let o = JSON.parse(require('fs').readFileSync(0)); $1"; }

# --- a stop that nobody answers: takes a minute, in which the rest is tested
wine_run "$out" sc create late binPath= '"C:\Program Files\vmrecover\late_service.exe" --slow'
wine_run "$out" net start late
first=$(($(field late CHECKPOINT))) state=$(field late STATE)
[ "$state" = 2 ] && [ "$first" -ge 1 ]; check "a slow start is pending" $? "$(cat "$work/sc.late")"
sleep 4
[ $(($(field late CHECKPOINT))) -gt "$first" ]; check "its checkpoints grow" $? "from $first, $(cat "$work/sc.late")"
becomes late 4; check "the service that never ends runs" $?
[ "$(field late CHECKPOINT)" = 0x0 ]; check "without a checkpoint" $? "$(cat "$work/sc.late")"
{ late_at=$(date +%s); wine_run "$work/late" net stop late; becomes late 1 120 && echo $(($(date +%s) - late_at)) >"$work/took"; } & late=$!

# --- install
daemon; check "without arguments and service manager: usage, exit code 2" $(($? != 2)) "$(said)"
daemon install --bogus=1; check "install with a wrong option: exit code 2" $(($? != 2)) "$(said)"
wine_run "$work/sc.vmrecoverd" sc query vmrecoverd; check "and nothing is installed" $((!$?))
daemon install --configure-only; check "install --configure-only without a service: exit code 1" $(($? != 1)) "$(said)"
daemon install --no-start; check "install --no-start" $? "$(said)"
says "service vmrecoverd installed"; check "install says so" $? "$(said)"
[ "$(field vmrecoverd STATE)" = 1 ]; check "it is not started" $?
[ "$(grep -c $'\r$' "$conf")" = "$(wc -l <"$conf")" ] && [ -s "$conf" ]; check "a configuration is written, in lines of Windows" $?
sed 's/\r$//' "$conf" | cmp -s - packaging/windows/vmrecover.conf; check "it is the packaged one" $?
wine_run "$out" reg query 'HKLM\SYSTEM\CurrentControlSet\Services\vmrecoverd'
says 'ImagePath    REG_SZ    "C:\Program Files\vmrecover\vmrecoverd.exe"'; check "the path is in quotes" $? "$(said)"
grep -q 'ImagePath.*vmrecoverd.exe"[[:space:]]*$' "$out"; check "and without options" $? "$(said)"
says 'ObjectName    REG_SZ    LocalSystem'; check "the account is LocalSystem" $? "$(said)"
says 'Start    REG_DWORD    0x2'; check "it starts with Windows" $? "$(said)"
says 'PreshutdownTimeout    REG_DWORD    0x11170'; check "it gets 70 s at a shutdown" $? "$(said)"
! says 'DependOnService    REG_MULTI_SZ    vmms'; check "no dependency without Hyper-V" $? "$(said)"
wine_run "$out" reg query 'HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\vmrecoverd'
says 'EventMessageFile    REG_SZ    C:\Program Files\vmrecover\vmrecoverd.exe' && says 'TypesSupported    REG_DWORD    0x7'
check "the source of events" $? "$(said)"

sed -i 's/^#listen = .*\r$/listen = 127.0.0.1:0\r/; s/^#connections = .*\r$/connections = 1\r/; s/^#range_kib = .*\r$/range_kib = 64\r/' "$conf"
echo '# mine' >>"$conf"
daemon install; check "install once more starts it" $? "$(said)"
says "service vmrecoverd updated" && says "service vmrecoverd runs: http://127.0.0.1:"; check "install says so" $? "$(said)"
[ "$(field vmrecoverd STATE)" = 4 ]; check "it runs" $?
grep -q '^# mine' "$conf"; check "the configuration stays as it was" $?
[ "$(curl -sS "http://$(head -n 1 "$data/address")/healthz")" = '{"status":"ok"}' ]; check "the API answers" $?
grep -q 'msg=ready' "$log"; check "the log file has the start" $?
daemon install; check "install of a running service" $? "$(said)"
says "It ran already"; check "says that it runs" $? "$(said)"

# --- Hyper-V comes and goes: the dependency follows, what others added stays
wine_run "$out" sc create vmms binPath= 'C:\windows\system32\svchost.exe'
daemon install --configure-only; check "configure where Hyper-V is" $? "$(said)"
wine_run "$out" reg query 'HKLM\SYSTEM\CurrentControlSet\Services\vmrecoverd' /v DependOnService
says vmms; check "it depends on vmms then" $? "$(said)"
wine_run "$out" sc delete vmms
daemon install --configure-only; check "configure where Hyper-V is not any more" $? "$(said)"
# (what is left then, Wine does not tell: it keeps an old list when the new one is empty; tests/unit/test_service_win32.c has the lists)

# --- a stop in the middle of a download, and on from there
node tests/doubles/blob_server.mjs --size 24M --vhd --rate 1M >"$work/port" </dev/null 9>&- & blob=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.05; done
url=http://127.0.0.1:$(cat "$work/port")/vhds/disk.vhd
id=$(api POST /v1/jobs "{\"name\":\"stop\",\"disks\":[{\"source\":{\"type\":\"blob\",\"url\":\"$url\"},\"format\":\"vhd\"}],\"until\":\"download\"}" | json o.id)
for _ in $(seq 120); do
    done_bytes=$(api GET "/v1/jobs/$id" | json 'o.tasks.find(t => t.kind == "download").progress?.done_bytes ?? 0')
    [ "$done_bytes" -gt 2000000 ] && break
    sleep 0.25
done
[ "$done_bytes" -gt 2000000 ] && [ "$done_bytes" -lt 24000000 ]; check "a download is under way" $? "$done_bytes bytes"
wine_run "$out" net stop vmrecoverd; check "net stop" $? "$(said)"
becomes vmrecoverd 1; check "it stops" $?
[ "$(field vmrecoverd WIN32_EXIT_CODE)" = 0 ]; check "without an error code" $?
grep -q 'task=download.0 msg="task parked"' "$log" && grep -q 'msg=stopped' "$log"; check "the task is parked" $? "$(tail -n 3 "$log")"
wine_run "$out" net start vmrecoverd; check "net start" $? "$(said)"
becomes vmrecoverd 4; check "it starts again" $?
for _ in $(seq 240); do
    state=$(api GET "/v1/jobs/$id" | json o.state)
    case $state in succeeded|failed|cancelled) break;; esac
    sleep 0.25
done
[ "$state" = succeeded ]; check "the job goes on and succeeds" $? "$state"
transferred=$(api GET "/v1/jobs/$id" | json 'o.tasks.find(t => t.kind == "download").progress.transferred_bytes')
fetched=$(curl -sS "${url%/vhds*}/_control/stats" | json 'JSON.stringify(o)')
curl -sS "$url" | cmp -s - "$(find "$data/disks" -name '*.vhd')"; check "the disk equals its source" $? "$transferred bytes, $fetched"
kill "$blob"; wait "$blob" 2>/dev/null; blob=""

# --- starts that fail, each with its code
fails_with()                                         # CODE WHAT: `install` says it, and the service manager has it
{
    daemon install
    status=$?
    [ $status = 1 ] && says "with the code $1"; check "$2: install fails and says $1" $? "$status $(said)"
    [ "$(field vmrecoverd STATE)/$(field vmrecoverd WIN32_EXIT_CODE)/$(field vmrecoverd SERVICE_EXIT_CODE)" = "1/1066/$1" ]
    check "$2: the service manager has $1" $? "$(tr '\n' ' ' <"$work/sc.vmrecoverd")"
}
stop() { wine_run "$out" net stop vmrecoverd; becomes vmrecoverd 1; }
stop; check "net stop" $?

cp "$conf" "$work/conf"
printf '[daemon]\r\nbogus = 1\r\n' >"$conf"
wine_run "$out" net start vmrecoverd
becomes vmrecoverd 1
[ "$(field vmrecoverd SERVICE_EXIT_CODE)" = 21001 ]; check "a wrong configuration" $? "$(cat "$work/sc.vmrecoverd")"
daemon install; check "install with it: exit code 2" $(($? != 2)) "$(said)"
says "bogus"; check "install says where" $? "$(said)"
cp "$work/conf" "$conf"

node -e 'let s = require("net").createServer().listen(0, "127.0.0.1", () => console.log(s.address().port))' >"$work/port" </dev/null 9>&- & other=$!
for _ in $(seq 600); do [ -s "$work/port" ] && break; sleep 0.05; done
sed -i "s/^listen = .*\r$/listen = 127.0.0.1:$(cat "$work/port")\r/" "$conf"
fails_with 21005 "a port that is taken"
grep -q 'level=error msg="vmrecoverd cannot run" code=port_in_use' "$log"; check "the log file says so too" $? "$(tail -n 2 "$log")"
kill "$other"; wait "$other" 2>/dev/null
cp "$work/conf" "$conf"

mv "$data/secret.key" "$work/secret.key"
echo short >"$data/secret.key"
fails_with 21006 "a damaged key"
mv "$work/secret.key" "$data/secret.key"

cp "$data/vmrecover.db" "$work/vmrecover.db"
sqlite3 "$data/vmrecover.db" 'PRAGMA journal_mode = DELETE; PRAGMA user_version = 99' >/dev/null
fails_with 21004 "a database of a newer version"
head -c 8192 /dev/urandom >"$data/vmrecover.db"
rm -f "$data"/vmrecover.db-*
fails_with 21003 "a damaged database"
cp "$work/vmrecover.db" "$data/vmrecover.db"

# --- in the foreground
foreground()                                         # starts it as $other; its words go to $work/run
{
    WINE_TIMEOUT=120 wine_run "$work/run" "$exe" run & other=$!
    for _ in $(seq 120); do grep -q msg=ready "$work/run" 2>/dev/null && return 0; sleep 0.25; done
    return 1
}
# The Windows process itself: the one with a thread of the program's name, below the waiting shell.
interrupt()
{
    for p in /proc/[0-9]*; do
        [ "$(tr '\0' '\n' 2>/dev/null <"$p/environ" | sed -n 's/^WINEPREFIX=//p')" = "$WINEPREFIX" ] &&
            tr '\0' ' ' <"$p/cmdline" | grep -q '^[^ ]*C:.*vmrecoverd.exe run' && kill -INT "${p#/proc/}"
    done
}
foreground; check "run in the foreground" $? "$(cat "$work/run")"
fails_with 21002 "a data folder in use"
interrupt
wait "$other"; check "Ctrl-C stops it, exit code 0" $? "$(cat "$work/run")"
other=""
grep -q 'msg=stopped' "$work/run"; check "in good order" $? "$(tail -n 2 "$work/run")"
daemon run --listen=0.0.0.0:0; check "run with a wrong configuration: exit code 2" $(($? != 2)) "$(said)"

# --- options, and what uninstall leaves
daemon install --data-dir 'C:\my data\vm "x"' --listen 127.0.0.1:0; check "a folder that cannot be: exit code 2" $(($? != 2)) "$(said)"
daemon install --data-dir 'relative' ; check "a relative folder: exit code 2" $(($? != 2)) "$(said)"
daemon install --proxy http://user:s3cret@proxy:80; check "a password among the options: exit code 2" $(($? != 2)) "$(said)"
! says s3cret; check "and it is not repeated" $? "$(said)"
daemon install --data-dir 'C:\my data\vm' --listen 127.0.0.1:0; check "install with options" $? "$(said)"
wine_run "$out" reg query 'HKLM\SYSTEM\CurrentControlSet\Services\vmrecoverd' /v ImagePath
says '"C:\Program Files\vmrecover\vmrecoverd.exe" --data-dir "C:\my data\vm" --listen 127.0.0.1:0'; check "they are the service's" $? "$(said)"
[ -s "$c/my data/vm/address" ] && [ -s "$c/my data/vm/logs/vmrecoverd.log" ]; check "it runs with them" $?
daemon uninstall; check "uninstall" $? "$(said)"
says 'The data stays: C:\my data\vm'; check "says where the data stays" $? "$(said)"
wine_run "$work/sc.vmrecoverd" sc query vmrecoverd; check "the service is gone" $((!$?)) "$(cat "$work/sc.vmrecoverd")"
wine_run "$out" reg query 'HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\vmrecoverd'; check "and the source of events" $((!$?))
[ -s "$c/my data/vm/vmrecover.db" ] && [ -s "$data/vmrecover.db" ]; check "the data is there" $?
daemon uninstall; check "uninstall once more" $? "$(said)"
touch "$data/foreign"
daemon uninstall --remove-data; check "uninstall --remove-data beside foreign files: exit code 1" $(($? != 1)) "$(said)"
says "not vmrecover's: foreign" && [ -s "$data/vmrecover.db" ]; check "says which, and nothing is removed" $? "$(said)"
rm "$data/foreign"
daemon uninstall --remove-data; check "uninstall --remove-data without them" $? "$(said)"
[ ! -e "$data" ]; check "the data is gone" $?
daemon uninstall --remove-data '--data-dir=C:\my data\vm'; check "uninstall --remove-data of another folder" $? "$(said)"
[ ! -e "$c/my data/vm" ]; check "that is gone, too" $?

# --- the stop that nobody answered
[ -e "$work/took" ] || { [ "$(field late STATE)" = 3 ] && [ $(($(field late CHECKPOINT))) -gt 10 ]; }; check "a stop that lasts is pending" $? "$(cat "$work/sc.late")"
wait "$late"
took=$(cat "$work/took" 2>/dev/null || echo 999)
[ "$took" -ge 58 ] && [ "$took" -le 90 ]; check "a service that does not stop is ended after a minute" $? "$took s"
[ "$(field late WIN32_EXIT_CODE)" = 0 ]; check "without a code that would start it again" $?

echo "service under Wine: $passed passed, $failed failed"
[ $failed = 0 ]
