/* The tokens that are known, and who renews them.
 *
 *   NONE --a caller leads--> RENEWING --token--> KNOWN --due--> RENEWING (KNOWN stays usable meanwhile)
 *     ^                        |  \--its caller is stopped--> a waiter leads
 *     +-------an error---------+      (every waiter of this round gets the same error)
 *
 * One renewal at a time per identity, not per audience: a person signs in once for all of them. `lock` guards everything; it is never
 * held during a request, a pause or a callback. The leader alone touches `pending` contents that it is using; waiters copy what they show
 * under the lock. */
#include "storage/azure/token.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/crypto.h"
#include "storage/azure/token_internal.h"

#define IDENTITIES_MAX 256
#define POLL_MS 200
#define DUE_MS 300000                                /* left when a token is due at the latest */
#define USABLE_MS 60000                              /* left when a token is not given out any more */
#define LONG_LIFE_MS (2 * 3600000)
#define RETRY_MS 30000                               /* between renewals that failed while the old token is good */
#define CODES_MAX 3                                  /* codes shown in one go, each a quarter of an hour */

struct slot {                                        /* one audience */
    char *token;                                     /* or NULL */
    int64_t due_at_ms, usable_until_ms, retry_at_ms; /* monotonic */
};
struct identity {
    uint8_t key[SHA256_LEN];
    struct slot slots[TOKEN_AUDIENCES];
    char *refresh_token;                             /* device code */
    struct token_pending pending;                    /* device code; pending.device_code NULL: none */
    unsigned pending_no;                             /* counts codes: a caller shows each once */
    bool renewing;
    enum token_audience renewing_for;
    unsigned round;                                  /* counts ended renewals */
    struct err failed;                               /* of the last round; code ERR_OK: it gave a token */
    unsigned users;                                  /* callers inside tokens_get */
    int64_t used_at_ms;
};
struct tokens {
    struct tokens_config cfg;
    char *resources[TOKEN_AUDIENCES], *scopes[TOKEN_AUDIENCES];
    pthread_mutex_t lock;
    pthread_cond_t changed;                          /* a renewal ended, a code is there */
    struct identity *list[IDENTITIES_MAX];
    size_t n;
};

/* ---- opening ---- */

int tokens_open(const struct tokens_config *cfg, struct tokens **ret, struct err *e)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (!t)
        return err_oom(e);
    t->cfg = *cfg;
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->changed);
    t->resources[TOKEN_FOR_ARM] = str_printf("%s/", cfg->cloud->arm);
    t->scopes[TOKEN_FOR_ARM] = str_printf("%s/.default", cfg->cloud->arm);
    t->resources[TOKEN_FOR_DISK] = str_dup("https://disk.azure.com/");
    t->scopes[TOKEN_FOR_DISK] = str_dup("https://disk.azure.com//.default");         /* the resource ends in '/': both slashes count */
    t->resources[TOKEN_FOR_STORAGE] = str_dup("https://storage.azure.com/");
    t->scopes[TOKEN_FOR_STORAGE] = str_dup("https://storage.azure.com/.default");
    for (int i = 0; i < TOKEN_AUDIENCES; i++)
        if (!t->resources[i] || !t->scopes[i]) {
            tokens_close(t);
            return err_oom(e);
        }
    *ret = t;
    return 0;
}

static void identity_free(struct identity *x)
{
    if (!x)
        return;
    for (int i = 0; i < TOKEN_AUDIENCES; i++)
        mem_free_secret(x->slots[i].token);
    mem_free_secret(x->refresh_token);
    token_pending_clear(&x->pending);
    free(x);
}

