/* What is on a disk, as the system's own tools see it: wipefs knows signatures, sfdisk reads tables. Both only read. The kernel's list of partitions is
 * not enough: it is empty for a table that it does not understand or was not told to read. */
#include <string.h>

#include "common/json.h"
#include "storage/volume/linux.h"
#include "storage/volume/tool.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && *s ? s : NULL;
}

/* Copies a text that may be missing. */
static bool copy(char **to, const char *s)
{
    *to = str_dup(s);
    return *to || !s;
}

/* Not to be read: the reason becomes the disk's. */
static int give_up(struct hostdisk *d, const struct err *why, struct err *e)
{
    if (why->code == ERR_CANCELLED || why->code == ERR_OOM || why->code == ERR_NOT_FOUND) {
        *e = *why;                                   /* not the disk's fault */
        return -(int)e->code;
    }
    if (!d->unreadable && !(d->unreadable = str_dup(why->msg)))
        return err_oom(e);
    return 0;
}

/* ---- signatures ---- */

typedef int signature_fn(void *arg, const char *type, const char *label, const char *uuid, uint64_t offset, struct err *e);

static int signatures(const struct linux_host *h, const char *device, signature_fn *fn, void *arg, struct err *e)
{
    json_t *o = NULL;
    int r = tool_json(h, (const char *const[]){"wipefs", "--no-act", "--json", device, NULL}, &o, e);
    if (r < 0)
        return r;
    json_t *list = json_object_get(o, "signatures"), *one;
    size_t i;
    json_array_foreach(list, i, one) {
        const char *type = text_of(one, "type"), *offset = text_of(one, "offset");
        if (!type || !offset) {
            r = err_set(e, ERR_IO, "wipefs names a signature on %s without its type or place", device);
            break;
        }
        if ((r = fn(arg, type, text_of(one, "label"), text_of(one, "uuid"), strtoull(offset, NULL, 0), e)) < 0)
            break;
    }
    if (r == 0 && !json_is_array(list))
        r = err_set(e, ERR_IO, "wipefs gave no list of the signatures on %s", device);
    json_decref(o);
    return r;
}

static int fill(struct hostdisk_content *c, const char *type, const char *label, const char *uuid, uint64_t offset, struct err *e)
{
    c->offset = offset;
    return copy(&c->type, type) && copy(&c->label, label) && copy(&c->uuid, uuid) ? 0 : err_oom(e);
}

static int on_disk_signature(void *arg, const char *type, const char *label, const char *uuid, uint64_t offset, struct err *e)
{
    struct hostdisk *d = arg;
    if (!strcmp(type, "gpt") || !strcmp(type, "PMBR"))
        d->table = HOSTDISK_GPT;
    else if (!strcmp(type, "dos") && d->table == HOSTDISK_NO_TABLE)
        d->table = HOSTDISK_MBR;
    else if (d->table == HOSTDISK_NO_TABLE && (!strcmp(type, "sun") || !strcmp(type, "sgi") || !strcmp(type, "bsd") || !strcmp(type, "mac") ||
                                               !strcmp(type, "atari") || !strcmp(type, "dasd") || !strcmp(type, "ultrix") || !strcmp(type, "minix")))
        d->table = HOSTDISK_OTHER_TABLE;
    struct hostdisk_content *c = hostdisk_add_content(d);
    return c ? fill(c, type, label, uuid, offset, e) : d->n_contents ? 0 : err_oom(e);      /* ZFS leaves hundreds: the first will do */
}

/* The first is what blkid would call it. */
static int on_part_signature(void *arg, const char *type, const char *label, const char *uuid, uint64_t offset, struct err *e)
{
    struct hostdisk_content *c = arg;
    return c->type ? 0 : fill(c, type, label, uuid, offset, e);
}

int content_of(const struct linux_host *h, const char *device, struct hostdisk_content *ret, struct err *e)
{
    *ret = (struct hostdisk_content){0};
    int r = signatures(h, device, on_part_signature, ret, e);
    if (r < 0)
        hostdisk_content_clear(ret);
    return r;
}

/* ---- the table ---- */

static struct hostdisk_part *part_at(struct hostdisk *d, uint64_t offset)
{
    for (size_t i = 0; i < d->n_parts; i++)
        if (d->parts[i].offset == offset)
            return &d->parts[i];
    return NULL;
}

/* The number at the end of /dev/sdc1, /dev/nvme0n1p1. */
static unsigned number_of(const char *node)
{
    size_t n = strlen(node), from = n;
    unsigned long long v = 0;
    while (from && node[from - 1] >= '0' && node[from - 1] <= '9')
        from--;
    return str_to_u64(node + from, 100000, &v) ? (unsigned)v : 0;
}

static int take_part(struct hostdisk *d, const json_t *one, uint64_t sector, struct err *e)
{
    uint64_t start = (uint64_t)json_integer_value(json_object_get(one, "start")) * sector;
    uint64_t size = (uint64_t)json_integer_value(json_object_get(one, "size")) * sector;
    struct hostdisk_part *p = part_at(d, start);
    if (!p && !(p = hostdisk_add_part(d)))
        return err_oom(e);
    const char *node = text_of(one, "node");
    p->offset = start;
    p->size = size;
    if (!p->number && node)
        p->number = number_of(node);
    free(p->type);
    free(p->id);
    free(p->name);
    return copy(&p->type, text_of(one, "type")) && copy(&p->id, text_of(one, "uuid")) && copy(&p->name, text_of(one, "name")) ? 0 : err_oom(e);
}

static int read_table(const struct linux_host *h, struct hostdisk *d, struct err *e)
{
    json_t *o = NULL;
    int r = tool_json(h, (const char *const[]){"sfdisk", "--json", d->device, NULL}, &o, e);
    if (r < 0)
        return r;
    json_t *table = json_object_get(o, "partitiontable"), *list = json_object_get(table, "partitions"), *one;
    json_int_t sector = json_integer_value(json_object_get(table, "sectorsize"));
    size_t i;
    if (!copy(&d->table_id, text_of(table, "id")))
        r = err_oom(e);
    json_array_foreach(list, i, one)
        if (r < 0 || (r = take_part(d, one, sector > 0 ? (uint64_t)sector : 512, e)) < 0)
            break;
    json_decref(o);
    return r;
}

int content_read(const struct linux_host *h, struct hostdisk *d, struct err *e)
{
    struct err why;
    if (d->unreadable || d->no_medium)
        return 0;
    if (signatures(h, d->device, on_disk_signature, d, &why) < 0)
        return give_up(d, &why, e);
    /* a table that sfdisk cannot read is a reason all the same: its signature is there */
    if (d->table != HOSTDISK_NO_TABLE && read_table(h, d, &why) < 0 && (why.code == ERR_CANCELLED || why.code == ERR_OOM))
        return give_up(d, &why, e);
    for (size_t i = 0; i < d->n_parts; i++)
        if (d->parts[i].device && signatures(h, d->parts[i].device, on_part_signature, &d->parts[i].content, &why) < 0) {
            int r = give_up(d, &why, e);
            if (r < 0)
                return r;
        }
    return 0;
}
