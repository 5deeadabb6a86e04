#!/bin/bash
# Runs inside the guest of run.sh, as root, with systemd as PID 1. Each line on standard output is a result: "ok - …", "not ok - …" or
# "# …". The last one is "done".
unit=vmrecoverd.service
data=/var/lib/vmrecover
url=http://127.0.0.1:8480
export DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER=

finish() {
    echo "done"
    sync
    systemctl poweroff --no-block
}
trap finish EXIT

# result NAME STATUS [DETAIL]
result() {
    if [ "$2" = 0 ]; then echo "ok - $1"; else echo "not ok - $1${3:+ ($3)}"; fi
}
# check NAME COMMAND...: the command's exit status is the result
check() {
    local name=$1 out
    shift
    out=$("$@" 2>&1)
    result "$name" $? "$(tail -n 3 <<<"$out" | tr '\n' ' ')"
}
# same NAME GOT WANTED
same() {
    [ "$2" = "$3" ]
    result "$1" $? "$2 instead of $3"
}
# within SECONDS COMMAND...: succeeds as soon as the command does
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

show() { systemctl show -p "$1" --value $unit; }
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
healthy() { [ "$(curl -s -m 20 $url/healthz)" = '{"status":"ok"}' ]; }
api() { curl -s -m 60 -H "Authorization: Bearer $(cat $data/token)" "$@"; }
# json NAME: the first text, number or null of that name on standard input
json() { grep -o "\"$1\": *\(\"[^\"]*\"\|[0-9]*\|null\)" | head -1 | sed 's/^[^:]*: *//; s/"//g'; }
main_pid_is_not() { local p; p=$(show MainPID); [ "$p" != 0 ] && [ "$p" != "$1" ] && [ "$(show ActiveState)" = active ]; }
qemu_pid() { pgrep -f 'qemu-system-x86_64.*-uuid' | head -1; }
serial_size() { stat -c %s $data/vms/*/serial.log 2>/dev/null || echo 0; }
serial_grew() { [ "$(serial_size)" -gt "$1" ]; }
vm_state() { api $url/v1/vms/"$vm" | json state; }
vm_runs() { [ "$(vm_state)" = running ]; }
job_is_over() { case $(api "$url/v1/jobs/$job" | json state) in succeeded | failed | cancelled) ;; *) return 1 ;; esac; }

# vm_lives WHEN: the same QEMU as before, its guest still at work
vm_lives() {
    [ -n "$qemu" ] || result "there is a VM" 1
    same "the VM's process lives through $1" "$(qemu_pid)" "$qemu"
    check "the VM's guest works on through $1" within 30 serial_grew "$(serial_size)"
}
vm_known() {
    check "the daemon is healthy again after $1" within 60 healthy
    check "the daemon finds the VM running after $1" within 30 vm_runs
}

echo "# $(systemctl --version | head -1), up for $(cut -d' ' -f1 /proc/uptime) s"

# ---- installation ----
cp /mnt/vmrecover.deb /tmp/
check "the package installs" dpkg -i /tmp/vmrecover.deb
check "the service becomes active" within 60 systemctl is-active --quiet $unit
[ "$(show ActiveState)" = active ] || { systemctl status $unit; journalctl -u $unit --no-pager | tail -30; } >&2
same "it says itself when it is ready" "$(show Type) $(show StatusText | head -c 1 | grep -c .)" "notify 1"
same "it starts with the machine" "$(systemctl is-enabled $unit)" enabled
echo "# systemctl status: $(systemctl status $unit | sed -n 's/^ *Active: //p')"
check "healthz answers" within 20 healthy
same "the token is for root alone" "$(stat -c '%a %U' $data/token)" "600 root"
same "the key is for root alone" "$(stat -c '%a %U' $data/secret.key)" "600 root"
same "the database is for root alone" "$(stat -c '%a %U' $data/vmrecover.db)" "600 root"
same "others may not look into the data folder" "$(stat -c '%a %U:%G' $data)" "710 root:vmrecover"
same "no token, no answer" "$(curl -s -o /dev/null -w '%{http_code}' $url/v1/jobs)" 401
check "the client reaches the daemon" vmrecover list
listening=$(awk 'FNR > 1 && $4 == "0A" { print $2 }' /proc/net/tcp /proc/net/tcp6 | sort | tr '\n' ' ')
same "it listens on loopback alone" "$listening" "00000000000000000000000001000000:2120 0100007F:2120 "

# ---- sandbox ----
main=$(show MainPID)
same "six capabilities, no more" "$(status_of "$main" CapBnd)" 00000000000000eb
same "no new privileges, system calls filtered" "$(status_of "$main" NoNewPrivs) $(status_of "$main" Seccomp)" "1 2"
for dir in /etc /usr /home /var/log; do
    nsenter -t "$main" -m -- touch "$dir/written" 2>/dev/null
    same "it cannot write to $dir" $? 1
done
same "systemd understands the whole unit" "$(systemd-analyze verify --man=no $unit 2>&1)" ""
security=$(systemd-analyze security --no-pager $unit 2>&1 | tail -1)
echo "# $security"
check "systemd-analyze security finds the exposure low" grep -Eq 'level for [^:]*: [0-3]\.[0-9] OK' <<<"$security"

# ---- volumes ----
. /mnt/volumes.sh
[ "$(cat /mnt/only)" != volumes ] || exit 0

# ---- a VM, from a download to its screen ----
busybox httpd -p 127.0.0.1:8000 -h /mnt/www
job=$(api -H 'Content-Type: application/json' $url/v1/jobs -d '{"name":"alive","disks":[{"source":{"type":"blob","url":"http://127.0.0.1:8000/alive.vhd"}}],
    "vm":{"memory_mib":64,"cpus":1,"generation":1}}' | json id)
check "the job ends" within 180 job_is_over
same "the job succeeds" "$(api "$url/v1/jobs/$job" | json state)" succeeded
vm=$(api "$url/v1/jobs/$job" | json vm_id)
if ! vm_runs; then
    { api "$url/v1/jobs/$job"; echo; journalctl -u $unit --no-pager | tail -40; cat $data/vms/*/qemu.log; } >&2
    exit                                                # the rest is about this VM
