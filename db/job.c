#include "db/job.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "db/credential.h"
#include "db/state.h"

#define PAGE_MAX 1000
#define KEY_BYTES_MAX 255
#define CONTEXT_MAX 80
#define TASKS_MAX 64

void job_free(struct job *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < SPEC_DISKS_MAX; i++) {
        free(j->disks[i].path);                      /* what disks[i].spec points to belongs to j->spec */
        job_target_free(j->disks[i].target);
    }
    for (size_t i = 0; i < j->n_tasks; i++)
        task_clear(&j->tasks[i]);
    free(j->tasks);
    free(j->vm_id);
    json_decref(j->volume);
    spec_free(j->spec);
    free(j);
}

void job_list_free(struct job **jobs, size_t n)
{
    for (size_t i = 0; jobs && i < n; i++)
        job_free(jobs[i]);
    free(jobs);
}

/* ---- making ---- */

static void url_context(const char *job_id, unsigned disk, char buf[CONTEXT_MAX])
{
    snprintf(buf, CONTEXT_MAX, "job/%.36s/disk/%u", job_id, disk);
}

struct sealed { uint8_t *data[SPEC_DISKS_MAX]; size_t len[SPEC_DISKS_MAX]; };
static void sealed_free(struct sealed *s)
{
    for (size_t i = 0; i < SPEC_DISKS_MAX; i++)
        free(s->data[i]);
}

