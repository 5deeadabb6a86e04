/* File systems made by their own tools, aged, and mapped: a copy with only the mapped ranges must be as good to those tools as the original,
 * every file the same, and the map not much larger than what the file system says is used. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fsmap_util.h"

/* What the rows' commands share. $I: the file system's image. A tree of files is written, some are deleted and others written in their
 * place; `free space` then holds old data. */
#define TREE \
    "rm -rf tree out; mkdir -p tree/sub/deep; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c $((i * i * 9001)) /dev/urandom >tree/f$i; done; " \
    "head -c 3000000 /dev/urandom >tree/big; cp tree/f9 tree/sub/; cp tree/f3 tree/sub/deep/; : >tree/empty; "
#define HASH(dir) "cd " dir " && find . -type f | sort | xargs sha256sum"

#define EXT_MAKE(options, size) \
    TREE "truncate -s " size " $I; mke2fs -q -F " options " -d tree $I; head -c 2500000 /dev/urandom >old; " \
    "{ for i in 1 2 3 4 5 6; do echo \"write old old$i\"; done; for i in 1 2 3 5 6; do echo \"rm old$i\"; done; echo rm f7; echo rm big; echo write tree/big big2; } " \
    ">cmds; debugfs -w -f cmds $I; e2fsck -fy $I"
#define EXT_JUDGE "e2fsck -fn $I; rm -rf out; mkdir out; debugfs -R 'rdump / out' $I 2>/dev/null; " HASH("out")
#define EXT_USED "dumpe2fs -h $I 2>/dev/null | awk -F: '/^Block count/ {c=$2} /^Free blocks/ {f=$2} /^Block size/ {b=$2} END {printf \"%.0f\", (c-f)*b}'"

#define AGE(dir) \
    "cp -r tree/. " dir "/; for i in 1 2 3 4 5 6 7 8; do head -c 2500000 /dev/urandom >" dir "/old$i; sync -f " dir "; done; " \
    "rm " dir "/old[1-35-7] " dir "/f7 " dir "/big; sync -f " dir "; cp tree/big " dir "/big2; for i in $(seq 1 300); do echo $i >" dir "/sub/s$i; done; rm " dir "/sub/s*[13579]"
#define MOUNTED(how, what) "mkdir -p mnt; " how "; trap 'umount mnt' EXIT; " what "; umount mnt; trap - EXIT"
#define LOOP "mount -o loop $I mnt"
#define EXT_AGED(options, size) TREE "truncate -s " size " $I; mke2fs -q -F " options " $I; " MOUNTED(LOOP, AGE("mnt"))

#define XFS_MAKE(options, size) TREE "truncate -s " size " $I; mkfs.xfs -q " options " $I; " MOUNTED(LOOP, AGE("mnt"))
#define XFS_JUDGE "xfs_repair -n $I 2>/dev/null; " MOUNTED("mount -o loop,ro,norecovery,nouuid $I mnt", "( " HASH("mnt") " )")
/* Kernels of today do not mount version 4: files are put in when it is made, and read by their extents. */
#define XFS4_MAKE(size) \
    TREE "truncate -s " size " $I; { printf '/none\n0 0\nd--755 0 0\n'; for f in f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 big; do " \
    "echo \"$f ---644 0 0 tree/$f\"; done; echo '$'; } >proto; mkfs.xfs -q -m crc=0 -p proto $I"
#define XFS4_JUDGE \
    "xfs_repair -n $I 2>/dev/null; for f in f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 big; do xfs_db -r -c \"path /$f\" -c bmap -c 'sb 0' -c 'p agblocks blocksize' $I | " \
    "tr '(/)' '   ' | awk '/^data/ {g[n]=$6; b[n]=$7; c[n++]=$9} /^agblocks/ {a=$3} /^blocksize/ {for (i=0; i<n; i++) print g[i]*a+b[i], c[i], $3}' >extents; " \
    "test -s extents; while read at n bs; do dd if=$I bs=$bs skip=$at count=$n 2>/dev/null; done <extents | sha256sum; done"
#define XFS_USED "xfs_db -r -c 'sb 0' -c 'p dblocks fdblocks blocksize' $I | awk '{v[$1]=$3} END {printf \"%.0f\", (v[\"dblocks\"]-v[\"fdblocks\"])*v[\"blocksize\"]}'"

#define NTFS(more) "truncate -s 96M $I; mkfs.ntfs -q -F -f " more " $I; "
#define NTFS_MOUNT "ntfs-3g -o compression $I mnt"
#define NTFS_MAKE(options) TREE NTFS(options) MOUNTED(NTFS_MOUNT, AGE("mnt"))
#define NTFS_JUDGE "ntfsfix -n $I >/dev/null; ntfsinfo -mf $I >/dev/null; " MOUNTED("ntfs-3g -o ro $I mnt", "( " HASH("mnt") " )")
#define NTFS_USED MOUNTED("ntfs-3g -o ro $I mnt", "stat -f -c '%b %f %S' mnt | awk '{printf \"%.0f\", ($1-$2)*$3}'")

