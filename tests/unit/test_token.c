/* Tokens: how long they are kept, when they are renewed, and that one renewal serves all. The clock and the ways to sign in are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"

static atomic_llong skipped_ms;                      /* the test's clock runs ahead by so much */
static int64_t test_mono_ms(void)
{
    return clock_mono_ms() + atomic_load(&skipped_ms);
}
#define clock_mono_ms test_mono_ms
#define cond_wait_until(c, lock, deadline_ms) cond_wait_until(c, lock, (deadline_ms) - atomic_load(&skipped_ms))
#define rest_pause test_pause
static bool test_pause(unsigned ms, bool (*stop)(void *arg), void *arg);
#include "storage/azure/token.c"
#undef clock_mono_ms
#undef cond_wait_until

#include "tests/unit/db_util.h"

/* ---- ways to sign in ---- */

static struct {
    atomic_uint calls, refreshes, codes, polls;
    atomic_int fail;                                 /* ERR_*, or 0 */
    atomic_int life_s, delay_ms;
    atomic_int polls_until_entered;                  /* device code: so many polls say "not yet" */
    atomic_int codes_expire;                         /* so many codes are said to have expired */
    atomic_bool refresh_refused, no_refresh;
    char last_refresh[64];
} way;

static bool test_pause(unsigned ms, bool (*stop)(void *arg), void *arg)
{
    (void)ms;                                        /* a person's seconds are the test's milliseconds */
    for (int i = 0; i < 10; i++) {
        if (stop && stop(arg))
            return false;
        clock_sleep_ms(1);
    }
    return true;
}

static int give(const struct token_ask *ask, struct token_got *ret, struct err *e)
{
    for (int ms = atomic_load(&way.delay_ms); ms > 0; ms -= 5) {
        if (ask->stop && ask->stop(ask->arg))
            return err_set(e, ERR_CANCELLED, "stopped");
        clock_sleep_ms(5);
    }
    unsigned n = atomic_fetch_add(&way.calls, 1) + 1;
    if (atomic_load(&way.fail))
        return err_set(e, (enum err_code)atomic_load(&way.fail), "the test says no (%u)", n);
    *ret = (struct token_got){.token = str_printf("%s#%u", ask->scope, n), .life_s = atomic_load(&way.life_s)};
    return 0;
}
int token_from_imds(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }
int token_from_arc(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }
int token_from_az(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }
int token_from_secret(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }
int token_from_certificate(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }
int token_from_file(const struct token_ask *ask, struct token_got *ret, struct err *e) { return give(ask, ret, e); }

void token_got_clear(struct token_got *g)
{
    mem_free_secret(g->token);
    mem_free_secret(g->refresh_token);
    *g = (struct token_got){0};
}

void token_pending_clear(struct token_pending *p)
{
    mem_free_secret(p->device_code);
    mem_free_secret(p->user_code);
    free(p->verification_url);
    free(p->message);
    *p = (struct token_pending){0};
}

int token_code_start(const struct token_ask *ask, struct token_pending *ret, struct err *e)
{
    (void)ask, (void)e;
    unsigned n = atomic_fetch_add(&way.codes, 1) + 1;
    *ret = (struct token_pending){.device_code = str_printf("device%u", n), .user_code = str_printf("CODE%u", n), .verification_url = str_dup("https://login.example/device"),
                                  .message = str_dup("enter it"), .interval_ms = 10, .expires_at_ms = test_mono_ms() + 900000};
    return 0;
}

int token_code_poll(const struct token_ask *ask, struct token_pending *p, struct token_got *ret, struct err *e)
{
    (void)p;
    atomic_fetch_add(&way.polls, 1);
    if (atomic_load(&way.codes_expire) > 0) {
        atomic_fetch_sub(&way.codes_expire, 1);
        return 2;
    }
    if (atomic_fetch_sub(&way.polls_until_entered, 1) > 0)
        return 0;
    int r = give(ask, ret, e);
    if (r < 0)
        return r;
    if (!atomic_load(&way.no_refresh))
        ret->refresh_token = str_dup("refresh-of-code");
    return 1;
}

int token_from_refresh(const struct token_ask *ask, const char *refresh_token, struct token_got *ret, struct err *e)
{
    atomic_fetch_add(&way.refreshes, 1);
    snprintf(way.last_refresh, sizeof way.last_refresh, "%s", refresh_token);
    if (atomic_load(&way.refresh_refused))
        return 0;
    int r = give(ask, ret, e);
    return r < 0 ? r : 1;
}

/* ---- fixture ---- */

static struct cloud cloud = {.arm = (char *)(uintptr_t)"https://arm.example", .login = (char *)(uintptr_t)"https://login.example"};
static char kept[64];
static struct tokens *tokens;

