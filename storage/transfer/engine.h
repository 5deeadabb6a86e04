/* What the files of the transfer engine share: the run, its connections, and who does what of it. Nothing outside of this folder includes it. */
#ifndef VMR_STORAGE_TRANSFER_ENGINE_H
#define VMR_STORAGE_TRANSFER_ENGINE_H

#include "storage/transfer/committer.h"
#include "storage/transfer/pace.h"
#include "storage/transfer/transfer.h"

enum slot_state { IDLE, RUNNING, WAITING };

struct slot {
    struct engine *engine;
    CURL *h;
    unsigned access; /* with which this try was sent; of the handle too */
    enum slot_state state;
    uint64_t start, end;             /* the chunk */
    uint64_t cover_start, cover_end; /* with the holes beside it */
    uint64_t from, pos;              /* this try began at from; bytes before pos are here */
    uint64_t goal;                   /* where this try ends: end, or before it when the range is checked */
    uint64_t most;                   /* bytes of a checked try */
    enum blob_check check;
    struct crypto_md5 *md5;
    struct sums held;                /* pieces of a checked try, which count when it fits */
    uint64_t crc;                    /* of this try's bytes before `stored` */
    uint64_t stored;                 /* bytes before it are written; those up to pos are in `gather` */
    char *gather;
    unsigned attempts, short_bodies; /* of this chunk since it last got on */
    int64_t retry_at_ms;
    struct curl_slist *list;
    struct http_headers headers;
    struct strbuf body; /* of an error answer */
    uint64_t discarded;
    bool judged, trusted; /* headers were checked; they gave the body's length, so parts of it count */
    bool paused;
    bool local;     /* err is of this host: no retry */
    struct err err; /* code: why the callback stopped the try */
    char detail[CURL_ERROR_SIZE];
};

struct engine {
    const struct transfer *t;
    struct blob *blob;
    const struct blob_info *info;
    unsigned access;         /* counts renewals */
    struct err refused;      /* code: the source refused the present access */
    unsigned renewed_in_vain;
    uint64_t network_then;   /* at the last renewal */
    int64_t renew_at_ms;     /* not before */
    char *part, *journal_path, *sums_path;
    uint64_t length;                 /* bytes of the source that go into the file */
    struct target_form form;
    struct target *file;
    bool pristine;                   /* nothing but the source's bytes was ever written to it */
    struct sums_file *record;
    struct journal *journal;
    struct committer *committer;
    CURLM *multi;
    struct slot *slots;
    unsigned n_slots, running;
    long buffer;
    size_t gather_bytes;
    enum blob_check check; /* the best that the service is known not to refuse */
    unsigned attempts_max, commit_max_ms;
    unsigned commit_ms; /* commit_ms grows to what was asked for: a process that dies early also gets on */
    uint64_t chunk_bytes;
    /* dealing */
    size_t next_range;
    uint64_t cursor;
    uint64_t reached, step_bytes; /* see cross() */
    struct spans done;  /* at the start of the run */
    struct spans fresh; /* written since the last commit */
    struct sums sums;   /* of the same */
    /* pace */
    struct pace pace;
    struct gauge gauge;
    uint64_t random;
    int64_t committed_at_ms, reported_at_ms, polled_at_ms;
    struct transfer_progress p;
    uint64_t listed;
};

/* ---- deal.c ---- */

bool deal_next(struct engine *g, struct slot *s);        /* the next chunk for s, in ascending order; false: all are dealt */
bool deal_peek(struct engine *g, struct slot *ret);      /* the same, but the chunk is left to be dealt */
bool deal_is_over(const struct engine *g);               /* no range is left; what is dealt may still be on its way */
/* Before the next chunk is dealt. 1: there is more to fill up before it. */
int deal_cross(struct engine *g, struct err *e);

/* ---- slot.c ---- */

int slot_start(struct slot *s, struct err *e);           /* the next try at the slot's chunk; an error ends the run */
int slot_finish(struct slot *s, CURLcode code, struct err *e);       /* libcurl is done with it; likewise. A fault that may pass: WAITING, and 0 */
int slot_flush(struct slot *s);                          /* writes what was gathered; the error is in s->err */

/* ---- part.c ---- */

/* 1: PATH is complete; 0: there is work; else an error. */
int part_look(struct engine *g, struct err *e);
/* Opens (resume) or makes PATH.part, its journal and its record. */
int part_open(struct engine *g, struct err *e);
/* From "every byte is journalled" to PATH. A crash leaves one of: PART and a full journal; PATH and a full journal; PATH alone. */
int part_publish(struct engine *g, struct err *e);
int part_disk_full(struct engine *g, struct err *e);     /* ERR_DISK_FULL with what is needed and what is free */

#endif
