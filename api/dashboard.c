/* The dashboard's way in: a one-time link, made by whoever holds the token, is opened in a browser and traded for a cookie. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/clock.h"

int dashboard_get(struct request *rq, struct err *e)
{
    return reply_page(rq, 200, "index.html", e);
}

/* A page of another origin (also a file, and another port of this machine) led here: the browser then holds the cookie back. The page asks again by
 * itself, which is a request of our own. */
static bool from_elsewhere(struct request *rq)
{
    const char *site = request_header(rq, "Sec-Fetch-Site");
    return site && strcmp(site, "same-origin") && strcmp(site, "none");
}

bool reply_signed_out(struct request *rq, const struct err *why)
{
    struct err e;
    if ((why->code != ERR_UNAUTHORIZED && why->code != ERR_ORIGIN) || !request_prefers(rq, "text/html", "application/problem+json"))
        return false;
    const char *page = !strcmp(rq->path, "/sign-in") ? "link-used.html" : from_elsewhere(rq) ? "from-elsewhere.html" : "signed-out.html";
    return reply_page(rq, (unsigned)err_info((int)why->code)->http_status, page, &e) == 0;
}

int sign_in_link_post(struct request *rq, struct err *e)
{
    char code[SESSION_SECRET_LEN];
    if (rq->session)
        return err_set(e, ERR_UNAUTHORIZED, "a link is given for the token, not for a session");
    int r = session_link(rq->api->sessions, code, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = str_printf("/sign-in?code=%s", code);
    AUTO_JSONW struct jsonw w = {0};
    jsonw_open(&w, NULL, '{');
    jsonw_str(&w, "path", path);
    jsonw_time(&w, "expires_at", clock_now_ms() + SESSION_LINK_MS);
    jsonw_close(&w, '}');
    mem_wipe(code, sizeof code);
    return path ? reply_json(rq, 201, &w, e) : err_oom(e);
}

static void set_cookie(struct request *rq, const char *value, const char *more)
{
    AUTO_FREE char *header = str_printf("%s=%s; Path=/; HttpOnly; SameSite=Strict%s", rq->api->cookie, value, more);
    if (header)
        reply_header(rq, "Set-Cookie", header);
}

int sign_in_get(struct request *rq, struct err *e)
{
    char cookie[SESSION_SECRET_LEN];
    const char *code = request_query(rq, "code"), *purpose = request_header(rq, "Sec-Purpose");
    /* What only looks must not use the link up. */
    if (rq->head || (purpose && strstr(purpose, "prefetch")))
        return err_set(e, ERR_UNAUTHORIZED, "the link is for opening, not for looking at");
    int r = session_begin(rq->api->sessions, code ? code : "", cookie, e);
    if (r < 0)
        return r;
    r = reply_empty(rq, 303, e);
    reply_header(rq, "Location", "/");
    set_cookie(rq, cookie, "");
    mem_wipe(cookie, sizeof cookie);
    return r;
}

int session_delete(struct request *rq, struct err *e)
{
    if (!rq->session)
        return err_set(e, ERR_WRONG_STATE, "the request was allowed by the token, there is no session to end");
    session_end(rq->api->sessions, rq->session);
    int r = reply_empty(rq, 204, e);
    set_cookie(rq, "", "; Max-Age=0");
    return r;
}
