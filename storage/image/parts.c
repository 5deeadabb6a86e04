/* What is good and what is not of the parts that hold an image together. */
#include <string.h>

#include "storage/image/open.h"
#include "storage/image/vhd.h"
#include "storage/image/vhdx.h"

#define PART_MAX VHDX_TABLE_BYTES

/* A part of n bytes with its cookie and checksum. *p is left as read, zeros where the file ends before. */
static int read_part(const struct image_source *src, uint64_t at, uint8_t *p, size_t n, bool *ret_there, struct err *e)
{
    memset(p, 0, n);
    *ret_there = at <= src->size && n <= src->size - at;
    return *ret_there ? src->read(src->arg, p, n, at, e) : 0;
}

static int vhdx_parts(const struct image_source *src, uint8_t *buf, struct image_part ret[], size_t *ret_n, struct err *e)
{
    static const struct { const char *name, *cookie; uint64_t at; size_t n; } parts[] = {
        {"header 1", "head", 64 * VHDX_KIB, VHDX_HEADER_BYTES},  {"header 2", "head", 128 * VHDX_KIB, VHDX_HEADER_BYTES},
        {"region table 1", "regi", 192 * VHDX_KIB, VHDX_TABLE_BYTES}, {"region table 2", "regi", 256 * VHDX_KIB, VHDX_TABLE_BYTES},
    };
    uint64_t number[2] = {0};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        bool there;
        int r = read_part(src, parts[i].at, buf, parts[i].n, &there, e);
        if (r < 0)
            return r;
        ret[i] = (struct image_part){.name = parts[i].name, .offset = parts[i].at,
                                     .good = there && !memcmp(buf, parts[i].cookie, 4) && le32(buf + 4) == vhdx_checksum(buf, parts[i].n, 4)};
        if (i < 2)
            number[i] = le64(buf + 8);
    }
    ret[0].current = ret[0].good && (!ret[1].good || number[0] >= number[1]);
    ret[1].current = ret[1].good && !ret[0].current;
    ret[2].current = ret[2].good;
    ret[3].current = ret[3].good && !ret[2].good;
    *ret_n = ARRAY_LEN(parts);
    return 0;
}

static int vhd_parts(const struct image_source *src, uint8_t *buf, struct image_part ret[], size_t *ret_n, struct err *e)
{
    uint8_t foot[2][VHD_FOOTER_BYTES];
    uint64_t at[2] = {0, src->size >= VHD_FOOTER_BYTES ? src->size - VHD_FOOTER_BYTES : 0}, header = 0;
    size_t n = 0;
    for (int i = 1; i >= 0; i--) {
        bool there;
        int r = read_part(src, at[i], foot[i], VHD_FOOTER_BYTES, &there, e);
        if (r < 0)
            return r;
        bool good = there && !memcmp(foot[i], VHD_COOKIE, 8) && be32(foot[i] + 64) == vhd_checksum(foot[i], VHD_FOOTER_BYTES, 64);
        if (i == 0 && !good && memcmp(foot[0], VHD_COOKIE, 8) && !header)
            continue;                                /* a fixed disk begins with the guest's own bytes */
        if (i == 0 && ret[0].good && be32(foot[1] + 60) == VHD_FIXED)
            continue;
        ret[n++] = (struct image_part){.name = i ? "footer" : "footer copy", .offset = at[i], .good = good, .current = good && (i || !ret[0].good)};
        if (good && be32(foot[i] + 60) != VHD_FIXED && !header)
            header = be64(foot[i] + 16);
    }
    if (header) {
        bool there;
        int r = read_part(src, header, buf, VHD_HEADER_BYTES, &there, e);
        if (r < 0)
            return r;
        bool good = there && !memcmp(buf, VHD_HEADER_COOKIE, 8) && be32(buf + 36) == vhd_checksum(buf, VHD_HEADER_BYTES, 36);
        ret[n++] = (struct image_part){.name = "dynamic header", .offset = header, .good = good, .current = good};
    }
    *ret_n = n;
    return 0;
}

int image_parts(const struct image_source *src, struct image_part ret[IMAGE_PARTS_MAX], size_t *ret_n, struct err *e)
{
    AUTO_FREE uint8_t *buf = malloc(PART_MAX);
    if (!buf)
        return err_oom(e);
    uint8_t head[512];
    bool there;
    int r = read_part(src, 0, head, sizeof head, &there, e);
    if (r < 0)
        return r;
    return vhdx_recognise(head) ? vhdx_parts(src, buf, ret, ret_n, e) : vhd_parts(src, buf, ret, ret_n, e);
}
