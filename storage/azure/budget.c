/* A bucket is what one name of an answer's headers counts, within one subscription. Azure does not say how large it is or how fast it
 * fills, only how much is left; names that end in 3Min or 30Min say over which time it is counted. As long as more than LOW is left nobody
 * waits; below that requests are spread, the wider the less is left. What an answer said is forgotten when its window is over. */
#include "storage/azure/budget.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LOW 10                                       /* left: from here on requests are spread */
#define WAIT_MAX_MS 30000                            /* for a budget that runs out; a 429 may ask for more */
#define BUCKETS_MAX 512
#define KINDS_MAX 256
#define BUCKETS_OF_KIND 8
#define NAME_MAX_BYTES 96

struct bucket {
    char name[NAME_MAX_BYTES];                       /* subscription/name */
    unsigned no;                                     /* another bucket in the same place has another number */
    uint64_t left;
    int64_t said_at_ms, next_at_ms;
    unsigned window_ms;
};
struct kind {
    char name[BUDGET_KIND_MAX];
    struct { size_t at; unsigned no; } buckets[BUCKETS_OF_KIND];
    size_t n;
    int64_t not_before_ms;                           /* after a 429 */
    int64_t used_at_ms;
};
struct budgets {
    pthread_mutex_t lock;
    struct bucket buckets[BUCKETS_MAX];
    size_t n_buckets;
    unsigned numbers;
    struct kind kinds[KINDS_MAX];
    size_t n_kinds;
};

struct budgets *budgets_new(void)
{
    struct budgets *b = calloc(1, sizeof *b);
    if (b)
        pthread_mutex_init(&b->lock, NULL);
    return b;
}

void budgets_free(struct budgets *b)
{
    if (b)
        pthread_mutex_destroy(&b->lock);
    free(b);
}

/* ---- names ---- */

static void add_part(char *ret, const char *part, size_t n)
{
    size_t o = strlen(ret);
    for (size_t i = 0; i < n && o + 1 < BUDGET_KIND_MAX; i++)
        ret[o++] = part[i] >= 'A' && part[i] <= 'Z' ? (char)(part[i] + ('a' - 'A')) : part[i];
    ret[o] = 0;
}

/* Parts of a path come as word and name in turn (resourceGroups/G, disks/D); behind "providers" stands a word more, the namespace. Words
 * count, and of the names the subscription's. */
void budget_kind(const char *method, const char *path, char ret[BUDGET_KIND_MAX])
{
    char subscription[BUDGET_KIND_MAX] = "", words[BUDGET_KIND_MAX] = "";
    bool word = true, in_subscriptions = false;
    while (*path == '/') {
        const char *part = path + 1;
        size_t n = strcspn(part, "/?");
        if (word) {
            add_part(words, path, n + 1);
            in_subscriptions = n == 13 && str_istarts(part, "subscriptions");
            word = n == 9 && str_istarts(part, "providers");
        } else {
            if (in_subscriptions)
                add_part(subscription, part, n < 40 ? n : 40);
            word = true;
        }
        path = part + n;
        if (word && n == 9 && str_istarts(part, "providers")) {
            n = *path == '/' ? strcspn(path + 1, "/?") + 1 : 0;
            add_part(words, path, n);
            path += n;
        }
    }
    ret[0] = 0;
    add_part(ret, subscription, strlen(subscription));
    add_part(ret, " ", 1);
    add_part(ret, method, strlen(method));
    add_part(ret, " ", 1);
    add_part(ret, words, strlen(words));
}

static unsigned window_of(const char *name)
{
    if (str_ends(name, "30min"))
        return 1800000;
    return str_ends(name, "3min") ? 180000 : 60000;
}

/* ---- tables ---- */

static size_t bucket_of(struct budgets *b, const char *kind, const char *name, size_t n, int64_t now_ms)
{
    char full[NAME_MAX_BYTES];
    size_t sub = strcspn(kind, " "), oldest = 0;
    int k = snprintf(full, sizeof full, "%.*s/%.*s", (int)(sub < 40 ? sub : 40), kind, n < 50 ? (int)n : 50, n < 50 ? name : name + n - 50);
    for (int i = 0; i < k && i < (int)sizeof full; i++)
        if (full[i] >= 'A' && full[i] <= 'Z')
            full[i] = (char)(full[i] + ('a' - 'A'));
    for (size_t i = 0; i < b->n_buckets; i++) {
        if (!strcmp(b->buckets[i].name, full))
            return i;
        if (b->buckets[i].said_at_ms < b->buckets[oldest].said_at_ms)
            oldest = i;
    }
    size_t at = b->n_buckets < BUCKETS_MAX ? b->n_buckets++ : oldest;
    b->buckets[at] = (struct bucket){.no = ++b->numbers, .window_ms = window_of(full), .left = UINT64_MAX, .said_at_ms = now_ms};
    memcpy(b->buckets[at].name, full, sizeof full);
    return at;
}

