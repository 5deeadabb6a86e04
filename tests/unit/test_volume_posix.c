/* Roles and reasons of disks that no loop device can stand for, from folders made like the kernel's; and tables of ours as a crash leaves them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/linux.h"
#include "storage/volume/mark.h"
#include "tests/unit/tmp.h"

/* ---- disks ---- */

struct host { char *dir, *sys, *proc, *dev; struct linux_host h; };

static void host_open(struct host *t)
{
    t->dir = tmp_make();
    t->sys = tmp_path(t->dir, "sys");
    t->proc = tmp_path(t->dir, "proc");
    t->dev = tmp_path(t->dir, "dev");
    t->h = (struct linux_host){.sys = t->sys, .proc = t->proc, .dev = t->dev};
    assert_int_equal(tmp_shell(t->dir, "mkdir -p sys/block sys/devices proc/self proc/sys/kernel/random dev; : >proc/self/mountinfo; echo boot >proc/sys/kernel/random/boot_id"), 0);
}

static void host_close(struct host *t)
{
    free(t->sys);
    free(t->proc);
    free(t->dev);
    tmp_remove(t->dir);
}

/* A disk of 64 GiB behind `path`; what else there is of it by a shell's words, in its folder. */
static void plug(struct host *t, const char *name, const char *path, const char *words)
{
    char line[1200];
    snprintf(line, sizeof line,
             "top=$PWD disk=$PWD/sys/devices/%s/block/%s; mkdir -p \"$disk/queue\" && cd \"$disk\" && ln -s ../.. device && echo 134217728 >size && "
             "echo 512 >queue/logical_block_size && echo 0 >ro && echo 0 >removable && echo 7 >diskseq && { %s; } && ln -s \"$disk\" \"$top/sys/block/%s\"",
             path, name, words, name);
    assert_int_equal(tmp_shell(t->dir, line), 0);
}

/* Blank, as if it had been looked at. */
static void judge(struct hostdisk *d, bool named, char ret[HOSTDISK_REASON_LEN])
{
    struct hostdisk_reasons why;
    d->blank = HOSTDISK_BLANK;
    snprintf(ret, HOSTDISK_REASON_LEN, "%s", hostdisk_judge(d, named, &why) ? "free" : why.text[0]);
}

