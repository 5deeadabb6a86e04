/* What all Azure work of one daemon shares: the cloud, the tokens, and how much of each request budget is left. Threads: any. */
#ifndef VMR_STORAGE_AZURE_AZURE_H
#define VMR_STORAGE_AZURE_AZURE_H

#include "storage/azure/token.h"

struct azure_config {
    struct cloud_options cloud;
    struct http_config http;                         /* its strings must outlive the struct azure */
    void (*keep_refresh_token)(void *arg, const char *credential, int64_t revision, const char *refresh_token);    /* see token.h */
    void *arg;
};
struct azure;
int azure_open(const struct azure_config *cfg, struct azure **ret, struct err *e);
void azure_close(struct azure *a);                   /* no struct arm of it may be open; NULL is a no-op */
DEFINE_AUTO(struct azure, azure_close)
const struct cloud *azure_cloud(const struct azure *a);
struct tokens *azure_tokens(struct azure *a);
const struct http_config *azure_http(const struct azure *a);

/* The region of this host ("westeurope") as IMDS tells, "" when it is not in Azure or IMDS does not answer within a second. Asked once,
 * then remembered (an answer for ever, none for 5 minutes). */
void azure_host_region(struct azure *a, char *ret, size_t size);

#endif