/* Only a query can hold a secret; a URL without one is stored as it is. */
static int seal_urls(struct db *db, const char *job_id, const struct spec *s, struct sealed *ret, struct err *e)
{
    for (unsigned i = 0; i < s->n_disks; i++) {
        char context[CONTEXT_MAX];
        url_context(job_id, i, context);
        const char *url = s->disks[i].url;
        int r = url && strchr(url, '?') ? secret_seal(db->box, context, url, &ret->data[i], &ret->len[i], e) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* 1: the key is known with this body, *ret_id is set; 0: it is new. */
static int find_key(struct db *db, const char *key, const uint8_t body_sha256[SHA256_LEN], char ret_id[UUID_LEN], struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if ((r = sql_query(db, &q, e, "SELECT id, body_sha256 FROM job WHERE idempotency_key = ?1", SS(key))) < 0 || (r = sql_step(db, q, e)) <= 0)
        return r;
    const void *hash = sqlite3_column_blob(q, 1);
    if (!hash || sqlite3_column_bytes(q, 1) != SHA256_LEN || memcmp(hash, body_sha256, SHA256_LEN) != 0)
        return err_set(e, ERR_IDEMPOTENCY, "the Idempotency-Key belongs to job %s, which was submitted with another body", sql_text(q, 0));
    sql_copy(q, 0, ret_id, UUID_LEN);
    return 1;
}

static int check_credential(struct db *db, size_t disk, const char *member, const char *name, bool must_sign_in, struct err *e)
{
    char pointer[96], type[32];
    if (!name)
        return 0;
    snprintf(pointer, sizeof pointer, "/disks/%zu/source/%s", disk, member);
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r;
    if ((r = sql_query(db, &q, e, "SELECT type FROM credential WHERE name = ?1", SS(name))) < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r)
        return err_field(e, ERR_CREDENTIAL, pointer, "there is no credential \"%s\"", name);
    sql_copy(q, 0, type, sizeof type);
    bool signs_in = strcmp(type, credential_type_name(CREDENTIAL_ACCOUNT_KEY)) != 0 && strcmp(type, credential_type_name(CREDENTIAL_SAS)) != 0;
    if (!must_sign_in || signs_in)
        return 0;
    err_field(e, ERR_CREDENTIAL, pointer, "the credential \"%s\" of type %s does not sign in to Azure", name, type);
    return err_hint(e, "Name one of type managed_identity, arc, service_principal, az_cli or device_code.");
}

static int check_credentials(struct db *db, const struct spec *s, struct err *e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n_disks; i++) {
        const struct spec_disk *d = &s->disks[i];
        if ((r = check_credential(db, i, "credential", d->credential, source_is_arm(d->type), e)) == 0 &&
            (r = check_credential(db, i, "storage_credential", d->storage_credential, false, e)) == 0)
            r = check_credential(db, i, "via_storage_account/credential", d->via.credential, false, e);
    }
    return r;
}

/* A disk uses one besides the source's at most: unmanaged disks are not copied to another account. */
const char *disk_storage_credential(const struct spec_disk *d)
{
    return d->via.credential ? d->via.credential : d->storage_credential;
}

static int insert_disks(struct db *db, int64_t seq, const struct spec *s, const json_t *spec, const struct sealed *sealed, struct err *e)
{
    for (size_t i = 0; i < s->n_disks; i++) {
        const json_t *source = json_object_get(json_array_get(json_object_get(spec, "disks"), i), "source");
        int r = sql_run(db, e, "INSERT INTO disk (job, disk, credential, url, sealed_url, storage_credential) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        SI(seq), SI(i), SS(s->disks[i].credential), SS(json_string_value(json_object_get(source, "url"))),
                        SB(sealed->data[i], sealed->len[i]), SS(disk_storage_credential(&s->disks[i])));
        if (r < 0)
            return r;
    }
    return 0;
}

static int insert_job(struct db *db, const char *id, const struct spec *s, const json_t *spec, const struct sealed *sealed, const char *key,
                      const uint8_t *body_sha256, struct err *e)
{
    AUTO_FREE char *text = NULL;
    int64_t now = clock_now_ms();
    int r;
    if ((r = sql_dump(spec, &text, e)) < 0 ||
        (r = sql_run(db, e,
                     "INSERT INTO job (id, spec, state, created_at_ms, updated_at_ms, idempotency_key, body_sha256) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
                     SS(id), SS(text), SS(job_state_name(JOB_QUEUED)), SI(now), SS(key), SB(key ? body_sha256 : NULL, SHA256_LEN))) < 0)
        return r;
    int64_t seq = sqlite3_last_insert_rowid(db->conn);
    struct graph_disk disks[SPEC_DISKS_MAX];
    for (unsigned i = 0; i < s->n_disks; i++)
        disks[i] = (struct graph_disk){s->disks[i].type, i};
    if ((r = insert_disks(db, seq, s, spec, sealed, e)) < 0 || (r = graph_insert(db, seq, s, disks, s->n_disks, e)) < 0)
        return r;
    return event_insert(db, seq, now, "job_created", json_pack("{s:s, s:s}", "name", s->name, "state", job_state_name(JOB_QUEUED)), e);
}

int job_create(struct db *db, const struct spec *s, const char *key, const uint8_t body_sha256[SHA256_LEN], char ret_id[UUID_LEN],
               bool *ret_existing, struct err *e)
{
    if (key && (!*key || strlen(key) > KEY_BYTES_MAX))
        return err_set(e, ERR_BAD_REQUEST, "the Idempotency-Key must have 1 to %d bytes", KEY_BYTES_MAX);
    char id[UUID_LEN];
    AUTO(sealed_free) struct sealed sealed = {0};
    int r;
    if ((r = crypto_uuid(id, e)) < 0 || (r = seal_urls(db, id, s, &sealed, e)) < 0)
        return r;
    json_t *spec = spec_json(s);
    if (!spec)
        return err_oom(e);
    AUTO_TX struct sql_tx tx = {0};
    int known = 0;
    if ((r = sql_begin(db, &tx, e)) >= 0 && key)
        r = known = find_key(db, key, body_sha256, id, e);
    if (r >= 0 && !known && (r = check_credentials(db, s, e)) >= 0 && (r = insert_job(db, id, s, spec, &sealed, key, body_sha256, e)) >= 0)
        r = sql_commit(&tx, e);
    json_decref(spec);
    if (r < 0)
        return r;
    memcpy(ret_id, id, UUID_LEN);
    *ret_existing = known;
    return 0;
}

/* ---- reading: one page of jobs is three queries, whatever its length ---- */

#define PAGE_ONE "SELECT seq FROM job WHERE id = ?1"
#define PAGE_ALL "SELECT seq FROM job WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"
#define PAGE_STATE "SELECT seq FROM job WHERE seq < ?1 AND state = ?3 ORDER BY seq DESC LIMIT ?2"

#define JOBS_OF(page) \
    "SELECT job.seq, job.id, job.spec, job.state, job.paused, job.cancel_requested, job.delete_requested, job.created_at_ms, job.updated_at_ms," \
    " job.vm_id, job.generation, job.volume FROM (" page ") AS page CROSS JOIN job ON job.seq = page.seq ORDER BY job.seq DESC"
#define DISKS_OF(page) \
    "SELECT disk.job, disk.disk, disk.path, disk.format, disk.virtual_size, coalesce(disk.origin, disk.disk), disk.target FROM (" page ") AS page" \
    " CROSS JOIN disk ON disk.job = page.seq ORDER BY disk.job DESC, disk.disk"
#define TASKS_OF(page) \
    "SELECT task.job, " TASK_COLUMNS " FROM (" page ") AS page CROSS JOIN task ON task.job = page.seq ORDER BY task.job DESC, task.id"

struct page_sql { const char *jobs, *disks, *tasks; };
static const struct page_sql page_one = {JOBS_OF(PAGE_ONE), DISKS_OF(PAGE_ONE), TASKS_OF(PAGE_ONE)};
static const struct page_sql page_all = {JOBS_OF(PAGE_ALL), DISKS_OF(PAGE_ALL), TASKS_OF(PAGE_ALL)};
static const struct page_sql page_state = {JOBS_OF(PAGE_STATE), DISKS_OF(PAGE_STATE), TASKS_OF(PAGE_STATE)};

struct page {
    struct job **jobs;
    size_t n;
};
static void page_free(struct page *p)
{
    job_list_free(p->jobs, p->n);
    *p = (struct page){0};
}

static int job_from_row(sqlite3_stmt *q, struct job *j, struct err *e)
{
    j->seq = sql_i64(q, 0);
    sql_copy(q, 1, j->id, sizeof j->id);
    j->paused = sql_i64(q, 4);
    j->cancel_requested = sql_i64(q, 5);
    j->delete_requested = (enum job_delete)sql_i64(q, 6);
    j->created_at_ms = sql_i64(q, 7);
    j->updated_at_ms = sql_i64(q, 8);
    j->generation = (unsigned)sql_u64(q, 10);
    json_t *spec;
    int r;
    if ((r = sql_dup(q, 9, &j->vm_id, e)) < 0 || (r = sql_json(q, 11, &j->volume, e)) < 0 || (r = sql_json(q, 2, &spec, e)) < 0)
        return r;
    r = spec_parse(spec, &j->spec, e);
    json_decref(spec);
    if (r < 0 && r != -ERR_OOM) {
        struct err why = *e;
        return sql_damaged(e, "the database holds a request of job %s that cannot be read: %.200s %.300s", j->id, why.field, why.msg);
    }
    if (r < 0)
        return r;
    if (!job_state_parse(sql_text(q, 3), &j->state))
        return sql_damaged(e, "the database holds the job %s without a valid state", j->id);
    for (unsigned i = 0; i < j->spec->n_disks; i++)
        j->disks[i] = (struct job_disk){.index = i, .origin = i, .spec = j->spec->disks[i]};
    j->n_disks = j->spec->n_disks;
    return 0;
}

static int read_jobs(struct db *db, const char *sql, const struct sql_arg *args, size_t limit, struct page *p, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    p->jobs = calloc(limit + 1, sizeof(struct job *));
    if (!p->jobs)
        return err_oom(e);
    int r = sql_query_args(db, &q, e, sql, args);
    while (r >= 0 && p->n < limit && (r = sql_step(db, q, e)) > 0) {
        struct job *j = p->jobs[p->n] = calloc(1, sizeof *j);
        if (!j)
            return err_oom(e);
        p->n++;
        r = job_from_row(q, j, e);
    }
    return r < 0 ? r : 0;
}

/* The job of a row; rows come in the order of the jobs, *at remembers how far we are. */
static struct job *job_of(const struct page *p, size_t *at, int64_t seq)
{
    while (*at < p->n && p->jobs[*at]->seq != seq)
        (*at)++;
    return *at < p->n ? p->jobs[*at] : NULL;
}

static int read_disks(struct db *db, const char *sql, const struct sql_arg *args, const struct page *p, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    size_t at = 0;
    int r = sql_query_args(db, &q, e, sql, args);
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        struct job *j = job_of(p, &at, sql_i64(q, 0));
        uint64_t i = sql_u64(q, 1), origin = sql_u64(q, 5);
        if (!j || i > j->n_disks || i >= SPEC_DISKS_MAX || origin >= j->spec->n_disks || !disk_format_parse(sql_text(q, 3), &j->disks[i].format))
            return sql_damaged(e, "the database holds a disk that its job does not know");
        if (i == j->n_disks) {
            j->n_disks++;
            j->disks[i].index = (unsigned)i;
            j->disks[i].origin = (unsigned)origin;
            j->disks[i].spec = j->spec->disks[origin];
        }
        j->disks[i].virtual_size = sql_u64(q, 4);
        if ((r = sql_dup(q, 2, &j->disks[i].path, e)) == 0)
            r = target_from_row(q, 6, &j->disks[i].target, e);
    }
    return r < 0 ? r : 0;
}

