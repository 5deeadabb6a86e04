/* The journal of a transfer: which source it is of, and which bytes of it are durable in the local file.
 *
 * File: a header of 512 bytes (made atomically), then records of 24 bytes, each a span that is done. Both carry a CRC; a record's
 * CRC starts from the header's, so that it belongs to this journal alone. Records are only appended; a torn or damaged one ends the
 * journal. When it has grown it is rewritten with merged spans, atomically. Native byte order: a journal stays on its host.
 * Invariant: a span is in the file only after its data is on stable storage; the caller sees to that.
 * Threads: one at a time. */
#ifndef VMR_STORAGE_TRANSFER_JOURNAL_H
#define VMR_STORAGE_TRANSFER_JOURNAL_H

#include "common/crypto.h"
#include "storage/transfer/spans.h"

#define JOURNAL_HEADER 512
#define JOURNAL_RECORD 24
#define JOURNAL_COMPACT_BYTES 65536                  /* of records; a journal stays below this plus twice what its spans need */

#define JOURNAL_NEXT ".new"                          /* what a rewrite that was killed leaves is PATH with this behind */

struct journal_source {                              /* what the local file is a copy of */
    uint64_t length;
    const char *etag, *last_modified;                /* cut at 127 and 63 bytes */
    uint8_t list_hash[SHA256_LEN];                   /* of the page list; another list of the same ETag is no other source */
    uint8_t map_hash[SHA256_LEN];                    /* of what was left out beyond the page list; zeros: nothing */
    const char *form;                                /* of the local file, cut at 63 bytes; NULL: byte for byte */
};

struct journal;
/* A new, empty journal, durable; replaces an old one. */
int journal_create(const char *path, const struct journal_source *src, struct journal **ret, struct err *e);
/* 0; -ERR_EMPTY: no journal, or one whose header is damaged (*ret_damaged); -ERR_SOURCE_CHANGED: it is of another source. */
int journal_open(const char *path, const struct journal_source *src, struct journal **ret, bool *ret_damaged, struct err *e);
void journal_close(struct journal *j);
DEFINE_AUTO(struct journal, journal_close)
const struct spans *journal_spans(const struct journal *j);
bool journal_list_differs(const struct journal *j);  /* the page list was another one when the journal was made */
bool journal_map_differs(const struct journal *j);   /* what was left out was something else then */
bool journal_form_differs(const struct journal *j);  /* the local file was of another form then */
/* Adds spans that are durable already; they are in the journal, durably, when this returns 0. */
int journal_append(struct journal *j, const struct spans *add, struct err *e);
/* Removes the journal and what a killed rewrite left; missing files are 0. */
int journal_remove(const char *path, struct err *e);

#endif
