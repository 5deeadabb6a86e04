/* What is not believed: volumes that were not unmounted, damaged ones, encrypted ones, unknown ones are in use as a whole, and say why. Then
 * what a map must be for swap, paging files and tables, and what becomes of reads that fail. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/image/fsmap_ntfs.h"
#include "tests/unit/fsmap_util.h"

#define EXT4 "mke2fs -q -F -t ext4 -b 1024 fs.img 32M"
#define EXT4_PLAIN "mke2fs -q -F -t ext4 -b 1024 -O ^metadata_csum,^uninit_bg fs.img 32M"
#define SUPER(field, value) "debugfs -w -R 'ssv " field " " value "' fs.img"
#define XFS "truncate -s 320M fs.img; mkfs.xfs -q fs.img"
#define NTFS "truncate -s 32M fs.img; mkfs.ntfs -q -F -f fs.img"
#define FAT(options) "truncate -s 64M fs.img; mkfs.vfat " options " fs.img"
#define POKE(bytes, offset) "printf '" bytes "' | dd of=fs.img bs=1 seek=" offset " conv=notrunc"

static void is_all_in_use(void **state)
{
    (void)state;
    static const struct { const char *make, *why; bool root; } rows[] = {
        {EXT4 "; printf 'jo\\njw -b 100 /dev/zero\\njc\\n' | debugfs -w -f - fs.img", "journal needs to be replayed", false},
        {EXT4 "; debugfs -w -R 'feature needs_recovery' fs.img", "journal needs to be replayed", false},
        {EXT4_PLAIN "; " SUPER("state", "0"), "not unmounted, or has errors", false},
        {EXT4 "; " SUPER("state", "3"), "has errors", false},
        {EXT4 "; " SUPER("last_orphan", "12"), "deleted files are still open", false},
        {EXT4 "; " SUPER("feature_incompat", "0x402c2"), "features that are not known", false},
        {EXT4 "; " SUPER("free_blocks_count", "100"), "the superblock says 100 free blocks", false},
        {EXT4_PLAIN "; " SUPER("journal_dev", "5"), "journal is on another device", false},
        {EXT4_PLAIN "; b=$(dumpe2fs fs.img 2>/dev/null | sed -n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -1); " POKE("\\377\\377", "$((b * 1024 + 800))"), "free clusters, not", false},
        {EXT4 "; b=$(dumpe2fs fs.img 2>/dev/null | sed -n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -1); " POKE("\\377\\377", "$((b * 1024 + 800))"), "checksum of the block bitmap of group 0", false},
        {EXT4 "; " POKE("\\1", "2060"), "checksum of group", false},
        {EXT4_PLAIN "; b=$(dumpe2fs fs.img 2>/dev/null | sed -n 's/.*Inode table at \\([0-9]*\\)-.*/\\1/p' | head -1); debugfs -w -R \"freeb $b\" fs.img", "calls metadata free", false},
        {EXT4 "; truncate -s 20M fs.img", "do not fit the volume", false},
        {"mke2fs -q -F -O journal_dev fs.img 16M", "features that are not known", false},
        {"mke2fs -q -F -t ext4 -O mmp fs.img 32M", "features that are not known", false},
        {XFS "; mkdir -p mnt; mount -o loop fs.img mnt; cp /bin/ls mnt/; sync -f mnt; xfs_io -x -c shutdown mnt; umount mnt", "not unmounted", true},
        {XFS "; l=$(xfs_db -r -c 'sb 0' -c 'p logstart' fs.img | sed 's/.* //'); l=$(xfs_db -r -c \"convert fsblock $l byte\" fs.img | sed 's/.*(\\([0-9]*\\)).*/\\1/'); dd if=/dev/zero of=fs.img bs=1 seek=$l count=1024 conv=notrunc", "its log", false},
        {XFS "; xfs_db -x -c 'agf 1' -c 'write -d freeblks 100' fs.img", "free space in group 1 is not what its header says", false},
        {XFS "; xfs_db -x -c 'agf 0' -c 'addr bnoroot' -c 'write -d recs[1].blockcount 70000' fs.img", "group 0", false},
        {XFS "; xfs_db -x -c 'agf 0' -c 'addr bnoroot' -c 'write -d recs[1].startblock 2' fs.img", "group 0", false},
        {XFS "; xfs_db -x -c 'agf 0' -c 'addr cntroot' -c 'write -d recs[1].startblock 4000' fs.img", "trees of free space in group 0 differ", false},
        {XFS "; xfs_db -x -c 'sb 0' -c 'write -d fdblocks 1000' fs.img", "the superblock says 1000 free blocks", false},
        {XFS "; xfs_db -x -c 'sb 0' -c 'write -d features_incompat 0x1003' fs.img", "features that are not known", false},
        {XFS "; xfs_db -x -c 'sb 0' -c 'write -d inprogress 1' fs.img", "being made", false},
        {XFS "; " POKE("\\7", "567"), "header of group 0", false},
        {XFS "; truncate -s 310M fs.img", "do not fit the volume", false},
        {"truncate -s 64M log.img; truncate -s 320M fs.img; mkfs.xfs -q -l logdev=log.img fs.img", "log is on another device", false},
        {"truncate -s 64M rt.img; truncate -s 320M fs.img; mkfs.xfs -q -r rtdev=rt.img fs.img", "realtime", false},
        {NTFS "; " POKE("\\1", "$((32 * 1048576 - 500))"), "copy of the boot sector", false},
        {NTFS "; truncate -s 31M fs.img", "do not fit the volume", false},
        {FAT("-F 32 -s 1") "; " POKE("\\1", "65"), "not unmounted", false},
        {FAT("-F 16 -s 4") "; " POKE("\\1", "37"), "not unmounted", false},
        {FAT("-F 32 -s 1") "; " POKE("\\7", "$((32 * 512 + 4 * 500))"), "copies of its table differ", false},
        {FAT("-F 32 -s 1 -f 1") "; " POKE("\\7", "$((32 * 512 + 4 * 500))"), "leads to cluster 7", false},
        {FAT("-F 32 -s 1") "; " POKE("\\5\\0\\0\\0", "$((512 + 488))"), "says to have 5 free clusters", false},
        {"truncate -s 40M fs.img; echo secret >pw; cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 fs.img pw", "not read from luks", false},
        {"truncate -s 40M fs.img; echo secret >pw; cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 fs.img pw", "not read from luks", false},
        {"truncate -s 8M fs.img; " POKE("\\353\\130\\220-FVE-FS-", "0"), "not read from bitlocker", false},
        {"truncate -s 8M fs.img; " POKE("ReFS\\0\\0\\0\\0", "3"), "not read from refs", false},
        {"truncate -s 8M fs.img; " POKE("_BHRfS_M", "65600"), "not read from btrfs", false},
        {"truncate -s 8M fs.img; " POKE("\\014\\261\\272\\0", "$((136 * 1024))"), "not read from zfs", false},
        {EXT4 "; " POKE("_BHRfS_M", "65600"), "signatures of both ext and btrfs", false},
        {EXT4 "; " POKE("\\374\\116\\053\\251", "$((32 * 1048576 - 8192))"), "signatures of both ext and md", false},
        {"truncate -s 8M fs.img; head -c 3000000 /dev/urandom | dd of=fs.img conv=notrunc bs=1M", "no file system that is known", false},
        {"truncate -s 8M fs.img", "no file system that is known", false},
        {"truncate -s 0 fs.img; head -c 1000 /dev/urandom >fs.img", "no file system", false},
        {"truncate -s 8M fs.img; mkswap fs.img", "contents of swap areas are kept", false},
        {EXT4 "; printf 'label: dos\\nstart=2048, size=4096\\n' | sfdisk -q --no-tell-kernel -w never -W never fs.img", "both partitions and the signature of ext", false},
        {"truncate -s 32M fs.img; printf 'label: gpt\\nsize=4096\\nsize=4096\\n' | sfdisk -q fs.img; cp fs.img b.img; printf 'label: gpt\\nsize=8192\\n' | sfdisk -q b.img; "
         "dd if=b.img of=fs.img bs=512 skip=65503 seek=65503 count=33 conv=notrunc", "two copies of the partition table differ", false},
        {"truncate -s 32M fs.img; printf 'label: dos\\nstart=2048, size=4096\\nstart=8192, size=4096\\n' | sfdisk -q fs.img; " POKE("\\0\\020", "$((446 + 16 + 8))"), "partitions overlap", false},
        {"truncate -s 32M fs.img; printf 'label: gpt\\nstart=2048, size=4096\\n' | sfdisk -q fs.img; " POKE("\\203", "$((446 + 16 + 4))") "; " POKE("\\0\\011\\0\\0\\0\\010\\0\\0", "$((446 + 16 + 8))"),
         "the MBR has a partition", false},
        {"truncate -s 32M fs.img; printf 'label: dos\\nstart=2048, size=40960, type=42\\n' | sfdisk -q fs.img; mke2fs -q -F -t ext4 -E offset=1048576 fs.img 16M", "Windows dynamic disk", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].root && geteuid() != 0)
            continue;
        sh("rm -f fs.img log.img rt.img; %s", rows[i].make);
        print_message("%zu: %s\n", i, rows[i].why);
        assert_in_use("fs.img", rows[i].why);
    }
}

