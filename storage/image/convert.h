/* A local image written anew in another format: parents flattened, what reads as zeros left out.
 *
 * The work goes on in TO.part, beside TO.part.state, which says of what and how far it is durable (written by way of TO.part.state.new); TO
 * appears whole, under a rename that never replaces. After an error, a stop or a kill the two files stay, and the same conversion goes on from them; another one of the same
 * TO begins anew, as does one whose source has changed. Files of these names that are not such a conversion's are never touched.
 * Memory: about 1 MiB. Threads: any; two conversions to one TO at a time are ERR_LOCKED. */
#ifndef VMR_STORAGE_IMAGE_CONVERT_H
#define VMR_STORAGE_IMAGE_CONVERT_H

#include "storage/image/open.h"
#include "storage/image/writer.h"

struct image_convert_progress {                      /* bytes of the disk */
    uint64_t total, done;                            /* done: looked at, with those of earlier runs */
    uint64_t written;                                /* in this run: what was not zeros */
    uint64_t resumed_at;                             /* where this run began */
};

struct image_convert {
    struct image *from;                              /* open; stays the caller's */
    const char *to;
    struct image_layout layout;                      /* virtual_size 0: the source's; sector_size 0: the source's */
    bool whole_mib;                                  /* the size rounded up to whole MiB, as Azure wants it; what is added is zeros */
    unsigned commit_ms;                              /* how much work a kill may cost; 0: 1000 */
    bool (*stop)(void *arg);                         /* asked between writes of at most 1 MiB; NULL: never */
    void (*progress)(void *arg, const struct image_convert_progress *p);         /* NULL: not wanted */
    void *arg;
};
/* ERR_WRONG_STATE: something is at one of the three names. ERR_CANCELLED; ERR_DISK_FULL; what image_layout_check and reading give. */
int image_convert(const struct image_convert *c, struct image_convert_progress *ret, struct err *e);

/* The names as a person writes them: "raw", "vhd", "vhd_dynamic", "vhdx", "vhdx_fixed", "azure". Sets format, fixed and whole_mib. */
bool image_convert_format(const char *word, struct image_convert *ret);

#endif
