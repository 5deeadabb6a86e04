#include "storage/image/convert.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"

#define STEP_BYTES ((size_t)1 << 20)
#define GRAIN_BYTES ((size_t)4096)                   /* zeros are left out in pieces of this size */
#define STATE_MAX_BYTES ((size_t)256 << 10)
#define STATE_BEGIN "vmrecover conversion 1\n"

bool image_convert_format(const char *word, struct image_convert *ret)
{
    static const struct { const char *word; enum image_format format; bool fixed, whole_mib; } words[] = {
        {"raw", IMAGE_RAW, false, false},   {"vhd", IMAGE_VHD, false, false},      {"vhd_dynamic", IMAGE_VHD_DYNAMIC, false, false},
        {"vhdx", IMAGE_VHDX, false, false}, {"vhdx_fixed", IMAGE_VHDX, true, false}, {"azure", IMAGE_VHD, false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(word, words[i].word)) {
            ret->layout.format = words[i].format;
            ret->layout.fixed = words[i].fixed;
            ret->whole_mib = words[i].whole_mib;
            return true;
        }
    return false;
}

struct conversion {
    const struct image_convert *c;
    const struct image_source *disk;
    struct image_layout layout;
    char *part, *state, *state_new;
    char *identity;                                  /* the head of the state file: what is made of what */
    char part_id[OS_FILE_ID];
    struct image_writer *w;
    struct image_convert_progress p;
    int64_t committed_ms;
};

static void conversion_clear(struct conversion *v)
{
    image_writer_close(v->w);
    free(v->part);
    free(v->state);
    free(v->state_new);
    free(v->identity);
}

static int in_the_way(const char *path, struct err *e)
{
    err_set(e, ERR_WRONG_STATE, "there is something at %s already; a conversion does not overwrite", path);
    return err_hint(e, "Move it away, or convert to another path.");
}

/* ---- the state file:  STATE_BEGIN, identity, "part <file id, or - before it is made>", "done <bytes>" ---- */

static int make_identity(struct conversion *v, struct err *e)
{
    AUTO_STRBUF struct strbuf b = {.max = STATE_MAX_BYTES};
    const struct image_layout *l = &v->layout;
    strbuf_addf(&b, STATE_BEGIN "to %s%s %" PRIu64 " %" PRIu32 " %" PRIu32 "\n", image_format_name(l->format), l->fixed ? "_fixed" : "", l->virtual_size,
                l->sector_size, l->block_bytes);
    for (size_t i = 0; i < image_layers(v->c->from); i++) {
        const struct image_layer *layer = image_layer(v->c->from, i);
        strbuf_addf(&b, "from %s %" PRIu64 " %" PRId64 " %s\n", image_format_name(layer->format), layer->file_size, layer->mtime_ms, layer->file_id);
    }
    v->identity = strbuf_steal(&b);
    return v->identity ? 0 : err_oom(e);
}

/* Written beside under one name, not under a fresh one as os_write_file's: whatever kills leave, it is one file, which the next run replaces. */
static int state_write(struct conversion *v, struct err *e)
{
    AUTO_FREE char *text = str_printf("%spart %s\ndone %" PRIu64 "\n", v->identity, v->part_id[0] ? v->part_id : "-", v->p.done);
    if (!text)
        return err_oom(e);
    struct os_file *f;
    int r = os_file_open(v->state_new, OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, e);
    if (r < 0)
        return r;
    r = os_file_pwrite(f, text, strlen(text), 0, e);
    if (r == 0)
        r = os_file_sync(f, e);
    os_file_close(f);
    return r < 0 ? r : os_rename(v->state_new, v->state, e);
}

/* What the file says behind its identity; false: it is none of ours. */
static bool state_parse(const char *text, char id[OS_FILE_ID], unsigned long long *done)
{
    const char *at = strstr(text, "\npart ");
    char line[OS_FILE_ID], number[24];
    if (!str_starts(text, STATE_BEGIN) || !at || sscanf(at, "\npart %79[^\n]\ndone %23[0-9]\n", line, number) != 2 || !str_to_u64(number, UINT64_MAX, done))
        return false;
    snprintf(id, OS_FILE_ID, "%s", strcmp(line, "-") ? line : "");
    return true;
}

/* ---- begin, or go on ---- */

static int begin(struct conversion *v, struct err *e)
{
    v->p.done = 0;
    v->part_id[0] = 0;
    int r = state_write(v, e);                       /* first: from now on a part is known as ours */
    if (r == 0)
        r = image_writer_create(v->part, &v->layout, &v->w, e);
    if (r == 0)
        r = os_file_id(v->part, v->part_id, e);
    return r < 0 ? r : state_write(v, e);
}

/* The two files of an earlier run. 1: gone on with; 0: removed, or there were none. */
static int go_on(struct conversion *v, struct err *e)
{
    AUTO_FREE char *text = NULL;
    char is[OS_FILE_ID], was[OS_FILE_ID];
    unsigned long long done = 0;
    struct os_stat st;
    int r = os_file_id(v->part, is, e);
    if (r == 0)
        r = os_stat(v->state, &st, e);
    if (r < 0)
        return r;
    if (!st.exists)
        return is[0] ? in_the_way(v->part, e) : 0;
    if ((r = os_read_file(v->state, STATE_MAX_BYTES, &text, NULL, e)) < 0)
        return r;
    if (!state_parse(text, was, &done))
        return in_the_way(v->state, e);
    if (is[0] && was[0] && strcmp(is, was))
        return in_the_way(v->part, e);
    if (is[0] && was[0] && str_starts(text, v->identity) && str_starts(text + strlen(v->identity), "part ") && done <= v->layout.virtual_size) {
        r = image_writer_open(v->part, &v->layout, &v->w, e);
        if (r == 0) {
            v->p.done = v->p.resumed_at = done;
            memcpy(v->part_id, was, sizeof v->part_id);
            return 1;
        }
        if (r != -ERR_IMAGE_DAMAGED)
            return r;
    }
    if (is[0]) {                                     /* ours, and of no use; unless somebody is at work on it */
        AUTO(os_file_close_ptr) struct os_file *f = NULL;
        r = os_file_open(v->part, OS_WRITE, &f, e);
        if (r == 0)
            r = os_file_lock(f, e);
        if (r < 0)
            return r;
    }
    return os_remove(v->part, e);
}

/* ---- copy ---- */

static int write_used(struct conversion *v, const uint8_t *buf, size_t n, uint64_t offset, struct err *e)
{
    for (size_t at = 0, end; at < n; at = end) {
        bool zero = true;
        for (end = at; end < n; end += n - end < GRAIN_BYTES ? n - end : GRAIN_BYTES) {
            bool z = mem_is_zero(buf + end, n - end < GRAIN_BYTES ? n - end : GRAIN_BYTES);
            if (end > at && z != zero)
                break;
            zero = z;
        }
        if (zero)
            continue;
        int r = image_writer_write(v->w, buf + at, end - at, offset + at, e);
        if (r < 0)
            return r;
        v->p.written += end - at;
    }
    return 0;
}

static int commit(struct conversion *v, struct err *e)
{
    int r = image_writer_commit(v->w, e);
    v->committed_ms = clock_mono_ms();
    return r < 0 ? r : state_write(v, e);
}

static int pause_between(struct conversion *v, struct err *e)
{
    const struct image_convert *c = v->c;
    int64_t every = c->commit_ms ? c->commit_ms : 1000;
    if (c->progress)
        c->progress(c->arg, &v->p);
    int r = clock_mono_ms() - v->committed_ms >= every ? commit(v, e) : 0;
    if (r < 0 || !c->stop || !c->stop(c->arg))
        return r;
    if ((r = commit(v, e)) < 0)
        return r;
    err_set(e, ERR_CANCELLED, "the conversion to %s was stopped", c->to);
    return err_hint(e, "Convert again with the same names to go on where it was; or remove %s and %s.", v->part, v->state);
}

static int copy(struct conversion *v, struct err *e)
{
    AUTO_FREE uint8_t *buf = malloc(STEP_BYTES);
    if (!buf)
        return err_oom(e);
    v->committed_ms = clock_mono_ms();
    for (uint64_t size = v->disk->size; v->p.done < size;) {
        uint64_t start, end;
        int r = image_next_data(v->disk, v->p.done, size, &start, &end, e);
        for (uint64_t at = start, n; r == 0 && at < end; at += n) {
            n = STEP_BYTES - at % STEP_BYTES;
            n = n < end - at ? n : end - at;
            r = v->disk->read(v->disk->arg, buf, (size_t)n, at, e);
            if (r == 0)
                r = write_used(v, buf, (size_t)n, at, e);
            if (r == 0) {
                v->p.done = at + n;
                r = pause_between(v, e);
            }
        }
        if (r < 0)
            return r;
        if (start == end)                            /* nothing more */
            v->p.done = size;
    }
    v->p.done = v->p.total;
    return 0;
}

static int publish(struct conversion *v, struct err *e)
{
    const struct image_convert *c = v->c;
    int r = image_writer_finish(v->w, e);
    if (r < 0)
        return r;
    image_writer_close(STEAL(v->w));
    r = os_publish(v->part, c->to, e);
    if (r == -ERR_WRONG_STATE)
        return in_the_way(c->to, e);
    if (r == 0)
        r = os_remove(v->state, e);
    if (r == 0)
        r = os_remove(v->state_new, e);
    if (r == 0 && c->progress)
        c->progress(c->arg, &v->p);
    return r;
}

/* Is TO there as what an earlier run made, which was killed before it removed its state? */
static bool is_done(const struct conversion *v)
{
    AUTO_FREE char *text = NULL;
    char is[OS_FILE_ID], was[OS_FILE_ID];
    unsigned long long done;
    struct err e;
    return os_file_id(v->c->to, is, &e) == 0 && is[0] && os_read_file(v->state, STATE_MAX_BYTES, &text, NULL, &e) == 0 &&
           state_parse(text, was, &done) && !strcmp(is, was) && str_starts(text, v->identity);
}

int image_convert(const struct image_convert *c, struct image_convert_progress *ret, struct err *e)
{
    const struct image_info *info = image_info(c->from);
    AUTO(conversion_clear) struct conversion v = {.c = c, .disk = image_disk(c->from), .layout = c->layout};
    struct image_layout *l = &v.layout;
    if (!l->virtual_size)
        l->virtual_size = v.disk->size;
    if (!l->sector_size)
        l->sector_size = info->sector_size;
    if (c->whole_mib)
        l->virtual_size = (l->virtual_size + (1 << 20) - 1) >> 20 << 20;
    int r = image_layout_check(l, e);
    if (r < 0)
        return r;
    if (l->virtual_size < v.disk->size)
        return err_set(e, ERR_VALUE, "the disk has %" PRIu64 " bytes, which do not fit in %" PRIu64, v.disk->size, l->virtual_size);
    v.p.total = l->virtual_size;
    v.part = str_printf("%s.part", c->to);
    v.state = str_printf("%s.part.state", c->to);
    v.state_new = str_printf("%s.part.state.new", c->to);
    struct os_stat st;
    if (!v.part || !v.state || !v.state_new)
        return err_oom(e);
    if ((r = make_identity(&v, e)) < 0 || (r = os_stat(c->to, &st, e)) < 0)
        return r;
    if (st.exists && !is_done(&v))
        return in_the_way(c->to, e);
    if (st.exists) {
        v.p.done = v.p.resumed_at = v.p.total;
        r = os_remove(v.state, e);
    } else {
        r = go_on(&v, e);
        if (r == 0)
            r = begin(&v, e);
        else if (r == 1)
            r = 0;
        if (r == 0)
            r = copy(&v, e);
        if (r == 0)
            r = publish(&v, e);
    }
    if (ret)
        *ret = v.p;
    return r;
}
