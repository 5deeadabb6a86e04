/* The OpenAPI document: api/openapi.json, embedded when the program is built. */
#include <string.h>

#include "api/internal.h"
#include "common/embed.h"

EMBED(openapi_json, "api/openapi.json");
extern const char openapi_json[], openapi_json_end[];

#define VERSION_MARK "@VERSION@"     /* in the document, once */

int openapi_document(const char *version, char **ret, size_t *ret_len, struct err *e)
{
    const char *mark = strstr(openapi_json, VERSION_MARK);
    if (!mark)
        return err_set(e, ERR_INTERNAL, "the OpenAPI document has no place for the version");
    struct strbuf b = {0};
    strbuf_add(&b, openapi_json, (size_t)(mark - openapi_json));
    strbuf_adds(&b, version);
    strbuf_add(&b, mark + strlen(VERSION_MARK), (size_t)(openapi_json_end - mark) - strlen(VERSION_MARK));
    *ret_len = b.len;
    *ret = strbuf_steal(&b);
    return *ret ? 0 : err_oom(e);
}

int openapi_get(struct request *rq, struct err *e)
{
    return reply_response(rq, 200, "application/json",
                          MHD_create_response_from_buffer(rq->api->openapi_len, rq->api->openapi, MHD_RESPMEM_PERSISTENT), e);
}
