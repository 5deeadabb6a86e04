/* How much of Azure Resource Manager's request budgets is left, as its answers say, and so when the next request may go out. Inside
 * storage/azure only. Sources: Azure Resource Manager and Microsoft.Compute throttling (x-ms-ratelimit-remaining-*). Threads: any. */
#ifndef VMR_STORAGE_AZURE_BUDGET_H
#define VMR_STORAGE_AZURE_BUDGET_H

#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define BUDGET_KIND_MAX 160
/* The kind of a request: subscription, method, resource type and action, without names: requests of one kind draw on the same budgets. */
void budget_kind(const char *method, const char *path, char ret[BUDGET_KIND_MAX]);

struct budgets;
struct budgets *budgets_new(void);                   /* NULL when memory ran out */
void budgets_free(struct budgets *b);
DEFINE_AUTO(struct budgets, budgets_free)
/* Milliseconds from now until a request of this kind should go out; the place is taken, so that the next caller waits longer. */
unsigned budgets_take(struct budgets *b, const char *kind, int64_t now_ms);
/* What an answer said. remaining: lines "x-ms-ratelimit-remaining-…: value"; retry_after_ms counts for 429 alone. now_ms: monotonic. */
void budgets_learn(struct budgets *b, const char *kind, int status, const char *remaining, unsigned retry_after_ms, int64_t now_ms);

#endif