void tokens_close(struct tokens *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        identity_free(t->list[i]);
    for (int i = 0; i < TOKEN_AUDIENCES; i++) {
        free(t->resources[i]);
        free(t->scopes[i]);
    }
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

const char *tokens_resource(const struct tokens *t, enum token_audience audience)
{
    return t->resources[audience];
}

/* ---- identities ---- */

/* The secret is part of who it is (a new one must be tried at once), but for device code, where it is only what was kept of the last sign-in. */
static int key_of(const struct token_identity *id, uint8_t ret[SHA256_LEN], struct err *e)
{
    char head[48];
    snprintf(head, sizeof head, "%d/%lld", (int)id->method, (long long)id->revision);
    const char *const parts[] = {head, id->name, id->tenant_id, id->client_id, id->method == TOKEN_DEVICE_CODE ? NULL : id->secret, id->password,
                                 id->token_file};
    AUTO_STRBUF struct strbuf b = {.max = (size_t)1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        strbuf_addf(&b, "%zu:%s,", parts[i] ? strlen(parts[i]) + 1 : 0, parts[i] ? parts[i] : "");
    int r = b.failed ? err_oom(e) : crypto_sha256(b.data, b.len, ret, e);
    if (b.data)
        mem_wipe(b.data, b.len);
    return r;
}

/* With the lock. Makes room by forgetting the one unused for the longest time. */
static struct identity *find(struct tokens *t, const uint8_t key[SHA256_LEN], bool make)
{
    size_t oldest = IDENTITIES_MAX;
    for (size_t i = 0; i < t->n; i++) {
        if (crypto_equal(t->list[i]->key, key, SHA256_LEN))
            return t->list[i];
        if (!t->list[i]->users && (oldest == IDENTITIES_MAX || t->list[i]->used_at_ms < t->list[oldest]->used_at_ms))
            oldest = i;
    }
    if (!make || (t->n == IDENTITIES_MAX && oldest == IDENTITIES_MAX))
        return NULL;
    struct identity *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    memcpy(x->key, key, SHA256_LEN);
    size_t at = t->n < IDENTITIES_MAX ? t->n++ : oldest;
    identity_free(t->list[at]);
    t->list[at] = x;
    return x;
}

/* ---- one renewal, by its leader, without the lock ---- */

struct renewal {
    struct tokens *t;
    struct identity *x;
    const struct token_ask *ask;
    const struct token_wait *wait;
    unsigned shown_no;                               /* the last code that this caller has shown */
};

/* With the lock, which is given up meanwhile. */
static void show_pending(struct renewal *n)
{
    struct identity *x = n->x;
    if (!x->pending.device_code || x->pending_no == n->shown_no || !n->wait->show_code)
        return;
    n->shown_no = x->pending_no;
    AUTO_FREE char *user_code = str_dup(x->pending.user_code), *url = str_dup(x->pending.verification_url), *message = str_dup(x->pending.message);
    struct token_code code = {.credential = n->ask->id->name, .user_code = user_code, .verification_url = url, .message = message,
                              .expires_at_ms = clock_now_ms() + (x->pending.expires_at_ms - clock_mono_ms())};
    pthread_mutex_unlock(&n->t->lock);
    if (user_code && url && message)
        n->wait->show_code(n->wait->arg, &code);
    pthread_mutex_lock(&n->t->lock);
}

static void publish(struct renewal *n, struct token_pending *p)
{
    pthread_mutex_lock(&n->t->lock);
    token_pending_clear(&n->x->pending);
    if (p) {
        n->x->pending = *p;
        n->x->pending_no++;
        pthread_cond_broadcast(&n->t->changed);
        show_pending(n);
    }
    pthread_mutex_unlock(&n->t->lock);
}

static int nobody_to_ask(const struct token_ask *ask, struct err *e)
{
    err_set(e, ERR_SIGN_IN, "the credential \"%s\" needs a person to sign in, and nobody can be asked here", ask->id->name);
    return err_hint(e, "Sign in once with `vmrecover credential sign-in %s`.", ask->id->name);
}

/* Until the code was entered. A code that a stopped caller left is used on. 0: a token. */
static int wait_for_person(struct renewal *n, struct token_got *ret, struct err *e)
{
    struct token_pending *p = &n->x->pending;        /* only the leader changes it */
    for (unsigned codes = 0;;) {
        if (!p->device_code || clock_mono_ms() >= p->expires_at_ms) {
            struct token_pending fresh = {0};
            if (codes++ == CODES_MAX) {
                err_set(e, ERR_CREDENTIAL, "nobody signed in with credential \"%s\": %d codes expired", n->ask->id->name, CODES_MAX);
                return err_hint(e, "Retry, and enter the code that is shown.");
            }
            int r = token_code_start(n->ask, &fresh, e);
            if (r < 0)
                return r;
            publish(n, &fresh);
        } else {
            pthread_mutex_lock(&n->t->lock);
            show_pending(n);
            pthread_mutex_unlock(&n->t->lock);
        }
        if (!rest_pause(p->interval_ms, n->ask->stop, n->ask->arg))
            return err_set(e, ERR_CANCELLED, "stopped while waiting for a person to sign in");
        int r = token_code_poll(n->ask, p, ret, e);
        if (r > 0 || (r < 0 && r != -ERR_CANCELLED))
            publish(n, NULL);
        if (r == 1 || r < 0)
            return r < 0 ? r : 0;
    }
}

static int renew_device_code(struct renewal *n, enum token_audience audience, struct token_got *ret, struct err *e)
{
    AUTO_SECRET char *refresh = NULL;
    pthread_mutex_lock(&n->t->lock);
    refresh = str_dup(n->x->refresh_token ? n->x->refresh_token : n->ask->id->secret);
    pthread_mutex_unlock(&n->t->lock);
    int r = refresh ? token_from_refresh(n->ask, refresh, ret, e) : 0;
    if (r != 0)
        return r < 0 ? r : 0;
    if (!n->wait->show_code)
        return nobody_to_ask(n->ask, e);
    if ((r = wait_for_person(n, ret, e)) < 0 || audience == TOKEN_FOR_ARM)
        return r;
    /* the code was for Azure Resource Manager: its refresh token gives the one for this audience */
    struct token_got second = {0};
    if (!ret->refresh_token)
        r = err_set(e, ERR_UPSTREAM_FINAL, "Microsoft Entra gave no refresh token, so that there is no token for %s", n->ask->resource);
    else if ((r = token_from_refresh(n->ask, ret->refresh_token, &second, e)) == 0)
        r = err_set(e, ERR_CREDENTIAL, "Microsoft Entra gives no token for %s to the person that signed in", n->ask->resource);
    if (r < 0) {
        token_got_clear(ret);
        return r;
    }
    if (!second.refresh_token)
        second.refresh_token = STEAL(ret->refresh_token);
    token_got_clear(ret);
    *ret = second;
    return 0;
}

static int renew(struct renewal *n, enum token_audience audience, struct token_got *ret, struct err *e)
{
    static token_fn *const methods[TOKEN_METHODS] = {
        [TOKEN_MANAGED_IDENTITY] = token_from_imds, [TOKEN_ARC] = token_from_arc, [TOKEN_CLIENT_SECRET] = token_from_secret,
        [TOKEN_CERTIFICATE] = token_from_certificate, [TOKEN_TOKEN_FILE] = token_from_file, [TOKEN_AZ_CLI] = token_from_az,
    };
    token_fn *fn = methods[n->ask->id->method];
    return fn ? fn(n->ask, ret, e) : renew_device_code(n, audience, ret, e);
}

/* With the lock. false: no memory. */
static bool store(struct identity *x, enum token_audience audience, const struct token_got *got)
{
    struct slot *s = &x->slots[audience];
    int64_t now = clock_mono_ms(), life = got->life_s * 1000;
    int64_t before = life / 5 < DUE_MS ? life / 5 : DUE_MS, last = life / 10 < USABLE_MS ? life / 10 : USABLE_MS;
    mem_free_secret(s->token);
    *s = (struct slot){.token = str_dup(got->token), .due_at_ms = now + (life > LONG_LIFE_MS ? life / 2 : life - before),
                       .usable_until_ms = now + life - last};
    if (got->refresh_token) {
        mem_free_secret(x->refresh_token);
        x->refresh_token = str_dup(got->refresh_token);
    }
    return s->token;
}

/* With the lock, which is given up meanwhile. */
static int lead(struct renewal *n, enum token_audience audience, struct err *e)
{
    struct tokens *t = n->t;
    struct identity *x = n->x;
    struct token_got got = {0};
    x->renewing = true;
    x->renewing_for = audience;
    pthread_mutex_unlock(&t->lock);
    int r = renew(n, audience, &got, e);
    if (r == 0 && got.refresh_token && t->cfg.keep_refresh_token)
        t->cfg.keep_refresh_token(t->cfg.arg, n->ask->id->name, n->ask->id->revision, got.refresh_token);
    pthread_mutex_lock(&t->lock);
    if (r == 0 && !store(x, audience, &got))
        r = err_oom(e);
    if (r == 0) {
        err_clear(&x->failed);
    } else {
        x->failed = *e;
        if (e->code == ERR_CREDENTIAL && n->ask->id->method == TOKEN_DEVICE_CODE) {
            mem_free_secret(x->refresh_token);
            x->refresh_token = NULL;
        }
        x->slots[audience].retry_at_ms = clock_mono_ms() + RETRY_MS;
    }
    x->renewing = false;
    x->round++;
    pthread_cond_broadcast(&t->changed);
    token_got_clear(&got);
    return r;
}

/* ---- asking ---- */

/* With the lock: a token that may be given out now; due: also one that should be renewed. */
static bool have(const struct slot *s, bool due)
{
    int64_t now = clock_mono_ms();
    return s->token && now < s->usable_until_ms && (due || now < s->due_at_ms || now < s->retry_at_ms);
}

static int get(struct renewal *n, enum token_audience audience, struct err *e)
{
    struct tokens *t = n->t;
    struct identity *x = n->x;
    struct slot *s = &x->slots[audience];
    while (!have(s, x->renewing)) {
        if (n->wait->stop) {
            pthread_mutex_unlock(&t->lock);
            bool stop = n->wait->stop(n->wait->arg);
            pthread_mutex_lock(&t->lock);
            if (stop)
                return err_set(e, ERR_CANCELLED, "stopped while waiting for a token");
            if (have(s, x->renewing))
                break;
        }
        if (!x->renewing) {
            int r = lead(n, audience, e);
            if (r == -ERR_CANCELLED || (r < 0 && !have(s, true)))
                return r;
            continue;
        }
        if (x->pending.device_code && !n->wait->show_code)
            return nobody_to_ask(n->ask, e);
        unsigned round = x->round;
        show_pending(n);
        if (x->round == round)
            cond_wait_until(&t->changed, &t->lock, clock_mono_ms() + POLL_MS);    /* or until the renewal has ended */
        if (x->round != round && x->failed.code && x->failed.code != ERR_CANCELLED && x->renewing_for == audience && !have(s, true)) {
            *e = x->failed;
            return -(int)e->code;
        }
    }
    return 0;
}

int tokens_get(struct tokens *t, const struct token_identity *id, enum token_audience audience, const struct token_wait *w, char **ret,
               struct err *e)
{
    uint8_t key[SHA256_LEN];
    int r = key_of(id, key, e);
    if (r < 0)
        return r;
    struct token_ask ask = {.cfg = &t->cfg, .id = id, .resource = t->resources[audience], .scope = t->scopes[audience], .stop = w->stop, .arg = w->arg};
    pthread_mutex_lock(&t->lock);
    struct renewal n = {.t = t, .x = find(t, key, true), .ask = &ask, .wait = w};
    if (!n.x) {
        pthread_mutex_unlock(&t->lock);
        return err_set(e, ERR_BUSY, "more than %d identities are signing in at once", IDENTITIES_MAX);
    }
    n.x->users++;
    r = get(&n, audience, e);
    char *token = r == 0 ? str_dup(n.x->slots[audience].token) : NULL;
    n.x->users--;
    n.x->used_at_ms = clock_mono_ms();
    pthread_mutex_unlock(&t->lock);
    if (r < 0)
        return r;
    if (!token)
        return err_oom(e);
    *ret = token;
    return 0;
}

void tokens_refused(struct tokens *t, const struct token_identity *id, enum token_audience audience, const char *token)
{
    uint8_t key[SHA256_LEN];
    struct err ignored;
    if (key_of(id, key, &ignored) < 0)
        return;
    pthread_mutex_lock(&t->lock);
    struct identity *x = find(t, key, false);
    struct slot *s = x ? &x->slots[audience] : NULL;
    if (s && s->token && !strcmp(s->token, token)) {
        mem_free_secret(s->token);
        *s = (struct slot){0};
    }
    pthread_mutex_unlock(&t->lock);
}
