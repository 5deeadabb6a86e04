/* Jobs: submit, list, show, and what a user wants of them. The work itself is the service's; here are only rows of the queue. */
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/json.h"
#include "db/credential.h"
#include "db/job.h"
#include "db/reserve.h"

#define LIST_DEFAULT 50
#define LIST_MAX 200
#define KEY_MAX 128

static int reply_job(struct request *rq, unsigned status, const char *id, struct err *e)
{
    struct db *db = NULL;
    AUTO(job_free_ptr) struct job *j = NULL;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = job_get(db, id, &j, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    job_json(&w, NULL, j, true);
    return reply_json(rq, status, &w, e);
}

/* ---- submit ---- */

static int idempotency_key(struct request *rq, const char **ret, struct err *e)
{
    const char *key = request_header(rq, "Idempotency-Key");
    size_t n = key ? strlen(key) : 0;
    bool ok = !key || (n >= 1 && n <= KEY_MAX);
    for (size_t i = 0; i < n && ok; i++)
        ok = key[i] >= ' ' && key[i] <= '~';
    if (!ok)
        return err_field(e, ERR_VALUE, "Idempotency-Key", "the Idempotency-Key header must hold 1 to %d printable ASCII characters", KEY_MAX);
    *ret = key;
    return 0;
}

/* Of the body's meaning: neither white space nor the order of members makes it another request. */
static int body_hash(json_t *body, uint8_t ret[SHA256_LEN], struct err *e)
{
    AUTO_SECRET char *text = json_dumps(body, JSON_SORT_KEYS | JSON_COMPACT);
    return text ? crypto_sha256(text, strlen(text), ret, e) : err_oom(e);
}

/* A source in Azure that names no credential means the only one that signs in. */
static int fill_credentials(struct db *db, struct spec *s, struct err *e)
{
    for (size_t i = 0; i < s->n_disks; i++) {
        if (!source_is_arm(s->disks[i].type) || s->disks[i].credential)
            continue;
        int r = credential_only_sign_in(db, &s->disks[i].credential, e);
        if (r == -ERR_MISSING)
            snprintf(e->field, sizeof e->field, "/disks/%zu/source/credential", i);
        if (r < 0)
            return r;
    }
    return 0;
}

/* body: what describes the job; the request's own, or made of it. */
static int submit(struct request *rq, json_t *body, struct err *e)
{
    struct db *db = NULL;
    const char *key = NULL;
    uint8_t hash[SHA256_LEN];
    AUTO(spec_free_ptr) struct spec *s = NULL;
    char id[UUID_LEN];
    bool existing = false;
    int r = idempotency_key(rq, &key, e);
    if (r == 0)
        r = spec_parse(body, &s, e);
    for (size_t i = 0; r == 0 && i < s->n_disks; i++) {
        char field[64];
        snprintf(field, sizeof field, "/disks/%zu/source/path", i);
        r = hostfile_not_ours(rq, s->disks[i].path, field, e);
    }
    if (r == 0)
        r = hostfile_not_ours(rq, s->vm.dvd, "/vm/dvd", e);
    if (r == 0)
        r = hostfile_not_ours(rq, s->volume ? s->volume->mount_point : NULL, "/volume/mount_point", e);
    if (r == 0)
        r = body_hash(body, hash, e);
    if (r == 0)
        r = request_db(rq, &db, e);
    if (r == 0)
        r = fill_credentials(db, s, e);
    if (r == 0)
        r = job_create(db, s, key, hash, id, &existing, e);
    if (r == -ERR_CREDENTIAL && e->field[0]) {       /* in a request, a name that is none is a wrong value */
        e->code = ERR_VALUE;
        return e->hint[0] ? -(int)e->code : err_hint(e, "PUT the credential first; GET /v1/credentials lists those that there are.");
    }
    if (r < 0)
        return r;
    if (!existing)
        request_changed(rq);
    r = reply_job(rq, 201, id, e);
    if (r < 0)
        return r;
    char location[64];
    snprintf(location, sizeof location, "/v1/jobs/%s", id);
    reply_header(rq, "Location", location);
    if (existing)
        reply_header(rq, "Idempotency-Replayed", "true");
    return 0;
}

int jobs_post(struct request *rq, struct err *e)
{
    return submit(rq, rq->json, e);
}

/* A volume alone: the request is that member of a job that does nothing else, so its errors point into it. */
int volumes_post(struct request *rq, struct err *e)
{
    static const char prefix[] = "/volume";
    json_t *volume = rq->json ? json_incref(rq->json) : json_object();
    json_t *body = volume ? json_pack("{s:[], s:o, s:s}", "disks", "volume", volume, "until", "volume") : NULL;
    if (!body)
        return err_oom(e);
    int r = submit(rq, body, e);
    json_decref(body);
    if (r < 0 && str_starts(e->field, prefix))
        memmove(e->field, e->field + sizeof prefix - 1, strlen(e->field) - (sizeof prefix - 1) + 1);
    return r;
}

/* ---- list and show ---- */

/* A cursor is the number of the last job of a page in base64url. Opaque to clients: it may become something else. */
static char *cursor_make(int64_t seq)
{
    uint8_t raw[9];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i ? (uint64_t)seq >> (64 - 8 * i) : 1);    /* a version, then the number, big end first */
    char *s = crypto_base64(raw, sizeof raw);        /* nine bytes need no padding */
    for (char *p = s; p && *p; p++)
        *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
    return s;
}

