/* Raw disks and fixed VHDs: the guest's bytes from the file's first on. */
#include <string.h>

#include "storage/image/vhd.h"
#include "storage/image/writer_format.h"

static int raw_create(struct image_writer *w, struct err *e)
{
    return os_file_truncate(w->file, w->layout.virtual_size, e);
}

static int fixed_resume(struct image_writer *w, struct disk *d, struct err *e)
{
    (void)w;
    (void)d;
    (void)e;
    return 0;
}

const struct writer_format writer_raw = {.create = raw_create, .resume = fixed_resume};

static int footer_check(const struct image_writer *w, struct err *e)
{
    const uint8_t *footer = w->layout.footer;
    if (footer && (memcmp(footer, VHD_COOKIE, 8) || be64(footer + 48) != w->layout.virtual_size || be32(footer + 60) != VHD_FIXED))
        return err_set(e, ERR_INTERNAL, "the footer that was given is not that of a fixed VHD of this size");
    return 0;
}

static int footer_write(struct image_writer *w, struct err *e)
{
    uint8_t own[VHD_FOOTER_BYTES];
    const uint8_t *footer = w->layout.footer;
    int r = footer ? 0 : vhd_footer(w->layout.virtual_size, VHD_FIXED, UINT64_MAX, own, e);
    return r < 0 ? r : os_file_pwrite(w->file, footer ? footer : own, VHD_FOOTER_BYTES, w->layout.virtual_size, e);
}

static int vhd_create(struct image_writer *w, struct err *e)
{
    int r = footer_check(w, e);
    if (r == 0)
        r = os_file_truncate(w->file, w->layout.virtual_size + VHD_FOOTER_BYTES, e);
    return r == 0 && os_files_are_sparse() ? footer_write(w, e) : r;
}

static int vhd_finish(struct image_writer *w, struct err *e)
{
    return os_files_are_sparse() ? 0 : footer_write(w, e);
}

const struct writer_format writer_vhd = {.create = vhd_create, .resume = fixed_resume, .finish = vhd_finish};