/* What preflight adds is behind what was there: back into the order of the graph. */
static int by_graph(const void *a, const void *b)
{
    const struct task *x = a, *y = b;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind) : (x->disk > y->disk) - (x->disk < y->disk);
}

static int read_tasks(struct db *db, const char *sql, const struct sql_arg *args, const struct page *p, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    size_t at = 0, size = 0;
    const struct job *last = NULL;
    int r = sql_query_args(db, &q, e, sql, args);
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        struct job *j = job_of(p, &at, sql_i64(q, 0));
        if (!j || j->n_tasks == TASKS_MAX)
            return sql_damaged(e, "the database holds tasks that their job does not know");
        size = j == last ? size : 0;
        last = j;
        if (j->n_tasks == size) {
            size = size ? size * 2 : 8;
            struct task *tasks = realloc(j->tasks, size * sizeof *tasks);
            if (!tasks)
                return err_oom(e);
            j->tasks = tasks;
        }
        struct task *t = &j->tasks[j->n_tasks];
        if ((r = task_from_row(q, 1, t, e)) < 0)
            return r;
        memcpy(t->job_id, j->id, UUID_LEN);
        j->n_tasks++;
    }
    return r < 0 ? r : 0;
}

static int read_page(struct db *db, const struct page_sql *sql, const struct sql_arg *args, size_t limit, struct page *p, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};                  /* the three see the same moment */
    int r;
    if ((r = sql_begin_read(db, &tx, e)) < 0 || (r = read_jobs(db, sql->jobs, args, limit, p, e)) < 0 ||
        (r = read_disks(db, sql->disks, args, p, e)) < 0 || (r = read_tasks(db, sql->tasks, args, p, e)) < 0)
        return r;
    for (size_t i = 0; i < p->n; i++)
        if (p->jobs[i]->n_tasks)
            qsort(p->jobs[i]->tasks, p->jobs[i]->n_tasks, sizeof *p->jobs[i]->tasks, by_graph);
    return 0;
}

