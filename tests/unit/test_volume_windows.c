/* Volumes through Windows' storage classes, on the double's disks: one disk, several in a pool, used again, and every disk that must not be taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/log.h"
#include "common/os.h"
#include "tests/unit/tmp.h"
#include "tests/unit/volume_rig.h"

static void quiet(const struct log_entry *entry)
{
    (void)entry;
}

static struct wmi_object *one(struct volume_rig *g, const char *wql)
{
    struct wmi_wait w = {.timeout_ms = 1000};
    struct wmi_object *o = NULL;
    struct err e;
    OK(wmi_query_one(((struct win_host *)g->h)->wmi, wql, &w, &o, &e));
    return o;
}

static void text_is(struct volume_rig *g, const char *wql, const char *name, const char *expected)
{
    struct wmi_object *o = one(g, wql);
    AUTO_FREE char *s = wmi_str(o, name);
    if (!s || !str_ieq(s, expected))
        fail_msg("%s: %s is %s and not %s", wql, name, s ? s : "nothing", expected);
    wmi_object_free(o);
}

static uint64_t number_of(struct volume_rig *g, const char *wql, const char *name)
{
    struct wmi_object *o = one(g, wql);
    uint64_t u = wmi_uint(o, name, UINT64_MAX);
    wmi_object_free(o);
    return u;
}

static void same_state(const char *before, struct volume_rig *g, const char *what)
{
    AUTO_FREE char *now = volume_rig_state(g);
    if (strcmp(before, now)) {
        char *save = NULL, *copy = str_dup(now);
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            if (!strstr(before, line))
                print_error("+ %s\n", line);
        free(copy);
        copy = str_dup(before);
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            if (!strstr(now, line))
                print_error("- %s\n", line);
        free(copy);
        fail_msg("%s: the host is not as it was", what);
    }
}

static void put_file(struct volume_plan *p, const char *name, bool there)
{
    struct err e;
    AUTO_FREE char *path = os_path_join(p->mount_point, name);
    if (there)
        OK(os_write_file(path, "x", 1, 0, &e));
    else
        OK(os_remove(path, &e));
}

static void make_and_undo(struct volume_rig *g, struct volume_plan *p, const char *before)
{
    struct volume_watch w = volume_rig_watch(g);
    AUTO_FREE char *kept = NULL, *again = NULL;
    struct err e;
    OK(volume_make(g->h, p, &w, &e));
    assert_int_equal(p->done, VOLUME_MOUNTED);
    assert_int_equal(g->kept.done, VOLUME_MOUNTED);
    assert_true(g->roots_closed > 0);
    OK(volume_ready(g->h, p, &e));
    put_file(p, "disk.vhdx", true);
    OK(volume_undo(g->h, p, &w, &kept, &e));
    assert_non_null(kept);
    assert_non_null(strstr(kept, "disk.vhdx"));
    put_file(p, "disk.vhdx", false);
    OK(volume_undo(g->h, p, &w, &again, &e));
    assert_null(again);
    same_state(before, g, "undone");
}

static const char *const empty[] = {"00000003", "00000007", "00000008"};

static void add_third(struct volume_rig *g)
{
    dbl_disk_add(g->d, &(struct dbl_disk){.serial = "00000008", .size = 128 * VOLUME_GIB});
}

/* ---- one disk ---- */

