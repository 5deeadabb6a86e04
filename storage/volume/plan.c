/* Which disks a volume is made of, and what a plan is in the database. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/os.h"
#include "storage/volume/volume.h"

#define LABEL "vmrecover"
#define LABELS 99                                    /* vmrecover, vmrecover2, … */
#define OVERHEAD_PERCENT 3                           /* of a file system's own structures, at most */
#define OVERHEAD_BYTES ((uint64_t)96 << 20)          /* its log, and what joining takes */

static const char *const layout_words[] = {"auto", "single", "striped", NULL};
static const char *const fs_words[] = {"auto", "xfs", "ext4", "ntfs", "refs", NULL};
static const char *const style_words[] = {"gpt", "mbr", NULL};

const char *volume_layout_name(enum volume_layout l)
{
    return layout_words[l];
}

const char *volume_fs_name(enum volume_fs f)
{
    return fs_words[f];
}

const char *volume_style_name(enum volume_style s)
{
    return style_words[s];
}

bool volume_label_ok(const char *s)
{
    size_t n = strlen(s);
    bool ok = n >= 1 && n <= VOLUME_LABEL_MAX && *s != '.' && *s != '-';
    for (size_t i = 0; i < n && ok; i++)
        ok = isalnum((unsigned char)s[i]) || strchr("._-", s[i]);
    return ok;
}

void volume_plan_clear(struct volume_plan *p)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        free(p->disks[i].id);
        free(p->disks[i].serial);
        free(p->disks[i].moment);
    }
    free(p->label);
    free(p->mount_point);
    *p = (struct volume_plan){0};
}