/* ---- NTFS, by hand: what its tools here cannot make ---- */

static struct mem_image ntfs_make(void)
{
    sh("rm -f fs.img; " NTFS);
    return mem_load("fs.img");
}

static void ntfs_save(const struct mem_image *m)
{
    FILE *f = fopen("fs.img", "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m->data, 1, m->size, f), m->size);
    assert_int_equal(fclose(f), 0);
}

static uint8_t *ntfs_record(struct mem_image *m, unsigned number)
{
    return m->data + le64(m->data + 48) * 4096 + number * 1024;
}

/* The first attribute of this type in a record. */
static uint8_t *ntfs_attr(uint8_t *record, uint32_t type)
{
    for (uint8_t *p = record + le16(record + 20); p < record + 1024 && le32(p) != UINT32_MAX; p += le32(p + 4))
        if (le32(p) == type)
            return p;
    fail_msg("no attribute %#x", type);
    return NULL;
}

/* Where its first run lies: one length byte, then an offset. */
static uint8_t *ntfs_data(struct mem_image *m, unsigned number)
{
    const uint8_t *run = ntfs_attr(ntfs_record(m, number), ATTR_DATA);
    run += le16(run + 32);
    uint64_t lcn = 0;
    for (unsigned i = 0; i < run[0] >> 4; i++)
        lcn |= (uint64_t)run[1 + (run[0] & 15) + i] << 8 * i;
    return m->data + lcn * 4096;
}

static void ntfs_mirror(struct mem_image *m)
{
    memcpy(m->data + le64(m->data + 56) * 4096, ntfs_record(m, 0), 4096);
}

/* Two restart pages as Windows writes them, `closed` in the later. */
static void ntfs_log(struct mem_image *m, uint64_t lsn_one, uint64_t lsn_two, uint16_t flags)
{
    uint8_t *log = ntfs_data(m, LOGFILE);
    for (int k = 0; k < 2; k++) {
        uint8_t *p = log + k * 4096;
        memset(p, 0, 4096);
        memcpy(p, "RSTR\x1e\0\x09\0", 8);
        put_le32(p + 16, 4096);
        put_le32(p + 20, 4096);
        p[24] = 0x30;
        p[28] = 1;
        p[30] = 7;                                   /* the fixups' number */
        uint8_t *a = p + 0x30;
        put_le32(a, (uint32_t)(k ? lsn_two : lsn_one));
        a[8] = 1;
        a[10] = a[11] = 0xff;
        a[14] = (uint8_t)flags;
        for (int s = 1; s <= 8; s++)
            p[s * 512 - 2] = 7;
    }
}

static void believes_ntfs_that_is_clean_alone(void **state)
{
    (void)state;
    struct fsmap_options o = {.sector_size = 512};
    struct mem_image m = ntfs_make();
    struct fsmap map = map_file("fs.img", &o);
    uint64_t clean = map.bytes;
    assert_true(clean < m.size / 4);
    fsmap_free(&map);

    /* the log: closed by Windows, open, open with a newer second page, torn */
    ntfs_log(&m, 100, 99, 2);
    ntfs_save(&m);
    map = map_file("fs.img", &o);
    assert_true(map.bytes == clean);
    fsmap_free(&map);
    ntfs_log(&m, 100, 99, 0);
    ntfs_save(&m);
    assert_in_use("fs.img", "its log is open");
    ntfs_log(&m, 100, 101, 2);
    ntfs_data(&m, LOGFILE)[4096 + 0x30 + 14] = 0;
    ntfs_save(&m);
    assert_in_use("fs.img", "its log is open");
    ntfs_log(&m, 100, 99, 2);
    ntfs_data(&m, LOGFILE)[510] = 9;
    ntfs_save(&m);
    assert_in_use("fs.img", "restart page");
    memcpy(ntfs_data(&m, LOGFILE), "CHKD", 4);
    ntfs_save(&m);
    assert_in_use("fs.img", "does not begin with a restart page");
    mem_drop(&m);

    /* the dirty flag, in both copies of the record; in one */
    m = ntfs_make();
    uint8_t *info = ntfs_attr(ntfs_record(&m, VOLUME), ATTR_VOLUME_INFORMATION);
    info[le16(info + 20) + 10] |= 1;
    ntfs_save(&m);
    assert_in_use("fs.img", "mirror differ in record 3");
    ntfs_mirror(&m);
    ntfs_save(&m);
    assert_in_use("fs.img", "marked dirty");
    mem_drop(&m);

    /* a bitmap that has the MFT's first cluster free; a record that is torn; one that names another */
    m = ntfs_make();
    ntfs_data(&m, BITMAP)[0] &= 0xef;
    ntfs_save(&m);
    assert_in_use("fs.img", "calls its own metadata or data free");
    mem_drop(&m);
    m = ntfs_make();
    ntfs_record(&m, BITMAP)[510] ^= 1;
    ntfs_save(&m);
    assert_in_use("fs.img", "record 6 of its MFT is damaged");
    ntfs_record(&m, BITMAP)[510] ^= 1;
    ntfs_record(&m, BITMAP)[44] = 7;
    ntfs_save(&m);
    assert_in_use("fs.img", "says to be 7");
    mem_drop(&m);

    /* shadow copies: a catalogue, empty and not */
    m = ntfs_make();
    static const uint8_t vss[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};
    uint8_t *h = m.data + 0x1e00, *catalogue = m.data + (20 << 20);
    memcpy(h, vss, 16);
    h[16] = h[20] = 1;
    put_le32(h + 48, 20 << 20);
    memcpy(catalogue, vss, 16);
    catalogue[16] = 1;
    catalogue[20] = 2;
    catalogue[128] = 1;                              /* an entry that is no longer used */
    ntfs_save(&m);
    map = map_file("fs.img", &o);
    assert_true(map.bytes == clean);
    fsmap_free(&map);
    catalogue[256] = 2;
    ntfs_save(&m);
    assert_in_use("fs.img", "shadow copies");
    catalogue[0] = 0;
    ntfs_save(&m);
    assert_in_use("fs.img", "catalogue of shadow copies is damaged");
    mem_drop(&m);
}

/* ---- what may be left out on request ---- */

static void leaves_out_swap_and_paging_files(void **state)
{
    (void)state;
    struct fsmap_options o = {.sector_size = 512, .skip_swap = true, .skip_pagefiles = true};
    sh("rm -f fs.img; truncate -s 8M fs.img; mkswap -U 12345678-1234-1234-1234-123456789abc fs.img");
    struct fsmap m = map_file("fs.img", &o);
    assert_int_equal(m.bytes, 4096);
    map_copy(&m, "fs.img", "copy.img");
    fsmap_free(&m);
    sh("swaplabel copy.img | grep 12345678-1234");
    sh("rm -f fs.img; truncate -s 8M fs.img; mkswap fs.img; printf S1SUSPEND | dd of=fs.img bs=1 seek=4086 conv=notrunc");
    m = map_file("fs.img", &o);
    assert_true(m.bytes == 8 << 20);
    fsmap_free(&m);
    if (geteuid() != 0) {
        print_message("paging files: not tested, mounting takes root\n");
        return;
    }
    sh("rm -f fs.img; " NTFS "; mkdir -p mnt; ntfs-3g fs.img mnt; for f in pagefile.sys HIBERFIL.SYS data; do head -c 3000000 /dev/urandom >mnt/$f; done; "
       "mkdir mnt/sub; head -c 3000000 /dev/urandom >mnt/sub/pagefile.sys; for i in $(seq 1 200); do echo $i >mnt/name-that-is-long-$i; done; umount mnt");
    o.skip_pagefiles = false;
    m = map_file("fs.img", &o);
    uint64_t with = m.bytes;
    fsmap_free(&m);
    o.skip_pagefiles = true;
    m = map_file("fs.img", &o);
    assert_true(with - m.bytes == 2 * 3002368);      /* whole clusters of 4 KiB */
    map_copy(&m, "fs.img", "copy.img");
    fsmap_free(&m);
    sh("ntfsfix -n copy.img; for i in fs copy; do ntfs-3g -o ro $i.img mnt; (cd mnt; sha256sum data sub/* name*) >$i.sum; umount mnt; done; cmp fs.sum copy.sum");
}

/* ---- tables ---- */

static void sees_logical_partitions(void **state)
{
    (void)state;
    struct fsmap_options o = {.sector_size = 512};
    sh("rm -f fs.img; truncate -s 96M fs.img; printf 'label: dos\\n1: start=2048,size=32768,type=83\\n2: start=40960,size=150000,type=5\\n"
       "5: start=43008,size=32768,type=83\\n6: start=79872,size=65536,type=7\\n' | sfdisk -q fs.img; "
       "mke2fs -q -F -t ext4 -E offset=1048576 fs.img 16M; mke2fs -q -F -t ext2 -E offset=22020096 fs.img 16M; "
       "truncate -s 32M n.img; mkfs.ntfs -q -F -f n.img; dd if=n.img of=fs.img bs=512 seek=79872 conv=notrunc");
    struct fsmap m = map_file("fs.img", &o);
    static const char *const rules[] = {"partition table", "ext4", "gap", "ext2", "gap", "ntfs", "partition table"};
    assert_int_equal(m.n_regions, ARRAY_LEN(rules));
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        assert_string_equal(m.regions[i].rule, rules[i]);
        assert_true(i % 2 ? !m.regions[i].reason[0] && m.regions[i].used < m.regions[i].bytes / 2 : m.regions[i].used == m.regions[i].bytes);
    }
    map_copy(&m, "fs.img", "copy.img");
    fsmap_free(&m);
    sh("sfdisk -d fs.img >a; sfdisk -d copy.img >b; sed -i s/copy.img/fs.img/g b; cmp a b; e2fsck -fn 'copy.img?offset=22020096'; e2fsck -fn 'copy.img?offset=1048576'");
}