static struct kind *kind_of(struct budgets *b, const char *name, bool make)
{
    size_t oldest = 0;
    for (size_t i = 0; i < b->n_kinds; i++) {
        if (!strcmp(b->kinds[i].name, name))
            return &b->kinds[i];
        if (b->kinds[i].used_at_ms < b->kinds[oldest].used_at_ms)
            oldest = i;
    }
    if (!make)
        return NULL;
    size_t at = b->n_kinds < KINDS_MAX ? b->n_kinds++ : oldest;
    b->kinds[at] = (struct kind){0};
    snprintf(b->kinds[at].name, sizeof b->kinds[at].name, "%s", name);
    return &b->kinds[at];
}

/* ---- taking and learning ---- */

static unsigned spacing_ms(const struct bucket *u, int64_t now_ms)
{
    if (u->left >= LOW || now_ms - u->said_at_ms > u->window_ms)
        return 0;
    unsigned ms = u->window_ms / (LOW * ((unsigned)u->left + 1));
    return ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS;
}

unsigned budgets_take(struct budgets *b, const char *kind, int64_t now_ms)
{
    pthread_mutex_lock(&b->lock);
    int64_t at = now_ms;
    struct kind *k = kind_of(b, kind, false);
    if (k) {
        k->used_at_ms = now_ms;
        if (k->not_before_ms > at)
            at = k->not_before_ms;
        for (size_t i = 0; i < k->n; i++) {
            struct bucket *u = &b->buckets[k->buckets[i].at];
            unsigned ms = u->no == k->buckets[i].no ? spacing_ms(u, now_ms) : 0;
            if (!ms)
                continue;
            int64_t from = u->next_at_ms > u->said_at_ms + ms ? u->next_at_ms : u->said_at_ms + ms;
            if (from > now_ms + WAIT_MAX_MS)
                from = now_ms + WAIT_MAX_MS;
            if (from > at)
                at = from;
            u->next_at_ms = (from > now_ms ? from : now_ms) + ms;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return (unsigned)(at - now_ms);
}

static void learn_one(struct budgets *b, struct kind *k, const char *name, size_t n, const char *value, size_t value_len, int64_t now_ms)
{
    char digits[24];
    unsigned long long left;
    while (value_len && *value == ' ') {
        value++;
        value_len--;
    }
    while (value_len && value[value_len - 1] == ' ')
        value_len--;
    if (!n || !value_len || value_len >= sizeof digits)
        return;
    memcpy(digits, value, value_len);
    digits[value_len] = 0;
    if (!str_to_u64(digits, UINT64_MAX - 1, &left))
        return;
    size_t at = bucket_of(b, k->name, name, n, now_ms), i = 0;
    b->buckets[at].left = left;
    b->buckets[at].said_at_ms = now_ms;
    while (i < k->n && k->buckets[i].at != at)
        i++;
    if (i == BUCKETS_OF_KIND)
        return;
    k->buckets[i].at = at;
    k->buckets[i].no = b->buckets[at].no;
    if (i == k->n)
        k->n++;
}

/* "…-remaining-resource: Microsoft.Compute/Name3Min;999,Other;12" or "…-remaining-subscription-reads: 11999" */
static void learn_line(struct budgets *b, struct kind *k, const char *line, size_t len, int64_t now_ms)
{
    static const char resource[] = "x-ms-ratelimit-remaining-resource: ";
    if (len > sizeof resource - 1 && str_starts(line, resource)) {
        for (const char *p = line + sizeof resource - 1, *end = line + len; p < end;) {
            size_t item = strcspn(p, ",\n"), name = strcspn(p, ";,\n");
            if (item > (size_t)(end - p))
                item = (size_t)(end - p);
            if (name < item)
                learn_one(b, k, p, name, p + name + 1, item - name - 1, now_ms);
            p += item + 1;
            while (p < end && *p == ' ')
                p++;
        }
        return;
    }
    size_t name = strcspn(line, ":\n");
    if (name < len && line[name] == ':')
        learn_one(b, k, line, name, line + name + 1, len - name - 1, now_ms);
}

void budgets_learn(struct budgets *b, const char *kind, int status, const char *remaining, unsigned retry_after_ms, int64_t now_ms)
{
    bool full = status == 429;
    if (!full && (!remaining || !*remaining))
        return;
    pthread_mutex_lock(&b->lock);
    struct kind *k = kind_of(b, kind, true);
    k->used_at_ms = now_ms;
    for (const char *p = remaining ? remaining : ""; *p;) {
        size_t n = strcspn(p, "\n");
        learn_line(b, k, p, n, now_ms);
        p += n + (p[n] == '\n');
    }
    if (full && now_ms + retry_after_ms > k->not_before_ms)
        k->not_before_ms = now_ms + retry_after_ms;
    pthread_mutex_unlock(&b->lock);
}