int volume_guid(const char *volume_id, const char *what, unsigned k, char ret[UUID_LEN], struct err *e)
{
    char text[96];
    uint8_t sum[SHA256_LEN];
    int n = snprintf(text, sizeof text, "vmrecover volume %s %s %u", volume_id, what, k);
    int r = crypto_sha256(text, (size_t)n, sum, e);
    if (r < 0)
        return r;
    sum[6] = (uint8_t)((sum[6] & 0x0F) | 0x80);      /* RFC 9562: version 8, made in our own way */
    sum[8] = (uint8_t)((sum[8] & 0x3F) | 0x80);
    char hex[HEX_LEN(16)];
    crypto_hex(sum, 16, hex);
    snprintf(ret, UUID_LEN, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return 0;
}

/* ---- choosing ---- */

struct choice {
    struct volume_host *h;
    const struct volume_request *rq;
    const char *const *taken;
    size_t n_taken;
    uint64_t wanted;
    struct hostdisks disks;
    struct hostvolumes volumes;
};

static void choice_clear(struct choice *c)
{
    hostdisks_clear(&c->disks);
    hostvolumes_clear(&c->volumes);
}

static bool is_taken(const struct choice *c, const char *id)
{
    for (size_t i = 0; i < c->n_taken; i++)
        if (!strcmp(c->taken[i], id))
            return true;
    return false;
}

/* What fits into files on a volume of so many equal parts. */
static uint64_t capacity_of(uint64_t smallest, size_t n)
{
    uint64_t raw = smallest > 2 * VOLUME_EDGE_BYTES ? (smallest - 2 * VOLUME_EDGE_BYTES) * n : 0;
    uint64_t rest = raw - raw / 100 * OVERHEAD_PERCENT;
    return rest > OVERHEAD_BYTES ? rest - OVERHEAD_BYTES : 0;
}

static int refuse(struct err *e, const struct hostdisk *d, const struct hostdisk_reasons *why)
{
    AUTO_STRBUF struct strbuf b = {.max = 400};
    for (size_t i = 0; i < why->n && !b.failed; i++)
        strbuf_addf(&b, "%s%s", i ? "; " : "", strchr(why->text[i], ':') + 2);
    err_set(e, ERR_DISK_REFUSED, "the disk %.120s (%s) is not taken: %s", d->id, d->device ? d->device : "no device", b.data ? b.data : why->text[0]);
    return -(int)e->code;
}

/* A volume with this label; NULL: none. */
static const struct hostvolume *labelled(const struct choice *c, const char *label)
{
    for (size_t i = 0; i < c->volumes.n; i++)
        if (c->volumes.at[i].label && !strcmp(c->volumes.at[i].label, label))
            return &c->volumes.at[i];
    return NULL;
}

static int member_of(struct volume_plan *p, const struct hostdisk *d, struct err *e)
{
    struct volume_member *m = &p->disks[p->n_disks++];
    *m = (struct volume_member){.id = str_dup(d->id), .serial = str_dup(d->serial), .moment = str_dup(d->moment), .size = d->size, .sector = d->sector};
    return m->id && m->serial && m->moment ? 0 : err_oom(e);
}

/* ---- a volume that is there ---- */

static enum volume_fs fs_of(const struct hostvolume *v)
{
    for (int f = VOLUME_XFS; f < VOLUME_FSS; f++)
        if (v->file_system && str_ieq(v->file_system, fs_words[f]))
            return (enum volume_fs)f;
    return VOLUME_FS_AUTO;
}

static int use(struct choice *c, const struct hostvolume *v, struct volume_plan *p, struct err *e)
{
    const struct volume_request *rq = c->rq;
    if (v->broken || v->read_only || !crypto_is_uuid(v->id)) {
        err_set(e, ERR_VOLUME, "the volume %.60s (%s) cannot be used again: %s", v->label ? v->label : v->id, v->id,
                v->read_only ? "it is read-only" : "parts of it are missing");
        return err_hint(e, "Attach all of its disks, or choose other disks and another label.");
    }
    enum volume_layout layout = v->n_disks > 1 ? VOLUME_STRIPED : VOLUME_SINGLE;
    enum volume_fs fs = fs_of(v);
    if ((rq->layout && rq->layout != layout) || (rq->fs && rq->fs != fs) || (rq->mount_point && v->mount_point && strcmp(rq->mount_point, v->mount_point))) {
        err_set(e, ERR_VOLUME, "the volume %.60s is there already, and is %s, %s, at %.200s", v->label ? v->label : v->id, layout_words[layout],
                v->file_system ? v->file_system : "without a file system", v->mount_point ? v->mount_point : "no place");
        return err_hint(e, "Leave out what differs, to use it as it is, or choose another label.");
    }
    memcpy(p->id, v->id, UUID_LEN);
    p->found = true;
    p->layout = layout;
    p->fs = fs;
    p->done = v->mount_point ? VOLUME_MOUNTED : VOLUME_FORMATTED;
    p->capacity = v->mount_point ? v->free : capacity_of(v->size, 1);
    p->label = str_dup(v->label ? v->label : "");
    p->mount_point = v->mount_point ? str_dup(v->mount_point) : rq->mount_point ? str_dup(rq->mount_point) : c->h->ops->place(c->h, p->label ? p->label : "");
    if (!p->label || !p->mount_point)
        return err_oom(e);
    for (size_t i = 0; i < v->n_disks; i++) {
        const struct hostdisk *d = hostdisks_find(&c->disks, v->disks[i]);
        if (!d)
            return err_set(e, ERR_VOLUME, "the disk %.120s of the volume %s is gone", v->disks[i], v->id);
        int r = member_of(p, d, e);
        if (r < 0)
            return r;
        p->disks[i].begun = true;
    }
    return 0;
}

static int no_room(struct err *e, const struct hostvolume *v, uint64_t wanted)
{
    err_set(e, ERR_DISK_FULL, "the volume %.60s has %" PRIu64 " bytes free, and the disks of the job may need %" PRIu64, v->label ? v->label : v->id, v->free,
            wanted);
    return err_hint(e, "Delete jobs whose disks lie on it, or ask for a volume of other disks under another label.");
}

/* The managed volume that takes most. */
static const struct hostvolume *roomiest(const struct choice *c)
{
    const struct hostvolume *best = NULL;
    for (size_t i = 0; i < c->volumes.n; i++) {
        const struct hostvolume *v = &c->volumes.at[i];
        if (v->managed && !v->broken && !v->read_only && v->mount_point && (!best || v->free > best->free))
            best = v;
    }
    return best;
}

/* ---- a new one ---- */

static int settle(struct choice *c, struct hostdisk *const *chosen, size_t n, struct volume_plan *p, struct err *e)
{
    const struct volume_request *rq = c->rq;
    uint64_t smallest = UINT64_MAX;
    int r = crypto_uuid(p->id, e);
    for (size_t i = 0; i < n && r == 0; i++) {
        smallest = chosen[i]->size < smallest ? chosen[i]->size : smallest;
        r = member_of(p, chosen[i], e);
    }
    if (r < 0)
        return r;
    p->layout = n > 1 ? VOLUME_STRIPED : VOLUME_SINGLE;
    p->fs = rq->fs ? rq->fs : c->h->ops->fs(c->h, p->layout);
    p->style = rq->style;
    p->capacity = capacity_of(smallest, n);
    if (!c->h->ops->takes_fs(c->h, p->fs)) {
        err_set(e, ERR_UNSUPPORTED, "this host cannot make the file system %s", fs_words[p->fs]);
        return err_hint(e, "Leave \"file_system\" out, or install the program that makes it.");
    }
    if (p->style == VOLUME_MBR && (smallest > UINT64_C(2) << 40 || p->layout == VOLUME_STRIPED)) {
        err_set(e, ERR_UNSUPPORTED, "%s", p->layout == VOLUME_STRIPED ? "a striped volume needs GPT" : "an MBR reaches 2 TiB, and the disk is larger");
        return err_hint(e, "Leave \"partition_style\" out.");
    }
    char label[VOLUME_LABEL_MAX + 1] = LABEL;
    for (unsigned i = 2; !rq->label && labelled(c, label) && i <= LABELS; i++)
        snprintf(label, sizeof label, LABEL "%u", i);
    p->label = str_dup(rq->label ? rq->label : label);
    p->mount_point = rq->mount_point ? str_dup(rq->mount_point) : p->label ? c->h->ops->place(c->h, p->label) : NULL;
    return p->label && p->mount_point ? 0 : err_oom(e);
}

/* Disks that were named: of a volume that is there, or all empty. */
static int named(struct choice *c, struct volume_plan *p, struct err *e)
{
    const struct volume_request *rq = c->rq;
    struct hostdisk *chosen[VOLUME_DISKS_MAX];
    const char *volume = NULL;
    size_t n_volume = 0, n_temporary = 0;
    for (size_t i = 0; i < rq->n_disks; i++) {
        struct hostdisk *d = chosen[i] = hostdisks_find(&c->disks, rq->disks[i]);
        if (!d) {
            err_set(e, ERR_DISK_REFUSED, "there is no disk %.200s on this host, or there are several of that id", rq->disks[i]);
            return err_hint(e, "GET /v1/disks (`vmrecover disks`) lists the disks with their ids.");
        }
        n_temporary += d->role == HOSTDISK_TEMPORARY;
        if (d->volume && (!volume || !strcmp(volume, d->volume))) {
            volume = d->volume;
            n_volume++;
        }
    }
    for (size_t i = 0; i < c->volumes.n && volume; i++) {
        const struct hostvolume *v = &c->volumes.at[i];
        if (strcmp(v->id, volume) || v->n_disks != n_volume || n_volume != rq->n_disks)
            continue;
        if (rq->label && (!v->label || strcmp(v->label, rq->label))) {
            err_set(e, ERR_VOLUME, "these disks are the volume %s, whose label is %.60s and not %s", v->id, v->label ? v->label : "empty", rq->label);
            return err_hint(e, "Ask for it by its own label to use it again.");
        }
        return v->mount_point && v->free < c->wanted ? no_room(e, v, c->wanted) : use(c, v, p, e);
    }
    for (size_t i = 0; i < rq->n_disks; i++) {
        AUTO_FREE struct hostdisk_reasons *why = malloc(sizeof *why);
        if (!why)
            return err_oom(e);
        if (is_taken(c, rq->disks[i]))
            return err_set(e, ERR_DISK_REFUSED, "the disk %.120s is about to be used by another job", rq->disks[i]);
        if (!hostdisk_judge(chosen[i], true, why))
            return refuse(e, chosen[i], why);
    }
    if (n_temporary && n_temporary < rq->n_disks) {
        err_set(e, ERR_DISK_REFUSED, "temporary disks and lasting ones are not joined: the volume would be lost with the first of them");
        return err_hint(e, "Name disks of one kind.");
    }
    if ((rq->layout == VOLUME_SINGLE && rq->n_disks > 1) || (rq->layout == VOLUME_STRIPED && rq->n_disks < 2)) {
        err_set(e, ERR_VALUE, "a %s volume is made of %s", layout_words[rq->layout], rq->layout == VOLUME_SINGLE ? "one disk" : "two disks or more");
        return err_hint(e, "Leave \"layout\" out, or name other disks.");
    }
    return settle(c, chosen, rq->n_disks, p, e);
}

static bool is_free(const struct choice *c, const struct hostdisk *d)
{
    AUTO_FREE struct hostdisk_reasons *why = malloc(sizeof *why);
    return why && !is_taken(c, d->id) && hostdisk_judge(d, false, why);
}

/* The smallest disk that takes what is wanted, or else the largest. */
static struct hostdisk *best_disk(const struct choice *c)
{
    struct hostdisk *best = NULL;
    for (size_t i = 0; i < c->disks.n; i++) {
        struct hostdisk *d = &c->disks.at[i];
        if (!is_free(c, d))
            continue;
        bool enough = capacity_of(d->size, 1) >= c->wanted, best_enough = best && capacity_of(best->size, 1) >= c->wanted;
        if (!best || (enough && (!best_enough || d->size < best->size)) || (!enough && !best_enough && d->size > best->size))
            best = d;
    }
    return best;
}

/* All free disks of one size: of those groups of two or more the one with the most bytes in all. */
static size_t best_group(const struct choice *c, struct hostdisk **ret)
{
    size_t best = 0;
    uint64_t best_bytes = 0;
    for (size_t i = 0; i < c->disks.n; i++) {
        struct hostdisk *group[VOLUME_DISKS_MAX];
        size_t n = 0;
        for (size_t k = 0; k < c->disks.n && n < VOLUME_DISKS_MAX; k++)
            if (c->disks.at[k].size == c->disks.at[i].size && is_free(c, &c->disks.at[k]))
                group[n++] = &c->disks.at[k];
        if (n >= 2 && n * c->disks.at[i].size > best_bytes) {
            best = n;
            best_bytes = n * c->disks.at[i].size;
            memcpy(ret, group, sizeof group);
        }
    }
    return best;
}

static int automatic(struct choice *c, struct volume_plan *p, struct err *e)
{
    const struct volume_request *rq = c->rq;
    const struct hostvolume *there = rq->label ? labelled(c, rq->label) : roomiest(c);
    if (rq->label && there)
        return there->mount_point && there->free < c->wanted ? no_room(e, there, c->wanted) : use(c, there, p, e);
    if (there && there->free >= c->wanted && (!rq->layout || (rq->layout == VOLUME_STRIPED) == (there->n_disks > 1)))
        return use(c, there, p, e);
    struct hostdisk *chosen[VOLUME_DISKS_MAX] = {0};
    size_t n = rq->layout == VOLUME_STRIPED ? best_group(c, chosen) : (chosen[0] = best_disk(c)) ? 1 : 0;
    if (n)
        return settle(c, chosen, n, p, e);
    if (there)
        return no_room(e, there, c->wanted);
    err_set(e, ERR_DISK_REFUSED, rq->layout == VOLUME_STRIPED ? "this host has no two empty disks of one size that are free to be used"
                                                              : "this host has no empty disk that is free to be used");
    return err_hint(e, "`vmrecover disks` says for each disk why not. Attach an empty data disk, or name the disks.");
}

/* Of the very disks that are asked for? */
static bool made_of(const struct hostvolume *v, const struct volume_request *rq)
{
    size_t there = 0;
    for (size_t i = 0; i < v->n_disks; i++)
        for (size_t k = 0; k < rq->n_disks; k++)
            there += !strcmp(v->disks[i], rq->disks[k]);
    return there == v->n_disks && there == rq->n_disks;
}

int volume_plan_make(struct volume_host *h, const struct volume_request *rq, const char *const *taken, size_t n_taken, uint64_t wanted,
                     struct volume_plan *ret, struct err *e)
{
    AUTO(choice_clear) struct choice c = {.h = h, .rq = rq, .taken = taken, .n_taken = n_taken, .wanted = wanted};
    struct volume_plan p = {0};
    int r = volume_disks(h, &c.disks, e);
    if (r == 0)
        r = h->ops->volumes(h, &c.disks, &c.volumes, e);
    if (r < 0)
        return r;
    const struct hostvolume *same = rq->label ? labelled(&c, rq->label) : NULL;
    if (same && !same->managed) {
        err_set(e, ERR_VOLUME, "the volume %s has the label %s already, and vmrecover did not make it", same->device ? same->device : same->id, rq->label);
        return err_hint(e, "Choose another label.");
    }
    if (same && rq->n_disks && !made_of(same, rq)) {
        err_set(e, ERR_VOLUME, "the volume %s has the label %s already, and is made of other disks", same->id, rq->label);
        return err_hint(e, "Leave the disks out to use it, or choose another label.");
    }
    r = rq->n_disks ? named(&c, &p, e) : automatic(&c, &p, e);
    if (r < 0) {
        volume_plan_clear(&p);
        return r;
    }
    *ret = p;
    return 0;
}

/* ---- in the database ---- */

json_t *volume_plan_json(const struct volume_plan *p)
{
    json_t *disks = json_array();
    bool failed = !disks;
    for (size_t i = 0; i < p->n_disks && !failed; i++) {
        const struct volume_member *m = &p->disks[i];
        json_t *one = json_pack("{s:s, s:s, s:s, s:I, s:i, s:b}", "id", m->id, "serial", m->serial, "moment", m->moment, "size", (json_int_t)m->size,
                                "sector", (int)m->sector, "begun", m->begun);
        failed = !one || json_array_append_new(disks, one) < 0;
    }
    json_t *o = failed ? NULL
                       : json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:O}", "id", p->id, "found", p->found, "layout", layout_words[p->layout],
                                   "file_system", fs_words[p->fs], "partition_style", style_words[p->style], "label", p->label, "mount_point",
                                   p->mount_point, "capacity", (json_int_t)p->capacity, "done", (int)p->done, "disks", disks);
    json_decref(disks);
    return o;
}

