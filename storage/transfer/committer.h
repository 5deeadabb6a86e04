/* Makes written bytes durable while the network goes on: a thread that commits the target, then appends to the record of
 * sums, then, durably, to the journal.
 * One batch at a time: the owner pushes when idle, the thread works on it alone. After an error the committer does nothing more: a
 * failed sync leaves unknown what of the file is durable, so nothing written before it may be recorded any more. */
#ifndef VMR_STORAGE_TRANSFER_COMMITTER_H
#define VMR_STORAGE_TRANSFER_COMMITTER_H

#include "storage/transfer/journal.h"
#include "storage/transfer/sums.h"
#include "storage/transfer/target.h"

struct committer;
/* data, sums (NULL: none) and journal are the committer's until committer_stop. */
int committer_start(struct target *data, struct sums_file *sums, struct journal *journal, struct committer **ret, struct err *e);
/* 0: idle, the batch before is durable; 1: still at work; else its error. */
int committer_poll(struct committer *c, struct err *e);
/* Takes the spans and their sums (both are empty after; sums may be NULL); call only when committer_poll gave 0. All their bytes must have been written. */
void committer_push(struct committer *c, struct spans *take, struct sums *sums);
int committer_wait(struct committer *c, struct err *e);                /* until idle or failed */
void committer_stop(struct committer *c);            /* after the batch at work; NULL is a no-op */
DEFINE_AUTO(struct committer, committer_stop)

#endif
