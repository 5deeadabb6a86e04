#include "storage/volume/volume.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/os.h"

#define MARK_MAX 4096
#define HOSTVOLUMES_MAX 1024
#define EVERYDAY_MAX 8                               /* what is named of a volume that is not empty */

void volume_close(struct volume_host *h)
{
    if (h)
        h->ops->close(h);
}

/* ---- lists ---- */

void hostvolumes_clear(struct hostvolumes *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct hostvolume *v = &l->at[i];
        char *const texts[] = {v->id, v->device, v->mount_point, v->file_system, v->label};
        for (size_t k = 0; k < ARRAY_LEN(texts); k++)
            free(texts[k]);
        for (size_t k = 0; k < v->n_disks; k++)
            free(v->disks[k]);
    }
    free(l->at);
    *l = (struct hostvolumes){0};
}

struct hostvolume *hostvolumes_add(struct hostvolumes *l)
{
    if (l->n == HOSTVOLUMES_MAX)
        return NULL;
    struct hostvolume *more = realloc(l->at, (l->n + 1) * sizeof *more);
    if (!more)
        return NULL;
    l->at = more;
    l->at[l->n] = (struct hostvolume){0};
    return &l->at[l->n++];
}

int volume_disks(struct volume_host *h, struct hostdisks *ret, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    int r = h->ops->disks(h, &l, e);
    hostdisks_mark_ambiguous(&l);
    for (size_t i = 0; i < l.n && r == 0; i++)
        if (hostdisk_worth_a_look(&l.at[i], true) && !l.at[i].offline)
            r = h->ops->look(h, &l.at[i], 0, e);
    if (r < 0)
        return r;
    *ret = l;
    l = (struct hostdisks){0};
    return 0;
}

int volume_volumes(struct volume_host *h, struct hostvolumes *ret, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    int r = h->ops->disks(h, &l, e);
    return r < 0 ? r : h->ops->volumes(h, &l, ret, e);
}

/* ---- making ---- */

static int save(struct volume_plan *p, const struct volume_watch *w, struct err *e)
{
    return w->save ? w->save(w->arg, p, e) : 0;
}

/* The disk that the plan means, and no other that has come to its place. */
static int find(const struct hostdisks *l, const struct volume_member *m, struct hostdisk **ret, struct err *e)
{
    struct hostdisk *d = hostdisks_find(l, m->id);
    if (!d) {
        err_set(e, ERR_DISK_REFUSED, "the disk %.200s is not there any more, or there are several of that id", m->id);
        return err_hint(e, "Attach it again, then retry the job.");
    }
    /* moments of two runs of the host cannot be compared; what is before the '/' tells the run */
    size_t run = strcspn(m->moment, "/");
    bool same_run = run && !strncmp(m->moment, d->moment, run + 1);
    if (strcmp(d->serial, m->serial) || d->size != m->size || (same_run && strcmp(d->moment, m->moment))) {
        err_set(e, ERR_DISK_REFUSED, "the disk %.120s (%s) is not the one that was chosen: its serial number, its size or its connection is another", m->id,
                d->device);
        return err_hint(e, "Look at `vmrecover disks`, delete this job and submit it again.");
    }
    *ret = d;
    return 0;
}

static int refused(const struct hostdisk *d, struct err *e)
{
    AUTO_FREE struct hostdisk_reasons *why = malloc(sizeof *why);
    if (!why)
        return err_oom(e);
    if (hostdisk_judge(d, true, why))
        return 0;
    const char *reason = strchr(why->text[0], ':') + 2;
    err_set(e, ERR_DISK_REFUSED, "the disk %.120s (%s) was not written to: %s", d->id, d->device ? d->device : "no device", reason);
    return -(int)e->code;
}

/* The last look before the first write. An offline disk shows what is on it only now. */
static int look_again(struct volume_host *h, struct hostdisk *d, unsigned turn, struct err *e)
{
    int r = 0;
    if (d->offline && h->ops->online)
        r = h->ops->online(h, d, e);
    if (r == 0 && hostdisk_worth_a_look(d, true))
        r = h->ops->look(h, d, turn, e);
    if (r == 0 && d->offline && !d->unreadable && !(d->unreadable = str_dup("it stays offline")))
        r = err_oom(e);
    return r < 0 ? r : refused(d, e);
}

/* Which of the volume's disks are there, in the order of the plan. */
static int members(struct volume_host *h, const struct volume_plan *p, struct hostdisks *l, struct hostdisk **ret, struct err *e)
{
    int r = h->ops->disks(h, l, e);
    hostdisks_mark_ambiguous(l);
    for (size_t i = 0; i < p->n_disks && r == 0; i++)
        r = find(l, &p->disks[i], &ret[i], e);
    return r;
}

