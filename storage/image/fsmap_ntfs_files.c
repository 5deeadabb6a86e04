/* NTFS: the paging and hibernation files, found by name in the index of the root folder. Windows makes new contents of them at each start;
 * a hibernation file is read only on a volume that was left open, and such a volume is in use as a whole. */
#include <string.h>

#include "storage/image/fsmap_ntfs.h"

#define INDEX_MAX_BYTES (1u << 20)                   /* of the root folder's index; a larger one is not looked through */

static const char *const names[] = {"pagefile.sys", "swapfile.sys", "hiberfil.sys"};

static bool is_one(const uint8_t *utf16, unsigned n)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsigned k = 0;
        while (k < n && names[i][k] && utf16[2 * k + 1] == 0 && (utf16[2 * k] | (utf16[2 * k] >= 'A' && utf16[2 * k] <= 'Z' ? 0x20 : 0)) == names[i][k])
            k++;
        if (k == n && !names[i][k])
            return true;
    }
    return false;
}

static int file_add(struct ntfs *n, uint64_t number, struct fsmap_list *ret, struct err *e)
{
    AUTO_RUNS struct ntfs_runs runs = {0};
    int r = ntfs_runs_of(n, number, ATTR_DATA, &runs, e);
    for (size_t i = 0; !r && i < runs.n; i++)
        if (runs.list[i].lcn != NTFS_HOLE && !list_add(ret, runs.list[i].lcn * n->cluster, (runs.list[i].lcn + runs.list[i].n) * n->cluster))
            r = err_oom(e);
    return r;
}

/* An index header and its entries, `len` bytes from p on. */
static int entries_look(struct ntfs *n, const uint8_t *p, size_t len, struct fsmap_list *ret, struct err *e)
{
    if (len < 16 || le32(p) > len || le32(p + 4) > len)
        return volume_refuse(n->v, "its root folder is damaged");
    size_t end = le32(p + 4);
    for (size_t at = le32(p); at + 16 <= end;) {
        size_t step = le16(p + at + 8), key = le16(p + at + 10);
        if (step < 16 || step > end - at || key > step - 16)
            return volume_refuse(n->v, "its root folder is damaged");
        if (le16(p + at + 12) & 2)                   /* the last entry has no key */
            break;
        const uint8_t *name = p + at + 16;
        if (key >= 66 && 66u + 2u * name[64] <= key && is_one(name + 66, name[64])) {
            int r = file_add(n, le64(p + at) & NTFS_NUMBER, ret, e);
            if (r)
                return r;
        }
        at += step;
    }
    return 0;
}

static int blocks_look(struct ntfs *n, uint32_t block, struct fsmap_list *ret, struct err *e)
{
    AUTO_RUNS struct ntfs_runs runs = {0};
    int r = ntfs_runs_of(n, ROOT, ATTR_INDEX_ALLOCATION, &runs, e);
    if (r || !runs.n)
        return r;
    if (block < 512 || block > 65536 || block % 512 || runs.bytes > INDEX_MAX_BYTES)
        return volume_refuse(n->v, "its root folder is too large");
    AUTO_FREE uint8_t *buf = malloc(block);
    if (!buf)
        return err_oom(e);
    for (uint64_t at = 0; at + block <= runs.bytes; at += block) {
        if ((r = ntfs_runs_read(n, &runs, buf, block, at, e)))
            return r;
        if (ntfs_fixup(buf, block, "INDX") && (r = entries_look(n, buf + 24, block - 24, ret, e)))     /* a block not in use has none */
            return r;
    }
    return 0;
}

int ntfs_pagefiles(struct ntfs *n, struct fsmap_list *ret, struct err *e)
{
    uint8_t record[NTFS_RECORD_MAX];
    struct ntfs_attribute a;
    bool used, broken;
    uint32_t at = 0;
    int r = ntfs_record_read(n, ROOT, record, &used, e);
    if (r)
        return r;
    while (used && ntfs_attribute_next(n, record, &at, &a, &broken)) {
        if (a.type != ATTR_INDEX_ROOT || !a.resident || a.value_length < 32)
            continue;
        uint32_t block = le32(a.value + 8);
        r = entries_look(n, a.value + 16, a.value_length - 16, ret, e);
        if (!r)
            r = blocks_look(n, block, ret, e);
        list_sort(ret);
        return r;
    }
    return volume_refuse(n->v, "its root folder is damaged");
}
