/* The table is written by a program that writes its parts one after the other: the copy at the end, the table, the protective MBR. Killed in between, what
 * is there is recognised part by part: a header by the disk's GUID, a list of partitions by the partition's, all else must be zero. Sources: UEFI 2.10,
 * chapter 5. */
#include "storage/volume/mark.h"

#include <stdio.h>
#include <string.h>

#define ENTRY_BYTES 128
#define ENTRIES 128
#define GUID_BYTES 16

void mark_span(uint64_t disk_size, uint64_t *ret_offset, uint64_t *ret_size)
{
    uint64_t end = (disk_size - VOLUME_EDGE_BYTES) / VOLUME_EDGE_BYTES * VOLUME_EDGE_BYTES;
    *ret_offset = VOLUME_EDGE_BYTES;
    *ret_size = end - VOLUME_EDGE_BYTES;
}

int mark_mbr_id(const struct volume_plan *p, uint32_t *ret, struct err *e)
{
    char guid[UUID_LEN];
    int r = volume_guid(p->id, "disk", 0, guid, e);
    if (r == 0)
        *ret = (uint32_t)strtoul((char[9]){guid[0], guid[1], guid[2], guid[3], guid[4], guid[5], guid[6], guid[7], 0}, NULL, 16) | 1;
    return r;
}

/* As it lies on a disk: the first three fields little-endian. */
static void guid_bytes(const char *text, uint8_t ret[GUID_BYTES])
{
    static const uint8_t order[GUID_BYTES] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char hex[33];
    size_t n = 0;
    for (const char *s = text; *s && n < 32; s++)
        if (*s != '-')
            hex[n++] = *s;
    hex[n] = 0;
    for (size_t i = 0; i < GUID_BYTES; i++)
        ret[order[i]] = (uint8_t)strtoul((char[3]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
}

static bool zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

/* ABSENT: all zero. */
enum piece { ABSENT, OURS, OTHERS };

static enum piece header(const uint8_t *sector, size_t n, const uint8_t *disk_guid)
{
    return zero(sector, n) ? ABSENT : !memcmp(sector, "EFI PART", 8) && !memcmp(sector + 56, disk_guid, GUID_BYTES) ? OURS : OTHERS;
}

static enum piece entries(const uint8_t *list, const uint8_t *part_guid)
{
    if (!zero(list + ENTRY_BYTES, ENTRY_BYTES * (ENTRIES - 1)))
        return OTHERS;
    return zero(list, ENTRY_BYTES) ? ABSENT : !memcmp(list + 16, part_guid, GUID_BYTES) ? OURS : OTHERS;
}

/* One entry, over the whole disk, of the type that says that there is a GPT. */
static enum piece protective(const uint8_t *sector, size_t n)
{
    if (zero(sector, n))
        return ABSENT;
    bool ours = sector[450] == 0xEE && zero(sector, 440) && zero(sector + 462, 48) && sector[510] == 0x55 && sector[511] == 0xAA && zero(sector + 512, n - 512);
    return ours ? OURS : OTHERS;
}

static enum volume_mine judge_gpt(const uint8_t *head, const uint8_t *tail, size_t sector, const uint8_t *disk_guid, const uint8_t *part_guid)
{
    const size_t list = ENTRY_BYTES * ENTRIES, copy = MARK_EDGE_BYTES - sector - list;
    const enum piece pieces[] = {
        protective(head, sector), header(head + sector, sector, disk_guid), entries(head + 2 * sector, part_guid),
        entries(tail + copy, part_guid), header(tail + copy + list, sector, disk_guid),
    };
    if (!zero(head + 2 * sector + list, MARK_EDGE_BYTES - 2 * sector - list) || !zero(tail, copy))
        return VOLUME_FOREIGN;
    size_t there = 0;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if (pieces[i] == OTHERS)
            return VOLUME_FOREIGN;
        there += pieces[i] == OURS;
    }
    return there == ARRAY_LEN(pieces) ? VOLUME_WHOLLY : there ? VOLUME_PARTLY : VOLUME_BARE;
}

static enum volume_mine judge_mbr(const uint8_t *head, const uint8_t *tail, uint32_t id)
{
    uint32_t found = (uint32_t)head[440] | (uint32_t)head[441] << 8 | (uint32_t)head[442] << 16 | (uint32_t)head[443] << 24;
    if (!zero(head + 512, MARK_EDGE_BYTES - 512) || !zero(tail, MARK_EDGE_BYTES))
        return VOLUME_FOREIGN;
    if (zero(head, 512))
        return VOLUME_BARE;
    if (found != id || !zero(head + 462, 48))
        return VOLUME_FOREIGN;
    return head[510] == 0x55 && head[450] ? VOLUME_WHOLLY : VOLUME_PARTLY;
}

int mark_judge(const struct volume_plan *p, unsigned k, const uint8_t *head, const uint8_t *tail, enum volume_mine *ret, struct err *e)
{
    char disk[UUID_LEN], part[UUID_LEN];
    uint8_t disk_guid[GUID_BYTES], part_guid[GUID_BYTES];
    uint32_t id = 0;
    int r = volume_guid(p->id, "disk", k, disk, e);
    if (r < 0 || (r = volume_guid(p->id, "part", k, part, e)) < 0 || (r = mark_mbr_id(p, &id, e)) < 0)
        return r;
    guid_bytes(disk, disk_guid);
    guid_bytes(part, part_guid);
    *ret = p->style == VOLUME_MBR ? judge_mbr(head, tail, id) : judge_gpt(head, tail, p->disks[k].sector, disk_guid, part_guid);
    return 0;
}

int mark_head(const struct volume_plan *p, unsigned k, uint32_t sector, const uint8_t *head, bool *ret, struct err *e)
{
    char disk[UUID_LEN];
    uint8_t guid[GUID_BYTES];
    uint32_t id = 0;
    int r = volume_guid(p->id, "disk", k, disk, e);
    if (r < 0 || (r = mark_mbr_id(p, &id, e)) < 0)
        return r;
    guid_bytes(disk, guid);
    uint32_t found = (uint32_t)head[440] | (uint32_t)head[441] << 8 | (uint32_t)head[442] << 16 | (uint32_t)head[443] << 24;
    *ret = p->style == VOLUME_MBR ? found == id : header(head + sector, sector, guid) == OURS;
    return 0;
}

int mark_recognise(struct hostdisk *d, struct err *e)
{
    char guid[UUID_LEN];
    uint32_t id = 0;
    struct volume_plan p = {0};
    const struct hostdisk_part *part = d->n_parts == 1 ? &d->parts[0] : NULL;
    const char *named = part && d->table == HOSTDISK_GPT ? part->name : part && d->table == HOSTDISK_MBR ? part->content.uuid : NULL;
    int r = 0;
    if (!named || !crypto_is_uuid(named) || (d->table == HOSTDISK_GPT && !part->id) || (d->table == HOSTDISK_MBR && !d->table_id))
        return 0;
    bool ours = false;
    if (d->table == HOSTDISK_MBR) {
        memcpy(p.id, named, UUID_LEN);
        if ((r = mark_mbr_id(&p, &id, e)) < 0)
            return r;
        ours = strtoul(d->table_id, NULL, 16) == id;
    }
    for (unsigned k = 0; d->table == HOSTDISK_GPT && k < VOLUME_DISKS_MAX && !ours; k++) {
        if ((r = volume_guid(named, "part", k, guid, e)) < 0)
            return r;
        ours = str_ieq(guid, part->id);
    }
    if (ours && !(d->volume = str_dup(named)))
        return err_oom(e);
    return 0;
}