static void maps_exfat(void **state)
{
    (void)state;
    struct fsmap_options o = {.sector_size = 512};
    sh("rm -f fs.img; truncate -s 64M fs.img; mkfs.exfat fs.img; head -c 8000000 /dev/urandom | dd of=fs.img bs=1M seek=40 conv=notrunc");
    struct fsmap m = map_file("fs.img", &o);
    assert_string_equal(m.regions[0].rule, "exfat");
    assert_string_equal(m.regions[0].reason, "");
    assert_true(m.bytes < 4 << 20);
    map_copy(&m, "fs.img", "copy.img");
    fsmap_free(&m);
    sh("fsck.exfat -n copy.img; printf '\\2' | dd of=fs.img bs=1 seek=106 conv=notrunc");
    assert_in_use("fs.img", "not unmounted");
    sh("printf '\\0' | dd of=fs.img bs=1 seek=106 conv=notrunc; printf '\\7' | dd of=fs.img bs=1 seek=120 conv=notrunc");
    assert_in_use("fs.img", "checksum is wrong");
}

/* ---- the source ---- */

struct failing { struct image_source src; unsigned reads, fail_at; bool stop; };

static int failing_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct failing *f = arg;
    if (++f->reads == f->fail_at)
        return err_set(e, ERR_UPSTREAM, "read %u fails", f->reads);
    return f->src.read(f->src.arg, buf, n, offset, e);
}

