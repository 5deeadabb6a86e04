#include "tests/unit/volume_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/os.h"
#include "tests/unit/tmp.h"

void volume_rig_ok(int r, const struct err *e, const char *what, const char *file, int line)
{
    if (r < 0)
        fail_msg("%s:%d: %s: %s (%s, %s)", file, line, what, e->msg, err_info(r)->word, e->upstream.code);
}

/* ---- the platform ---- */

struct win_raw { struct volume_rig *g; struct os_file *f; };

static int raw_open(void *arg, const char *device, bool write, struct win_raw **ret, struct err *e)
{
    struct volume_rig *g = arg;
    unsigned long long number;
    if (!str_starts(device, WIN_DEVICE) || !str_to_u64(device + strlen(WIN_DEVICE), 1000, &number))
        return err_set(e, ERR_INTERNAL, "%s is no disk", device);
    AUTO_FREE char *serial = dbl_disk_behind(g->d, (unsigned)number), *path = serial ? dbl_disk_file(g->d, serial) : NULL;
    struct win_raw *r = calloc(1, sizeof *r);
    struct err none;
    r->g = g;
    if (path && (os_file_open(path, write ? OS_WRITE | OS_CREATE : OS_READ, &r->f, &none) == 0 || !write)) {
        *ret = r;                                      /* without a file all of it is zero */
        return 0;
    }
    free(r);
    return err_set(e, ERR_IO, "cannot open %s: the device is not ready", device);
}

static void raw_close(struct win_raw *r)
{
    os_file_close(r->f);
    free(r);
}

static int raw_read(struct win_raw *r, void *buf, size_t n, uint64_t offset, struct err *e)
{
    size_t got = 0;
    if (r->g->renumber_while_read) {
        r->g->renumber_while_read = false;
        dbl_disks_renumber(r->g->d);
    }
    memset(buf, 0, n);
    assert_int_equal((uintptr_t)buf % 4096, 0);
    for (size_t k = 0; r->f && got < n; got += k) {
        int rc = os_file_read_some(r->f, (char *)buf + got, n - got, offset + got, &k, e);
        if (rc < 0)
            return rc;
        if (!k)
            break;
    }
    return 0;
}

static int raw_write(struct win_raw *r, const void *buf, size_t n, uint64_t offset, struct err *e)
{
    r->g->raw_writes++;
    return os_file_pwrite(r->f, buf, n, offset, e);
}

static int read_file(void *arg, const char *volume, const char *name, size_t max, char **ret, size_t *ret_n, struct err *e)
{
    struct volume_rig *g = arg;
    AUTO_FREE char *folder = dbl_volume_folder(g->d, volume), *path = folder ? os_path_join(folder, name) : NULL;
    return path ? os_read_file(path, max, ret, ret_n, e) : err_set(e, ERR_NOT_FOUND, "there is no %s", volume);
}

static int close_root(void *arg, const char *path, struct err *e)
{
    struct os_stat st;
    int r = os_stat(path, &st, e);
    ((struct volume_rig *)arg)->roots_closed++;
    return r == 0 && !st.is_dir ? err_set(e, ERR_NOT_FOUND, "there is no folder %s", path) : r;
}

static int64_t now_ms(void *arg)
{
    return dbl_now(((struct volume_rig *)arg)->d);
}

static void sleep_ms(void *arg, unsigned ms)
{
    dbl_pass(((struct volume_rig *)arg)->d, ms);
}

const struct win_ops volume_rig_ops = {.raw_open = raw_open, .raw_close = raw_close, .raw_read = raw_read, .raw_write = raw_write, .read_file = read_file,
                                       .close_root = close_root, .now_ms = now_ms, .sleep_ms = sleep_ms};

/* ---- the rig ---- */

struct volume_rig *volume_rig_new(const struct dbl_options *o)
{
    struct volume_rig *g = calloc(1, sizeof *g);
    struct dbl_options options = *o;
    struct err e;
    g->dir = tmp_make();
    g->data = tmp_path(g->dir, "data");
    AUTO_FREE char *work = tmp_path(g->dir, "host");
    OK(os_mkdirs(work, 0, &e));
    OK(os_mkdirs(g->data, 0, &e));
    options.work_dir = work;
    if (!options.schema)
        options.schema = dbl_schema(DBL_2019);
    g->d = dbl_new(&options);
    g->p = (struct win_platform){.wmi = &dbl_wmi_ops, .wmi_arg = g->d, .ops = &volume_rig_ops, .arg = g, .run = "run"};
    volume_rig_open(g);
    return g;
}

void volume_rig_open(struct volume_rig *g)
{
    struct volume_config c = {.data_dir = g->data};
    struct err e;
    volume_close(g->h);
    OK(win_open_on(&g->p, &c, &g->h, &e));
}

void volume_rig_free(struct volume_rig *g)
{
    volume_close(g->h);
    volume_plan_clear(&g->kept);
    assert_int_equal(dbl_live_objects(g->d), 0);
    assert_int_equal(dbl_live_connections(g->d), 0);
    AUTO_FREE char *asked = dbl_unmodelled(g->d), *unknown = dbl_unknown_names(g->d);
    assert_string_equal(asked, "");
    assert_string_equal(unknown, "");
    dbl_free(g->d);
    tmp_remove(g->dir);
    free(g->data);
    free(g);
}

/* Through JSON and back, as the database has it. */
static int save(void *arg, const struct volume_plan *p, struct err *e)
{
    struct volume_rig *g = arg;
    json_t *o = volume_plan_json(p);
    assert_non_null(o);
    volume_plan_clear(&g->kept);
    int r = volume_plan_parse(o, &g->kept, e);
    json_decref(o);
    return r;
}

struct volume_watch volume_rig_watch(struct volume_rig *g)
{
    return (struct volume_watch){.save = save, .arg = g};
}

char *volume_rig_disk(const char *serial)
{
    return str_printf("60022480%s", serial);
}

struct volume_plan volume_rig_plan(struct volume_rig *g, const char *const *serials, size_t n, enum volume_layout layout, const char *label)
{
    char *ids[VOLUME_DISKS_MAX];
    struct volume_plan p = {0};
    struct err e;
    for (size_t i = 0; i < n; i++)
        ids[i] = volume_rig_disk(serials[i]);
    struct volume_request rq = {.disks = (const char *const *)ids, .n_disks = n, .layout = layout, .label = label};
    OK(volume_plan_make(g->h, &rq, NULL, 0, 1, &p, &e));
    for (size_t i = 0; i < n; i++)
        free(ids[i]);
    return p;
}

char *volume_rig_state(struct volume_rig *g)
{
    AUTO_FREE char *bytes = dbl_disk_bytes(g->d, NULL), *all = dbl_dump(g->d, DBL_ALL);
    return str_printf("%s%s", all, bytes);
}
