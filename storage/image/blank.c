/* Empty disks to install a system on. Where os_files_are_sparse() they cost nothing until a guest writes. */
#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/os.h"
#include "storage/image/vhd.h"
#include "storage/image/writer.h"

#define STEP_BYTES ((uint64_t)64 << 20)
#define VHD_EPOCH_MS INT64_C(946684800000)           /* 2000-01-01 UTC */

/* Cylinders, heads and sectors as the appendix of the VHD specification computes them. */
static uint32_t geometry(uint64_t sectors)
{
    if (sectors > 65535u * 16u * 255u)
        sectors = 65535u * 16u * 255u;
    uint64_t spt, heads, cylinder_heads;
    if (sectors >= 65535u * 16u * 63u) {
        spt = 255;
        heads = 16;
        cylinder_heads = sectors / spt;
    } else {
        spt = 17;
        cylinder_heads = sectors / spt;
        heads = (cylinder_heads + 1023) / 1024;
        if (heads < 4)
            heads = 4;
        if (cylinder_heads >= heads * 1024 || heads > 16) {
            spt = 31;
            heads = 16;
            cylinder_heads = sectors / spt;
        }
        if (cylinder_heads >= heads * 1024) {
            spt = 63;
            heads = 16;
            cylinder_heads = sectors / spt;
        }
    }
    return (uint32_t)(cylinder_heads / heads) << 16 | (uint32_t)heads << 8 | (uint32_t)spt;
}

static int size_check(uint64_t virtual_size, struct err *e)
{
    if (!virtual_size || virtual_size % 512 || virtual_size > IMAGE_MAX_BYTES)
        return err_set(e, ERR_VALUE, "A disk cannot have %" PRIu64 " bytes: a multiple of 512 up to %" PRIu64 " is expected", virtual_size, IMAGE_MAX_BYTES);
    return 0;
}

int vhd_footer(uint64_t virtual_size, enum vhd_type type, uint64_t data_offset, uint8_t ret[VHD_FOOTER_BYTES], struct err *e)
{
    uint8_t f[VHD_FOOTER_BYTES] = {0};
    int r = size_check(virtual_size, e);
    if (!r)
        r = os_random(f + 68, 16, e);
    if (r < 0)
        return r;
    memcpy(f, "conectix", 8);
    vhd_put32(f + 8, 2);                                 /* features: the bit that is always set */
    vhd_put32(f + 12, 0x00010000);
    vhd_put64(f + 16, data_offset);
    vhd_put32(f + 24, (uint32_t)((clock_now_ms() - VHD_EPOCH_MS) / 1000));
    /* Virtual PC's sign: some readers (QEMU's vpc among them) trust the current size only from creators that they know, and
     * otherwise cut the disk down to whole cylinders. */
    memcpy(f + 28, "win ", 4);
    vhd_put32(f + 32, 0x000a0000);
    memcpy(f + 36, "Wi2k", 4);
    vhd_put64(f + 40, virtual_size);
    vhd_put64(f + 48, virtual_size);
    vhd_put32(f + 56, geometry(virtual_size / 512));
    vhd_put32(f + 60, type);
    f[74] = (uint8_t)((f[74] & 0x0f) | 0x40);        /* the id as a version 4 UUID */
    f[76] = (uint8_t)((f[76] & 0x3f) | 0x80);
    vhd_put32(f + 64, vhd_checksum(f, sizeof f, 64));
    memcpy(ret, f, sizeof f);
    return 0;
}

int image_vhd_footer(uint64_t virtual_size, uint8_t ret[VHD_FOOTER_BYTES], struct err *e)
{
    return vhd_footer(virtual_size, VHD_FIXED, UINT64_MAX, ret, e);
}

int image_vhd_whole_mib(const char *path, struct err *e)
{
    struct image_info info;
    uint64_t size;
    {
        AUTO_IMAGE_FILE struct image_source src = {0};
        int r = image_file_open(path, &src, e);
        if (r == 0)
            r = image_probe(&src, IMAGE_VHD, &info, e);
        if (r < 0)
            return r;
        size = (info.virtual_size + (1 << 20) - 1) >> 20 << 20;
        if (size == info.virtual_size)
            return 0;
    }
    uint8_t footer[VHD_FOOTER_BYTES];
    static const uint8_t zeros[VHD_FOOTER_BYTES];
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    int r = os_file_open(path, OS_WRITE, &f, e);
    if (r == 0)
        r = image_vhd_footer(size, footer, e);
    if (r == 0)
        r = os_file_pwrite(f, zeros, sizeof zeros, info.virtual_size, e);
    if (r == 0)
        r = os_file_truncate(f, size + VHD_FOOTER_BYTES, e);
    if (r == 0)
        r = os_file_pwrite(f, footer, sizeof footer, size, e);
    return r ? r : os_file_sync(f, e);
}