static bool failing_stop(void *arg)
{
    struct failing *f = arg;
    return f->stop && f->reads + 1 >= f->fail_at;
}

static void tells_of_reads_that_fail(void **state)
{
    (void)state;
    static const char *const makes[] = {EXT4, XFS, NTFS, FAT("-F 32 -s 1")};
    for (size_t i = 0; i < ARRAY_LEN(makes); i++) {
        struct failing f = {0};
        struct err e;
        sh("rm -f fs.img; %s", makes[i]);
        assert_int_equal(image_file_open("fs.img", &f.src, &e), 0);
        struct image_source src = {.read = failing_read, .arg = &f, .size = f.src.size, .name = "fs.img"};
        struct fsmap_options o = {.sector_size = 512, .stop = failing_stop, .arg = &f};
        struct fsmap m;
        unsigned total = 0;
        for (f.fail_at = 1; !total; f.fail_at++) {
            f.reads = 0;
            int r = fsmap_read(&src, &o, &m, &e);
            if (f.reads < f.fail_at) {
                total = f.reads;
                assert_int_equal(r, 0);
                assert_true(m.bytes < src.size);
                fsmap_free(&m);
            } else if (r != -ERR_UPSTREAM) {
                fail_msg("read %u of %s failed, and the result is %d", f.fail_at, makes[i], r);
            }
        }
        assert_true(total >= 4);
        f.stop = true;
        for (f.fail_at = 1; f.fail_at <= total; f.fail_at++) {
            f.reads = 0;
            assert_int_equal(fsmap_read(&src, &o, &m, &e), -ERR_CANCELLED);
        }
        image_file_close(&f.src);
    }
}