static void test_single(void **state)
{
    (void)state;
    static const unsigned builds[] = {DBL_2016, DBL_2019, DBL_2025};
    for (unsigned i = 0; i < 12; i++) {
        struct dbl_options o = {.schema = dbl_schema(builds[i % 3]), .seed = i, .shuffles = i >= 3, .choices = i % 2 ? DBL_EVER : DBL_CALM};
        struct volume_rig *g = volume_rig_new(&o);
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        char guid[UUID_LEN];
        AUTO_FREE char *before = volume_rig_state(g);
        struct volume_plan p = volume_rig_plan(g, empty, 1, VOLUME_LAYOUT_AUTO, "recovery");
        same_state(before, g, "planned");
        assert_int_equal(p.layout, VOLUME_SINGLE);
        assert_int_equal(p.fs, VOLUME_NTFS);
        p.style = i % 4 == 3 ? VOLUME_MBR : VOLUME_GPT;
        p.fs = i % 5 == 4 ? VOLUME_REFS : VOLUME_NTFS;
        OK(volume_make(g->h, &p, &w, &e));
        OK(volume_guid(p.id, "disk", 0, guid, &e));
        AUTO_FREE char *braced = str_printf("{%s}", guid);
        if (p.style == VOLUME_GPT)
            text_is(g, "SELECT * FROM MSFT_Disk WHERE SerialNumber='00000003'", "Guid", braced);
        text_is(g, "SELECT * FROM MSFT_Volume WHERE FileSystemLabel='recovery'", "FileSystem", p.fs == VOLUME_REFS ? "ReFS" : "NTFS");
        if (builds[i % 3] != DBL_2016)
            assert_int_equal(number_of(g, "SELECT * FROM MSFT_Volume WHERE FileSystemLabel='recovery'", "AllocationUnitSize"), 65536);
        AUTO_FREE char *mark = os_path_join(p.mount_point, VOLUME_MARK), *folder = tmp_path(g->data, "volumes/recovery");
        struct os_stat st;
        OK(os_stat(mark, &st, &e));
        assert_true(st.exists);
        assert_string_equal(p.mount_point, folder);
        /* found again, by its label, by its disk, and when nothing is said; by a new daemon too */
        volume_rig_open(g);
        AUTO_FREE char *id = volume_rig_disk(empty[0]);
        const char *const by_disk[] = {id};
        const struct volume_request requests[] = {{.label = "recovery"}, {.disks = by_disk, .n_disks = 1}, {.label = NULL}};
        for (size_t k = 0; k < ARRAY_LEN(requests); k++) {
            struct volume_plan q = {0};
            OK(volume_plan_make(g->h, &requests[k], NULL, 0, 1, &q, &e));
            assert_true(q.found);
            assert_string_equal(q.id, p.id);
            assert_string_equal(q.mount_point, p.mount_point);
            assert_int_equal(q.done, VOLUME_MOUNTED);
            OK(volume_ready(g->h, &q, &e));
            volume_plan_clear(&q);
        }
        struct volume_plan q = {0};
        assert_int_equal(volume_plan_make(g->h, &(struct volume_request){.label = "recovery", .layout = VOLUME_STRIPED}, NULL, 0, 1, &q, &e), -ERR_VOLUME);
        assert_int_equal(volume_plan_make(g->h, &(struct volume_request){.label = "recovery"}, NULL, 0, UINT64_C(1) << 50, &q, &e), -ERR_DISK_FULL);
        assert_int_equal(volume_plan_make(g->h, &(struct volume_request){.label = "Windows"}, NULL, 0, 1, &q, &e), -ERR_VOLUME);
        make_and_undo(g, &p, before);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* What was written to the volume does not show on the disk that is given back. */
static void test_wiped(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct dbl_options o = {.schema = dbl_schema(i < 2 ? DBL_2019 : DBL_2016), .seed = 1, .choices = i % 2 ? DBL_EVER : DBL_CALM};
        struct volume_rig *g = volume_rig_new(&o);
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        AUTO_FREE char *before = volume_rig_state(g), *kept = NULL;
        struct volume_plan p = volume_rig_plan(g, empty, 1, VOLUME_LAYOUT_AUTO, NULL);
        OK(volume_make(g->h, &p, &w, &e));
        for (unsigned at = 1; at < 128; at++)
            dbl_disk_write_bytes(g->d, "00000003", at * VOLUME_GIB, "of a VM", 7);
        dbl_disk_write_bytes(g->d, "00000003", VOLUME_GIB / 2 + (1 << 20), "of a VM", 7);
        OK(volume_undo(g->h, &p, &w, &kept, &e));
        assert_null(kept);
        same_state(before, g, "wiped");
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* ---- several ---- */

static void test_striped(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct dbl_options o = {.schema = dbl_schema(i % 2 ? DBL_2025 : DBL_2016), .seed = i, .shuffles = i >= 2, .choices = i % 3 == 2 ? DBL_EVER : DBL_CALM};
        struct volume_rig *g = volume_rig_new(&o);
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        add_third(g);
        AUTO_FREE char *before = volume_rig_state(g);
        struct volume_plan p = {0};
        OK(volume_plan_make(g->h, &(struct volume_request){.layout = VOLUME_STRIPED, .label = "recovery"}, NULL, 0, 1, &p, &e));
        assert_int_equal(p.n_disks, 3);
        OK(volume_make(g->h, &p, &w, &e));
        const char *space = "SELECT * FROM MSFT_VirtualDisk";
        assert_int_equal(number_of(g, space, "NumberOfColumns"), 3);
        assert_int_equal(number_of(g, space, "Interleave"), 65536);
        text_is(g, space, "ResiliencySettingName", "Simple");
        assert_true(number_of(g, space, "Size") > 300 * VOLUME_GIB);
        AUTO_FREE char *text = str_printf(WIN_POOL_TEXT "%s", p.id);
        text_is(g, "SELECT * FROM MSFT_StoragePool WHERE IsPrimordial=FALSE", "OtherUsageDescription", text);
        assert_int_equal(number_of(g, "SELECT * FROM MSFT_Disk WHERE BusType=16", "PartitionStyle"), 2);
        AUTO(hostdisks_clear) struct hostdisks l = {0};
        AUTO(hostvolumes_clear) struct hostvolumes v = {0};
        OK(volume_disks(g->h, &l, &e));
        unsigned members = 0;
        for (size_t k = 0; k < l.n; k++)
            members += l.at[k].volume && !strcmp(l.at[k].volume, p.id) && l.at[k].pooled;
        assert_int_equal(members, 3);
        OK(volume_volumes(g->h, &v, &e));
        assert_string_equal(v.at[0].id, p.id);
        assert_true(v.at[0].managed && !v.at[0].broken);
        assert_int_equal(v.at[0].n_disks, 3);
        struct volume_plan q = {0};
        OK(volume_plan_make(g->h, &(struct volume_request){.label = "recovery"}, NULL, 0, 1, &q, &e));
        assert_true(q.found && !strcmp(q.id, p.id) && q.layout == VOLUME_STRIPED);
        volume_plan_clear(&q);
        uint64_t size = number_of(g, space, "Size"), step = (size - (2 << 20)) / 256;                /* where a sample is */
        if (i % 2)
            dbl_disk_write_bytes(g->d, "space-1", (1 << 20) + 9 * step / 4096 * 4096, "of a VM", 7);
        make_and_undo(g, &p, before);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* ---- disks that must not be taken ---- */

#define DISK "0000000G"
struct bad {
    const char *name, *reason;                         /* the code that hostdisk_judge gives */
    struct dbl_disk disk;
    const char *set;                                   /* of MSFT_Disk; with a '.' in front of MSFT_PhysicalDisk */
    uint64_t value;
    const char *text;                                  /* written to the disk at `value`, without `set` */
    void (*fn)(struct volume_rig *g);
    bool only_at_action;                               /* when it is listed, it only may be taken by name */
};

static void foreign_pool(struct volume_rig *g)
{
    dbl_disk_pool(g->d, DISK);
}
static void pass_through(struct volume_rig *g)
{
    dbl_disk_pass_through(g->d, DISK);
}
static void windows_disk(struct volume_rig *g)
{
    dbl_disk_partition(g->d, DISK, "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}", 0, "NTFS", "Backups");
}
static void recovery_partition(struct volume_rig *g)
{
    dbl_disk_partition(g->d, DISK, "{de94bba4-06d1-4d40-a16a-bfd50179d6ac}", 0, NULL, NULL);
}
static void dynamic_disk(struct volume_rig *g)
{
    dbl_disk_partition(g->d, DISK, "{5808c8aa-7e8f-42e0-85d2-e1e90434cfb3}", 0, NULL, NULL);
}
static void dynamic_mbr(struct volume_rig *g)
{
    dbl_disk_partition(g->d, DISK, NULL, 0x42, NULL, NULL);
}
static void same_id(struct volume_rig *g)
{
    dbl_disk_add(g->d, &(struct dbl_disk){.serial = "0000000H", .size = 100 * VOLUME_GIB});
    dbl_disk_name(g->d, "0000000H", "UniqueId", "60022480" DISK);
}
static void temporary_storage(struct volume_rig *g)
{
    dbl_disk_partition(g->d, DISK, NULL, 7, "NTFS", "Temporary Storage");
}

#define SIZE (100 * VOLUME_GIB)
#define PLAIN {.serial = DISK, .size = SIZE}
static const struct bad gallery[] = {
    {"boot disk", "os_disk", PLAIN, "IsBoot", 1, NULL, NULL, false},
    {"system disk", "os_disk", PLAIN, "IsSystem", 1, NULL, NULL, false},
    {"boots the machine", "os_disk", PLAIN, "BootFromDisk", 1, NULL, NULL, false},
    {"clustered", "clustered", PLAIN, "IsClustered", 1, NULL, NULL, false},
    {"reserved by a cluster", "clustered", PLAIN, ".CannotPoolReason", 5, NULL, NULL, false},
    {"read-only", "read_only", PLAIN, "IsReadOnly", 1, NULL, NULL, false},
    {"no medium", "no_medium", PLAIN, "OperationalStatus", 0xD012, NULL, NULL, false},
    {"warned of", "health", PLAIN, "HealthStatus", 1, NULL, NULL, false},
    {"failing", "health", PLAIN, "HealthStatus", 2, NULL, NULL, false},
    {"unhealthy to Storage Spaces", "health", PLAIN, ".CannotPoolReason", 3, NULL, NULL, false},
    {"USB", "removable", {.serial = DISK, .size = SIZE, .bus = 7}, NULL, 0, NULL, NULL, false},
    {"SD card", "removable", {.serial = DISK, .size = SIZE, .bus = 12}, NULL, 0, NULL, NULL, false},
    {"MMC", "removable", {.serial = DISK, .size = SIZE, .bus = 13}, NULL, 0, NULL, NULL, false},
    {"removable to Storage Spaces", "removable", PLAIN, ".CannotPoolReason", 4, NULL, NULL, false},
    {"iSCSI", "bus", {.serial = DISK, .size = SIZE, .bus = 9}, NULL, 0, NULL, NULL, false},
    {"mounted VHD", "bus", {.serial = DISK, .size = SIZE, .bus = 15}, NULL, 0, NULL, NULL, false},
    {"virtual", "bus", {.serial = DISK, .size = SIZE, .bus = 14}, NULL, 0, NULL, NULL, false},
    {"somebody's virtual disk", "bus", {.serial = DISK, .size = SIZE, .bus = 16}, NULL, 0, NULL, NULL, false},
    {"in a pool", "pooled", PLAIN, NULL, 0, NULL, foreign_pool, false},
    {"of a VM", "in_use", PLAIN, NULL, 0, NULL, pass_through, false},
    {"small", "too_small", {.serial = DISK, .size = VOLUME_GIB - 1}, NULL, 0, NULL, NULL, false},
    {"strange sectors", "sector_size", {.serial = DISK, .size = SIZE, .sector = 520}, NULL, 0, NULL, NULL, false},
    {"same id as another", "ambiguous", PLAIN, NULL, 0, NULL, same_id, false},
    {"GPT without partitions", "partitions", {.serial = DISK, .size = SIZE, .style = 2}, NULL, 0, NULL, NULL, false},
    {"MBR without partitions", "partitions", {.serial = DISK, .size = SIZE, .style = 1}, NULL, 0, NULL, NULL, false},
    {"unknown partition style", "partitions", PLAIN, "PartitionStyle", 3, NULL, NULL, false},
    {"NTFS on GPT", "partitions", {.serial = DISK, .size = SIZE, .style = 2}, NULL, 0, NULL, windows_disk, false},
    {"recovery partition", "partitions", {.serial = DISK, .size = SIZE, .style = 2}, NULL, 0, NULL, recovery_partition, false},
    {"dynamic GPT", "dynamic", {.serial = DISK, .size = SIZE, .style = 2}, NULL, 0, NULL, dynamic_disk, false},
    {"dynamic MBR", "dynamic", {.serial = DISK, .size = SIZE, .style = 1}, NULL, 0, NULL, dynamic_mbr, false},
    {"temporary storage", "partitions", {.serial = DISK, .size = SIZE, .style = 1}, NULL, 0, NULL, temporary_storage, false},
    {"bare ext4", "not_blank", PLAIN, NULL, 1080, "\x53\xEF", NULL, false},
    {"bare XFS", "not_blank", PLAIN, NULL, 0, "XFSB", NULL, false},
    {"btrfs", "not_blank", PLAIN, NULL, 0x10040, "_BHRfS_M", NULL, false},
    {"LUKS", "not_blank", PLAIN, NULL, 0, "LUKS\xBA\xBE", NULL, false},
    {"LVM", "not_blank", PLAIN, NULL, 512, "LABELONE", NULL, false},
    {"ZFS at its end", "not_blank", PLAIN, NULL, SIZE - (128 << 10), "\x0C\xB1\xBA", NULL, false},
    {"md at its end", "not_blank", PLAIN, NULL, SIZE - 4096, "\xFC\x4E\x2B\xA9", NULL, false},
    {"the copy of a GPT alone", "not_blank", PLAIN, NULL, SIZE - 512, "EFI PART", NULL, false},
    {"one byte in the first sample", "not_blank", PLAIN, NULL, (1 << 20) + 77, "\x01", NULL, false},
    {"one byte, the last", "not_blank", PLAIN, NULL, SIZE - 1, "\x01", NULL, false},
    {"offline: another path", "offline", PLAIN, NULL, 2, NULL, NULL, false},
    {"offline: a snapshot", "offline", PLAIN, NULL, 3, NULL, NULL, false},
    {"offline: a collision", "offline", PLAIN, NULL, 4, NULL, NULL, false},
    {"offline, with a GPT when it is online", "offline_by_policy", {.serial = DISK, .size = SIZE, .style = 2, .offline = true}, NULL, 0, NULL, NULL, true},
    {"offline, with an MBR when it is online", "offline_by_policy", {.serial = DISK, .size = SIZE, .style = 1, .offline = true}, NULL, 0, NULL, NULL, true},
    {"offline, with a byte", "offline_by_policy", {.serial = DISK, .size = SIZE, .offline = true}, NULL, 4096, "\x01", NULL, true},
};

static void set_up(struct volume_rig *g, const struct bad *b)
{
    dbl_disk_add(g->d, &b->disk);
    if (b->set)
        dbl_disk_set(g->d, DISK, *b->set == '.', *b->set == '.' ? b->set + 1 : b->set, b->value);
    else if (b->text)
        dbl_disk_write_bytes(g->d, DISK, b->value, b->text, strlen(b->text));
    else if (b->value) {
        dbl_disk_set(g->d, DISK, false, "IsOffline", 1);
        dbl_disk_set(g->d, DISK, false, "OfflineReason", b->value);
    }
    if (b->fn)
        b->fn(g);
}

/* Listed with its reason; planned by name or made, refused; nothing of it changed. Under both of each unknown choice. */
static void test_gallery(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(gallery); i++)
        for (unsigned choice = 0; choice < 2; choice++) {
            const struct bad *b = &gallery[i];
            struct dbl_options o = {.seed = 1, .choices = choice ? DBL_EVER : DBL_CALM};
            struct volume_rig *g = volume_rig_new(&o);
            struct volume_watch w = volume_rig_watch(g);
            struct err e;
            set_up(g, b);
            AUTO_FREE char *before = volume_rig_state(g);
            AUTO(hostdisks_clear) struct hostdisks l = {0};
            OK(volume_disks(g->h, &l, &e));
            same_state(before, g, b->name);
            const struct hostdisk *d = NULL;
            for (size_t k = 0; k < l.n; k++)
                if (!strcmp(l.at[k].serial, DISK))
                    d = &l.at[k];
            assert_non_null(d);
            AUTO_FREE struct hostdisk_reasons *why = calloc(1, sizeof *why);
            AUTO_FREE char *wanted = str_printf("%s: ", b->reason);
            bool found = false;
            if (hostdisk_judge(d, false, why))
                fail_msg("%s: it is eligible", b->name);
            for (size_t k = 0; k < why->n; k++)
                found |= str_starts(why->text[k], wanted);
            if (!found)
                fail_msg("%s: the reason is not %s but %s", b->name, b->reason, why->text[0]);
            const char *ids[] = {d->id};
            struct volume_plan p = {0};
            int r = volume_plan_make(g->h, &(struct volume_request){.disks = ids, .n_disks = 1}, NULL, 0, 1, &p, &e);
            if (b->only_at_action) {
                OK(r);
                r = volume_make(g->h, &p, &w, &e);
                assert_int_equal(p.disks[0].begun, false);
            }
            if (r != -ERR_DISK_REFUSED)
                fail_msg("%s: %s", b->name, r < 0 ? e.msg : "it is taken");
            volume_plan_clear(&p);
            same_state(before, g, b->name);
            volume_rig_free(g);
        }
}

/* It was empty when it was listed, and is not when it is to be written to. */
static void test_changed_meanwhile(void **state)
{
    (void)state;
    static const struct bad changes[] = {
        {"a byte", "", PLAIN, NULL, SIZE / 2, NULL, NULL, false},
        {"read-only", "", PLAIN, "IsReadOnly", 1, NULL, NULL, false},
        {"in a pool", "", PLAIN, NULL, 0, NULL, foreign_pool, false},
        {"of a VM", "", PLAIN, NULL, 0, NULL, pass_through, false},
        {"another size", "", PLAIN, "Size", SIZE / 2, NULL, NULL, false},
        {"initialised", "", PLAIN, "PartitionStyle", 2, NULL, NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        const struct bad *c = &changes[i];
        struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = 1});
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        dbl_disk_add(g->d, &c->disk);
        struct volume_plan p = volume_rig_plan(g, (const char *const[]){DISK}, 1, VOLUME_LAYOUT_AUTO, NULL);
        if (c->set)
            dbl_disk_set(g->d, DISK, false, c->set, c->value);
        else if (c->fn)
            c->fn(g);
        else
            dbl_disk_write_bytes(g->d, DISK, 512, "\x01", 1);
        AUTO_FREE char *before = volume_rig_state(g);
        int r = volume_make(g->h, &p, &w, &e);
        if (r != -ERR_DISK_REFUSED)
            fail_msg("%s: %s", c->name, r < 0 ? e.msg : "it is taken");
        assert_false(p.disks[0].begun);
        same_state(before, g, c->name);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* Between the list and the action every disk gets another number: the right one is taken all the same. While it is read: nothing is. */
static void test_renumbered(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = 1});
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        struct volume_plan p = volume_rig_plan(g, empty, 1, VOLUME_LAYOUT_AUTO, "recovery");
        AUTO_FREE char *others = dbl_disk_bytes(g->d, "00000004");
        if (i == 0) {
            dbl_disks_renumber(g->d);
        } else {
            g->renumber_while_read = true;
            assert_true(volume_make(g->h, &p, &w, &e) < 0);
            assert_false(p.disks[0].begun);
        }
        OK(volume_make(g->h, &p, &w, &e));
        AUTO_FREE char *after = dbl_disk_bytes(g->d, "00000004"), *seventh = dbl_disk_bytes(g->d, "00000007"), *taken = dbl_disk_bytes(g->d, "00000003");
        assert_string_equal(others, after);
        assert_string_equal(seventh, "");
        assert_true(*taken);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* Offline by policy and empty: brought online when it is asked for by its id, and only then. */
static void test_offline_empty(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct dbl_options o = {.seed = 1, .choices = i % 2 ? DBL_EVER : DBL_CALM};
        struct volume_rig *g = volume_rig_new(&o);
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        static const char *const disks[] = {DISK, "0000000H"};
        for (size_t k = 0; k < 2; k++)
            dbl_disk_add(g->d, &(struct dbl_disk){.serial = disks[k], .size = SIZE, .offline = true});
        struct volume_plan p = volume_rig_plan(g, disks, i < 2 ? 1 : 2, VOLUME_LAYOUT_AUTO, NULL);
        assert_int_equal(number_of(g, "SELECT * FROM MSFT_Disk WHERE SerialNumber='" DISK "' AND IsOffline=TRUE", "Size"), SIZE);
        OK(volume_make(g->h, &p, &w, &e));
        assert_int_equal(p.done, VOLUME_MOUNTED);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* Temporary disks: by name alone, never together with others. */
static void test_temporary(void **state)
{
    (void)state;
    struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = 1});
    struct volume_watch w = volume_rig_watch(g);
    struct err e;
    AUTO_FREE char *nvme = volume_rig_disk("00000005"), *lasting = volume_rig_disk("00000003");
    const char *const both[] = {nvme, lasting};
    struct volume_plan p = {0};
    OK(volume_plan_make(g->h, &(struct volume_request){.label = NULL}, NULL, 0, 500 * VOLUME_GIB, &p, &e));
    assert_string_not_equal(p.disks[0].id, nvme);      /* though only that one is large enough */
    volume_plan_clear(&p);
    assert_int_equal(volume_plan_make(g->h, &(struct volume_request){.disks = both, .n_disks = 2}, NULL, 0, 1, &p, &e), -ERR_DISK_REFUSED);
    p = volume_rig_plan(g, (const char *const[]){"00000005"}, 1, VOLUME_LAYOUT_AUTO, NULL);
    OK(volume_make(g->h, &p, &w, &e));
    volume_plan_clear(&p);
    volume_rig_free(g);
}

/* Letters: taken ones are refused with a hint, free ones taken; a folder that is not empty is left alone. */
static void test_places(void **state)
{
    (void)state;
    struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = 1});
    struct volume_watch w = volume_rig_watch(g);
    struct err e;
    struct volume_plan p = volume_rig_plan(g, empty, 1, VOLUME_LAYOUT_AUTO, NULL);
    AUTO_FREE char *folder = str_dup(p.mount_point), *file = os_path_join(folder, "mine");
    OK(os_mkdirs(folder, 0, &e));
    OK(os_write_file(file, "x", 1, 0, &e));
    assert_int_equal(volume_make(g->h, &p, &w, &e), -ERR_VOLUME);
    assert_non_null(strstr(e.msg, "not empty (mine)"));
    OK(os_remove(file, &e));
    free(p.mount_point);
    p.mount_point = str_dup("C:\\");
    assert_int_equal(volume_make(g->h, &p, &w, &e), -ERR_VOLUME);
    assert_string_equal(e.upstream.code, "42002");
    assert_non_null(strstr(err_hint_text(&e), "another letter"));
    struct wmi_object *disk = NULL;
    OK(win_target((struct win_host *)g->h, p.id, false, p.disks[0].id, &disk, &e));
    p.mount_point[0] = 'R';
    p.found = true;                                    /* no letter leads anywhere here */
    OK(win_mount((struct win_host *)g->h, &p, disk, &e));
    assert_int_equal(number_of(g, "SELECT * FROM MSFT_Partition WHERE DriveLetter=82", "DriveLetter"), 'R');
    OK(win_mount((struct win_host *)g->h, &p, disk, &e));
    OK(win_unmount((struct win_host *)g->h, &p, disk, &e));
    wmi_object_free(disk);
    free(p.mount_point);
    p.mount_point = str_dup(folder);
    p.found = false;
    OK(volume_make(g->h, &p, &w, &e));
    volume_plan_clear(&p);
    volume_rig_free(g);
}

