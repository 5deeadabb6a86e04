/* Logical volumes made by LVM's own tools (which need no device mapper as long as nothing is activated), with file systems written where the
 * tools say that their extents lie. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fsmap_util.h"

#define EXTENT (1u << 20)
#define STRIPE 65536u

/* Two physical volumes in two partitions of 80 MiB at 1 and 81 MiB. The tools see these two devices alone. */
#define TOOLS \
    "A=$(losetup --show -f -o 1048576 --sizelimit 83886080 disk.img); B=$(losetup --show -f -o 84934656 --sizelimit 83886080 disk.img)\n" \
    "trap 'losetup -d $A; losetup -d $B' EXIT; export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=$PWD; set -e\n" \
    "cat >lvm.conf <<EOC\n" \
    "devices { dir=\"/dev\" scan=[\"/dev\"] use_devicesfile=0 filter=[\"a|^$A\\$|\",\"a|^$B\\$|\",\"r|.*|\"] obtain_device_list_from_udev=0 }\n" \
    "activation { udev_sync=0 udev_rules=0 monitoring=0 }\n" \
    "global { event_activation=0 locking_dir=\"$PWD/lock\" }\n" \
    "backup { backup=0 archive=0 }\n" \
    "EOC\n" \
    "lv() { lvm \"$@\"; }; C='-an -Zn -Wn -y --driverloaded n'\n"

static void make(const char *commands)
{
    FILE *f = fopen("lvm.sh", "w");
    assert_non_null(f);
    fprintf(f, "rm -f disk.img; truncate -s 170M disk.img; printf 'label: gpt\\nstart=2048,size=163840\\nstart=165888,size=163840\\n' | sfdisk -q disk.img\n"
               "head -c 178257920 /dev/zero | tr '\\0' x | dd of=disk.img bs=1M seek=2 count=158 conv=notrunc iflag=fullblock\n%s%s\n", TOOLS, commands);
    fputs("lv lvs --segments --noheadings --separator ' ' -o lv_name,seg_start_pe,seg_size_pe,seg_pe_ranges vg | "
          "sed \"s|$A|a|g; s|$B|b|g\" | sort -k1,1 -k2,2n >segments\n", f);
    assert_int_equal(fclose(f), 0);
    sh("bash lvm.sh");
}

/* Copies between a logical volume in disk.img and a file, by the tools' list of its segments. */
static void volume_copy(const char *lv, const char *disk, const char *file, bool to_disk)
{
    static uint8_t buf[STRIPE];
    FILE *list = fopen("segments", "r"), *d = fopen(disk, to_disk ? "r+b" : "rb"), *f = fopen(file, to_disk ? "rb" : "wb");
    char line[256];
    assert_true(list && d && f);
    while (fgets(line, sizeof line, list)) {
        char name[32], range[2][64] = {"", ""};
        unsigned long start, count, at[2];
        char device[2];
        int n = sscanf(line, " %31s %lu %lu %63s %63s", name, &start, &count, range[0], range[1]) - 3;
        if (n < 1 || strcmp(name, lv))
            continue;
        for (int i = 0; i < n; i++)
            assert_int_equal(sscanf(range[i], "%c:%lu", &device[i], &at[i]), 2);
        for (unsigned long chunk = 0; chunk < count * (EXTENT / STRIPE); chunk++) {
            int i = (int)(chunk % (unsigned)n);
            off_t there = (device[i] == 'a' ? 1 : 81) * (off_t)EXTENT + EXTENT + (off_t)at[i] * EXTENT + (off_t)(chunk / (unsigned)n) * STRIPE;
            assert_int_equal(fseeko(d, there, SEEK_SET) | fseeko(f, (off_t)start * EXTENT + (off_t)chunk * STRIPE, SEEK_SET), 0);
            assert_true(fread(buf, 1, STRIPE, to_disk ? f : d) == STRIPE && fwrite(buf, 1, STRIPE, to_disk ? d : f) == STRIPE);
        }
    }
    fclose(list);
    fclose(f);
    assert_int_equal(fclose(d), 0);
}