fi
qemu=$(qemu_pid)
same "the VM belongs to its own account" "$(stat -c %U "/proc/$qemu")" vmrecover
same "the VM has no capability" "$(status_of "$qemu" CapEff) $(status_of "$qemu" NoNewPrivs)" "0000000000000000 1"
check "the VM has a scope of its own" grep -q '/vmrecover-vm-.*\.scope$' "/proc/$qemu/cgroup"
screen_says() { api -H 'Accept: text/plain' "$url/v1/vms/$vm/screen" | grep -q VM-ALIVE; }
check "the VM's screen can be read" within 60 screen_says
check "the VM's guest works" within 60 serial_grew 2

# ---- the VM outlives the daemon ----
systemctl restart $unit
vm_lives "a restart"
vm_known "a restart"
systemctl stop $unit
same "the service stops" "$(systemctl is-active $unit) $(show Result)" "inactive success"
vm_lives "a stop"
systemctl start $unit
vm_known "a stop"
main=$(show MainPID)
kill -KILL "$main"
check "systemd starts a killed daemon again" within 60 main_pid_is_not "$main"
vm_lives "a kill"
vm_known "a kill"

# ---- watchdog ----
mkdir -p /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=5\n' >/run/systemd/system/$unit.d/test.conf
systemctl daemon-reload
systemctl restart $unit
main=$(show MainPID)
sleep 8
same "a daemon that feeds the watchdog is left alone" "$(show MainPID)" "$main"
kill -STOP "$main"
check "the watchdog replaces a daemon that hangs" within 60 main_pid_is_not "$main"
check "the watchdog was the reason" within 10 sh -c "journalctl -u $unit --no-pager | grep -q 'Watchdog timeout'"
vm_lives "the watchdog"
vm_known "the watchdog"
rm -r /run/systemd/system/$unit.d
systemctl daemon-reload

# ---- a wrong configuration ----
conf=/etc/vmrecover/vmrecover.conf
cp $conf /tmp/conf
echo 'bogus = 1' >>$conf
systemctl restart $unit 2>/dev/null
check "a wrong configuration stops the start" within 20 systemctl is-failed --quiet $unit
same "and is not tried again and again" "$(show ExecMainStatus)" 2
check "the journal names file and line" sh -c "journalctl -u $unit --no-pager | grep -q '$conf, line $(wc -l <$conf)'"
cp /tmp/conf $conf
systemctl reset-failed $unit
systemctl start $unit
check "a mended configuration starts" within 30 healthy

# ---- upgrade: a changed configuration stays, the VM lives ----
echo '# mine' >>$conf
main=$(show MainPID)
check "an upgrade installs" dpkg -i /tmp/vmrecover.deb
check "an upgrade restarts the daemon" within 60 main_pid_is_not "$main"
check "an upgrade keeps a changed configuration" grep -q '^# mine' $conf
vm_lives "an upgrade"
vm_known "an upgrade"

# ---- removal ----
check "the package can be removed" dpkg -r vmrecover
check "no unit is left" sh -c '! systemctl cat vmrecoverd.service'
same "no scope is left" "$(systemctl list-units --all --type=scope --plain --no-legend 'vmrecover*' | tr '\n' ' ')" ""
same "no process is left" "$(pgrep -f 'vmrecoverd|qemu-system' | tr '\n' ' ')" ""
check "configuration, database and images are kept" sh -c "test -s $conf -a -s $data/vmrecover.db && ls $data/disks/*/*.vhd"
purge=$(dpkg -P vmrecover 2>&1)
same "the package can be purged" $? 0
same "secrets and queue go, disks and VMs stay" "$(ls -A $data | tr '\n' ' ')" "disks vms "
check "the purge says what it kept" grep -q "kept the disks and virtual machines under $data" <<<"$purge"
same "no configuration is left" "$(ls -d /etc/vmrecover /etc/systemd/system/*/vmrecoverd.service 2>/dev/null)" ""