int job_get(struct db *db, const char *id, struct job **ret, struct err *e)
{
    AUTO(page_free) struct page p = {0};
    int r = read_page(db, &page_one, SQL_ARGS(SS(id)), 1, &p, e);
    if (r < 0)
        return r;
    if (!p.n)
        return err_set(e, ERR_NOT_FOUND, "there is no job %.64s", id);
    *ret = STEAL(p.jobs[0]);
    return 0;
}

int job_list(struct db *db, int state, int64_t before_seq, size_t limit, struct job ***ret, size_t *ret_n, struct err *e)
{
    AUTO(page_free) struct page p = {0};
    if (limit > PAGE_MAX)
        limit = PAGE_MAX;
    if (before_seq <= 0)
        before_seq = INT64_MAX;
    int r = state < 0 ? read_page(db, &page_all, SQL_ARGS(SI(before_seq), SI(limit)), limit, &p, e)
                      : read_page(db, &page_state, SQL_ARGS(SI(before_seq), SI(limit), SS(job_state_name((enum job_state)state))), limit, &p, e);
    if (r < 0)
        return r;
    *ret = STEAL(p.jobs);
    *ret_n = p.n;
    p.n = 0;
    return 0;
}

int job_counts(struct db *db, uint64_t ret[JOB_STATES], struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    uint64_t counts[JOB_STATES] = {0};
    int r = sql_query(db, &q, e, "SELECT state, count(*) FROM job GROUP BY state");
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        enum job_state state;
        if (!job_state_parse(sql_text(q, 0), &state))
            return sql_damaged(e, "the database holds jobs without a valid state");
        counts[state] = sql_u64(q, 1);
    }
    if (r < 0)
        return r;
    memcpy(ret, counts, sizeof counts);
    return 0;
}

