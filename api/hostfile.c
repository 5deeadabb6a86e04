/* Files on this host that a client names: an ISO, a backup disk, where an export goes. The daemon may read far more than its
 * clients should reach through it, so its own folder is closed but for the disks, exports and volumes in it. */
#include <string.h>

#include "api/internal.h"
#include "common/os.h"

#define FIELD "/path"

/* real: with links resolved, so that no link leads in. */
static int check_place(struct request *rq, const char *real, const char *field, struct err *e)
{
    static const char *const open_folders[] = {"disks", "exports", "volumes"};
    AUTO_FREE char *own = os_real_path(rq->api->cfg.data_dir);
    if (!own)
        return err_oom(e);
    if (!os_path_within(real, own))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(open_folders); i++) {
        AUTO_FREE char *folder = os_path_join(own, open_folders[i]);
        if (!folder)
            return err_oom(e);
        if (os_path_within(real, folder))
            return 0;
    }
    return err_field(e, ERR_VALUE, field, "the path lies in the daemon's own folder");
}

int hostfile_existing(struct request *rq, const char *path, struct err *e)
{
    const char *wrong = os_path_refuse(path);
    if (wrong)
        return err_field(e, ERR_VALUE, FIELD, "the path %s", wrong);
    struct os_stat st;
    struct err why;
    if (os_stat(path, &st, &why) < 0)
        return err_field(e, ERR_VALUE, FIELD, "%s", why.msg);
    if (!st.exists || !st.is_file)
        return err_field(e, ERR_VALUE, FIELD, st.exists ? "the path is not a regular file" : "there is no file at this path on the host");
    AUTO_FREE char *real = os_real_path(path);
    return real ? check_place(rq, real, FIELD, e) : err_oom(e);
}

int hostfile_not_ours(struct request *rq, const char *path, const char *field, struct err *e)
{
    AUTO_FREE char *real = path ? os_real_path(path) : NULL;
    return real ? check_place(rq, real, field, e) : 0;
}

int hostfile_new(struct request *rq, const char *path, struct err *e)
{
    const char *base = os_path_base(path), *wrong = os_path_refuse(path);
    if (wrong)
        return err_field(e, ERR_VALUE, FIELD, "the path %s", wrong);
    if (!*base || !strcmp(base, "."))
        return err_field(e, ERR_VALUE, FIELD, "the path must end in the name of a file");
    AUTO_FREE char *folder = str_ndup(path, (size_t)(base - path));
    AUTO_FREE char *real = folder ? os_real_path(folder) : NULL;
    struct os_stat st;
    struct err why;
    if (!folder)
        return err_oom(e);
    if (!real || os_stat(real, &st, &why) < 0 || !st.is_dir)
        return err_field(e, ERR_VALUE, FIELD, "the folder of the path is not there");
    int r = check_place(rq, real, FIELD, e);
    if (r < 0)
        return r;
    if (os_stat(path, &st, &why) < 0)
        return err_field(e, ERR_VALUE, FIELD, "%s", why.msg);
    if (!st.exists && os_dir_writable(real, &why) < 0) {
        r = err_field(e, ERR_VALUE, FIELD, "the daemon cannot write to the folder of the path: %s", why.msg);
        err_hint(e, "%s", os_write_hint());
        return r;
    }
    if (st.exists) {
        r = err_field(e, ERR_WRONG_STATE, FIELD, "there is something at this path already");
        err_hint(e, "Choose another path, or move the file away.");
    }
    return r;
}
