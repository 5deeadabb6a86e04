/* The unfinished file, its journal and its record of sums: found again, begun, and made PATH in the end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/os.h"
#include "storage/transfer/engine.h"

int part_disk_full(struct engine *g, struct err *e)
{
    uint64_t all = target_is_sparse(&g->form) ? g->listed : g->length, have = 0;
    uint64_t need = all > g->p.transferred ? all - g->p.transferred : 0;
    struct err ignored;
    if (os_free_space(g->part, &have, &ignored) < 0)
        have = 0;
    return err_set(e, ERR_DISK_FULL, "the volume of %s is full: %" PRIu64 " more bytes are needed, %" PRIu64 " are free",
                   g->t->path, need, have);
}

static int hash_list(const struct blob_ranges *r, uint8_t ret[SHA256_LEN], struct err *e)
{
    uint8_t part[2][SHA256_LEN] = {{0}}; /* a chain over blocks: no copy of a long list */
    const size_t block = 4096;
    for (size_t i = 0; i < r->n; i += block) {
        size_t n = r->n - i < block ? r->n - i : block;
        int x = crypto_sha256(r->list + i, n * sizeof *r->list, part[1], e);
        if (x == 0)
            x = crypto_sha256(part, sizeof part, part[0], e);
        if (x < 0)
            return x;
    }
    memcpy(ret, part[0], SHA256_LEN);
    return 0;
}

static unsigned record_form(const struct engine *g)
{
    return g->form.image ? 1 + (unsigned)g->form.image->format : 0;
}

/* For the journal; "": byte for byte. */
static void form_text(const struct engine *g, char *ret, size_t n)
{
    const struct image_layout *l = g->form.image;
    *ret = 0;
    if (l)
        snprintf(ret, n, "%s%s %" PRIu64 " %u %u", image_format_name(l->format), l->fixed ? "_fixed" : "", l->virtual_size, (unsigned)l->sector_size,
                 (unsigned)l->block_bytes);
}

static int make(struct engine *g, const struct journal_source *src, struct err *e)
{
    int r = target_claim(g->part, &g->form, &g->file, e);
    /* The old journal goes before the old data does, and the new one comes after the new file is there. */
    if (r < 0 || (r = journal_remove(g->journal_path, e)) < 0)
        return r;
    const struct sums_kind kind = {.form = record_form(g)};
    if ((r = target_make(g->file, e)) < 0 || (r = sums_open(g->sums_path, g->length, &kind, false, &g->record, e)) < 0)
        return r == -ERR_DISK_FULL ? part_disk_full(g, e) : r;
    g->pristine = true;
    return journal_create(g->journal_path, src, &g->journal, e);
}

/* Was something written that the record of sums does not have? */
static int lacks_sums(struct engine *g, bool *ret, struct err *e)
{
    AUTO(sums_free) struct sums sums = {0};
    AUTO(spans_free) struct spans have = {0}, both = {0};
    struct sums_kind was = {0};
    uint64_t length = 0;
    bool ok = true;
    int r = sums_read(g->sums_path, &length, &was, &sums, e);
    if (r < 0 && e->code != ERR_EMPTY)
        return r;
    if (length != g->length || was.form != record_form(g))
        sums.n = 0;
    for (size_t i = 0; ok && i < sums.n; i++)
        ok = spans_add(&have, sums.list[i].start, sums.list[i].end);
    const struct blob_ranges record = {.list = have.list, .n = have.n};
    for (size_t i = 0, k = 0; ok && i < g->done.n; i++) {            /* `both`: what is done of the ranges */
        const struct blob_range *d = &g->done.list[i], *list = g->t->ranges->list;
        while (k < g->t->ranges->n && list[k].end <= d->start)
            k++;
        for (size_t j = k; ok && j < g->t->ranges->n && list[j].start < d->end; j++)
            ok = spans_add(&both, list[j].start > d->start ? list[j].start : d->start, list[j].end < d->end ? list[j].end : d->end);
    }
    if (!ok)
        return err_oom(e);
    *ret = spans_common(&both, &record) != spans_common(&g->done, g->t->ranges);
    return 0;
}

