#include "storage/volume/hostdisk.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 256
#define CONTENTS_MAX 64

static const char *const bus_words[HOSTDISK_BUSES] = {"other", "scsi", "ata", "sata", "sas", "nvme", "virtio", "xen", "raid",
                                                      "fibre_channel", "usb", "iscsi", "sd", "mmc", "virtual", "file", "storage_spaces", "loop"};
static const char *const role_words[] = {"data", "os", "temporary"};
static const char *const table_words[] = {"none", "gpt", "mbr", "other"};

const char *hostdisk_bus_name(enum hostdisk_bus b)
{
    return bus_words[b];
}

const char *hostdisk_role_name(enum hostdisk_role r)
{
    return role_words[r];
}

const char *hostdisk_table_name(enum hostdisk_table t)
{
    return table_words[t];
}

void hostdisk_content_clear(struct hostdisk_content *c)
{
    free(c->type);
    free(c->label);
    free(c->uuid);
    *c = (struct hostdisk_content){0};
}

void hostdisk_clear(struct hostdisk *d)
{
    for (size_t i = 0; i < d->n_contents; i++)
        hostdisk_content_clear(&d->contents[i]);
    for (size_t i = 0; i < d->n_parts; i++) {
        struct hostdisk_part *p = &d->parts[i];
        hostdisk_content_clear(&p->content);
        free(p->device);
        free(p->type);
        free(p->id);
        free(p->name);
        free(p->mounted);
    }
    char *const texts[] = {d->id, d->device, d->model, d->serial, d->moment, d->health, d->holders, d->user, d->unreadable, d->mounted, d->volume,
                           d->table_id};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    free(d->contents);
    free(d->parts);
    *d = (struct hostdisk){0};
}

void hostdisks_clear(struct hostdisks *l)
{
    for (size_t i = 0; i < l->n; i++)
        hostdisk_clear(&l->at[i]);
    free(l->at);
    *l = (struct hostdisks){0};
}

/* Room for one more of *ret_n elements, zeroed; NULL: no memory, or there are max already. */
static void *grow(void *list, size_t *n, size_t max, size_t size, void **ret_list)
{
    if (*n == max)
        return NULL;
    if (!(*n & (*n - 1))) {                          /* room for 1, 2, 4, 8, … */
        void *more = realloc(list, (*n ? *n * 2 : 1) * size);
        if (!more)
            return NULL;
        *ret_list = list = more;
    }
    void *one = (char *)list + *n * size;
    memset(one, 0, size);
    ++*n;
    return one;
}

struct hostdisk *hostdisks_add(struct hostdisks *l)
{
    void *list = l->at;
    struct hostdisk *d = grow(list, &l->n, HOSTDISKS_MAX, sizeof *d, &list);
    l->at = list;
    return d;
}

struct hostdisk_part *hostdisk_add_part(struct hostdisk *d)
{
    void *list = d->parts;
    struct hostdisk_part *p = grow(list, &d->n_parts, PARTS_MAX, sizeof *p, &list);
    d->parts = list;
    return p;
}

struct hostdisk_content *hostdisk_add_content(struct hostdisk *d)
{
    void *list = d->contents;
    struct hostdisk_content *c = grow(list, &d->n_contents, CONTENTS_MAX, sizeof *c, &list);
    d->contents = list;
    return c;
}

struct hostdisk *hostdisks_find(const struct hostdisks *l, const char *id)
{
    struct hostdisk *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->at[i].id, id)) {
            if (found)
                return NULL;
            found = &l->at[i];
        }
    return found;
}

void hostdisks_mark_ambiguous(struct hostdisks *l)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(l->at[i].id, l->at[k].id))
                l->at[i].ambiguous = l->at[k].ambiguous = true;
}

/* ---- as JSON ---- */

static json_t *part_json(const struct hostdisk_part *p)
{
    return json_pack("{s:i, s:s?, s:I, s:I, s:s?, s:s?, s:s?, s:s?, s:s?}", "number", (int)p->number, "device", p->device, "offset",
                     (json_int_t)p->offset, "size", (json_int_t)p->size, "type", p->type, "name", p->name, "file_system", p->content.type, "label",
                     p->content.label, "mount_point", p->mounted);
}

static json_t *content_json(const struct hostdisk_content *c)
{
    return json_pack("{s:s?, s:I, s:s?}", "type", c->type, "offset", (json_int_t)c->offset, "label", c->label);
}

/* Takes the reference of one; 0, or -1 without memory (or a text that is no UTF-8). */
static int append(json_t *list, json_t *one)
{
    return one ? json_array_append_new(list, one) : -1;
}

json_t *hostdisk_json(const struct hostdisk *d)
{
    AUTO_FREE struct hostdisk_reasons *why = malloc(sizeof *why);
    json_t *parts = json_array(), *contents = json_array(), *reasons = json_array();
    bool failed = !why || !parts || !contents || !reasons;
    for (size_t i = 0; i < d->n_parts && !failed; i++)
        failed = append(parts, part_json(&d->parts[i])) < 0;
    for (size_t i = 0; i < d->n_contents && !failed; i++)
        failed = append(contents, content_json(&d->contents[i])) < 0;
    bool eligible = why && hostdisk_judge(d, false, why);
    for (size_t i = 0; why && i < why->n && !failed; i++)
        failed = append(reasons, json_string(why->text[i])) < 0;
    json_t *o = failed ? NULL
                       : json_pack("{s:s, s:s?, s:I, s:i, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:s?, s:b, s:O}", "id", d->id, "device", d->device, "size",
                                   (json_int_t)d->size, "sector_size", (int)d->sector, "bus", bus_words[d->bus], "model", d->model ? d->model : "",
                                   "serial", d->serial ? d->serial : "", "role", role_words[d->role], "partition_style", table_words[d->table],
                                   "partitions", parts, "signatures", contents, "volume", d->volume, "eligible", eligible, "reasons", reasons);
    json_decref(parts);
    json_decref(contents);
    json_decref(reasons);
    return o;
}
