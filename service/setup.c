#include "service/setup.h"

#include <string.h>

#include "common/os.h"
#include "db/job.h"

#define PAGE 100
#define LOCK "lock"

/* What the daemon keeps in its data folder; the same with more behind a '.' or '-' (vmrecover.db-wal, what a crash left half written) too. */
static const char *const names[] = {"vms", "disks", "check-host", "exports", "logs", "address", "token", "secret.key", "vmrecover.conf", "vmrecover.db", LOCK};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);
        if (!strncmp(name, names[i], n) && (!name[n] || name[n] == '.' || name[n] == '-') && !strchr(name, '\n'))
            return true;
    }
    return false;
}

static int add_name(void *arg, const char *name)
{
    if (is_ours(name))
        strbuf_addf(arg, "%s\n", name);
    return ((struct strbuf *)arg)->failed ? -ERR_OOM : 0;
}

static int find_foreign(void *arg, const char *name)
{
    if (is_ours(name))
        return 0;
    *(char **)arg = str_dup(name);
    return 1;
}

static int check_foreign(const char *data_dir, struct err *e)
{
    AUTO_FREE char *name = NULL;
    int r = os_list_dir(data_dir, find_foreign, &name, e);
    if (r <= 0)
        return r;
    err_set(e, ERR_WRONG_STATE, "the folder %s has something in it that is not vmrecover's: %s", data_dir, name ? name : "(out of memory)");
    return err_hint(e, "Nothing was removed. Move it elsewhere and try again.");
}

static int check_jobs(struct db *db, struct err *e)
{
    for (int64_t before = 0;;) {
        struct job **jobs;
        size_t n;
        int r = job_list(db, -1, before, PAGE, &jobs, &n, e);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n && r == 0; i++) {
            before = jobs[i]->seq;
            if (jobs[i]->vm_id) {
                err_set(e, ERR_WRONG_STATE, "the job %s still has a virtual machine", jobs[i]->id);
                r = err_hint(e, "Delete such jobs first (vmrecover list, vmrecover delete ID), or keep the data.");
            }
        }
        job_list_free(jobs, n);
        if (r < 0 || n < PAGE)
            return r;
    }
}

int setup_check_data(const char *data_dir, struct err *e)
{
    AUTO_FREE char *path = os_path_join(data_dir, "vmrecover.db");
    struct os_stat st;
    int r = path ? os_stat(path, &st, e) : err_oom(e);
    if (r < 0)
        return r;
    struct os_stat folder;
    if ((r = os_stat(data_dir, &folder, e)) < 0 || (folder.exists && (r = check_foreign(data_dir, e)) < 0))
        return r;
    if (!st.exists)
        return 0;
    AUTO(db_close_ptr) struct db *db = NULL;
    if ((r = db_open(path, NULL, &db, e)) == 0)       /* no secret is looked at */
        r = check_jobs(db, e);
    return r < 0 ? err_prefix(e, "the data folder %s stays", data_dir) : 0;
}

/* The lock file is held until all else is gone, so that no daemon starts meanwhile. */
static int take_lock(const char *data_dir, struct os_file **ret, struct err *e)
{
    AUTO_FREE char *path = os_path_join(data_dir, "lock");
    int r = path ? os_file_open(path, OS_WRITE | OS_CREATE | OS_PRIVATE, ret, e) : err_oom(e);
    if (r == 0 && (r = os_file_lock(*ret, e)) == -ERR_LOCKED)
        err_prefix(e, "a vmrecoverd uses the data folder %s", data_dir);
    return r;
}

int setup_remove_data(const char *data_dir, struct err *e)
{
    struct os_stat st;
    int r = os_stat(data_dir, &st, e);
    if (r < 0 || !st.exists)
        return r;
    if ((r = check_foreign(data_dir, e)) < 0)
        return r;
    AUTO(os_file_close_ptr) struct os_file *lock = NULL;
    AUTO_STRBUF struct strbuf ours = {0};
    if ((r = take_lock(data_dir, &lock, e)) < 0 || (r = os_list_dir(data_dir, add_name, &ours, e)) < 0)
        return r;
    char *rest = ours.data;
    for (char *name; (name = str_sep(&rest, "\n"));) {
        AUTO_FREE char *path = os_path_join(data_dir, name);
        bool last = !*name || !strcmp(name, LOCK);
        if (!last && (r = path ? os_remove_tree(path, e) : err_oom(e)) < 0)
            return r;
    }
    os_file_close(STEAL(lock));
    AUTO_FREE char *path = os_path_join(data_dir, LOCK);
    if ((r = path ? os_remove(path, e) : err_oom(e)) < 0 || (r = os_remove_empty_dir(data_dir, e)) < 0 || (r = os_stat(data_dir, &st, e)) < 0)
        return r;
    return st.exists ? err_set(e, ERR_WRONG_STATE, "something was put into the folder %s while it was removed", data_dir) : 0;
}