/* What Windows says of a failure reaches the user: number, words, and that nothing is left half-done when it is tried again. */
static void test_failures(void **state)
{
    (void)state;
    static const struct { const char *method; uint32_t value; int code; bool striped; } cases[] = {
        {"Initialize", 40004, ERR_IO, false}, {"CreatePartition", 40000, ERR_VOLUME, false}, {"Format", 43001, ERR_UNSUPPORTED, false},
        {"AddAccessPath", 42007, ERR_VOLUME, false}, {"CreateStoragePool", 51000, ERR_DISK_REFUSED, true}, {"AddPhysicalDisk", 40001, ERR_PERMISSION, true},
        {"CreateVirtualDisk", 48004, ERR_VOLUME, true}, {"SetAttributes", 41002, ERR_VOLUME, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = 1});
        struct volume_watch w = volume_rig_watch(g);
        struct err e;
        AUTO_FREE char *before = volume_rig_state(g), *code = str_printf("%u", cases[i].value), *kept = NULL;
        struct volume_plan p = volume_rig_plan(g, empty, cases[i].striped ? 2 : 1, VOLUME_LAYOUT_AUTO, NULL);
        dbl_fault_add(g->d, &(struct dbl_fault){.kind = DBL_RETURN, .code = cases[i].value, .at = 1, .method = cases[i].method});
        int r = volume_make(g->h, &p, &w, &e);
        if (r != -cases[i].code || strcmp(e.upstream.code, code) || strcmp(e.upstream.service, "windows_storage"))
            fail_msg("%s %u: %s (%s %s)", cases[i].method, cases[i].value, e.msg, e.upstream.service, e.upstream.code);
        if (i % 2)
            OK(volume_make(g->h, &p, &w, &e));         /* another try */
        OK(volume_undo(g->h, &p, &w, &kept, &e));
        assert_null(kept);
        same_state(before, g, cases[i].method);
        volume_plan_clear(&p);
        volume_rig_free(g);
    }
}