int part_open(struct engine *g, struct err *e)
{
    const struct blob_info *info = g->info;
    const char *identity = g->t->identity;
    struct journal_source src = {.length = info->length, .etag = identity ? identity : info->etag, .last_modified = identity ? "" : info->last_modified};
    bool damaged = false;
    char form[64];
    form_text(g, form, sizeof form);
    src.form = form;
    if (g->t->map_hash)
        memcpy(src.map_hash, g->t->map_hash, sizeof src.map_hash);
    int r = hash_list(g->t->ranges, src.list_hash, e);
    if (r < 0)
        return r;
    if (!src.etag[0] && !src.last_modified[0]) /* nothing tells this source from another of the same length */
        r = journal_remove(g->journal_path, e) < 0 ? -(int)e->code : err_set(e, ERR_EMPTY, "cannot be resumed");
    else
        r = journal_open(g->journal_path, &src, &g->journal, &damaged, e);
    if (r == 0 && journal_map_differs(g->journal)) {
        log_warning("other parts of the disk are left out than when the download began, it starts again", KS("path", g->part));
        journal_close(STEAL(g->journal));
        return make(g, &src, e);
    }
    if (r == 0 && journal_form_differs(g->journal)) {
        log_warning("the disk is wanted in another form than when its download began, it starts again", KS("path", g->part), KS("form", form));
        journal_close(STEAL(g->journal));
        return make(g, &src, e);
    }
    if (r == 0) {
        r = target_open(g->part, &g->form, &g->file, e);
        if (r == -ERR_IMAGE_DAMAGED) {               /* somebody was at it: what the journal says of it is not true any more */
            log_err(LOG_LEVEL_WARNING, "what was downloaded is gone, the download starts again", e);
            journal_close(STEAL(g->journal));
            return make(g, &src, e);
        }
        if (r < 0)
            return r == -ERR_DISK_FULL ? part_disk_full(g, e) : r;
        const struct spans *had = journal_spans(g->journal);
        for (size_t i = 0; i < had->n; i++)
            if (!spans_add(&g->done, had->list[i].start, had->list[i].end))
                return err_oom(e);
        struct sums_kind kind = {.form = record_form(g)};
        if ((r = lacks_sums(g, &kind.partial, e)) < 0 || (r = sums_open(g->sums_path, g->length, &kind, true, &g->record, e)) < 0)
            return r;
        if (journal_list_differs(g->journal))
            log_info("the page list is another one than at the start; what is done stays done", KS("path", g->part));
        return 0;
    }
    if (e->code != ERR_EMPTY)
        return r;
    if (damaged)
        log_warning("the journal cannot be read, the download starts again", KS("path", g->journal_path));
    return make(g, &src, e);
}

int part_publish(struct engine *g, struct err *e)
{
    committer_stop(STEAL(g->committer));
    int r = target_finish(g->file, e); /* nothing may have been written in this run */
    if (r < 0 || (r = sums_sync(g->record, e)) < 0)
        return r == -ERR_DISK_FULL ? part_disk_full(g, e) : r;
    journal_close(STEAL(g->journal));
    sums_close(STEAL(g->record));
    target_close(STEAL(g->file));
    r = os_rename(g->part, g->t->path, e);
    return r < 0 ? r : journal_remove(g->journal_path, e);
}

int part_look(struct engine *g, struct err *e)
{
    struct os_stat path, part, journal;
    int r = os_stat(g->t->path, &path, e);
    if (r == 0)
        r = os_stat(g->part, &part, e);
    if (r == 0)
        r = os_stat(g->journal_path, &journal, e);
    if (r < 0 || !path.exists)
        return r;
    bool whole = false;
    if ((r = target_is_whole(g->t->path, &g->form, &whole, e)) < 0)
        return r;
    if (!whole)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is there already, but it is no %s of %" PRIu64 " bytes", g->t->path,
                       g->form.image ? image_format_name(g->form.image->format) : "file", g->length);
    if (part.exists && journal.exists)
        return err_set(e, ERR_IMAGE_DAMAGED, "%s is there already, beside an unfinished download of it", g->t->path);
    /* A journal alone: the process died between the rename and this. */
    r = journal_remove(g->journal_path, e);
    return r < 0 ? r : 1;
}

int transfer_discard(const char *path, struct err *e)
{
    AUTO_FREE char *part = str_printf("%s.part", path);
    AUTO_FREE char *journal = str_printf("%s.part.journal", path), *sums = str_printf("%s" SUMS_SUFFIX, path);
    if (!part || !journal || !sums)
        return err_oom(e);
    int r = journal_remove(journal, e); /* data without a journal is worth nothing, a journal without data would lie */
    if (r == 0)
        r = os_remove(sums, e);
    return r < 0 ? r : os_remove(part, e);
}