int job_disk_url(struct db *db, const char *job_id, unsigned disk, char **ret, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query(db, &q, e, "SELECT url, sealed_url FROM disk WHERE job = (SELECT seq FROM job WHERE id = ?1) AND disk = ?2", SS(job_id),
                      SI(disk));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (!r || sqlite3_column_type(q, 0) == SQLITE_NULL)
        return err_set(e, ERR_NOT_FOUND, "the job %.64s has no disk %u with a URL", job_id, disk);
    if (sqlite3_column_type(q, 1) == SQLITE_NULL)
        return sql_dup(q, 0, ret, e);
    char context[CONTEXT_MAX];
    url_context(job_id, disk, context);
    const void *sealed = sqlite3_column_blob(q, 1);
    return secret_unseal(db->box, context, sealed, (size_t)sqlite3_column_bytes(q, 1), ret, e);
}

int job_renew(struct db *db, int64_t seq, const char *id, size_t at, const struct job_renewal *x, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    char field[64], context[CONTEXT_MAX];
    snprintf(field, sizeof field, "/sources/%zu/disk", at);
    int r = sql_query(db, &q, e, "SELECT url, credential IS NOT NULL FROM disk WHERE job = ?1 AND disk = ?2", SI(seq), SI(x->disk));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    const char *known = r ? sql_text(q, 0) : NULL;
    if (!known || sql_i64(q, 1)) {
        err_field(e, ERR_VALUE, field, known ? "disk %u signs in with a credential" : "disk %u of the job has no URL", x->disk);
        return err_hint(e, "%s", known ? "PUT the credential again, then retry without a URL." : "GET the job to see its disks.");
    }
    snprintf(field, sizeof field, "/sources/%zu/url", at);
    size_t n = strcspn(x->url, "?#");
    if (strlen(known) != n || strncmp(known, x->url, n) || x->url[n] != '?' || strchr(x->url, '#')) {
        err_field(e, ERR_VALUE, field, "the URL must be that of the same blob with a new SAS behind it");
        return err_hint(e, "Take the URL that the job shows for this disk, and add '?' and the SAS.");
    }
    sql_done(&q);
    AUTO_FREE uint8_t *sealed = NULL;
    size_t len = 0;
    url_context(id, x->disk, context);
    if ((r = secret_seal(db->box, context, x->url, &sealed, &len, e)) < 0)
        return r;
    r = sql_run(db, e, "UPDATE disk SET sealed_url = ?3 WHERE job = ?1 AND disk = ?2", SI(seq), SI(x->disk), SB(sealed, len));
    return r < 0 ? r : 0;
}