static void on_keep(void *arg, const char *credential, int64_t revision, const char *refresh_token)
{
    (void)arg;
    snprintf(kept, sizeof kept, "%s/%lld/%s", credential, (long long)revision, refresh_token);
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    memset(&way, 0, sizeof way);
    kept[0] = 0;
    atomic_store(&way.life_s, 3600);
    atomic_store(&skipped_ms, 0);
    ok(tokens_open(&(struct tokens_config){.cloud = &cloud, .keep_refresh_token = on_keep}, &tokens, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tokens_close(tokens);
    return 0;
}

static const struct token_identity app = {.method = TOKEN_CLIENT_SECRET, .name = "app", .tenant_id = "t", .client_id = "c", .secret = "s", .revision = 1};
static const struct token_identity person = {.method = TOKEN_DEVICE_CODE, .name = "person", .revision = 7};

static char *token_of(const struct token_identity *id, enum token_audience audience)
{
    struct err err;
    char *t = NULL;
    ok(tokens_get(tokens, id, audience, &(struct token_wait){0}, &t, &err));
    return t;
}

static void assert_token(const struct token_identity *id, const char *want)
{
    AUTO_SECRET char *t = token_of(id, TOKEN_FOR_ARM);
    assert_string_equal(t, want);
}

#define ARM(n) "https://arm.example/.default#" #n

/* ---- tests ---- */

static void test_kept(void **state)
{
    (void)state;
    struct token_identity other = app, secret = app, again = app;
    other.client_id = "c2";
    secret.secret = "s2";
    again.revision = 2;
    for (int i = 0; i < 3; i++)
        assert_token(&app, ARM(1));
    AUTO_SECRET char *disk = token_of(&app, TOKEN_FOR_DISK), *storage = token_of(&app, TOKEN_FOR_STORAGE);
    assert_string_equal(disk, "https://disk.azure.com//.default#2");
    assert_string_equal(storage, "https://storage.azure.com/.default#3");
    assert_token(&other, ARM(4));
    assert_token(&secret, ARM(5));
    assert_token(&again, ARM(6));
    assert_token(&app, ARM(1));
    assert_string_equal(tokens_resource(tokens, TOKEN_FOR_ARM), "https://arm.example/");
}

/* When a token of so many seconds is renewed. */
static void test_due(void **state)
{
    (void)state;
    static const struct { int life_s, kept_s, due_s; } rows[] = {
        {86399, 43198, 43201}, {7201, 3599, 3602}, {7200, 6899, 6901}, {3599, 3298, 3300}, {100, 79, 81}, {5, 3, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct token_identity id = app;
        id.revision = 100 + (int64_t)i;
        atomic_store(&way.life_s, rows[i].life_s);
        AUTO_SECRET char *first = token_of(&id, TOKEN_FOR_ARM);
        atomic_fetch_add(&skipped_ms, rows[i].kept_s * 1000LL);
        AUTO_SECRET char *same = token_of(&id, TOKEN_FOR_ARM);
        assert_string_equal(first, same);
        atomic_fetch_add(&skipped_ms, (rows[i].due_s - rows[i].kept_s) * 1000LL);
        AUTO_SECRET char *next = token_of(&id, TOKEN_FOR_ARM);
        if (!strcmp(first, next))
            fail_msg("a token of %d s is still given out after %d s", rows[i].life_s, rows[i].due_s);
    }
}

/* A renewal that fails costs nothing as long as the old token is good; and it is not tried with each request. */
static void test_old_one_serves(void **state)
{
    (void)state;
    struct err err;
    char *t = NULL;
    assert_token(&app, ARM(1));
    atomic_fetch_add(&skipped_ms, 3301 * 1000LL);
    atomic_store(&way.fail, ERR_UNREACHABLE);
    for (int i = 0; i < 5; i++)
        assert_token(&app, ARM(1));
    assert_int_equal(atomic_load(&way.calls), 2);
    atomic_fetch_add(&skipped_ms, 31 * 1000LL);
    assert_token(&app, ARM(1));
    assert_int_equal(atomic_load(&way.calls), 3);
    /* less than a minute left: not any more */
    atomic_fetch_add(&skipped_ms, 220 * 1000LL);
    fails(tokens_get(tokens, &app, TOKEN_FOR_ARM, &(struct token_wait){0}, &t, &err), ERR_UNREACHABLE);
    assert_null(t);
    atomic_store(&way.fail, 0);
    assert_token(&app, ARM(5));
}

static void test_refused(void **state)
{
    (void)state;
    assert_token(&app, ARM(1));
    tokens_refused(tokens, &app, TOKEN_FOR_ARM, "another");
    assert_token(&app, ARM(1));
    tokens_refused(tokens, &app, TOKEN_FOR_DISK, ARM(1));
    assert_token(&app, ARM(1));
    tokens_refused(tokens, &app, TOKEN_FOR_ARM, ARM(1));
    assert_token(&app, ARM(2));
    tokens_refused(tokens, &app, TOKEN_FOR_ARM, ARM(1));             /* renewed since */
    assert_token(&app, ARM(2));
    tokens_refused(tokens, &person, TOKEN_FOR_ARM, "x");             /* nobody that is known */
}

/* ---- threads ---- */

struct caller {
    pthread_t thread;
    struct token_identity id;
    enum token_audience audience;
    atomic_bool stop;
    atomic_uint shown;
    bool can_show;
    char code[16];
    int r;
    char *token;
    struct err err;
};

static bool on_stop(void *arg)
{
    return atomic_load(&((struct caller *)arg)->stop);
}

static void on_show(void *arg, const struct token_code *code)
{
    struct caller *c = arg;
    snprintf(c->code, sizeof c->code, "%s", code->user_code);
    atomic_fetch_add(&c->shown, 1);
}

static void *call(void *arg)
{
    struct caller *c = arg;
    struct token_wait w = {.stop = on_stop, .show_code = c->can_show ? on_show : NULL, .arg = c};
    c->r = tokens_get(tokens, &c->id, c->audience, &w, &c->token, &c->err);
    return NULL;
}

static void start(struct caller *c, const struct token_identity *id, bool can_show)
{
    *c = (struct caller){.id = *id, .can_show = can_show};
    assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

static int finish_caller(struct caller *c)
{
    pthread_join(c->thread, NULL);
    mem_free_secret(c->token);
    return c->r;
}

#define CALLERS 24
static void test_one_for_all(void **state)
{
    (void)state;
    static struct caller callers[CALLERS];
    atomic_store(&way.delay_ms, 150);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < CALLERS; i++)
            start(&callers[i], &app, false);
        for (int i = 0; i < CALLERS; i++)
            assert_int_equal(finish_caller(&callers[i]), 0);
        assert_int_equal(atomic_load(&way.calls), round);
        atomic_fetch_add(&skipped_ms, 3600 * 1000LL);
    }
    /* and one error */
    atomic_store(&way.fail, ERR_CREDENTIAL);
    for (int i = 0; i < CALLERS; i++)
        start(&callers[i], &app, false);
    for (int i = 0; i < CALLERS; i++) {
        assert_int_equal(finish_caller(&callers[i]), -ERR_CREDENTIAL);
        assert_non_null(strstr(callers[i].err.msg, "says no"));
    }
    assert_in_range(atomic_load(&way.calls), 4, 4 + 3);             /* who came after the end tries once more */
}

static void test_leader_stops(void **state)
{
    (void)state;
    static struct caller first, others[8];
    atomic_store(&way.delay_ms, 400);
    start(&first, &app, false);
    clock_sleep_ms(60);
    for (int i = 0; i < 8; i++)
        start(&others[i], &app, false);
    clock_sleep_ms(60);
    atomic_store(&first.stop, true);
    assert_int_equal(finish_caller(&first), -ERR_CANCELLED);
    for (int i = 0; i < 8; i++)
        assert_int_equal(finish_caller(&others[i]), 0);
    assert_int_equal(atomic_load(&way.calls), 1);
    /* one who waits can stop too, and holds up nobody */
    atomic_fetch_add(&skipped_ms, 3600 * 1000LL);
    start(&first, &app, false);
    clock_sleep_ms(60);
    start(&others[0], &app, false);
    clock_sleep_ms(30);
    atomic_store(&others[0].stop, true);
    int64_t began = clock_mono_ms();
    assert_int_equal(finish_caller(&others[0]), -ERR_CANCELLED);
    assert_true(clock_mono_ms() - began < 300);
    assert_int_equal(finish_caller(&first), 0);
}

/* ---- people ---- */

static void wait_for(atomic_uint *what, unsigned n)
{
    for (int i = 0; i < 2000 && atomic_load(what) < n; i++)
        clock_sleep_ms(2);
    assert_true(atomic_load(what) >= n);
}

static void test_person(void **state)
{
    (void)state;
    static struct caller a, b, c;
    struct err err;
    char *t = NULL;
    fails(tokens_get(tokens, &person, TOKEN_FOR_ARM, &(struct token_wait){0}, &t, &err), ERR_SIGN_IN);
    assert_int_equal(atomic_load(&way.codes), 0);
    atomic_store(&way.polls_until_entered, 1000000);
    start(&a, &person, true);
    wait_for(&a.shown, 1);
    start(&b, &person, true);                        /* is shown the same code */
    wait_for(&b.shown, 1);
    assert_string_equal(a.code, b.code);
    start(&c, &person, false);                       /* cannot be shown one */
    assert_int_equal(finish_caller(&c), -ERR_SIGN_IN);
    /* the first gives up: the second goes on with the code that the person may be entering */
    atomic_store(&a.stop, true);
    assert_int_equal(finish_caller(&a), -ERR_CANCELLED);
    unsigned polls = atomic_load(&way.polls);
    wait_for(&way.polls, polls + 2);
    atomic_store(&way.polls_until_entered, 0);
    assert_int_equal(finish_caller(&b), 0);
    assert_int_equal(atomic_load(&b.shown), 1);
    assert_int_equal(atomic_load(&way.codes), 1);
    assert_string_equal(kept, "person/7/refresh-of-code");
    /* from now on the refresh token serves, for all audiences */
    AUTO_SECRET char *disk = token_of(&person, TOKEN_FOR_DISK);
    assert_non_null(strstr(disk, "disk.azure.com"));
    assert_string_equal(way.last_refresh, "refresh-of-code");
    atomic_fetch_add(&skipped_ms, 3600 * 1000LL);
    free(token_of(&person, TOKEN_FOR_ARM));
    assert_int_equal(atomic_load(&way.codes), 1);
    /* until it is refused */
    atomic_fetch_add(&skipped_ms, 3600 * 1000LL);
    atomic_store(&way.refresh_refused, true);
    fails(tokens_get(tokens, &person, TOKEN_FOR_ARM, &(struct token_wait){0}, &t, &err), ERR_SIGN_IN);
}

/* The login service says that a code has expired, whenever it likes: another one is shown, but not for ever. */
static void test_person_late(void **state)
{
    (void)state;
    static struct caller a, b;
    atomic_store(&way.polls_until_entered, 1000000);
    atomic_store(&way.codes_expire, 2);
    start(&a, &person, true);
    wait_for(&a.shown, 3);
    assert_string_equal(a.code, "CODE3");
    atomic_store(&way.polls_until_entered, 0);
    assert_int_equal(finish_caller(&a), 0);
    assert_int_equal(atomic_load(&way.codes), 3);
    struct token_identity other = person;
    other.name = "other";
    atomic_store(&way.codes_expire, 1000);
    start(&b, &other, true);
    assert_int_equal(finish_caller(&b), -ERR_CREDENTIAL);
    assert_int_equal(atomic_load(&b.shown), 3);
}

static void test_person_kept(void **state)
{
    (void)state;
    struct token_identity id = person;
    id.secret = "refresh-of-yesterday";
    free(token_of(&id, TOKEN_FOR_ARM));
    assert_string_equal(way.last_refresh, "refresh-of-yesterday");
    assert_int_equal(atomic_load(&way.codes), 0);
    /* the same sign-in, whatever refresh token a caller has read meanwhile */
    id.secret = "newer";
    free(token_of(&id, TOKEN_FOR_ARM));
    assert_int_equal(atomic_load(&way.refreshes), 1);
}

static void test_person_other_audience(void **state)
{
    (void)state;
    static struct caller a;
    /* who signs in for a disk first gets the token for disks, by way of the refresh token */
    a = (struct caller){.id = person, .can_show = true, .audience = TOKEN_FOR_DISK};
    assert_int_equal(pthread_create(&a.thread, NULL, call, &a), 0);
    pthread_join(a.thread, NULL);
    assert_int_equal(a.r, 0);
    assert_non_null(strstr(a.token, "disk.azure.com"));
    mem_free_secret(a.token);
    assert_string_equal(kept, "person/7/refresh-of-code");
    /* and without a refresh token that cannot be */
    atomic_store(&way.no_refresh, true);
    struct token_identity other = person;
    other.revision = 8;
    a = (struct caller){.id = other, .can_show = true, .audience = TOKEN_FOR_DISK};
    assert_int_equal(pthread_create(&a.thread, NULL, call, &a), 0);
    pthread_join(a.thread, NULL);
    assert_int_equal(a.r, -ERR_UPSTREAM_FINAL);
}

/* ---- bounds ---- */

static void test_many_identities(void **state)
{
    (void)state;
    struct token_identity id = app;
    for (int i = 0; i < 3 * IDENTITIES_MAX; i++) {
        id.revision = i;
        free(token_of(&id, TOKEN_FOR_ARM));
    }
    assert_int_equal(tokens->n, IDENTITIES_MAX);
    unsigned calls = atomic_load(&way.calls);
    free(token_of(&id, TOKEN_FOR_ARM));              /* the newest is known */
    assert_int_equal(atomic_load(&way.calls), calls);
    id.revision = 0;                                 /* the oldest was forgotten */
    free(token_of(&id, TOKEN_FOR_ARM));
    assert_int_equal(atomic_load(&way.calls), calls + 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_kept), T(test_due), T(test_old_one_serves), T(test_refused), T(test_one_for_all), T(test_leader_stops), T(test_person), T(test_person_late), T(test_person_kept),
        T(test_person_other_audience), T(test_many_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