/* The connection breaks at every call in turn: the next try finishes. */
static void test_cut_off(void **state)
{
    (void)state;
    for (unsigned striped = 0; striped < 2; striped++)
        for (unsigned at = 1, fired = 1; fired; at += 5) {
            struct volume_rig *g = volume_rig_new(&(struct dbl_options){.seed = at});
            struct volume_watch w = volume_rig_watch(g);
            struct err e;
            AUTO_FREE char *before = volume_rig_state(g), *kept = NULL;
            struct volume_plan p = volume_rig_plan(g, empty, striped ? 2 : 1, VOLUME_LAYOUT_AUTO, NULL);
            dbl_fault_add(g->d, &(struct dbl_fault){.kind = at % 2 ? DBL_CUT : DBL_CUT_AFTER, .at = at});
            if (volume_make(g->h, &p, &w, &e) < 0)
                OK(volume_make(g->h, &p, &w, &e));
            if (volume_undo(g->h, &p, &w, &kept, &e) < 0)
                OK(volume_undo(g->h, &p, &w, &kept, &e));
            fired = dbl_faults_fired(g->d);
            same_state(before, g, "after a cut");
            volume_plan_clear(&p);
            volume_rig_free(g);
        }
}

int main(void)
{
    log_set_sink(quiet);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single), cmocka_unit_test(test_wiped), cmocka_unit_test(test_striped), cmocka_unit_test(test_gallery),
        cmocka_unit_test(test_changed_meanwhile), cmocka_unit_test(test_renumbered), cmocka_unit_test(test_offline_empty), cmocka_unit_test(test_temporary),
        cmocka_unit_test(test_places), cmocka_unit_test(test_failures), cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
