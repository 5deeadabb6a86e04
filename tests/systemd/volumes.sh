# Volumes on the disks of the guest, made by the installed service: sourced by guest.sh. Four disks are empty, the fifth is another's.
while read -r module; do busybox insmod "/mnt/modules/$module" 2>/dev/null; done </mnt/modules/order
udevadm settle


disks() { api $url/v1/disks; }
# ids DISK...: as the API takes them
ids() { local k list=''; for k; do list="$list${list:+,}\"$(id_of "$k")\""; done; echo "[$list]"; }
# id_of K: the id of the disk with that serial
id_of() { disks | tr -d '\n' | sed 's/{"id"/\n&/g' | sed -n "s/^{\"id\": *\"\([^\"]*\)\".*VOLUME$1\".*/\1/p"; }
free_disks() { disks | grep -o '"eligible": *true' | wc -l; }
all_free() { [ "$(free_disks)" = 4 ]; }
volume_job() { api -H 'Content-Type: application/json' $url/v1/volumes -d "$1" | json id; }
state_of() { api "$url/v1/jobs/$1" | json state; }
job_ends() { case $(state_of "$1") in succeeded | failed | cancelled) ;; *) return 1 ;; esac; }
job_gone() { [ "$(api -o /dev/null -w '%{http_code}' "$url/v1/jobs/$1")" = 404 ]; }
remove() { api -X DELETE "$url/v1/jobs/$1?disks=delete" >/dev/null; }
# made JOB: waits, and says why not
made() {
    within 180 job_ends "$1"
    [ "$(state_of "$1")" = succeeded ] || { api "$url/v1/jobs/$1"; journalctl -u $unit --no-pager | tail -30; return 1; } >&2
}
clean() { all_free && [ -z "$(vgs --noheadings 2>/dev/null)" ] && ! ls /etc/systemd/system/*volumes*.mount 2>/dev/null && ! grep -q /volumes/ /proc/self/mountinfo; }

same "four empty disks are free, a fifth that holds something is not" "$(free_disks)" 4
check "the fifth says what is on it" grep -q 'it holds ext4 archive' <<<"$(vmrecover disks)"
[ "$(free_disks)" = 4 ] || disks >&2

# ---- make bench: throughput of a file on one disk and on stripes, past the cache; the disks are throttled by run.sh ----
# rate DD-ARGUMENTS...: MB/s
rate() { LC_ALL=C dd "$@" 2>&1 | sed -n 's/^\([0-9]*\) bytes.* copied, \([0-9.]*\) s.*/\1 \2/p' | awk '{ printf "%.1f\n", $1 / $2 / 1e6 }'; }
if [ "$(cat /mnt/only)" = bench ]; then
    for n in 1 2 4; do
        job=$(volume_job "{\"disks\": $(ids $(seq $n)), \"label\": \"bench\"}")
        check "a volume of $n disks" made "$job"
        file=/var/lib/vmrecover/volumes/bench/file
        echo "# bench disks=$n write=$(rate if=/dev/zero of=$file bs=4M count=48 oflag=direct conv=fsync) read=$(rate if=$file of=/dev/null bs=4M iflag=direct)"
        rm -f $file
        remove "$job"
        check "and away" within 120 job_gone "$job"
    done
    exit 0
fi

# ---- single, striped, again, away ----
job=$(volume_job "{\"disks\": $(ids 1), \"label\": \"one\"}")
check "one disk becomes a volume" made "$job"
same "with a mount unit that lets the machine start without it" "$(grep -c 'nofail' /etc/systemd/system/var-lib-vmrecover-volumes-one.mount)" 1
same "mounted as said there" "$(findmnt -n -o FSTYPE,LABEL /var/lib/vmrecover/volumes/one | tr -s ' ')" "xfs one"
same "and again after a restart" "$(systemctl is-enabled var-lib-vmrecover-volumes-one.mount)" enabled
systemctl stop var-lib-vmrecover-volumes-one.mount
systemctl restart $unit
check "the daemon mounts it when it starts" within 60 findmnt /var/lib/vmrecover/volumes/one
remove "$job"
check "the job goes" within 120 job_gone "$job"
check "and the disk is empty again" within 30 clean

for n in 2 4; do
    job=$(volume_job "{\"disks\": $(ids $(seq $n)), \"layout\": \"striped\", \"label\": \"wide\"}")
    check "a striped volume of $n disks is made" made "$job"
    same "over all of them" "$(lvs --noheadings -o stripes 2>/dev/null | tr -d ' ')" $n
    size=$(findmnt -n -b -o SIZE /var/lib/vmrecover/volumes/wide)
    [ "${size:-0}" -gt $((n * 1200 << 20)) ]
    result "and as large as them together" $? "$size"
    if [ $n = 2 ]; then
        again=$(volume_job '{"label": "wide"}')
        check "another job finds it" made "$again"
        same "and it is the same volume" "$(api $url/v1/volumes | grep -o '"managed": *true' | wc -l)" 1
        remove "$again"
        check "which stays when that job goes" within 60 job_gone "$again"
        check "still there" findmnt /var/lib/vmrecover/volumes/wide
    fi
    remove "$job"
    check "all of it goes with the job that made it" within 180 job_gone "$job"
    check "and $n disks are empty again" within 30 clean
done

# ---- killed at random instants, while it is made and while it is taken apart ----
RANDOM=$(($(cat /mnt/seed)))
for k in $(seq "$(cat /mnt/kills)"); do
    job=$(volume_job '{"disks": "auto", "layout": "striped", "label": "killed"}')
    sleep $((RANDOM % 5)).$((RANDOM % 1000))
    kill -KILL "$(show MainPID)"
    within 60 healthy
    check "killed while it is made ($k): finished by the next run" made "$job"
    remove "$job"
    sleep $((RANDOM % 3)).$((RANDOM % 1000))
    kill -KILL "$(show MainPID)"
    within 60 healthy
    check "killed while it is removed ($k): removed by the next run" within 180 job_gone "$job"
    check "and the disks are empty ($k)" within 30 clean
    systemctl reset-failed $unit 2>/dev/null
done

# ---- the end-to-end tests of volumes, where the host cannot run them (run.sh): in a root of the host's own programs, without systemd ----
if [ -b /dev/vdc ]; then
    mkdir /tree
    mount /dev/vdc /tree
    for d in proc sys dev; do mount --rbind /$d /tree/$d; done
    for test in /tree/t/tests/e2e/volume*.test.mjs; do
        name=$(basename "$test")
        SLOW=${SLOW:-8} SEED=$(cat /mnt/seed) chroot /tree /usr/bin/env HOME=/root TMPDIR=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            node --test --test-reporter=tap "/t/tests/e2e/$name" >/tmp/tap 2>&1
        status=$?
        sed -n 's/^ *\(ok\|not ok\) [0-9]* - \(.*\)/\1 - \2/p; s/^ *# \(.*seed.*\)/# \1/p' /tmp/tap
        [ $status = 0 ] || cat /tmp/tap >&2
        result "$name passes in the guest" $status
    done
fi