static void keep(struct json_in *in, char **to, const char *s)
{
    if (!in->e->code && s && !(*to = str_dup(s)))
        err_oom(in->e);
}

static void parse_member(struct json_in *root, size_t i, struct volume_member *m)
{
    struct json_in in = json_in_element(root, "disks", i);
    keep(&in, &m->id, json_in_string(&in, "id", "", 1024));
    json_t *serial = json_object_get(in.object, "serial"), *moment = json_object_get(in.object, "moment");      /* may be empty */
    keep(&in, &m->serial, json_is_string(serial) ? json_string_value(serial) : "");
    keep(&in, &m->moment, json_is_string(moment) ? json_string_value(moment) : "");
    m->size = (uint64_t)json_in_int(&in, "size", 0, 0, INT64_MAX);
    m->sector = (uint32_t)json_in_int(&in, "sector", 512, 512, 1 << 20);
    m->begun = json_in_bool(&in, "begun", false);
}

int volume_plan_parse(json_t *o, struct volume_plan *ret, struct err *e)
{
    struct volume_plan p = {0};
    struct json_in in = json_in_root(o, e);
    const char *id = json_in_string(&in, "id", "", UUID_LEN);
    if (crypto_is_uuid(id))
        memcpy(p.id, id, UUID_LEN);
    else
        json_in_fail(&in, "id", ERR_VALUE, "must be a UUID");
    p.found = json_in_bool(&in, "found", false);
    p.layout = (enum volume_layout)json_in_enum(&in, "layout", layout_words, VOLUME_SINGLE);
    p.fs = (enum volume_fs)json_in_enum(&in, "file_system", fs_words, VOLUME_FS_AUTO);
    p.style = (enum volume_style)json_in_enum(&in, "partition_style", style_words, VOLUME_GPT);
    keep(&in, &p.label, json_string_value(json_object_get(o, "label")));
    keep(&in, &p.mount_point, json_in_string(&in, "mount_point", "", 4096));
    p.capacity = (uint64_t)json_in_int(&in, "capacity", 0, 0, INT64_MAX);
    p.done = (enum volume_step)json_in_int(&in, "done", 0, 0, VOLUME_MOUNTED);
    size_t n = json_array_size(json_in_array(&in, "disks", 0, VOLUME_DISKS_MAX));
    for (; p.n_disks < n; p.n_disks++)
        parse_member(&in, p.n_disks, &p.disks[p.n_disks]);
    if (!e->code && !p.label)
        json_in_fail(&in, "label", ERR_MISSING, "is missing");
    if (e->code) {
        int r = -(int)e->code;
        volume_plan_clear(&p);
        return r;
    }
    *ret = p;
    return 0;
}