/* Is what lies at path the disk that would be made? */
static int existing_check(const char *path, enum image_format format, uint64_t virtual_size, struct err *e)
{
    AUTO_IMAGE_FILE struct image_source src = {0};
    int r = image_file_open(path, &src, e);
    if (r < 0)
        return r;
    struct image_info info;
    r = image_probe(&src, (int)format, &info, e);
    if (r < 0)
        return err_set(e, ERR_IO, "%s is there already and is not a %s disk of %" PRIu64 " bytes", path, image_format_name(format), virtual_size);
    if (info.virtual_size != virtual_size)
        return err_set(e, ERR_IO, "%s is there already with %" PRIu64 " bytes instead of %" PRIu64, path, info.virtual_size, virtual_size);
    return 0;
}

/* Up to the footer: one write of it would fill up with zeros all that lies before, and nobody could stop it. */
static int fill(struct os_file *f, uint64_t bytes, bool (*stop)(void *arg), void *arg, struct err *e)
{
    static const uint8_t sector[512];
    int r = 0;
    for (uint64_t at = STEP_BYTES; at < bytes && r == 0; at += STEP_BYTES)
        r = stop && stop(arg) ? err_set(e, ERR_CANCELLED, "the making of an empty disk was stopped") : os_file_pwrite(f, sector, sizeof sector, at, e);
    return r;
}

static int write_new(const char *path, const uint8_t *footer, uint64_t virtual_size, bool (*stop)(void *arg), void *arg, struct err *e)
{
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    int r = os_file_open(path, OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, e);
    if (!r)
        r = os_file_truncate(f, virtual_size + (footer ? VHD_FOOTER_BYTES : 0), e);
    if (!r && footer && !os_files_are_sparse())
        r = fill(f, virtual_size, stop, arg, e);
    if (!r && footer)
        r = os_file_pwrite(f, footer, VHD_FOOTER_BYTES, virtual_size, e);
    return r ? r : os_file_sync(f, e);
}

/* A format that stores only what was written: nothing but its tables. */
static int write_tables(const char *path, enum image_format format, uint64_t virtual_size, struct err *e)
{
    AUTO(image_writer_close_ptr) struct image_writer *w = NULL;
    int r = os_remove(path, e);                      /* what a crash left */
    if (r == 0)
        r = image_writer_create(path, &(const struct image_layout){.format = format, .virtual_size = virtual_size}, &w, e);
    return r < 0 ? r : image_writer_finish(w, e);
}

int image_create_blank(const char *path, enum image_format format, uint64_t virtual_size, bool (*stop)(void *arg), void *arg, struct err *e)
{
    int r = image_layout_check(&(const struct image_layout){.format = format, .virtual_size = virtual_size}, e);
    if (r < 0)
        return r;
    struct os_stat st;
    r = os_stat(path, &st, e);
    if (r < 0)
        return r;
    if (st.exists)
        return existing_check(path, format, virtual_size, e);
    uint8_t footer[VHD_FOOTER_BYTES];
    if (format == IMAGE_VHD && (r = image_vhd_footer(virtual_size, footer, e)) < 0)
        return r;
    /* Made beside and renamed: a crash leaves either no disk under this name or the whole one. */
    AUTO_FREE char *part = str_printf("%s.part", path);
    if (!part)
        return err_oom(e);
    r = format == IMAGE_VHD_DYNAMIC || format == IMAGE_VHDX ? write_tables(part, format, virtual_size, e) :
        write_new(part, format == IMAGE_VHD ? footer : NULL, virtual_size, stop, arg, e);
    if (!r)
        r = os_rename(part, path, e);
    if (r < 0) {
        struct err ignored;
        os_remove(part, &ignored);
    }
    return r;
}
