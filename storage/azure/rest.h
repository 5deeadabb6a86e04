/* Small requests whose answer is kept in memory: what sign-in and Azure Resource Manager share. Inside storage/azure only.
 * Threads: an answer and a handle belong to one thread at a time. */
#ifndef VMR_STORAGE_AZURE_REST_H
#define VMR_STORAGE_AZURE_REST_H

#include "storage/http.h"

#define REST_HEADERS_MAX 8
struct rest_request {
    const char *method, *url;
    const char *headers[REST_HEADERS_MAX];           /* "Name: value", NULL at the end; may hold secrets */
    const char *body;                                /* NULL: none */
    unsigned connect_ms, timeout_ms;                 /* 0: 15 s, 60 s */
    bool no_proxy;                                   /* whatever the environment says */
    size_t max;                                      /* bytes of the answer's body; 0: 1 MiB */
    bool (*stop)(void *arg);                         /* or NULL; true: ERR_CANCELLED */
    void *arg;
};
struct rest_answer {
    struct http_headers headers;                     /* status, retry_after_ms, request_id … */
    char correlation_id[96];                         /* x-ms-correlation-request-id */
    char *operation, *location, *challenge;          /* Azure-AsyncOperation, Location, WWW-Authenticate, whole; NULL: not sent */
    struct strbuf remaining;                         /* x-ms-ratelimit-remaining-…: "name: value\n" each, names in lower case */
    struct strbuf body;                              /* may hold secrets: wiped by rest_answer_clear */
    size_t max;
};
void rest_answer_clear(struct rest_answer *a);
/* One try. Any HTTP status is 0: the caller judges. Errors: those of http_error, ERR_UPSTREAM_FINAL when the answer is too large. A handle of
 * http_handle may be used for one host again and again. */
int rest_perform(CURL *h, const struct rest_request *q, struct rest_answer *a, struct err *e);
/* Collects one header line of an answer; a CURLOPT_HEADERFUNCTION. */
size_t rest_collect_header(char *line, size_t size, size_t n, void *answer);

/* Waits; false: stop said so. */
bool rest_pause(unsigned ms, bool (*stop)(void *arg), void *arg);
/* A sentence from outside for our messages: one line of UTF-8, without signatures of SAS (sig=…), tokens (eyJ…) and `secret` (may be NULL),
 * cut at size. */
void rest_text(const char *from, const char *secret, char *ret, size_t size);

#endif
