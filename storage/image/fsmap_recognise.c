/* Recognises what a volume holds by signatures. Formats that are only named here are in use as a whole.
 * Sources: each format's own documentation; the offsets agree with those of libblkid. */
#include <string.h>

#include "storage/image/fsmap_volume.h"

struct signature {
    const char *name;
    uint64_t offset;
    size_t n;
    const char *magic;
    int (*judge)(struct volume *v, struct err *e);   /* NULL: in use */
};

static const struct signature signatures[] = {
    {"ntfs", 3, 8, "NTFS    ", fsmap_ntfs},
    {"ext", 1080, 2, "\x53\xef", fsmap_ext},
    {"xfs", 0, 4, "XFSB", fsmap_xfs},
    {"fat12", 54, 8, "FAT12   ", fsmap_fat},
    {"fat16", 54, 8, "FAT16   ", fsmap_fat},
    {"fat32", 82, 8, "FAT32   ", fsmap_fat},
    {"exfat", 3, 8, "EXFAT   ", fsmap_exfat},
    {"lvm2", 0, 8, "LABELONE", fsmap_lvm_member},
    {"lvm2", 512, 8, "LABELONE", fsmap_lvm_member},
    {"lvm2", 1024, 8, "LABELONE", fsmap_lvm_member},
    {"lvm2", 1536, 8, "LABELONE", fsmap_lvm_member},
    {"swap", 4096 - 10, 10, "SWAPSPACE2", fsmap_swap},
    {"swap", 16384 - 10, 10, "SWAPSPACE2", fsmap_swap},
    {"swap", 65536 - 10, 10, "SWAPSPACE2", fsmap_swap},
    {"suspended", 4096 - 10, 9, "S1SUSPEND", NULL},
    {"suspended", 4096 - 10, 9, "S2SUSPEND", NULL},
    {"luks", 0, 6, "LUKS\xba\xbe", NULL},
    {"luks", 16384, 6, "SKUL\xba\xbe", NULL},
    {"bitlocker", 3, 8, "-FVE-FS-", NULL},
    {"bitlocker", 424, 16, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01", NULL},
    {"refs", 3, 8, "ReFS\0\0\0\0", NULL},
    {"btrfs", 65600, 8, "_BHRfS_M", NULL},
    {"md", 0, 4, "\xfc\x4e\x2b\xa9", NULL},
    {"md", 4096, 4, "\xfc\x4e\x2b\xa9", NULL},
    {"bcache", 4120, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", NULL},
    {"bcachefs", 4120, 16, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", NULL},
    {"integrity", 0, 7, "integrt", NULL},
    {"verity", 0, 7, "verity\0", NULL},
    {"stratis", 516, 16, "!Stra0tis\x86\xff\x02^\x41rh", NULL},
    {"vdo", 0, 8, "dmvdo001", NULL},
    {"jfs", 32768, 4, "JFS1", NULL},
    {"reiserfs", 65588, 6, "ReIsEr", NULL},
    {"f2fs", 1024, 4, "\x10\x20\xf5\xf2", NULL},
    {"nilfs2", 1030, 2, "\x34\x34", NULL},
    {"apfs", 32, 4, "NXSB", NULL},
    {"iso9660", 32769, 5, "CD001", NULL},
    {"squashfs", 0, 4, "hsqs", NULL},
};

struct found {
    const char *name, *other;                        /* other: of a second format */
    int (*judge)(struct volume *v, struct err *e);
};

static void found_add(struct found *f, const char *name, int (*judge)(struct volume *v, struct err *e))
{
    if (!f->name) {
        f->name = name;
        f->judge = judge;
    } else if (strcmp(f->name, name)) {
        f->other = name;
    }
}

/* ZFS has an array of uberblocks in each label; any good one will do. */
static int find_zfs(struct volume *v, struct found *f, struct err *e)
{
    static const uint8_t little[4] = {0x0c, 0xb1, 0xba, 0}, big[8] = {0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c};
    for (uint64_t at = UINT64_C(128) << 10; at < UINT64_C(256) << 10 && at + 1024 <= v->size; at += 1024) {
        uint8_t b[8];
        int r = volume_read(v, b, sizeof b, at, e);
        if (r)
            return r;
        if (!memcmp(b, little, sizeof little) || !memcmp(b, big, sizeof big)) {
            found_add(f, "zfs", NULL);
            return 0;
        }
    }
    return 0;
}

/* Linux RAID with its superblock near the end (0.90 and 1.0): the file system at the start is a member's, not the whole. */
static int find_md_at_end(struct volume *v, struct found *f, struct err *e)
{
    static const uint8_t little[4] = {0xfc, 0x4e, 0x2b, 0xa9}, big[4] = {0xa9, 0x2b, 0x4e, 0xfc};
    if (v->size < UINT64_C(256) << 10)
        return 0;
    const uint64_t places[] = {(v->size & ~UINT64_C(65535)) - 65536, (v->size / 512 - 16) / 8 * 8 * 512};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        uint8_t b[4];
        int r = volume_read(v, b, sizeof b, places[i], e);
        if (r)
            return r;
        if (!memcmp(b, little, sizeof b) || !memcmp(b, big, sizeof b))
            found_add(f, "md", NULL);
    }
    return 0;
}

static int find(struct volume *v, struct found *f, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
        const struct signature *s = &signatures[i];
        uint8_t b[16];
        if (s->offset + s->n > v->size)
            continue;
        int r = volume_read(v, b, s->n, s->offset, e);
        if (r)
            return r;
        if (!memcmp(b, s->magic, s->n))
            found_add(f, s->name, s->judge);
    }
    int r = find_zfs(v, f, e);
    return r ? r : find_md_at_end(v, f, e);
}

int fsmap_recognise(struct volume *v, const char **ret_name, struct err *e)
{
    struct found f = {0};
    int r = find(v, &f, e);
    *ret_name = f.name;
    return r < 0 ? r : 0;
}

int fsmap_judge(struct volume *v, struct err *e)
{
    struct found f = {0};
    int r = find(v, &f, e);
    if (r)
        return r;
    if (!f.name)
        return volume_refuse(v, "no file system that is known");
    v->rule = f.name;
    if (f.other)
        return volume_refuse(v, "it has the signatures of both %s and %s", f.name, f.other);
    if (!f.judge)
        return volume_refuse(v, "allocation is not read from %s", f.name);
    return f.judge(v, e);
}