static bool cursor_read(const char *s, int64_t *ret)
{
    char text[13];
    if (strlen(s) != 12 || strpbrk(s, "+/="))
        return false;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i]);
    AUTO_FREE uint8_t *raw = NULL;
    size_t n;
    if (!crypto_base64_decode(text, &raw, &n) || n != 9 || raw[0] != 1)
        return false;
    uint64_t seq = 0;
    for (size_t i = 1; i < 9; i++)
        seq = seq << 8 | raw[i];
    *ret = (int64_t)seq;
    return *ret > 0;
}

int jobs_get(struct request *rq, struct err *e)
{
    enum job_state state = JOB_STATES;
    const char *word = request_query(rq, "state"), *cursor = request_query(rq, "cursor");
    int64_t before = 0;
    uint64_t limit;
    if (word && !job_state_parse(word, &state))
        return err_field(e, ERR_VALUE, "?state", "state must be one of: queued, running, paused, succeeded, failed, cancelled");
    if (cursor && !cursor_read(cursor, &before))
        return err_field(e, ERR_VALUE, "?cursor", "cursor must be the next_cursor of an earlier page");
    int r = request_query_u64(rq, "limit", LIST_DEFAULT, 1, LIST_MAX, &limit, e);
    struct db *db = NULL;
    if (r == 0)
        r = request_db(rq, &db, e);
    struct job **jobs = NULL;
    size_t n = 0;
    if (r == 0)                                      /* one more than asked for tells whether there is a next page */
        r = job_list(db, word ? (int)state : -1, before, limit + 1, &jobs, &n, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    AUTO_FREE char *next = n > limit ? cursor_make(jobs[limit - 1]->seq) : NULL;
    jsonw_open(&w, NULL, '{');
    jsonw_open(&w, "jobs", '[');
    for (size_t i = 0; i < n && i < limit; i++)
        job_json(&w, NULL, jobs[i], false);
    jsonw_close(&w, ']');
    jsonw_str(&w, "next_cursor", next);
    jsonw_close(&w, '}');
    bool lost = n > limit && !next;
    job_list_free(jobs, n);
    return lost ? err_oom(e) : reply_json(rq, 200, &w, e);
}

int job_get_one(struct request *rq, struct err *e)
{
    return reply_job(rq, 200, rq->id, e);
}

int reply_task(struct request *rq, struct db *db, const char *job_id, int64_t task_id, struct err *e)
{
    AUTO(job_free_ptr) struct job *j = NULL;
    int r = job_get(db, job_id, &j, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    for (size_t i = 0; i < j->n_tasks; i++)
        if (j->tasks[i].id == task_id)
            task_json(&w, NULL, &j->tasks[i]);
    if (!w.b.len)
        return err_set(e, ERR_NOT_FOUND, "the task was removed again at once");
    r = reply_json(rq, 202, &w, e);
    if (r == 0) {
        char location[64];
        snprintf(location, sizeof location, "/v1/jobs/%s", job_id);
        reply_header(rq, "Location", location);
    }
    return r;
}

/* ---- change ---- */

static int change(struct request *rq, int (*fn)(struct db *db, const char *id, struct err *e), struct err *e)
{
    struct db *db = NULL;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = fn(db, rq->id, e);
    if (r == -ERR_DISK_FULL && reserve_release(db))
        r = fn(db, rq->id, e);
    if (r < 0)
        return r;
    request_changed(rq);
    return reply_job(rq, 202, rq->id, e);
}

int job_post_pause(struct request *rq, struct err *e)
{
    return change(rq, job_pause, e);
}

int job_post_resume(struct request *rq, struct err *e)
{
    return change(rq, job_resume, e);
}

int job_post_cancel(struct request *rq, struct err *e)
{
    return change(rq, job_cancel, e);
}

/* {"sources": [{"disk": 0, "url": "…with a new SAS"}]}, or nothing. */
static int read_renewals(json_t *body, struct job_renewal *list, size_t *ret_n, struct err *e)
{
    struct json_in in = json_in_root(body, e);
    *ret_n = json_array_size(json_in_array(&in, "sources", 1, SPEC_DISKS_MAX));
    for (size_t i = 0; i < *ret_n; i++) {
        struct json_in one = json_in_element(&in, "sources", i);
        json_in_require(&one, "disk");
        json_in_require(&one, "url");
        list[i] = (struct job_renewal){.disk = (unsigned)json_in_int(&one, "disk", 0, 0, SPEC_DISKS_MAX - 1),
                                       .url = json_in_string(&one, "url", NULL, SPEC_URL_MAX)};
        json_in_end(&one);
    }
    return json_in_end(&in);
}

int job_post_retry(struct request *rq, struct err *e)
{
    struct job_renewal list[SPEC_DISKS_MAX];
    struct db *db = NULL;
    size_t n = 0;
    int r = read_renewals(rq->json, list, &n, e);
    if (r == 0)
        r = request_db(rq, &db, e);
    if (r == 0)
        r = job_retry_with(db, rq->id, list, n, e);
    if (r < 0)
        return r;
    request_changed(rq);
    return reply_job(rq, 202, rq->id, e);
}

static int image_in_use(struct err *e, const char *path, const char *what, const char *id)
{
    err_set(e, ERR_WRONG_STATE, "the image %s is in use: %s %s lies over it", path, what, id);
    return err_hint(e, "Delete that job first, or keep the disks (disks=keep).");
}

/* An image of this job may be the source of another job, or attached to another VM. */
static int check_images_unused(struct request *rq, struct db *db, const struct job *j, struct err *e)
{
    struct hv *hv = rq->api->cfg.hv;
    struct hv_vm **vms = NULL;
    size_t n = 0;
    int r = hv ? hv_vm_list(hv, &vms, &n, e) : 0;
    for (size_t i = 0; r == 0 && i < j->n_disks; i++) {
        const char *path = j->disks[i].path;
        char other[UUID_LEN] = "";
        if (!path || j->disks[i].spec.type == SOURCE_FILE)
            continue;
        if ((r = job_with_image(db, path, j->id, other, e)) == 0 && other[0])
            r = image_in_use(e, path, "the job", other);
        for (size_t k = 0; r == 0 && k < n; k++)
            for (size_t d = 0; r == 0 && d < vms[k]->spec.n_disks; d++)
                if (strcmp(vms[k]->spec.job_id, j->id) && vms[k]->spec.disks[d].path && !strcmp(vms[k]->spec.disks[d].path, path))
                    r = image_in_use(e, path, "the VM", vms[k]->spec.id);
    }
    hv_vm_list_free(vms, n);
    return r;
}

/* The row is read before the service hears of it: its cleaner may be quicker than we are. */
int job_delete_one(struct request *rq, struct err *e)
{
    const char *disks = request_query(rq, "disks");
    if (disks && strcmp(disks, "keep") && strcmp(disks, "delete"))
        return err_field(e, ERR_VALUE, "?disks", "disks must be keep or delete");
    struct db *db = NULL;
    AUTO(job_free_ptr) struct job *j = NULL;
    enum job_delete how = disks && !strcmp(disks, "delete") ? DELETE_ALL : DELETE_KEEP_DISKS;
    int r = request_db(rq, &db, e);
    if (r == 0)
        r = job_get(db, rq->id, &j, e);
    if (r == 0 && how == DELETE_ALL)
        r = check_images_unused(rq, db, j, e);
    if (r == 0)
        r = job_delete(db, rq->id, how, e);
    if (r == -ERR_DISK_FULL && reserve_release(db))
        r = job_delete(db, rq->id, how, e);
    job_free(STEAL(j));
    if (r == 0)
        r = job_get(db, rq->id, &j, e);
    if (r < 0)
        return r;
    AUTO_JSONW struct jsonw w = {0};
    job_json(&w, NULL, j, true);
    request_changed(rq);
    return reply_json(rq, 202, &w, e);
}

int job_post_verify(struct request *rq, struct err *e)
{
    struct db *db = NULL;
    int64_t task_id;
    int r = request_db(rq, &db, e);
    if (r < 0 || (r = task_add_verify(db, rq->id, &task_id, e)) < 0)
        return r;
    request_changed(rq);
    return reply_task(rq, db, rq->id, task_id, e);
}

int job_patch_one(struct request *rq, struct err *e)
{
    struct json_in in = json_in_root(rq->json, e);
    json_in_require(&in, "max_bytes_per_second");
    long long rate = json_in_int(&in, "max_bytes_per_second", 0, 0, JOB_RATE_MAX);
    struct db *db = NULL;
    int r = json_in_end(&in);
    if (r < 0 || (r = request_db(rq, &db, e)) < 0 || (r = job_set_rate(db, rq->id, (uint64_t)rate, e)) < 0)
        return r;
    request_changed(rq);
    return reply_job(rq, 200, rq->id, e);
}
