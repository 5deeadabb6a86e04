/* A number of bytes per second that several transfers share: each gets the same, but none more than its own limit or than it makes use of; what
 * it leaves goes to the others. Threads: any. */
#ifndef VMR_STORAGE_TRANSFER_SHARE_H
#define VMR_STORAGE_TRANSFER_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/mem.h"

#define SHARE_MEMBERS 64                             /* more are not limited by it */
struct share;
struct share *share_new(uint64_t bytes_per_second);  /* 0: no limit. NULL: memory ran out */
void share_free(struct share *s);                    /* when none is a member any more; NULL is a no-op */
DEFINE_AUTO(struct share, share_free)
int share_join(struct share *s);                     /* the member's number; -1: there is no place */
void share_leave(struct share *s, int member);       /* -1 is a no-op */
/* What the member may take per second now; 0: as much as it likes. own: its own limit, 0: none; rate: what it takes at present. To be asked
 * about once a second or more often. */
uint64_t share_limit(struct share *s, int member, uint64_t own, uint64_t rate);

#endif