/* ---- what the tasks find out ---- */

int job_set_disk(struct db *db, const char *id, unsigned disk, const char *path, enum disk_format format, uint64_t virtual_size, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE disk SET path = ?3, format = ?4, virtual_size = ?5 WHERE job = ?1 AND disk = ?2", SI(seq), SI(disk), SS(path),
                     SS(disk_format_name(format)), SU(virtual_size))) < 0)
        return r;
    if (!r)
        return err_set(e, ERR_NOT_FOUND, "the job %s has no disk %u", id, disk);
    if ((r = sql_run(db, e, "UPDATE job SET updated_at_ms = ?2 WHERE seq = ?1", SI(seq), SI(clock_now_ms()))) < 0)
        return r;
    return sql_commit(&tx, e);
}

int job_set_vm(struct db *db, const char *id, const char *vm_id, unsigned generation, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    int64_t seq;
    int r;
    if ((r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE job SET vm_id = ?2, generation = ?3, updated_at_ms = ?4 WHERE seq = ?1", SI(seq), SS(vm_id), SI(generation),
                     SI(clock_now_ms()))) < 0)
        return r;
    return sql_commit(&tx, e);
}

int job_with_image(struct db *db, const char *path, const char *except_id, char ret[UUID_LEN], struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    ret[0] = 0;
    int r = sql_query(db, &q, e, "SELECT job.id FROM disk JOIN job ON job.seq = disk.job WHERE disk.path = ?1 AND job.id <> ?2 LIMIT 1", SS(path),
                      SS(except_id));
    if (r < 0 || (r = sql_step(db, q, e)) < 0)
        return r;
    if (r)
        sql_copy(q, 0, ret, UUID_LEN);
    return 0;
}

int job_each_path(struct db *db, int (*fn)(void *arg, const char *job_id, const char *path), void *arg, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query(db, &q, e, "SELECT job.id, disk.path FROM disk JOIN job ON job.seq = disk.job WHERE disk.path IS NOT NULL ORDER BY job.seq, disk.disk");
    while (r >= 0 && (r = sql_step(db, q, e)) > 0)
        if ((r = fn(arg, sql_text(q, 0), sql_text(q, 1))) != 0)
            return r;
    return r < 0 ? r : 0;
}

int job_set_volume(struct db *db, const char *id, const json_t *volume, struct err *e)
{
    AUTO_TX struct sql_tx tx = {0};
    AUTO_FREE char *text = NULL;
    int64_t seq;
    int r;
    if ((volume && (r = sql_dump(volume, &text, e)) < 0) || (r = sql_begin(db, &tx, e)) < 0 || (r = job_seq(db, id, &seq, e)) < 0 ||
        (r = sql_run(db, e, "UPDATE job SET volume = ?2, updated_at_ms = ?3 WHERE seq = ?1", SI(seq), SS(text), SI(clock_now_ms()))) < 0)
        return r;
    return sql_commit(&tx, e);
}

int job_each_volume(struct db *db, int (*fn)(void *arg, const char *job_id, json_t *volume, struct err *e), void *arg, struct err *e)
{
    AUTO_STMT sqlite3_stmt *q = NULL;
    int r = sql_query(db, &q, e, "SELECT id, volume FROM job WHERE volume IS NOT NULL ORDER BY seq");
    while (r >= 0 && (r = sql_step(db, q, e)) > 0) {
        json_t *volume = NULL;
        if ((r = sql_json(q, 1, &volume, e)) < 0)
            return r;
        r = fn(arg, sql_text(q, 0), volume, e);
        json_decref(volume);
        if (r != 0)
            return r;
    }
    return r < 0 ? r : 0;
}
