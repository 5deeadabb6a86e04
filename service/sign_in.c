/* A sign-in that a client asks for. The code of a device code sign-in stays with the tokens between two requests, so that each request can
 * wait for a while and nothing has to run in between. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "service/azure.h"

#define WAIT_MS 20000

struct waiting {
    const struct azure_view *v;
    const char *shown;
    int64_t until_ms;                                /* monotonic */
    json_t *code;
    bool news, over;
};

static bool on_stop(void *arg)
{
    struct waiting *w = arg;
    if (w->v->stop && w->v->stop(w->v->arg))
        return true;
    w->over = clock_mono_ms() >= w->until_ms;
    return w->news || w->over;
}

static void on_code(void *arg, const struct token_code *code)
{
    struct waiting *w = arg;
    char until[CLOCK_TEXT];
    clock_format(code->expires_at_ms, until);
    json_decref(w->code);
    w->code = json_pack("{s:s, s:s, s:s, s:s, s:s}", "state", "pending", "user_code", code->user_code, "verification_url", code->verification_url,
                        "message", code->message, "expires_at", until);
    w->news = !w->shown || strcmp(w->shown, code->user_code) != 0;
}

int azure_view_sign_in(const struct azure_view *v, const char *shown, json_t **ret, struct err *e)
{
    AUTO(credential_free_ptr) struct credential *c = NULL;
    AUTO_SECRET char *token = NULL;
    int r = azure_credential(v->db, v->credential, &c, e);
    if (r < 0)
        return r;
    struct token_identity id = azure_identity(c);
    struct waiting w = {.v = v, .shown = shown, .until_ms = clock_mono_ms() + WAIT_MS};
    struct token_wait wait = {.stop = on_stop, .show_code = on_code, .arg = &w};
    r = tokens_get(azure_tokens(v->d->azure), &id, TOKEN_FOR_ARM, &wait, &token, e);
    if (r == 0) {
        json_decref(w.code);
        *ret = json_pack("{s:s}", "state", "signed_in");
        return *ret ? 0 : err_oom(e);
    }
    if (r == -ERR_CANCELLED && w.code) {
        *ret = w.code;
        return 0;
    }
    json_decref(w.code);
    if (r == -ERR_CANCELLED && w.over)
        return err_set(e, ERR_TIMEOUT, "the sign-in with credential \"%s\" took longer than %d s", c->name, WAIT_MS / 1000);
    return r;
}
