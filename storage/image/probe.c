/* What an image is: format first, then its partition table through the guest's eyes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/image/disk.h"

const char *image_format_name(enum image_format f)
{
    static const char *const names[] = {"raw", "vhd", "vhd_dynamic", "vhdx"};
    return (unsigned)f < ARRAY_LEN(names) ? names[f] : "unknown";
}

const char *image_table_name(enum image_table t)
{
    static const char *const names[] = {"none", "mbr", "gpt"};
    return (unsigned)t < ARRAY_LEN(names) ? names[t] : "unknown";
}

const char *bytes_text(const uint8_t *p, size_t n, char buf[BYTES_TEXT])
{
    size_t at = 0;
    bool text = true;
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(buf + at, BYTES_TEXT - at, "%s%02x", i ? " " : "", p[i]);
        text = text && p[i] >= 0x20 && p[i] < 0x7f;
    }
    if (text)
        snprintf(buf + at, BYTES_TEXT - at, " ('%.*s')", (int)n, (const char *)p);
    return buf;
}

/* A raw disk says nothing of itself, so its sectors are 512 bytes unless only 4096 make sense of its table. */
static int raw_probe(const struct image_source *src, struct image_info *info, struct disk *d, struct err *e)
{
    if (src->size % 512 || !src->size || src->size > IMAGE_MAX_BYTES)
        return err_set(e, ERR_NOT_VHD, NAME_FMT ": a raw disk cannot have %" PRIu64 " bytes (a multiple of 512 is expected, at most %" PRIu64 ")",
                       src->name, src->size, IMAGE_MAX_BYTES);
    info->format = IMAGE_RAW;
    info->fixed = true;
    info->virtual_size = src->size;
    disk_plain(d, src, src->size);
    if (src->size % 4096 || src->size < 2 * 4096)
        return 0;
    struct image_info small = *info, large = *info;
    large.sector_size = 4096;
    uint64_t end;
    int r = partition_read(&d->view, &small, &end, e);
    if (!r && small.table == TABLE_GPT && small.table_damaged)
        r = partition_read(&d->view, &large, &end, e);
    if (!r && large.table == TABLE_GPT && !large.table_damaged)
        info->sector_size = 4096;
    return r;
}

int image_read_format(const struct image_source *src, int expect, struct image_info *info, struct disk *d, struct err *e)
{
    int r;
    if (expect == IMAGE_RAW) {
        r = raw_probe(src, info, d, e);
    } else {
        uint8_t head[512];
        if (src->size < sizeof head + VHD_FOOTER_BYTES)
            return err_set(e, ERR_NOT_VHD, NAME_FMT ": holds %" PRIu64 " bytes, too few for any disk image", src->name, src->size);
        r = src->read(src->arg, head, sizeof head, 0, e);
        if (!r)
            r = vhdx_recognise(head) ? vhdx_probe(src, info, d, e) : vhd_probe(src, head, info, d, e);
    }
    if (r < 0)
        return r;
    if (expect >= 0 && (int)info->format != expect)
        return err_set(e, ERR_NOT_VHD, NAME_FMT ": is of format \"%s\", not \"%s\" as asked for", src->name, image_format_name(info->format),
                       image_format_name((enum image_format)expect));
    return 0;
}

int image_probe(const struct image_source *src, int expect, struct image_info *ret, struct err *e)
{
    struct image_info info = {.sector_size = 512};
    AUTO_DISK struct disk d = {0};
    uint64_t end;
    int r = image_read_format(src, expect, &info, &d, e);
    if (!r)
        r = partition_read(&d.view, &info, &end, e);
    if (r < 0)
        return r;
    *ret = info;
    return 0;
}
