/* The answer to List Blobs with snapshots and metadata, as far as snapshots of ours are looked for. */
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "storage/azure/page_blob.h"

#define DEPTH_MAX 12
#define TEXT_MAX 1024

struct listing {
    XML_Parser parser;
    const char *blob, *job_id;
    char (*found)[PAGE_BLOB_TIME_MAX];
    size_t n, max;
    char *more; /* 1024 bytes */
    unsigned depth;
    bool root_seen, bad, in_blob, in_metadata;
    char text[TEXT_MAX];
    size_t len;
    bool cut;
    /* of the blob that is read */
    bool name_fits, ours;
    char time[PAGE_BLOB_TIME_MAX];
};

static void stop(struct listing *l)
{
    l->bad = true;
    XML_StopParser(l->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    struct listing *l = arg;
    l->depth++;
    l->len = 0;
    l->cut = false;
    if (l->depth > DEPTH_MAX || (l->depth == 1 && strcmp(name, "EnumerationResults"))) {
        stop(l);
        return;
    }
    l->root_seen = true;
    if (l->depth == 3 && !strcmp(name, "Blob")) {
        l->in_blob = true;
        l->name_fits = l->ours = false;
        l->time[0] = 0;
    }
    l->in_metadata = l->depth == 4 && l->in_blob && !strcmp(name, "Metadata") ? true : l->in_metadata && l->depth > 4;
}

static void XMLCALL on_text(void *arg, const XML_Char *s, int n)
{
    struct listing *l = arg;
    size_t room = TEXT_MAX - 1 - l->len, k = (size_t)n < room ? (size_t)n : room;
    memcpy(l->text + l->len, s, k);
    l->len += k;
    l->cut |= k < (size_t)n;
}

/* What goes into a URL must be what a time looks like. */
static bool is_time(const char *s)
{
    size_t n = strlen(s);
    return n > 10 && n < PAGE_BLOB_TIME_MAX && s[strspn(s, "0123456789-:.TZ")] == 0;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct listing *l = arg;
    l->text[l->len] = 0;
    if (l->depth == 4 && l->in_blob && !strcmp(name, "Name"))
        l->name_fits = !l->cut && !strcmp(l->text, l->blob);
    else if (l->depth == 4 && l->in_blob && !strcmp(name, "Snapshot") && is_time(l->text))
        snprintf(l->time, sizeof l->time, "%.*s", (int)sizeof l->time - 1, l->text);
    else if (l->depth == 5 && l->in_metadata && str_ieq(name, "vmrecoverjob"))
        l->ours = !l->cut && !strcmp(l->text, l->job_id);
    else if (l->depth == 2 && !strcmp(name, "NextMarker") && !l->cut)
        snprintf(l->more, 1024, "%s", l->text);
    else if (l->depth == 3 && l->in_blob) {
        l->in_blob = false;
        if (l->name_fits && l->ours && *l->time && l->n < l->max)
            memcpy(l->found[l->n++], l->time, sizeof l->time);
    }
    l->len = 0;
    l->depth--;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    stop(arg); /* no entities, so none that grow */
}

int page_blob_parse_list(const char *text, size_t len, const char *blob, const char *job_id, char (*ret)[PAGE_BLOB_TIME_MAX], size_t max,
                         size_t *ret_n, char ret_more[1024], struct err *e)
{
    struct listing l = {.blob = blob, .job_id = job_id, .found = ret, .max = max, .more = ret_more};
    ret_more[0] = 0;
    if (!(l.parser = XML_ParserCreate("UTF-8")))
        return err_oom(e);
    XML_SetUserData(l.parser, &l);
    XML_SetElementHandler(l.parser, on_start, on_end);
    XML_SetCharacterDataHandler(l.parser, on_text);
    XML_SetStartDoctypeDeclHandler(l.parser, on_doctype);
    bool good = len <= INT_MAX && XML_Parse(l.parser, text, (int)len, 1) == XML_STATUS_OK && !l.bad && l.root_seen;
    XML_ParserFree(l.parser);
    if (!good)
        return err_set(e, ERR_UPSTREAM, "the storage service answered List Blobs with something else than a list");
    *ret_n = l.n;
    return 0;
}