/* From empty disks to disks that are ours, all looked at before the first is written to. */
static int take_disks(struct volume_host *h, struct volume_plan *p, const struct volume_watch *w, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    struct hostdisk *d[VOLUME_DISKS_MAX] = {0};
    enum volume_mine mine[VOLUME_DISKS_MAX] = {0};
    int r = members(h, p, &l, d, e);
    for (unsigned i = 0; i < p->n_disks && r == 0; i++) {
        if (!p->disks[i].begun) {
            r = look_again(h, d[i], 1, e);
        } else if ((r = h->ops->mine(h, p, i, d[i], &mine[i], e)) == 0 && mine[i] == VOLUME_FOREIGN) {
            err_set(e, ERR_DISK_REFUSED, "the disk %.120s (%s) holds something that this job did not write", d[i]->id, d[i]->device);
            r = err_hint(e, "Somebody used it meanwhile. Delete the job, and submit it with another disk.");
        }
    }
    for (unsigned i = 0; i < p->n_disks && r == 0; i++) {
        bool begun = p->disks[i].begun;
        p->disks[i].begun = true;
        if (!begun && (r = save(p, w, e)) < 0) {
            p->disks[i].begun = false;
            break;
        }
        if (!begun || mine[i] != VOLUME_WHOLLY)
            r = h->ops->take_disk(h, p, i, d[i], e);
    }
    return r;
}

static int step(struct volume_host *h, const struct volume_plan *p, int (*fn)(struct volume_host *, const struct volume_plan *, struct hostdisk *const *, struct err *),
                struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    struct hostdisk *d[VOLUME_DISKS_MAX] = {0};
    int r = members(h, p, &l, d, e);
    for (unsigned i = 0; i < p->n_disks && r == 0; i++) {
        enum volume_mine mine = VOLUME_FOREIGN;
        if ((r = h->ops->mine(h, p, i, d[i], &mine, e)) == 0 && mine != VOLUME_WHOLLY)
            r = err_set(e, ERR_DISK_REFUSED, "the disk %.120s (%s) is not as this job left it", d[i]->id, d[i]->device);
    }
    return r < 0 ? r : fn(h, p, d, e);
}

static char *mark_path(const struct volume_plan *p)
{
    return os_path_join(p->mount_point, VOLUME_MARK);
}

/* Whose volume is at the mount point: ours, another's, or is there none (or no mark)? ERR_NOT_FOUND for the last. */
static int read_mark(const struct volume_plan *p, bool *ret_ours, struct err *e)
{
    AUTO_FREE char *path = mark_path(p), *text = NULL;
    size_t n;
    json_t *o = NULL;
    if (!path)
        return err_oom(e);
    int r = os_read_file(path, MARK_MAX, &text, &n, e);
    if (r == 0)
        r = json_parse(text, n, &o, e);
    const char *id = json_string_value(json_object_get(o, "volume"));
    *ret_ours = id && !strcmp(id, p->id);
    json_decref(o);
    return r;
}

static int write_mark(const struct volume_plan *p, struct err *e)
{
    AUTO_FREE char *path = mark_path(p), *text = str_printf("{\"volume\": \"%s\", \"made_by\": \"vmrecover\"}\n", p->id);
    return path && text ? os_write_file(path, text, strlen(text), 0, e) : err_oom(e);
}

static bool is_begun(const struct volume_plan *p)
{
    bool any = false;
    for (size_t i = 0; i < p->n_disks; i++)
        any |= p->disks[i].begun;
    return any;
}

/* Before anything is judged: what is judged must not change any more. */
static int settle(struct volume_host *h, const struct volume_plan *p, struct err *e)
{
    return h->ops->settle && is_begun(p) ? h->ops->settle(h, p, e) : 0;
}

int volume_make(struct volume_host *h, struct volume_plan *p, const struct volume_watch *w, struct err *e)
{
    const struct volume_ops *ops = h->ops;
    int r = p->done < VOLUME_MOUNTED ? settle(h, p, e) : 0;
    if (r < 0)
        return r;
    if (p->done < VOLUME_DISKS) {
        if ((r = take_disks(h, p, w, e)) < 0)
            return r;
        p->done = VOLUME_DISKS;
        if ((r = save(p, w, e)) < 0)
            return r;
    }
    if (p->done < VOLUME_JOINED) {
        if (p->layout == VOLUME_STRIPED && (r = step(h, p, ops->join, e)) < 0)
            return r;
        p->done = VOLUME_JOINED;
        if ((r = save(p, w, e)) < 0)
            return r;
    }
    if (p->done < VOLUME_FORMATTED) {
        if ((r = step(h, p, ops->format, e)) < 0)
            return r;
        p->done = VOLUME_FORMATTED;
        if ((r = save(p, w, e)) < 0)
            return r;
    }
    if (p->done < VOLUME_MOUNTED) {
        bool ours = false;
        if ((r = step(h, p, ops->mount, e)) < 0)
            return r;
        if ((r = read_mark(p, &ours, e)) < 0 && r != -ERR_NOT_FOUND)
            return r;
        if (r == 0 && !ours)
            return err_set(e, ERR_VOLUME, "%s is another volume, and not the one of this job", p->mount_point);
        if (r < 0 && (p->found || (r = write_mark(p, e)) < 0))
            return r;
        p->done = VOLUME_MOUNTED;
        if ((r = save(p, w, e)) < 0)
            return r;
    }
    return volume_ready(h, p, e);
}