#define FAT_MAKE(options, size) \
    TREE "truncate -s " size " $I; mkfs.vfat " options " $I; export MTOOLS_SKIP_CHECK=1; head -c 1500000 /dev/urandom >old; " \
    "mcopy -i $I -s tree/* ::/; mcopy -i $I old ::/old1; mcopy -i $I old ::/old2; mdel -i $I ::/old1; mdel -i $I ::/f7; mcopy -i $I tree/f8 ::/new"
#define FAT_JUDGE "fsck.vfat -n $I >fsck.out; rm -rf out; mkdir out; mcopy -i $I -s -n '::/*' out; " HASH("out")
#define FAT_USED "fsck.vfat -nv $I | awk '/bytes per cluster/ {b=$1} /Data area starts/ {d=$6} /files,/ {split($NF == \"clusters\" ? $(NF-1) : $NF, u, \"/\"); printf \"%.0f\", u[1]*b+d}'"

struct layout {
    const char *name, *rule;
    const char *table;                               /* sfdisk's label and type of the partition: "gpt", "dos", NULL: the whole disk */
    const char *make, *judge, *used;
    bool mounts;
};

static const struct layout layouts[] = {
    {"ext4 4 KiB", "ext4", "gpt", EXT_MAKE("-t ext4 -b 4096", "96M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 1 KiB", "ext4", "dos", EXT_MAKE("-t ext4 -b 1024", "64M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 64bit, no flex_bg", "ext4", NULL, EXT_MAKE("-t ext4 -b 1024 -O 64bit,^flex_bg", "64M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 meta_bg", "ext4", "gpt", EXT_MAKE("-t ext4 -b 1024 -O meta_bg,^resize_inode", "128M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 bigalloc", "ext4", "gpt", EXT_MAKE("-t ext4 -O bigalloc -C 16384", "128M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 bigalloc 1 KiB", "ext4", NULL, EXT_MAKE("-t ext4 -b 1024 -O bigalloc -C 8192", "96M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 uninit_bg", "ext4", "gpt", EXT_MAKE("-t ext4 -b 1024 -O uninit_bg,^metadata_csum", "128M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 sparse_super2, inline_data", "ext4", NULL, EXT_MAKE("-t ext4 -O sparse_super2,inline_data,^resize_inode", "96M"), EXT_JUDGE, EXT_USED, false},
    {"ext3", "ext3", "dos", EXT_MAKE("-t ext3 -b 1024", "64M"), EXT_JUDGE, EXT_USED, false},
    {"ext2", "ext2", "dos", EXT_MAKE("-t ext2 -b 4096 -O ^resize_inode", "64M"), EXT_JUDGE, EXT_USED, false},
    {"ext4 aged by the kernel", "ext4", "gpt", EXT_AGED("-t ext4", "160M"), EXT_JUDGE, EXT_USED, true},
    {"ext4 1 KiB aged by the kernel", "ext4", "gpt", EXT_AGED("-t ext4 -b 1024", "96M"), EXT_JUDGE, EXT_USED, true},
    {"XFS v5", "xfs", "gpt", XFS_MAKE("", "320M"), XFS_JUDGE, XFS_USED, true},
    {"XFS v5, reverse map, reflink", "xfs", NULL, XFS_MAKE("-m rmapbt=1,reflink=1,bigtime=1 -d agcount=3", "320M"), XFS_JUDGE, XFS_USED, true},
    {"XFS v5 1 KiB", "xfs", "gpt", XFS_MAKE("-b size=1024", "320M"), XFS_JUDGE, XFS_USED, true},
    {"XFS v4", "xfs", "dos", XFS4_MAKE("320M"), XFS4_JUDGE, XFS_USED, false},
    {"NTFS 4 KiB", "ntfs", "gpt", NTFS_MAKE("-c 4096"), NTFS_JUDGE, NTFS_USED, true},
    {"NTFS 64 KiB", "ntfs", "dos", NTFS_MAKE("-c 65536"), NTFS_JUDGE, NTFS_USED, true},
    {"NTFS 512 bytes", "ntfs", NULL, NTFS_MAKE("-c 512"), NTFS_JUDGE, NTFS_USED, true},
    {"NTFS compressed, sparse", "ntfs", "gpt",
     TREE NTFS("-c 4096 -C") MOUNTED(NTFS_MOUNT, AGE("mnt") "; yes text | head -c 4000000 >mnt/squeezed; truncate -s 30M mnt/sparse; "
     "head -c 100000 /dev/urandom | dd of=mnt/sparse bs=1k seek=9000 conv=notrunc"), NTFS_JUDGE, NTFS_USED, true},
    {"NTFS with a broken-up bitmap", "ntfs", NULL,
     TREE NTFS("-c 512") MOUNTED(NTFS_MOUNT, AGE("mnt") "; for i in $(seq 1 1500); do head -c 3000 /dev/urandom >mnt/sub/p$i; done; rm mnt/sub/p*[02468]"),
     NTFS_JUDGE, NTFS_USED, true},
    {"NTFS with a broken-up MFT", "ntfs", NULL,
     "truncate -s 8M $I; mkfs.ntfs -q -F -f -c 512 $I; " MOUNTED(NTFS_MOUNT, "mkdir mnt/sub mnt/e; split -b 900 -a 4 /dev/zero mnt/sub/p || true; "
     "rm mnt/sub/p*[acegikmoqsuwy]; head -c 900000 /dev/urandom | split -b 300 -a 4 - mnt/e/ || true") "; ntfsinfo -mf $I | grep 'Extent Inodes: [1-9]'",
     NTFS_JUDGE, NTFS_USED, true},
    {"FAT12", "fat12", "dos", FAT_MAKE("-F 12 -s 16", "24M"), FAT_JUDGE, FAT_USED, false},
    {"FAT16", "fat16", "dos", FAT_MAKE("-F 16", "64M"), FAT_JUDGE, FAT_USED, false},
    {"FAT32", "fat32", "gpt", FAT_MAKE("-F 32 -s 1", "64M"), FAT_JUDGE, FAT_USED, false},
};

/* Runs commands with $I = image in their shell; what they print goes to out. */
static void run(const char *commands, const char *image, const char *out)
{
    AUTO_FREE char *script = str_printf("set -e; I=%s; %s", image, commands);
    assert_non_null(script);
    FILE *f = fopen("row.sh", "w");
    assert_non_null(f);
    fputs(script, f);
    assert_int_equal(fclose(f), 0);
    sh("sh row.sh >%s", out);
}

/* fs.img becomes the only partition of disk.img. */
static void wrap(const char *table)
{
    if (!table) {
        sh("mv fs.img disk.img");
        return;
    }
    sh("n=$(($(stat -c %%s fs.img) / 512)); truncate -s $((n * 512 + 2097152)) disk.img; printf 'label: %s\\nstart=2048, size=%%d\\n' $n | sfdisk -q disk.img; "
       "dd if=fs.img of=disk.img bs=1M seek=1 conv=notrunc,sparse; rm fs.img", table);
}

static void unwrap(const char *disk, const char *table)
{
    sh(table ? "dd if=%s of=fs.img bs=1M skip=1 count=$(($(stat -c %%s %s) / 1048576 - 2)) conv=sparse" : "cp --sparse=always %s fs.img; : %s", disk, disk);
}

static unsigned long long number_in(const char *path)
{
    char text[64] = "";
    unsigned long long n = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[len] = 0;
    if (!str_to_u64(text, UINT64_MAX, &n))
        fail_msg("%s holds no number: %s", path, text);
    return n;
}

static void maps(const struct layout *l)
{
    sh("rm -f *.img");
    run(l->make, "fs.img", "make.out");
    sh("cp --sparse=always fs.img keep.img");
    run(l->judge, "fs.img", "a.out");
    run(l->used, "fs.img", "used.out");
    sh("mv keep.img fs.img");
    wrap(l->table);
    struct fsmap_options o = {.sector_size = 512};
    struct fsmap m = map_file("disk.img", &o);
    const struct fsmap_region *r = map_region(&m, NULL);
    unsigned long long used = number_in("used.out");
    print_message("%-34s %-6s used %9llu, mapped %9llu (%.3f) of %9llu, %5zu ranges, read %8llu  %s\n", l->name, r->rule, used,
                  (unsigned long long)r->used, (double)r->used / (double)used, (unsigned long long)r->bytes, m.used.n, (unsigned long long)m.read_bytes, r->reason);
    if (strcmp(r->rule, l->rule) || r->reason[0])
        fail_msg("%s: is judged as %s: %s", l->name, r->rule, r->reason);
    /* 64 KiB: boot sectors and what lies behind the last whole cluster */
    if ((double)r->used > 1.05 * (double)used + 65536)
        fail_msg("%s: %llu bytes are mapped where %llu are used", l->name, (unsigned long long)r->used, used);
    map_copy(&m, "disk.img", "copy.img");
    fsmap_free(&m);
    unwrap("copy.img", l->table);
    run(l->judge, "fs.img", "b.out");
    sh("test $(wc -l <a.out) -ge 10; cmp a.out b.out");
}

static void maps_all(void **state)
{
    (void)state;
    bool may_mount = geteuid() == 0;
    const char *only = getenv("LAYOUT");                /* to look at some: a part of their names */
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
        if (only && !strstr(layouts[i].name, only))
            continue;
        else if (!layouts[i].mounts || may_mount)
            maps(&layouts[i]);
        else
            print_message("%s: not tested, mounting takes root\n", layouts[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_all)};
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
