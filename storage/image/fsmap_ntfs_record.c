/* NTFS: file records of the MFT, their attributes, and the runs of clusters that those lie in.
 * Source: Linux, fs/ntfs3/ntfs.h (layouts); Microsoft's published NTFS technical reference. */
#include <string.h>

#include "storage/image/fsmap_ntfs.h"

#define RUNS_MAX 65536                               /* of one attribute */
#define ATTR_LIST_MAX 65536                          /* bytes: what Windows allows is 256 KiB, for files far more broken up than these */

void ntfs_runs_free(struct ntfs_runs *r)
{
    free(r->list);
    *r = (struct ntfs_runs){0};
}

bool ntfs_fixup(uint8_t *buf, size_t len, const char magic[4])
{
    uint16_t at = le16(buf + 4), count = le16(buf + 6);
    if (memcmp(buf, magic, 4) || count != len / 512 + 1 || at < 8 || at % 2 || at + 2u * count > 510)
        return false;
    for (uint16_t i = 1; i < count; i++) {
        uint8_t *end = buf + (size_t)i * 512 - 2;
        if (memcmp(end, buf + at, 2))
            return false;
        memcpy(end, buf + at + 2u * i, 2);
    }
    return true;
}

int ntfs_runs_read(struct ntfs *n, const struct ntfs_runs *runs, void *buf, size_t len, uint64_t offset, struct err *e)
{
    uint8_t *to = buf;
    uint64_t at = 0;
    for (size_t i = 0; i < runs->n && len; i++) {
        uint64_t bytes = runs->list[i].n * n->cluster;
        if (offset < at + bytes) {
            uint64_t inside = offset - at, left = bytes - inside;
            size_t part = left < len ? (size_t)left : len;
            if (runs->list[i].lcn == NTFS_HOLE)
                return volume_refuse(n->v, "a system file has a hole");
            int r = volume_read(n->v, to, part, runs->list[i].lcn * n->cluster + inside, e);
            if (r)
                return r;
            to += part, offset += part, len -= part;
        }
        at += bytes;
    }
    return len ? volume_refuse(n->v, "a system file is shorter than it says") : 0;
}

int ntfs_record_read(struct ntfs *n, uint64_t number, uint8_t *buf, bool *ret_used, struct err *e)
{
    int r = ntfs_runs_read(n, &n->mft, buf, n->record, number * n->record, e);
    *ret_used = false;
    if (r || memcmp(buf, "FILE", 4) || !(buf[22] & 1))
        return r;
    uint32_t first = le16(buf + 20), used = le32(buf + 24), allocated = le32(buf + 28);
    if (!ntfs_fixup(buf, n->record, "FILE") || allocated != n->record || used > n->record || first < 42 || first % 8 || first > used)
        return volume_refuse(n->v, "record %llu of its MFT is damaged", (unsigned long long)number);
    if (le16(buf + 4) >= 48 && le32(buf + 44) != (uint32_t)number)     /* records carry their number since 3.1 */
        return volume_refuse(n->v, "record %llu of its MFT says to be %u", (unsigned long long)number, le32(buf + 44));
    *ret_used = true;
    return 0;
}

bool ntfs_attribute_next(const struct ntfs *n, const uint8_t *record, uint32_t *at, struct ntfs_attribute *ret, bool *ret_broken)
{
    uint32_t used = le32(record + 24), here = *at ? *at : le16(record + 20);
    *ret_broken = true;
    if (here > n->record - 8 || here + 4 > used)
        return false;
    const uint8_t *p = record + here;
    struct ntfs_attribute a = {.type = le32(p), .at = p, .length = le32(p + 4)};
    if (a.type == UINT32_MAX) {
        *ret_broken = false;
        return false;
    }
    if (a.length < 24 || a.length % 8 || a.length > used - here)
        return false;
    a.resident = p[8] == 0;
    a.name_length = p[9];
    if (a.name_length && (uint32_t)le16(p + 10) + 2u * a.name_length > a.length)
        return false;
    if (a.resident) {
        uint32_t offset = le16(p + 20);
        a.value_length = le32(p + 16);
        if (offset > a.length || a.value_length > a.length - offset)
            return false;
        a.value = p + offset;
    } else {
        if (a.length < 64 || p[8] != 1 || le16(p + 32) < 64 || le16(p + 32) >= a.length)
            return false;
        a.lowest = le64(p + 16);
        a.highest = le64(p + 24);
    }
    *ret = a;
    *ret_broken = false;
    *at = here + a.length;
    return true;
}