int volume_ready(struct volume_host *h, const struct volume_plan *p, struct err *e)
{
    bool ours = false;
    struct err why;
    int r = read_mark(p, &ours, &why);
    if (r < 0) {                                      /* after a restart of the host it may not be mounted yet */
        if (settle(h, p, e) < 0 || step(h, p, h->ops->mount, e) < 0)
            return err_prefix(e, "the volume %s is not at %s", p->label, p->mount_point);
        r = read_mark(p, &ours, &why);
    }
    if (r < 0 || !ours) {
        err_set(e, ERR_VOLUME, "the volume %s (%s) is not at %s%s%s", p->label, p->id, p->mount_point, r < 0 ? ": " : "", r < 0 ? why.msg : "");
        return err_hint(e, "Mount it there (or attach its disks again), then retry the job.");
    }
    if (os_dir_writable(p->mount_point, e) < 0)
        return err_hint(e, "%s", os_write_hint());
    return 0;
}

/* ---- undoing ---- */

struct rest { const char *folder; struct strbuf *names; unsigned n; };

static int on_entry(void *arg, const char *name)
{
    static const char *const everyday[] = {VOLUME_MARK, "lost+found", "System Volume Information", "$RECYCLE.BIN"};
    struct rest *rest = arg;
    struct os_stat st;
    struct err ignored;
    for (size_t i = 0; i < ARRAY_LEN(everyday); i++)
        if (str_ieq(name, everyday[i]))
            return 0;
    AUTO_FREE char *path = os_path_join(rest->folder, name);
    if (path && os_stat(path, &st, &ignored) == 0 && st.is_dir && os_remove_empty_dir(path, &ignored) == 0 && os_stat(path, &st, &ignored) == 0 &&
        !st.exists)
        return 0;
    if (rest->n++ < EVERYDAY_MAX)
        strbuf_addf(rest->names, "%s%.80s", rest->names->len ? ", " : "", name);
    return 0;
}

/* What others have put there; *ret NULL: nothing. */
static int find_rest(const struct volume_plan *p, char **ret, struct err *e)
{
    AUTO_STRBUF struct strbuf names = {.max = 2048};
    struct rest rest = {p->mount_point, &names, 0};
    int r = os_list_dir(p->mount_point, on_entry, &rest, e);
    if (r < 0 || !rest.n)
        return r;
    if (rest.n > EVERYDAY_MAX)
        strbuf_addf(&names, " and %u more", rest.n - EVERYDAY_MAX);
    return (*ret = strbuf_steal(&names)) ? 0 : err_oom(e);
}

int volume_undo(struct volume_host *h, struct volume_plan *p, const struct volume_watch *w, char **ret_kept, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    struct hostdisk *d[VOLUME_DISKS_MAX] = {0};
    enum volume_mine mine[VOLUME_DISKS_MAX] = {0};
    bool ours = false;
    struct err why;
    *ret_kept = NULL;
    if (!is_begun(p))
        return 0;
    int r = settle(h, p, e);
    if (r == 0)
        r = members(h, p, &l, d, e);
    for (unsigned i = 0; i < p->n_disks && r == 0; i++)
        if (p->disks[i].begun)
            r = h->ops->mine(h, p, i, d[i], &mine[i], e);
    if (r < 0)
        return err_prefix(e, "the volume %s cannot be taken apart", p->label);
    if (p->done >= VOLUME_FORMATTED) {
        /* only when it is mounted can be seen whether it may go */
        bool whole = true;
        for (unsigned i = 0; i < p->n_disks; i++)
            whole &= mine[i] == VOLUME_WHOLLY;
        if (whole && read_mark(p, &ours, &why) < 0 && p->done == VOLUME_MOUNTED && h->ops->mount(h, p, d, e) < 0)
            return err_prefix(e, "the volume %s cannot be looked at", p->label);
        if (whole && (read_mark(p, &ours, &why) == 0) && ours && ((r = find_rest(p, ret_kept, e)) < 0 || *ret_kept))
            return r;
    }
    if (p->done > VOLUME_DISKS) {                     /* from here on it cannot be looked at any more: written down for the next try */
        p->done = VOLUME_DISKS;
        if ((r = save(p, w, e)) < 0)
            return r;
    }
    if ((r = h->ops->release(h, p, d, e)) < 0)
        return r;
    for (unsigned i = 0; i < p->n_disks && r == 0; i++) {
        if (p->disks[i].begun && mine[i] == VOLUME_FOREIGN)
            log_warning("a disk of a volume that is removed holds something else now, and is left as it is", KS("disk", p->disks[i].id));
        else if (p->disks[i].begun && mine[i] != VOLUME_BARE)
            r = h->ops->wipe_disk(h, p, i, d[i], e);
    }
    return r;
}
