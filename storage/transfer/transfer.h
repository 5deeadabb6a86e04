/* The transfer engine: a chunked, parallel, resumable copy of what a blob really holds into a local file: byte for byte, sparse where
 * os_files_are_sparse(), or as a disk image of another format, written on the fly.
 * Order of durability: bytes are written to PATH.part and fdatasync()ed (an image: with the table that says where they are, see
 * storage/image/writer.h) before PATH.part.journal says so; the journal is only ever behind the data, and an image is a valid one at every instant.
 * At the end the file is synced, renamed to PATH, and the journal removed. Memory does not grow with the disk:
 * each connection has one buffer. A run belongs to one thread. */
#ifndef VMR_STORAGE_TRANSFER_TRANSFER_H
#define VMR_STORAGE_TRANSFER_TRANSFER_H

#include "storage/azure/blob.h"
#include "storage/image/writer.h"

struct transfer_progress {                           /* bytes of this disk; done = transferred + skipped when finished */
    uint64_t total, done, skipped;
    uint64_t transferred;                            /* done without skipped, whichever run fetched it */
    uint64_t checked;                                /* that fitted a sum of the service's, in this run */
    uint64_t network;                                /* read from the network in this run, repeats included */
    uint64_t bytes_per_second;                       /* over the last seconds */
    int64_t eta_seconds;                             /* -1: unknown */
};

struct transfer {
    struct blob *blob;
    const struct blob_info *info;                    /* as first seen; every answer must match */
    const struct blob_ranges *ranges;
    /* Set: `ranges` leave out more than the page list, by this map (a hash of it). What was left out counts as done, so work that was begun
     * with another map, or without one, begins again. NULL: no map. */
    const uint8_t *map_hash;                         /* SHA256_LEN bytes */
    /* Set: the first virtual_size bytes of the source are a disk (a raw one, or of a fixed VHD), and PATH becomes an image of it in this form. `ranges`
     * and all progress are of the disk then. NULL: PATH becomes what the source is, byte for byte. */
    const struct image_layout *image;
    const char *path;                                /* final name */
    unsigned connections;                            /* 1..64, the most; see pace.h */
    uint64_t range_bytes;                            /* 64 KiB .. 64 MiB */
    uint64_t max_bytes_per_second;                   /* at the start; 0: none */
    uint64_t (*limit)(void *arg);                    /* the same, asked for often while the run lasts; NULL: it stays */
    unsigned range_attempts;                         /* tries of one range before the run fails; 0: 8 */
    /* What tells the source's content from another's, as long as it stays the same, at most 127 bytes: for sources whose ETag and Last-Modified
     * may change with each access that is granted. NULL: these two. */
    const char *identity;
    /* The source refuses access (blob_error_is_refusal): get another. Called once for all connections, when none is at work any more, from the
     * run's thread. *ret and *ret_info are the caller's and stay until the next call or the end of the run; they must be of the same content. An
     * error ends the run, so does a source that goes on refusing (3 times without a byte). NULL: a refusal ends the run. */
    int (*renew)(void *arg, const struct err *why, struct blob **ret, const struct blob_info **ret_info, struct err *e);
    /* Ranges are asked for with a sum of the service's, where it offers one (CRC-64, else MD5 as long as the link is no faster than that is
     * computed), and what does not fit it is fetched again. A range then counts only when all of it is here and fits. */
    bool checks;
    unsigned commit_interval_ms;                     /* how long data may wait for the journal; 0: 1000 */
    uint64_t step_bytes;                             /* where files are not sparse: the longest way that one write fills up with zeros; 0: 64 MiB */
    bool (*stop)(void *arg);                         /* polled some 10 times a second; true: commit and return ERR_CANCELLED */
    void (*progress)(void *arg, const struct transfer_progress *p);    /* at least once a second, from the calling thread */
    void *arg;
};
/* 0: PATH is there, complete and durable (also when it already was). ERR_SOURCE_CHANGED, ERR_SOURCE_TRUNCATED, ERR_DISK_FULL,
 * ERR_CANCELLED, ERR_IMAGE_DAMAGED, ERR_LOCKED (another run works on PATH), and what blob.h gives. After any error PATH.part and its
 * journal are left to resume from; a source without ETag and Last-Modified begins again all the same, since nothing tells it apart. */
int transfer_run(const struct transfer *t, struct transfer_progress *ret, struct err *e);
/* Is PATH, as transfer_run left it, still what came from the network? By PATH.sums, which the run wrote beside it. Of an image it is the disk inside
 * that is judged, through the image's reader. Reads all of it that is not sparse; where it is, zeros are known without reading. */
#define TRANSFER_DAMAGES 64
struct transfer_verify {
    const char *path;
    uint64_t length;                                 /* of the source; a byte-for-byte copy must have it. 0: not known */
    bool (*stop)(void *arg);                         /* true: ERR_CANCELLED */
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};
struct transfer_verdict {
    uint64_t length, damaged_bytes;                  /* of the file, or of the disk in the image; so are the offsets */
    uint64_t unknown_bytes;                          /* that no record has, since the download began with a version that kept none */
    struct blob_range list[TRANSFER_DAMAGES];        /* the first of what is damaged; each the piece that no longer fits its sum */
    size_t n;
};
/* ERR_EMPTY: there is no record. ERR_IMAGE_DAMAGED: not even the length is right, or PATH is no such image any more. Damage found is 0, with the
 * verdict. */
int transfer_verify(const struct transfer_verify *v, struct transfer_verdict *ret, struct err *e);
/* Removes PATH.sums, PATH.part and PATH.part.journal. */
int transfer_discard(const char *path, struct err *e);

#endif
