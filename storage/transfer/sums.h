/* The record of a download: a CRC-64 (crc64.h) of each piece that was written, as it came from the network, in PATH.sums. It stays beside the
 * finished file, so that bytes that change there later can be told from good ones.
 *
 * File: a header of 32 bytes, then records of 32 bytes; both end with a check of their own, which for a record begins with the length's. Records
 * are only appended; a torn or damaged one ends the file. A piece may be in it more than once, always with the same content. Native byte order.
 * A piece is written here before the journal has it, but not synced with it: that would cost a second commit of the file system each time. What
 * a host that lost its power lost of it is found out when the transfer goes on, and the record is `partial` then. Threads: one at a time. */
#ifndef VMR_STORAGE_TRANSFER_SUMS_H
#define VMR_STORAGE_TRANSFER_SUMS_H

#include "common/os.h"

#define SUMS_SUFFIX ".sums"

struct sum { uint64_t start, end, crc; };            /* bytes [start, end) */
struct sums { struct sum *list; size_t n, size; };
void sums_free(struct sums *s);
/* Joined to the last one where it goes on from there. false: memory ran out. */
bool sums_add(struct sums *s, uint64_t start, uint64_t end, uint64_t crc);

/* What a record is of. */
struct sums_kind {
    bool partial;                                    /* it lacks pieces that were written */
    unsigned form;                                   /* 0: the offsets are the file's; else 1 + the format of the image that the file is, and they
                                                      * are the disk's inside it */
};

struct sums_file;
/* keep: goes on with what is there, if it is of this length; else, or without keep, a new and empty one. Once partial it stays so. */
int sums_open(const char *path, uint64_t length, const struct sums_kind *kind, bool keep, struct sums_file **ret, struct err *e);
void sums_close(struct sums_file *f);
DEFINE_AUTO(struct sums_file, sums_close)
int sums_append(struct sums_file *f, const struct sums *s, struct err *e);
int sums_sync(struct sums_file *f, struct err *e);

/* The whole record, sorted by start, and of how many bytes it is. ERR_EMPTY: there is none, or its header is damaged. */
int sums_read(const char *path, uint64_t *ret_length, struct sums_kind *ret_kind, struct sums *ret, struct err *e);

#endif
