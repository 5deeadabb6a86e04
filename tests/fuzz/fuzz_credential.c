/* The body of PUT /v1/credentials/{name}; the first line of the input is the name. */
#include "common/json.h"
#include "db/credential.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *nl = memchr(data, '\n', n);
    size_t len = nl ? (size_t)(nl - data) : 0;
    AUTO_FREE char *name = fuzz_string(data, len), *text = fuzz_string(data + len, n - len);
    struct err e = {0};
    json_t *body = NULL;
    int r = json_parse(text, n - len, &body, &e);
    must_be_result(r, &e);
    if (r < 0)
        return 0;
    AUTO(credential_free_ptr) struct credential *c = NULL;
    r = credential_parse(name, body, &c, &e);
    must_be_result(r, &e);
    if (r == 0) {
        MUST(c->name && !strcmp(c->name, name) && credential_name_ok(name));
        bool by_secret = c->type == CREDENTIAL_ACCOUNT_KEY || c->type == CREDENTIAL_SAS || c->proof == PROOF_CLIENT_SECRET || c->proof == PROOF_CERTIFICATE;
        MUST(by_secret == (c->secret && *c->secret) && credential_type_name(c->type));
        MUST(credential_signs_in(c->type) == !(c->type == CREDENTIAL_ACCOUNT_KEY || c->type == CREDENTIAL_SAS));
        MUST((c->proof != PROOF_NONE) == (c->type == CREDENTIAL_SERVICE_PRINCIPAL) && (!c->password || c->proof == PROOF_CERTIFICATE));
    }
    json_decref(body);
    return 0;
}
