/* Sign-in of the dashboard: one-time links, and the sessions that they are traded for. Both are 256 random bits, of which only a hash is kept;
 * in memory, so a restart of the daemon signs everybody out. Threads: any. */
#ifndef VMR_API_SESSION_H
#define VMR_API_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/crypto.h"
#include "common/error.h"

#define SESSION_SECRET_LEN HEX_LEN(32)
#define SESSION_LINK_MS (2 * 60 * 1000)
#define SESSION_IDLE_MS (12LL * 60 * 60 * 1000)      /* without a request */
#define SESSION_LIFE_MS (7LL * 24 * 60 * 60 * 1000)

struct sessions;
int sessions_open(struct sessions **ret, struct err *e);
void sessions_close(struct sessions *s);             /* NULL is a no-op */

/* A new one-time code. Only the last few of those that nobody used are valid. */
int session_link(struct sessions *s, char ret[SESSION_SECRET_LEN], struct err *e);
/* Trades it for a session's cookie. ERR_UNAUTHORIZED: used, too old or never ours. Beyond the limit the session that was idle for longest ends. */
int session_begin(struct sessions *s, const char *code, char ret[SESSION_SECRET_LEN], struct err *e);
/* The number of the session whose cookie this is; 0: none. Counts as use. */
uint64_t session_find(struct sessions *s, const char *cookie);
bool session_alive(struct sessions *s, uint64_t number, bool used);     /* used: counts as use */
void session_end(struct sessions *s, uint64_t number);

#endif
