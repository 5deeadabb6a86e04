/* The dashboard's files, embedded when the program is built (api/web/build.mjs), each as it is and compressed. */
#include <stdio.h>
#include <string.h>

#include <web_assets.h>

#include "api/internal.h"
#include "common/embed.h"

#define EMBED_ASSET(symbol, name, type, hash, path) \
    EMBED(symbol, path); \
    EMBED(symbol##_gz, path ".gz");
WEB_ASSETS(EMBED_ASSET)
#define DECLARE_ASSET(symbol, name, type, hash, path) extern const char symbol[], symbol##_end[], symbol##_gz[], symbol##_gz_end[];
WEB_ASSETS(DECLARE_ASSET)

static const struct asset {
    const char *name, *type, *hash;
    const char *plain, *plain_end, *gzip, *gzip_end;
} assets[] = {
#define ASSET_ROW(symbol, name, type, hash, path) {name, type, hash, symbol, symbol##_end, symbol##_gz, symbol##_gz_end},
    WEB_ASSETS(ASSET_ROW)
};

#define TAG_LEN 24

static int reply_asset(struct request *rq, unsigned status, const struct asset *a, const char *cache, struct err *e)
{
    bool gzip = request_lists(rq, "Accept-Encoding", "gzip");
    const char *data = gzip ? a->gzip : a->plain, *end = gzip ? a->gzip_end : a->plain_end;
    char tag[TAG_LEN];
    snprintf(tag, sizeof tag, "\"%s%s\"", a->hash, gzip ? "-gz" : "");
    bool same = status == 200 && request_lists(rq, "If-None-Match", tag);
    int r = same ? reply_empty(rq, 304, e)
                 : reply_response(rq, status, a->type, MHD_create_response_from_buffer((size_t)(end - data), (void *)data, MHD_RESPMEM_PERSISTENT), e);
    if (gzip && !same)
        reply_header(rq, "Content-Encoding", "gzip");
    if (status == 200)
        reply_header(rq, "ETag", tag);
    reply_header(rq, "Cache-Control", cache);
    reply_header(rq, "Vary", "Accept-Encoding, Cookie");
    return r;
}

static const struct asset *find(const char *name, bool page)
{
    for (size_t i = 0; i < ARRAY_LEN(assets); i++)
        if (!strcmp(assets[i].name, name) && str_starts(assets[i].type, "text/html") == page)
            return &assets[i];
    return NULL;
}

int asset_get(struct request *rq, struct err *e)
{
    const struct asset *a = find(rq->name, false);
    return a ? reply_asset(rq, 200, a, "public, max-age=31536000, immutable", e) : err_set(e, ERR_NOT_FOUND, "there is nothing at this path");
}

int reply_page(struct request *rq, unsigned status, const char *name, struct err *e)
{
    /* The console's WebSocket is of the same origin; not every browser takes 'self' for it. noVNC draws pictures and pointers from data: addresses.
     * The Host header has been checked: it is one of our own addresses. */
    const char *host = request_header(rq, "Host");
    AUTO_FREE char *policy = str_printf("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'%s%s; "
                                        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                                        host ? " ws://" : "", host ? host : "");
    const struct asset *a = find(name, true);
    if (!a || !policy)
        return a ? err_oom(e) : err_set(e, ERR_INTERNAL, "the page %s is not in this program", name);
    int r = reply_asset(rq, status, a, status == 200 ? "no-cache" : "no-store", e);
    reply_header(rq, "Content-Security-Policy", policy);
    return r;
}