static int runs_add(struct ntfs *n, struct ntfs_runs *runs, uint64_t lcn, uint64_t count, struct err *e)
{
    if (runs->n >= RUNS_MAX)
        return volume_refuse(n->v, "a system file lies in more than %u pieces", RUNS_MAX);
    if (runs->n == runs->size) {
        size_t size = runs->size ? runs->size * 2 : 16;
        void *p = realloc(runs->list, size * sizeof *runs->list);
        if (!p)
            return err_oom(e);
        runs->list = p;
        runs->size = size;
    }
    runs->list[runs->n++] = (struct ntfs_run){lcn, count};
    runs->clusters += count;
    return 0;
}

static int64_t signed_le(const uint8_t *p, unsigned n)
{
    uint64_t v = n && p[n - 1] & 0x80 ? UINT64_MAX : 0;
    while (n--)
        v = v << 8 | p[n];
    return (int64_t)v;
}

int ntfs_runs_decode(struct ntfs *n, const struct ntfs_attribute *a, struct ntfs_runs *runs, struct err *e)
{
    const uint8_t *p = a->at + le16(a->at + 32), *end = a->at + a->length;
    uint64_t lcn = 0, vcn = a->lowest;
    if (a->lowest == 0) {
        runs->bytes = le64(a->at + 48);
        runs->initialized = le64(a->at + 56);
    }
    if (a->lowest > a->highest + 1 || (a->highest != UINT64_MAX && a->highest > (UINT64_C(1) << 62)))
        return volume_refuse(n->v, "a run list's first and last cluster make no sense");
    while (p < end && *p) {
        unsigned len = *p & 15, off = *p >> 4;
        if (!len || len > 8 || off > 8 || (size_t)(end - p) < 1u + len + off)
            return volume_refuse(n->v, "a run list is damaged");
        int64_t count = signed_le(p + 1, len);
        if (count <= 0 || (uint64_t)count > a->highest + 1 - vcn)
            return volume_refuse(n->v, "a run list is longer than its attribute");
        if (off) {
            lcn += (uint64_t)signed_le(p + 1 + len, off);
            if (lcn >= n->clusters || (uint64_t)count > n->clusters - lcn)
                return volume_refuse(n->v, "a run list leads past the end of the volume");
        }
        int r = runs_add(n, runs, off ? lcn : NTFS_HOLE, (uint64_t)count, e);
        if (r)
            return r;
        vcn += (uint64_t)count;
        p += 1 + len + off;
    }
    return vcn == a->highest + 1 ? 0 : volume_refuse(n->v, "a run list is shorter than its attribute");
}

/* The attribute `type` of this record that begins at cluster `lowest`. */
static bool attribute_find(struct ntfs *n, const uint8_t *record, uint32_t type, uint64_t lowest, struct ntfs_attribute *ret, bool *ret_broken)
{
    uint32_t at = 0;
    static const uint8_t i30[8] = {'$', 0, 'I', 0, '3', 0, '0', 0};
    while (ntfs_attribute_next(n, record, &at, ret, ret_broken)) {
        bool named = type == ATTR_INDEX_ALLOCATION ? ret->name_length == 4 && !memcmp(ret->at + le16(ret->at + 10), i30, 8) : !ret->name_length;
        if (ret->type == type && named && (ret->resident || ret->lowest == lowest))
            return true;
    }
    return false;
}