static const struct fsmap_region *volume_region(const struct fsmap *m, const char *volume)
{
    for (size_t i = 0; i < m->n_regions; i++)
        if (!strcmp(m->regions[i].volume, volume))
            return &m->regions[i];
    fail_msg("no region %s", volume);
    return NULL;
}

static void expect(const struct fsmap *m, const char *volume, const char *rule, const char *reason)
{
    const struct fsmap_region *r = volume_region(m, volume);
    print_message("%-12s %-6s %9llu of %9llu  %s\n", volume, r->rule, (unsigned long long)r->used, (unsigned long long)r->bytes, r->reason);
    if (strcmp(r->rule, rule) || (reason ? !strstr(r->reason, reason) || r->used != r->bytes : r->reason[0] || r->used >= r->bytes / 2))
        fail_msg("%s: %s, %llu of %llu: %s", volume, r->rule, (unsigned long long)r->used, (unsigned long long)r->bytes, r->reason);
}

static void skip_unless_root(void)
{
    if (geteuid() != 0) {
        print_message("not tested, loop devices take root\n");
        skip();
    }
}

static void sees_through(void **state)
{
    (void)state;
    skip_unless_root();
    /* root in two segments on two devices, one striped, one of another size in the place of one removed */
    make("lv pvcreate -q -y $A $B; lv vgcreate -q -s 1M vg $A $B; lv lvcreate $C -n root -l 20 vg $A; lv lvcreate $C -n gone -l 10 vg $A; "
         "lv lvcreate $C -n striped -i 2 -I 64k -l 40 vg; lv lvremove -y --driverloaded n vg/gone; lv lvextend --driverloaded n -l +12 vg/root $B; "
         "lv lvcreate $C -n swap -l 8 vg $B; lv lvcreate $C -n data -l 16 vg $A");
    sh("wc -l <segments | grep -q '[6-9]'; rm -rf tree; mkdir tree; for i in 1 2 3 4 5 6 7 8; do head -c $((i * 100000)) /dev/urandom >tree/f$i; done");
    sh("mke2fs -q -F -t ext4 -b 1024 -d tree root.img 32M; mke2fs -q -F -t ext4 -d tree striped.img 40M; truncate -s 8M swap.img; mkswap swap.img; "
       "truncate -s 16M data.img; mkfs.vfat data.img; mcopy -i data.img tree/* ::/");
    static const char *const volumes[] = {"root", "striped", "swap", "data"};
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
        AUTO_FREE char *file = str_printf("%s.img", volumes[i]);
        volume_copy(volumes[i], "disk.img", file, true);
    }
    struct fsmap_options o = {.sector_size = 512, .skip_swap = true};
    struct fsmap m = map_file("disk.img", &o);
    expect(&m, "vg/root", "ext4", NULL);
    expect(&m, "vg/striped", "ext4", NULL);
    expect(&m, "vg/swap", "swap", NULL);
    expect(&m, "vg/data", "fat16", NULL);
    assert_true(m.bytes < 42 << 20);
    map_copy(&m, "disk.img", "copy.img");
    fsmap_free(&m);
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
        AUTO_FREE char *file = str_printf("%s.copy", volumes[i]);
        volume_copy(volumes[i], "copy.img", file, false);
    }
    sh("for v in root striped; do e2fsck -fn $v.copy; rm -rf out; mkdir out; debugfs -R 'rdump / out' $v.copy; rmdir out/lost+found; diff -r tree out; done; "
       "fsck.vfat -n data.copy; rm -rf out; mkdir out; mcopy -i data.copy '::/*' out; diff -r tree out; swaplabel swap.copy");
    /* The tools still find all of it. */
    sh("mv disk.img keep.img; mv copy.img disk.img; cat >look.sh <<'EOF'\n%slv vgck vg; lv lvs --segments --noheadings -o lv_name,seg_pe_ranges vg\nEOF\n"
       "bash look.sh >look; test $(wc -l <look) -ge 6; mv disk.img copy.img; mv keep.img disk.img", TOOLS);
}

