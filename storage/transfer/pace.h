/* How fast a transfer may go: a limit of bytes per second over all connections (token bucket), and how many connections are in use

 * (halved when the service asks to slow down, one more after each round of good answers). Of many that are allowed a transfer begins with
 * PACE_FIRST, and takes more as long as each step makes it faster. Threads: one. Times: clock_mono_ms. */
#ifndef VMR_STORAGE_TRANSFER_PACE_H
#define VMR_STORAGE_TRANSFER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_FIRST 8u
struct pace {
    uint64_t limit;                                  /* bytes per second; 0: none */
    int64_t tokens;                                  /* may go below zero by one piece: on average the limit holds */
    int64_t refilled_at_ms;
    unsigned most, now;                              /* connections */
    unsigned allowed;                                /* what went before taught that more than these do not help */
    int64_t measured_at_ms, grow_at_ms;
    uint64_t measured_bytes, rate_before;            /* rate_before: when `allowed` last grew; 0: it did not */
    unsigned allowed_before;
    unsigned good;                                   /* answers since `now` last moved */
    int64_t slowed_at_ms, open_at_ms;
};
void pace_init(struct pace *p, unsigned connections, uint64_t limit, int64_t now_ms);
void pace_refill(struct pace *p, int64_t now_ms);
bool pace_may_take(const struct pace *p);
void pace_take(struct pace *p, size_t n);
/* How many bytes came in all: decides, once a second, whether more connections are worth it. */
void pace_measure(struct pace *p, int64_t now_ms, uint64_t bytes);
/* Another limit from now on; 0: none. */
void pace_set_limit(struct pace *p, uint64_t limit, int64_t now_ms);
/* The service said 429 or 503, or answers do not come: at most once a second the connections halve; none starts before retry_after_ms. */
void pace_slow_down(struct pace *p, int64_t now_ms, unsigned retry_after_ms);
void pace_went_well(struct pace *p, int64_t now_ms);
unsigned pace_connections(const struct pace *p);
int64_t pace_open_at(const struct pace *p);          /* no request starts before */

/* Bytes per second over the last seconds. */
#define GAUGE_SAMPLES 10
struct gauge {
    struct { int64_t ms; uint64_t bytes; } samples[GAUGE_SAMPLES];
    unsigned n, next;
};
uint64_t gauge_rate(struct gauge *g, int64_t now_ms, uint64_t bytes);  /* adds a sample, gives the rate */

#endif
