/* Partition tables: MBR with extended partitions, GPT with both copies; and the generation of the VM that fits them.
 *
 * The generation, in this order:
 *   no table                          1   nothing to go by; the BIOS at least tries to run the first sector
 *   MBR                               1   except with an EFI system partition and no boot code: only UEFI can start that
 *   GPT with a BIOS boot partition    1   also with an EFI system partition: such images (Azure's Linux ones) boot both ways
 *   GPT with an EFI system partition  2
 *   GPT with neither                  1 if the MBR has code that a BIOS would run, else 2: a GPT disk that lost its loader most likely
 *                                     came from a UEFI machine
 * A GPT that cannot be read (table_damaged) has neither. */
#include <string.h>

#include "common/crypto.h"
#include "storage/image/disk.h"

#define LOGICAL_MAX 128                              /* logical partitions followed, so that a loop in the chain ends */
#define ENTRIES_MAX_BYTES (1u << 20)
#define ENTRY_MAX_BYTES 4096

/* GUIDs as they lie on the disk: the first three fields little-endian. */
static const uint8_t guid_efi_system[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
static const uint8_t guid_bios_boot[16] = "Hah!IdontNeedEFI";
static const uint8_t guid_freebsd_boot[16] = {0x9d, 0x6b, 0xbd, 0x83, 0x41, 0x7f, 0xdc, 0x11, 0xbe, 0x0b, 0x00, 0x15, 0x60, 0xb8, 0x4f, 0x0f};

/* What one table says. */
struct table {
    unsigned partitions;
    bool efi_system, bios_boot;
    uint64_t end_sector;                             /* of the last partition, exclusive; saturated */
    struct partition_list *list;                     /* NULL: only counted */
};

static int table_add(struct table *t, struct partition p, struct err *e)
{
    t->partitions++;
    if (p.end_sector > t->end_sector)
        t->end_sector = p.end_sector;
    if (!t->list)
        return 0;
    if (t->list->n == t->list->size) {
        size_t size = t->list->size ? t->list->size * 2 : 16;
        void *list = realloc(t->list->list, size * sizeof *t->list->list);
        if (!list)
            return err_oom(e);
        t->list->list = list;
        t->list->size = size;
    }
    t->list->list[t->list->n++] = p;
    return 0;
}

void partition_list_free(struct partition_list *l)
{
    free(l->list);
    *l = (struct partition_list){0};
}

/* ---- MBR ---- */

#define MBR_ENTRY(sector, i) ((sector) + 446 + 16 * (i))

static bool has_signature(const uint8_t *sector)
{
    return sector[510] == 0x55 && sector[511] == 0xaa;
}

/* A boot sector of a file system ends with the signature too, but has text or code where the table would be: a real table's
 * status bytes are 0 or 0x80. */
static bool mbr_recognise(const uint8_t *sector)
{
    if (!has_signature(sector))
        return false;
    for (int i = 0; i < 4; i++)
        if (MBR_ENTRY(sector, i)[0] & 0x7f)
            return false;
    return true;
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* The chain of logical partitions; each link's start counts from the extended partition, each partition's from its link. */
static int logical_read(const struct image_source *disk, uint32_t sector_size, uint64_t extended, struct table *t, bool *ret_broken, struct err *e)
{
    uint64_t link = extended;
    for (unsigned i = 0; i < LOGICAL_MAX; i++) {
        uint8_t s[512];
        if (link >= disk->size / sector_size) {
            *ret_broken = true;
            return 0;
        }
        int r = disk->read(disk->arg, s, sizeof s, link * sector_size, e);
        if (r < 0)
            return r;
        if (!has_signature(s)) {
            *ret_broken = true;
            return 0;
        }
        const uint8_t *part = MBR_ENTRY(s, 0), *next = MBR_ENTRY(s, 1);
        uint64_t start = link + le32(part + 8);
        if (part[4] && le32(part + 12) &&
            (r = table_add(t, (struct partition){.start_sector = start, .end_sector = start + le32(part + 12), .mbr_type = part[4]}, e)) < 0)
            return r;
        if (!is_extended(next[4]))
            return 0;
        link = extended + le32(next + 8);
    }
    *ret_broken = true;
    return 0;
}

static int mbr_read(const struct image_source *disk, uint32_t sector_size, const uint8_t *sector, struct table *t, bool *ret_broken, struct err *e)
{
    for (int i = 0; i < 4; i++) {
        const uint8_t *p = MBR_ENTRY(sector, i);
        uint8_t type = p[4];
        uint64_t start = le32(p + 8), count = le32(p + 12);
        if (!type || !count)
            continue;
        if (is_extended(type)) {
            int r = logical_read(disk, sector_size, start, t, ret_broken, e);
            if (r < 0)
                return r;
            continue;
        }
        t->efi_system = t->efi_system || type == 0xef;
        int r = table_add(t, (struct partition){.start_sector = start, .end_sector = start + count, .mbr_type = type}, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- GPT ---- */

struct gpt_header {
    uint64_t alternate, entries;                     /* sectors */
    uint32_t count, entry_bytes, entries_crc;
};

/* false: no header there, or one that fails its checks. */
static int header_read(const struct image_source *disk, uint32_t sector_size, uint64_t sector, struct gpt_header *ret, bool *ret_good, struct err *e)
{
    *ret_good = false;
    uint8_t h[4096];                                 /* the largest sector size that is let in */
    if (sector >= disk->size / sector_size)
        return 0;
    int r = disk->read(disk->arg, h, sector_size, sector * sector_size, e);
    if (r < 0)
        return r;
    uint32_t bytes = le32(h + 12), crc = le32(h + 16);
    if (memcmp(h, "EFI PART", 8) || bytes < 92 || bytes > sector_size)
        return 0;
    memset(h + 16, 0, 4);
    struct gpt_header g = {.alternate = le64(h + 32), .entries = le64(h + 72), .count = le32(h + 80), .entry_bytes = le32(h + 84), .entries_crc = le32(h + 88)};
    if (crypto_crc32(0, h, bytes) != crc || le64(h + 24) != sector)
        return 0;
    if (g.entry_bytes < 128 || g.entry_bytes > ENTRY_MAX_BYTES || g.entry_bytes % 8 || !g.count || g.count > ENTRIES_MAX_BYTES / g.entry_bytes)
        return 0;
    if (g.entries >= disk->size / sector_size || (uint64_t)g.count * g.entry_bytes > disk->size - g.entries * sector_size)
        return 0;
    *ret = g;
    *ret_good = true;
    return 0;
}

static int entries_read(const struct image_source *disk, uint32_t sector_size, const struct gpt_header *g, struct table *ret, bool *ret_good, struct err *e)
{
    struct table t = {.list = ret->list};
    uint32_t crc = 0, per_step = (32u << 10) / g->entry_bytes;
    uint64_t at = g->entries * sector_size;
    AUTO_FREE uint8_t *buf = malloc((size_t)per_step * g->entry_bytes);
    if (!buf)
        return err_oom(e);
    for (uint32_t done = 0; done < g->count;) {
        uint32_t n = g->count - done < per_step ? g->count - done : per_step;
        size_t bytes = (size_t)n * g->entry_bytes;
        int r = disk->read(disk->arg, buf, bytes, at, e);
        if (r < 0)
            return r;
        crc = crypto_crc32(crc, buf, bytes);
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *p = buf + (size_t)i * g->entry_bytes;
            if (mem_is_zero(p, 16))
                continue;
            t.efi_system = t.efi_system || !memcmp(p, guid_efi_system, 16);
            t.bios_boot = t.bios_boot || !memcmp(p, guid_bios_boot, 16) || !memcmp(p, guid_freebsd_boot, 16);
            uint64_t last = le64(p + 40);
            struct partition part = {.start_sector = le64(p + 32), .end_sector = last == UINT64_MAX ? last : last + 1};
            memcpy(part.gpt_type, p, sizeof part.gpt_type);
            if ((r = table_add(&t, part, e)) < 0)
                return r;
        }
        at += bytes;
        done += n;
    }
    *ret_good = crc == g->entries_crc;
    if (*ret_good)
        *ret = t;
    else if (t.list)
        t.list->n = 0;
    return 0;
}

/* The copy at sector 1; if that is bad, the one that it names, and the one at the end of the disk. For a list all are looked at: two good
 * copies should say the same. */
static int gpt_read(const struct image_source *disk, uint32_t sector_size, struct table *t, bool *ret_good, struct err *e)
{
    uint64_t places[3] = {1, 0, disk->size / sector_size - 1};
    uint32_t first_crc = 0;
    *ret_good = false;
    for (size_t i = 0; i < ARRAY_LEN(places) && (!*ret_good || t->list); i++) {
        struct gpt_header g;
        bool good;
        if (!places[i])
            continue;
        int r = header_read(disk, sector_size, places[i], &g, &good, e);
        if (!r && good && *ret_good)
            t->list->differ = t->list->differ || g.entries_crc != first_crc;
        else if (!r && good)
            r = entries_read(disk, sector_size, &g, t, ret_good, e);
        if (r < 0)
            return r;
        if (good && *ret_good && !first_crc)
            first_crc = g.entries_crc;
        if (i == 0 && good)
            places[1] = g.alternate;
    }
    return 0;
}

/* ---- both ---- */

static unsigned choose_generation(const struct image_info *info)
{
    if (info->table == TABLE_NONE)
        return 1;
    if (info->table == TABLE_MBR)
        return info->efi_system && !info->boot_code ? 2 : 1;
    if (info->bios_boot)
        return 1;
    return info->efi_system || !info->boot_code ? 2 : 1;
}

int partition_read(const struct image_source *disk, struct image_info *info, uint64_t *ret_end, struct err *e)
{
    return partition_list(disk, info, ret_end, NULL, e);
}

int partition_list(const struct image_source *disk, struct image_info *info, uint64_t *ret_end, struct partition_list *list, struct err *e)
{
    uint32_t ss = info->sector_size;
    struct table t = {.list = list};
    bool broken = false, good = true;
    info->table = TABLE_NONE;
    uint8_t s[512];
    if (disk->size >= 2 * (uint64_t)ss) {
        int r = disk->read(disk->arg, s, sizeof s, 0, e);
        if (r < 0)
            return r;
        bool mbr = mbr_recognise(s), protective = false;
        for (int i = 0; mbr && i < 4; i++)
            protective = protective || MBR_ENTRY(s, i)[4] == 0xee;
        info->boot_code = mbr && !mem_is_zero(s, 440);
        if (mbr && !protective) {
            info->table = TABLE_MBR;
            r = mbr_read(disk, ss, s, &t, &broken, e);
        } else {
            r = gpt_read(disk, ss, &t, &good, e);
            /* A good GPT without its protective MBR is one that firmware may not accept: part of why the machine does not boot. */
            if (protective || good)
                info->table = TABLE_GPT;
            broken = info->table == TABLE_GPT && (!protective || !good);
        }
        if (r < 0)
            return r;
    }
    *ret_end = t.end_sector > UINT64_MAX / ss ? UINT64_MAX : t.end_sector * ss;
    info->partitions = t.partitions;
    info->efi_system = t.efi_system;
    info->bios_boot = t.bios_boot;
    info->table_damaged = broken || *ret_end > disk->size;
    info->generation = choose_generation(info);
    return 0;
}