/* The attribute list's bytes; it may lie in clusters itself. */
static int list_load(struct ntfs *n, const struct ntfs_attribute *a, uint8_t **ret, size_t *ret_n, struct err *e)
{
    AUTO_RUNS struct ntfs_runs runs = {0};
    if (!a->resident) {
        int r = ntfs_runs_decode(n, a, &runs, e);
        if (r)
            return r;
    }
    uint64_t bytes = a->resident ? a->value_length : runs.bytes;
    if (bytes > ATTR_LIST_MAX || (!a->resident && a->lowest))
        return volume_refuse(n->v, "an attribute list is longer than %u bytes", ATTR_LIST_MAX);
    AUTO_FREE uint8_t *buf = malloc((size_t)bytes + 1);
    if (!buf)
        return err_oom(e);
    if (a->resident) {
        memcpy(buf, a->value, (size_t)bytes);
    } else {
        int r = ntfs_runs_read(n, &runs, buf, (size_t)bytes, 0, e);
        if (r)
            return r;
    }
    *ret = STEAL(buf);
    *ret_n = (size_t)bytes;
    return 0;
}

/* Follows the list's entries of `type`: each names the record with the next part. Parts that are in *ret already are passed over. */
static int list_follow(struct ntfs *n, uint64_t number, const uint8_t *list, size_t len, uint32_t type, struct ntfs_runs *ret, struct err *e)
{
    AUTO_FREE uint8_t *record = malloc(n->record);
    if (!record)
        return err_oom(e);
    for (size_t at = 0; at < len;) {
        const uint8_t *p = list + at;
        if (len - at < 26 || le16(p + 4) < 26 || le16(p + 4) > len - at)
            return volume_refuse(n->v, "the attribute list of record %llu is damaged", (unsigned long long)number);
        at += le16(p + 4);
        if (le32(p) != type || p[6] != (type == ATTR_INDEX_ALLOCATION ? 4 : 0) || le64(p + 8) < ret->clusters)
            continue;
        struct ntfs_attribute a;
        bool used, broken = false;
        uint64_t part = le64(p + 16) & NTFS_NUMBER;
        int r = le64(p + 8) == ret->clusters ? ntfs_record_read(n, part, record, &used, e) : volume_refuse(n->v, "a part of a system file is missing");
        if (r)
            return r;
        if (!used || (part != number && (le64(record + 32) & NTFS_NUMBER) != number) || !attribute_find(n, record, type, ret->clusters, &a, &broken) || a.resident)
            return volume_refuse(n->v, "record %llu of its MFT does not hold what record %llu says", (unsigned long long)part, (unsigned long long)number);
        if ((r = ntfs_runs_decode(n, &a, ret, e)))
            return r;
    }
    return 0;
}

int ntfs_runs_of(struct ntfs *n, uint64_t number, uint32_t type, struct ntfs_runs *ret, struct err *e)
{
    AUTO_FREE uint8_t *record = malloc(n->record), *list = NULL;
    struct ntfs_attribute a;
    bool used, broken = false;
    size_t len = 0;
    if (!record)
        return err_oom(e);
    int r = ntfs_record_read(n, number, record, &used, e);
    if (r)
        return r;
    if (!used || le64(record + 32))
        return volume_refuse(n->v, "record %llu of its MFT is not in use", (unsigned long long)number);
    /* A part in the record itself first: of the MFT, that is what the others are found by. */
    if (attribute_find(n, record, type, 0, &a, &broken) && !a.resident && (r = ntfs_runs_decode(n, &a, ret, e)))
        return r;
    if (!broken && attribute_find(n, record, ATTR_LIST, 0, &a, &broken)) {
        r = list_load(n, &a, &list, &len, e);
        if (!r)
            r = list_follow(n, number, list, len, type, ret, e);
        if (r)
            return r;
    }
    if (broken)
        return volume_refuse(n->v, "record %llu of its MFT is damaged", (unsigned long long)number);
    return ret->bytes <= ret->clusters * n->cluster && ret->initialized <= ret->bytes ? 0
        : volume_refuse(n->v, "record %llu of its MFT has less clusters than its size needs", (unsigned long long)number);
}