/* More spans than are kept: the smallest are forgotten, the rest stay right. */
static void bounds_its_memory(void **state)
{
    (void)state;
    struct free_list f = {0};
    for (uint64_t i = 0; i < 3 * FSMAP_SPANS_MAX; i++)
        assert_true(free_list_add(&f, i << 20, (i << 20) + (i % 100 == 7 ? 65536 : 512)));
    assert_true(f.spans.n < FSMAP_SPANS_MAX && f.spans.size <= FSMAP_SPANS_MAX);
    uint64_t large = 0;
    for (size_t i = 0; i < f.spans.n; i++) {
        const struct fsmap_range *r = &f.spans.list[i];
        assert_true(r->start % (1 << 20) == 0 && r->end - r->start == ((r->start >> 20) % 100 == 7 ? 65536u : 512u));
        large += r->end - r->start == 65536;
    }
    assert_true(large == (3 * FSMAP_SPANS_MAX - 8) / 100 + 1);
    list_free(&f.spans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_all_in_use),
        cmocka_unit_test(believes_ntfs_that_is_clean_alone),
        cmocka_unit_test(leaves_out_swap_and_paging_files),
        cmocka_unit_test(sees_logical_partitions),
        cmocka_unit_test(maps_exfat),
        cmocka_unit_test(tells_of_reads_that_fail),
        cmocka_unit_test(bounds_its_memory),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
