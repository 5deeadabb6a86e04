/* Private to storage/image: what the file system readers behind fsmap.h share.
 *
 * A volume is what one file system lies on: a partition, the whole disk, or a logical volume in pieces. A reader gets one, declares free
 * what is free, and says whether it believes it:
 *   0             the free list holds
 *   FSMAP_IN_USE  it does not (v->reason says why): the caller drops the list
 *   < 0           a read failed, out of memory, stopped
 * Functions of volumes return the same, so a reader passes on whatever is not 0. */
#ifndef VMR_STORAGE_IMAGE_FSMAP_VOLUME_H
#define VMR_STORAGE_IMAGE_FSMAP_VOLUME_H

#include "storage/image/disk.h"
#include "storage/image/fsmap.h"

#define FSMAP_IN_USE 1
#define FSMAP_MEMBER 2                               /* of fsmap_judge alone: an LVM physical volume, to be judged with its group (fsmap_lvm.h) */

/* ---- lists of spans ---- */

/* Appends; a span that touches the last one extends it. An empty span is nothing. false: memory ran out. */
bool list_add(struct fsmap_list *l, uint64_t start, uint64_t end);
void list_sort(struct fsmap_list *l);                /* by start; overlapping and touching spans become one */
void list_free(struct fsmap_list *l);
uint64_t list_bytes(const struct fsmap_list *l);
#define AUTO_LIST AUTO(list_free)

/* Free spans, at most FSMAP_SPANS_MAX: when there are more, those shorter than a threshold that doubles are forgotten. */
struct free_list {
    struct fsmap_list spans;
    uint64_t shortest;
};
bool free_list_add(struct free_list *f, uint64_t start, uint64_t end);

/* ---- the disk, read through a small cache ---- */

#define READER_PAGE 65536u
#define READER_PAGES 32

struct reader {
    const struct image_source *disk;
    const struct fsmap_options *o;
    uint64_t fetched;
    uint64_t clock;
    struct page { uint64_t number, used_at; uint8_t *data; } pages[READER_PAGES];    /* used_at 0: empty */
};
void reader_free(struct reader *r);
int reader_read(struct reader *r, void *buf, size_t n, uint64_t offset, struct err *e);

/* ---- volumes ---- */

#define STRIPES_MAX 16

/* A part of a volume: `length` bytes from `at` on, in stripes that lie at disk[0..stripes). One stripe: linear. */
struct piece {
    uint64_t at, length;
    unsigned stripes;
    uint64_t stripe_bytes;                           /* of one stripe's chunk; length is a multiple of stripes * stripe_bytes if stripes > 1 */
    uint64_t disk[STRIPES_MAX];
};

struct volume {
    struct reader *reader;
    const struct piece *pieces;                      /* by `at`, without gaps, size bytes together */
    size_t n_pieces;
    uint64_t size;
    uint64_t budget;                                 /* bytes that may still be read: what no honest file system needs is refused */
    struct free_list free;                           /* ascending */
    uint64_t free_end;                               /* of the last span declared free, remembered or not */
    struct fsmap_list must;                          /* what has to be in use if the map is right */
    size_t must_at;
    bool must_sorted;
    struct fsmap_list first;                         /* metadata worth fetching first */
    const char *rule;
    char reason[160];
};
void volume_init(struct volume *v, struct reader *r, const struct piece *pieces, size_t n);
void volume_free(struct volume *v);
#define AUTO_VOLUME AUTO(volume_free)
int volume_refuse(struct volume *v, const char *fmt, ...) PRINTF_LIKE(2, 3);     /* FSMAP_IN_USE */
int volume_read(struct volume *v, void *buf, size_t n, uint64_t offset, struct err *e);
/* Calls `each` with every stretch of the disk that [start, end) of the volume lies on; stops at the first result that is not 0. */
int volume_on_disk(const struct volume *v, uint64_t start, uint64_t end, int (*each)(void *arg, uint64_t start, uint64_t end), void *arg);
/* Metadata whose place is known: fetched first, and the map is refused when it calls any of it free later on. */
int volume_metadata(struct volume *v, uint64_t start, uint64_t end, struct err *e);
int volume_must(struct volume *v, uint64_t start, uint64_t end, struct err *e);  /* the latter only */
void volume_must_forget(struct volume *v);           /* between parts of a volume that know of nothing behind them */
/* Spans ascending and apart, inside the volume. */
int volume_declare_free(struct volume *v, uint64_t start, uint64_t end, struct err *e);

/* A bitmap, fed part by part: bit i of it, least significant first, stands for `unit` bytes from origin + i * unit on; 0 is free. */
struct bitmap_scan {
    struct volume *v;
    uint64_t origin, unit;
    uint64_t bits;                                   /* seen so far */
    uint64_t free_bits;
    uint64_t run;                                    /* the first bit of the free run at hand, if in_run */
    bool in_run;
};
int bitmap_feed(struct bitmap_scan *s, const uint8_t *map, uint64_t bits, struct err *e);
int bitmap_end(struct bitmap_scan *s, struct err *e);

/* ---- the readers: one a file ---- */

int fsmap_ntfs(struct volume *v, struct err *e);
int fsmap_ext(struct volume *v, struct err *e);
int fsmap_xfs(struct volume *v, struct err *e);
int fsmap_fat(struct volume *v, struct err *e);
int fsmap_exfat(struct volume *v, struct err *e);
int fsmap_swap(struct volume *v, struct err *e);
int fsmap_lvm_member(struct volume *v, struct err *e);

/* Recognises by signature what the volume holds, sets v->rule, and lets that format's reader judge. Signatures of two formats: in use. */
int fsmap_judge(struct volume *v, struct err *e);
/* Only the name of what is there; *ret_name is NULL when nothing is known. */
int fsmap_recognise(struct volume *v, const char **ret_name, struct err *e);

uint32_t fsmap_crc32c(const uint8_t *p, size_t n, size_t field);               /* the four bytes at field taken as zero */

#endif
