/* Private to the writer: what one format does differently. */
#ifndef VMR_STORAGE_IMAGE_WRITER_FORMAT_H
#define VMR_STORAGE_IMAGE_WRITER_FORMAT_H

#include <pthread.h>

#include "storage/image/disk.h"
#include "storage/image/writer.h"

#define WRITER_PENDING_MAX 1024                      /* blocks between two commits */
#define WRITER_SLOTS 2048

struct writer_block { uint64_t block, at; };         /* at 0: the slot is free */
struct writer_pending { struct writer_block slot[WRITER_SLOTS]; size_t n; };

struct writer_format {                               /* all called from the writing thread */
    int (*create)(struct image_writer *w, struct err *e);              /* fills an empty file and *w */
    int (*resume)(struct image_writer *w, struct disk *d, struct err *e);    /* the reader took the file; fills *w; drops what no entry names */
    int (*finish)(struct image_writer *w, struct err *e);              /* after the last commit; may be NULL */
    /* formats with a block table */
    uint32_t (*block_bytes)(const struct image_layout *l);             /* by default; NULL: none */
    unsigned entry_bytes;                            /* 0: none */
    int (*allocate)(struct image_writer *w, uint64_t *ret_at, struct err *e);      /* a block of zeros that nothing refers to, w->end behind it */
    uint64_t (*decode)(const uint8_t *entry);        /* the block's place in the file; 0: none */
    void (*encode)(uint64_t at, uint8_t *entry);
};
extern const struct writer_format writer_raw, writer_vhd, writer_vhd_dynamic, writer_vhdx;

struct image_writer {
    const struct writer_format *format;
    struct image_layout layout;                      /* with the defaults filled in */
    struct os_file *file;
    uint64_t data_at;                                /* fixed: of the guest's first byte in the file */
    uint64_t table_at, chunk_blocks;                 /* as in struct disk */
    uint64_t bitmap_bytes;                           /* before a block's data */
    uint64_t end;                                    /* of the last block */
    uint64_t limit;                                  /* of the room that the file has for blocks */
    pthread_mutex_t lock;                            /* guards what both threads touch: the moves between the two below */
    struct writer_pending pending, committing;
    pthread_mutex_t commit_lock;                     /* held by a commit; taken before `lock` */
    bool failed;                                     /* a commit was; guarded by commit_lock */
};

/* Sets w->end to the end of the last block that the table names, at least `from`. */
int writer_last_end(struct image_writer *w, struct disk *d, uint64_t from, struct err *e);

#endif