static void keeps_what_it_does_not_know(void **state)
{
    (void)state;
    skip_unless_root();
    struct fsmap_options o = {.sector_size = 512};
    make("lv pvcreate -q -y $A $B; lv vgcreate -q -s 1M vg $A $B; lv lvcreate $C -n plain -l 16 vg $A; lv lvcreate $C -n origin -l 10 vg $A; "
         "lv lvcreate $C -n cow -l 6 vg $A; lv lvconvert -y --driverloaded n -Zn -s vg/origin vg/cow");
    sh("mke2fs -q -F -t ext4 -b 1024 plain.img 16M; mke2fs -q -F -t ext4 -b 1024 origin.img 10M");
    volume_copy("plain", "disk.img", "plain.img", true);
    volume_copy("origin", "disk.img", "origin.img", true);
    struct fsmap m = map_file("disk.img", &o);
    expect(&m, "vg/plain", "ext4", NULL);
    expect(&m, "vg/origin", "lvm2", "another logical volume is made of it");
    expect(&m, "vg/cow", "lvm2", "another logical volume is made of it");
    fsmap_free(&m);

    /* A kind of segment that no LVM knows, which takes extents itself. */
    make("lv pvcreate -q -y $A $B; lv vgcreate -q -s 1M vg $A $B; lv lvcreate $C -n plain -l 16 vg $A; lv vgcfgbackup -f meta vg; "
         "sed -i 's/type = \"striped\"/type = \"mystery\"/' meta; lv vgcfgrestore -y -f meta vg");
    m = map_file("disk.img", &o);
    assert_non_null(strstr(map_region(&m, "lvm2")->reason, "segment of an unknown type"));
    assert_true(map_region(&m, "lvm2")->used == map_region(&m, "lvm2")->bytes);
    fsmap_free(&m);

    /* A group that reaches beyond this disk: the second device's bytes are gone. */
    make("lv pvcreate -q -y $A $B; lv vgcreate -q -s 1M vg $A $B; lv lvcreate $C -n here -l 16 vg $A; lv lvcreate $C -n both -i 2 -I 64k -l 20 vg");
    sh("mke2fs -q -F -t ext4 -b 1024 here.img 16M; head -c 4096 /dev/zero | dd of=disk.img bs=512 seek=165888 conv=notrunc");
    volume_copy("here", "disk.img", "here.img", true);
    m = map_file("disk.img", &o);
    expect(&m, "vg/here", "ext4", NULL);
    expect(&m, "vg/both", "lvm2", "on another disk");
    fsmap_free(&m);

    /* Damage: the label, the metadata's text, an unknown flag in it, another state on the second device. */
    sh("cp --sparse=always disk.img keep.img; printf X | dd of=disk.img bs=1 seek=$((1048576 + 512 + 100)) conv=notrunc");
    m = map_file("disk.img", &o);
    assert_non_null(strstr(map_region(&m, "lvm2")->reason, "its label is damaged"));
    fsmap_free(&m);
    sh("cp --sparse=always keep.img disk.img; at=$(head -c 80000000 disk.img | grep -abo 'segment_count = 1' | tail -1 | cut -d: -f1); printf X | dd of=disk.img bs=1 seek=$at conv=notrunc");
    m = map_file("disk.img", &o);
    assert_non_null(strstr(map_region(&m, "lvm2")->reason, "checksum of its metadata is wrong"));
    fsmap_free(&m);
    make("lv pvcreate -q -y $A; lv vgcreate -q -s 1M vg $A; lv lvcreate $C -n here -l 16 vg; lv vgexport vg");
    m = map_file("disk.img", &o);
    assert_non_null(strstr(map_region(&m, "lvm2")->reason, "exported"));
    fsmap_free(&m);
    make("lv pvcreate -q -y $A $B; lv vgcreate -q -s 1M vg $A $B; lv lvcreate $C -n here -l 16 vg $A; dd if=$B of=old.img bs=1M count=1; "
         "lv lvcreate $C -n more -l 16 vg $A; dd if=old.img of=$B bs=1M");
    m = map_file("disk.img", &o);
    assert_non_null(strstr(map_region(&m, "lvm2")->reason, "do not have the same metadata"));
    fsmap_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sees_through), cmocka_unit_test(keeps_what_it_does_not_know)};
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
