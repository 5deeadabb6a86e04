/* The bytes of the disks: a file for each in work_dir, of which only what is written takes space. */
#include <stdio.h>
#include <string.h>

#include "tests/doubles/wmi/storage.h"

char *bytes_file(struct dbl *d, const char *serial)
{
    return d->work_dir ? x_printf("%s/disk-%s", d->work_dir, serial) : NULL;
}

static struct os_file *open_bytes(struct dbl *d, const char *serial, bool write)
{
    AUTO_FREE char *path = bytes_file(d, serial);
    struct os_file *f = NULL;
    struct err e;
    if (path && os_file_open(path, write ? OS_WRITE | OS_CREATE : OS_READ, &f, &e) < 0 && write)
        abort();
    return f;
}

static void put(struct dbl *d, const char *serial, uint64_t offset, const void *data, size_t n)
{
    struct err e;
    AUTO(os_file_close_ptr) struct os_file *f = open_bytes(d, serial, true);
    if (f && os_file_pwrite(f, data, n, offset, &e) < 0)
        abort();
}

void bytes_write(struct dbl *d, const char *serial, uint64_t offset, const void *data, size_t n)
{
    struct storage *s = storage_of(d);
    put(d, serial, offset, data, n);
    s->extents = x_grow(s->extents, s->n_extents + 1, sizeof *s->extents);
    struct extent *x = &s->extents[s->n_extents++];
    *x = (struct extent){.offset = offset, .n = n};
    snprintf(x->serial, sizeof x->serial, "%s", serial);
}

void bytes_read(struct dbl *d, const char *serial, uint64_t offset, void *data, size_t n)
{
    struct err e;
    AUTO(os_file_close_ptr) struct os_file *f = open_bytes(d, serial, false);
    size_t got = 0;
    memset(data, 0, n);
    for (size_t k = 0; f && got < n && os_file_read_some(f, (char *)data + got, n - got, offset + got, &k, &e) == 0 && k;)
        got += k;
}

void bytes_zero(struct dbl *d, const char *serial, uint64_t from, uint64_t to)
{
    struct storage *s = storage_of(d);
    size_t kept = 0;
    for (size_t i = 0; i < s->n_extents; i++) {
        struct extent *x = &s->extents[i];
        uint64_t a = x->offset > from ? x->offset : from, b = x->offset + x->n < to ? x->offset + x->n : to;
        if (!strcmp(x->serial, serial) && a < b) {
            AUTO_FREE char *zeros = x_calloc(1, (size_t)(b - a));
            put(d, serial, a, zeros, (size_t)(b - a));
            if (a == x->offset && b == x->offset + x->n)
                continue;
        }
        s->extents[kept++] = *x;
    }
    s->n_extents = kept;
}

bool bytes_any(struct dbl *d, const char *serial)
{
    struct storage *s = storage_of(d);
    for (size_t i = 0; i < s->n_extents; i++) {
        if (strcmp(s->extents[i].serial, serial))
            continue;
        AUTO_FREE char *now = x_calloc(1, s->extents[i].n);
        bytes_read(d, serial, s->extents[i].offset, now, s->extents[i].n);
        if (!mem_is_zero(now, s->extents[i].n))
            return true;
    }
    return false;
}

/* ---- what Windows writes ---- */

static void guid_bytes(const char *text, uint8_t ret[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char hex[33] = "";
    size_t n = 0;
    for (const char *s = text ? text : ""; *s && n < 32; s++)
        if (!strchr("{}-", *s))
            hex[n++] = *s;
    for (size_t i = 0; i < 16; i++)
        ret[order[i]] = (uint8_t)strtoul((char[3]){hex[2 * i], hex[2 * i] ? hex[2 * i + 1] : 0, 0}, NULL, 16);
}

void bytes_table(struct dbl *d, struct inst *disk)
{
    uint8_t sectors[1024] = {[450] = 0xEE, [510] = 0x55, [511] = 0xAA};
    const char *serial = obj_str(disk->o, "SerialNumber");
    uint64_t size = obj_uint(disk->o, "Size", 0), style = hidden_of(d, disk)->real_style;
    bytes_zero(d, serial, 0, MIB);
    bytes_zero(d, serial, size - MIB, size);
    if (style == 2) {
        memcpy(sectors + 512, "EFI PART", 8);
        guid_bytes(obj_str(disk->o, "Guid"), sectors + 512 + 56);
        bytes_write(d, serial, 0, sectors, 1024);
        bytes_write(d, serial, size - 512, sectors + 512, 512);
    } else if (style == 1) {
        uint32_t id = (uint32_t)obj_uint(disk->o, "Signature", 0);
        sectors[450] = 7;
        for (size_t i = 0; i < 4; i++)
            sectors[440 + i] = (uint8_t)(id >> 8 * i);
        bytes_write(d, serial, 0, sectors, 512);
    }
}

static struct inst *disk_of(struct dbl *d, struct inst *partition)
{
    return link_other(space_of(d, STORAGE_NS), "MSFT_DiskToPartition", partition, 0);
}

void bytes_format(struct dbl *d, struct inst *partition, const char *label)
{
    struct inst *disk = disk_of(d, partition);
    uint8_t sector[512] = {0xEB, 0x52, 0x90, 'N', 'T', 'F', 'S', [510] = 0x55, [511] = 0xAA};
    uint64_t offset = obj_uint(partition->o, "Offset", 0), size = obj_uint(partition->o, "Size", 0);
    if (!disk)
        return;
    snprintf((char *)sector + 64, 64, "%s", label);
    bytes_write(d, obj_str(disk->o, "SerialNumber"), offset, sector, sizeof sector);
    bytes_write(d, obj_str(disk->o, "SerialNumber"), offset + size - 512, sector, sizeof sector);
}

char *bytes_left_label(struct dbl *d, const char *serial, uint64_t offset)
{
    uint8_t sector[512];
    bytes_read(d, serial, offset, sector, sizeof sector);
    return !memcmp(sector + 3, "NTFS", 4) ? str_ndup((char *)sector + 64, 63) : NULL;
}
