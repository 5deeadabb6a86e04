#include "service/disk_source.h"

#include <string.h>

#include "db/access.h"

struct disk_source {
    struct source_env env;
    struct blob *blob;
    struct credential *credential;                   /* of the identity; or NULL */
    struct token_identity identity;
    enum token_audience audience;
};

void disk_source_close(struct disk_source *s)
{
    if (!s)
        return;
    blob_close(s->blob);
    credential_free(s->credential);
    free(s);
}

struct blob *disk_source_blob(struct disk_source *s)
{
    return s->blob;
}

struct source_env source_env_of(struct task_run *t)
{
    return (struct source_env){.d = t->d, .db = t->db, .wait = task_token_wait(t)};
}

static int give_token(void *arg, char **ret, struct err *e)
{
    struct disk_source *s = arg;
    return tokens_get(azure_tokens(s->env.d->azure), &s->identity, s->audience, &s->env.wait, ret, e);
}

static void token_refused(void *arg, const char *token)
{
    struct disk_source *s = arg;
    tokens_refused(azure_tokens(s->env.d->azure), &s->identity, s->audience, token);
}

/* A token is as good as the account: it goes to hosts of this cloud alone. */
static int take_token(struct disk_source *s, const struct source_place *p, struct blob_access *a, struct err *e)
{
    const struct cloud *cloud = azure_cloud(s->env.d->azure);
    int r = p->disk ? cloud_check_disk_sas(cloud, p->url, e) : cloud_check_blob(cloud, p->url, e);
    if (r < 0)
        return r;
    s->identity = azure_identity(s->credential);
    s->audience = p->disk ? TOKEN_FOR_DISK : TOKEN_FOR_STORAGE;
    a->token = give_token;
    a->token_refused = token_refused;
    a->token_arg = s;
    return 0;
}

int disk_source_open_at(const struct source_env *env, const struct source_place *p, struct disk_source **ret, struct err *e)
{
    AUTO(disk_source_close_ptr) struct disk_source *s = calloc(1, sizeof *s);
    AUTO_SECRET char *with_sas = NULL;
    const char *ca_file = env->d->cfg->ca_file;
    if (!s)
        return err_oom(e);
    s->env = *env;
    int r = p->credential ? credential_get(env->db, p->credential, &s->credential, e) : 0;
    if (r == -ERR_NOT_FOUND)
        return err_set(e, ERR_CREDENTIAL, "there is no credential \"%s\" any more", p->credential);
    if (r < 0)
        return r;
    struct blob_access a = {.url = p->url, .stop = env->wait.stop, .stop_arg = env->wait.arg, .no_conditions = p->disk,
                            .http = {.ca_file = *ca_file ? ca_file : NULL}};
    const struct credential *c = s->credential;
    if (c && credential_signs_in(c->type)) {
        r = take_token(s, p, &a, e);
    } else if (c && c->type == CREDENTIAL_SAS) {
        a.url = with_sas = str_printf("%s%c%s", p->url, strchr(p->url, '?') ? '&' : '?', c->secret);
        r = with_sas ? 0 : err_oom(e);
    } else if (c) {
        a.auth = BLOB_SHARED_KEY;
        a.account = c->account;
        a.key = c->secret;
    }
    if (r < 0 || (r = blob_open(&a, &s->blob, e)) < 0)
        return r;
    *ret = STEAL(s);
    return 0;
}

static int open_access(struct task_run *t, unsigned index, struct disk_source **ret, struct err *e)
{
    const struct spec_disk *spec = &t->job->disks[index].spec;
    AUTO(job_access_free_ptr) struct job_access *a = NULL;
    int r = job_access_get(t->db, t->job->id, index, &a, e);
    if (r < 0)
        return r;
    if (!a->url)
        return err_set(e, ERR_NOT_FOUND, "access to disk %u has ended", index);
    struct source_place p = {.url = a->url};
    switch (a->kind) {
    case ACCESS_DISK:
    case ACCESS_SNAPSHOT:
        p.disk = true;
        p.credential = a->bearer ? spec->credential : NULL;
        break;
    case ACCESS_BLOB_SNAPSHOT: p.credential = spec->storage_credential ? spec->storage_credential : spec->credential; break;
    default: p.credential = spec->via.credential ? spec->via.credential : spec->credential; break;
    }
    struct source_env env = source_env_of(t);
    return disk_source_open_at(&env, &p, ret, e);
}

int disk_source_open(struct task_run *t, unsigned index, struct disk_source **ret, struct err *e)
{
    const struct spec_disk *spec = &t->job->disks[index].spec;
    AUTO_SECRET char *url = NULL;
    if (source_is_arm(spec->type))
        return open_access(t, index, ret, e);
    int r = job_disk_url(t->db, t->job->id, index, &url, e);
    struct source_env env = source_env_of(t);
    struct source_place p = {.url = url, .credential = spec->credential};
    return r < 0 ? r : disk_source_open_at(&env, &p, ret, e);
}