static void disks_are_judged_by_where_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *name, *path, *words, *reason, *when_named;      /* the beginning of each */
    } rows[] = {
        {"sda", "vmbus/00000000-0000-8899-0000-000000000000/host0/target0:0:0/0:0:0:0", "echo {00000000-0000-8899-0000-000000000000} >../../../../../device_id", "os_disk: ", "os_disk: "},
        {"sdb", "vmbus/00000000-0001-8899-0000-000000000000/host1/target1:0:1/1:0:1:0", "echo {00000000-0001-8899-0000-000000000000} >../../../../../device_id", "temporary: ", "free"},
        {"sdc", "vmbus/f8b3781a/host2/target2:0:0/2:0:0:0", "echo {f8b3781a-1e82-4818-a1c3-63d806ec15bb} >../../../../../device_id", "os_disk: ", "os_disk: "},
        {"sdd", "vmbus/f8b3781a/host2/target2:0:0/2:0:0:1", ":", "temporary: ", "free"},
        {"sde", "vmbus/f8b3781b/host3/target3:0:0/3:0:0:0", "echo {f8b3781b-1e82-4818-a1c3-63d806ec15bb} >../../../../../device_id", "free", "free"},
        {"nvme0n1", "pci0/nvme/nvme0", "echo 'Microsoft NVMe Direct Disk v2' >device/model", "temporary: ", "free"},
        {"nvme1n1", "pci1/nvme/nvme1", "echo 'MSFT NVMe Accelerator v1.0' >device/model; echo 1 >nsid", "os_disk: ", "os_disk: "},
        {"nvme1n2", "pci2/nvme/nvme1", "echo 'MSFT NVMe Accelerator v1.0' >device/model; echo 2 >nsid", "free", "free"},
        {"nvme2n1", "pci3/nvme/nvme2", "echo 'Amazon EC2 NVMe Instance Storage' >device/model", "temporary: ", "free"},
        {"sdf", "pci4/usb1/host4/target4:0:0/4:0:0:0", ":", "removable: ", "removable: "},
        {"sdg", "platform/host5/session1/target5:0:0/5:0:0:0", ":", "bus: ", "bus: "},
        {"sdh", "pci5/host6/target6:0:0/6:0:0:0", "echo 1 >ro", "read_only: ", "read_only: "},
        {"sdi", "pci6/host7/target7:0:0/7:0:0:0", "echo 0 >size", "no_medium: ", "no_medium: "},
        {"sdj", "pci7/host8/target8:0:0/8:0:0:0", "echo 1 >removable", "removable: ", "removable: "},
        {"sdk", "pci8/host9/target9:0:0/9:0:0:0", "echo 520 >queue/logical_block_size", "sector_size: ", "sector_size: "},
        {"sdl", "pci9/host10/target10:0:0/10:0:0:0", "echo host-managed >queue/zoned", "health: ", "health: "},
        {"sdm", "pci10/host11/target11:0:0/11:0:0:0", "echo naa.1 >device/wwid", "ambiguous: ", "ambiguous: "},
        {"sdn", "pci11/host12/target12:0:0/12:0:0:0", "echo naa.1 >device/wwid", "ambiguous: ", "ambiguous: "},
        {"sdo", "pci12/host13/target13:0:0/13:0:0:0", "mkdir sdo1 && echo 1 >sdo1/partition && echo 8:225 >sdo1/dev && echo 2048 >sdo1/start && echo 4096 >sdo1/size", "os_disk: ", "os_disk: "},
        {"sdp", "pci13/host14/target14:0:0/14:0:0:0", "mkdir holders && : >holders/md0", "held: md0 ", "held: md0 "},
    };
    struct host t;
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    struct err e;
    host_open(&t);
    assert_int_equal(tmp_shell(t.dir, "echo '22 1 8:225 / / rw - ext4 /dev/none rw' >proc/self/mountinfo"), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        plug(&t, rows[i].name, rows[i].path, rows[i].words);
    if (sysfs_disks(&t.h, &l, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(l.n, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hostdisk *d = NULL;
        char got[HOSTDISK_REASON_LEN];
        for (size_t k = 0; k < l.n; k++)
            if (!strcmp(strrchr(l.at[k].device, '/') + 1, rows[i].name))
                d = &l.at[k];
        assert_non_null(d);
        for (int named = 0; named < 2; named++) {
            const char *wanted = named ? rows[i].when_named : rows[i].reason;
            judge(d, named, got);
            if (strncmp(got, wanted, strlen(wanted)) != 0)
                fail_msg("%s%s: %s instead of %s", rows[i].name, named ? ", named" : "", got, wanted);
        }
    }
    host_close(&t);
}

/* ---- what Windows says of its disks ---- */

static void facts_of_windows_are_judged(void **state)
{
    (void)state;
    static const struct { struct hostdisk d; const char *reason, *when_named; } rows[] = {
        {{.offline = true, .offline_reason = 1, .read_only = true}, "offline_by_policy: ", "free"},
        {{.offline = true, .offline_reason = 4}, "offline: ", "offline: "},
        {{.offline = true}, "offline: ", "offline: "},
        {{.clustered = true}, "clustered: ", "clustered: "},
        {{.pooled = true}, "pooled: ", "pooled: "},
        {{.dynamic = true}, "dynamic: ", "dynamic: "},
        {{.bus = HOSTDISK_SPACES}, "bus: ", "bus: "},
        {{.bus = HOSTDISK_FILE}, "bus: ", "bus: "},
        {{.bus = HOSTDISK_SAS}, "free", "free"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int named = 0; named < 2; named++) {
            struct hostdisk d = rows[i].d;
            char got[HOSTDISK_REASON_LEN];
            const char *wanted = named ? rows[i].when_named : rows[i].reason;
            d.size = (uint64_t)64 << 30;
            d.sector = 512;
            judge(&d, named, got);
            if (strncmp(got, wanted, strlen(wanted)) != 0)
                fail_msg("row %zu%s: %s instead of %s", i, named ? ", named" : "", got, wanted);
        }
    struct hostdisk unseen = {.size = (uint64_t)64 << 30, .sector = 512};
    struct hostdisk_reasons why;
    assert_false(hostdisk_judge(&unseen, true, &why));               /* nobody looked */
    assert_true(hostdisk_worth_a_look(&unseen, true));
}

/* ---- tables that a crash left ---- */

#define ID "5d0f2f3e-2f0a-4b1c-8a5d-6e7f8091a2b3"

static enum volume_mine mine(const struct volume_plan *p, const uint8_t *head, const uint8_t *tail)
{
    enum volume_mine got;
    struct err e;
    assert_int_equal(mark_judge(p, 0, head, tail, &got, &e), 0);
    return got;
}

static void put_guid(uint8_t *to, const char *what)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char text[UUID_LEN], hex[33];
    struct err e;
    size_t n = 0;
    assert_int_equal(volume_guid(ID, what, 0, text, &e), 0);
    for (const char *s = text; *s; s++)
        if (*s != '-')
            hex[n++] = *s;
    hex[n] = 0;
    for (size_t i = 0; i < 16; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        to[order[i]] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

/* Each of the five sectors and lists there or not: 32 states, all ours, only the full one whole. One strange byte anywhere makes it another's. */
static void torn_tables_are_recognised(void **state)
{
    (void)state;
    struct volume_plan p = {.id = ID, .style = VOLUME_GPT, .n_disks = 1, .disks = {{.sector = 512}}};
    uint8_t *head = calloc(1, MARK_EDGE_BYTES), *tail = calloc(1, MARK_EDGE_BYTES);
    assert_true(head && tail);
    for (unsigned set = 0; set < 32; set++) {
        memset(head, 0, MARK_EDGE_BYTES);
        memset(tail, 0, MARK_EDGE_BYTES);
        if (set & 1) {
            head[450] = 0xEE;
            head[510] = 0x55;
            head[511] = 0xAA;
        }
        for (int copy = 0; copy < 2; copy++) {
            uint8_t *header = copy ? tail + MARK_EDGE_BYTES - 512 : head + 512, *list = copy ? tail + MARK_EDGE_BYTES - 512 - 16384 : head + 1024;
            if (set & (copy ? 2 : 4)) {
                memcpy(header, "EFI PART", 8);
                put_guid(header + 56, "disk");
            }
            if (set & (copy ? 8 : 16))
                put_guid(list + 16, "part");
        }
        assert_int_equal(mine(&p, head, tail), set == 31 ? VOLUME_WHOLLY : set ? VOLUME_PARTLY : VOLUME_BARE);
        for (size_t i = 0; i < 2; i++) {
            uint8_t *at = i ? tail + 77 : head + 40000;
            *at = 1;
            assert_int_equal(mine(&p, head, tail), VOLUME_FOREIGN);
            *at = 0;
        }
        if (set & 4) {
            head[512 + 56] ^= 1;                      /* the table of another */
            assert_int_equal(mine(&p, head, tail), VOLUME_FOREIGN);
        }
    }
    free(head);
    free(tail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disks_are_judged_by_where_they_are),
        cmocka_unit_test(facts_of_windows_are_judged),
        cmocka_unit_test(torn_tables_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
