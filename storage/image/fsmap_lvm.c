/* LVM2 volume groups: which extents of this disk's physical volumes belong to which logical volume.
 *
 * Believed when all of the group's physical volumes that are on this disk have the same metadata, no extent is given out twice, and nothing
 * in it is unknown: then extents of no logical volume are free, and a logical volume that is linear or striped, visible, used by no other
 * one (snapshot, thin pool, cache, RAID, move) and wholly on this disk is judged like a partition. Every other one is in use.
 * Source: lvm2, lib/format_text/export.c and flags.c. */
#include <stdio.h>
#include <string.h>

#include "storage/image/fsmap_lvm.h"

#define USES_MAX 65536
#define PIECES_MAX 4096
#define GROUP_PVS_MAX 256
#define EXTENTS_MAX (UINT64_C(1) << 32)

struct member {                                      /* a physical volume as the group's metadata has it */
    const struct lvm_node *node;
    struct lvm_pv *pv;                               /* NULL: on another disk */
    uint64_t at, count;                              /* bytes of the partition, extents */
    struct fsmap_list used;                          /* extents */
};

struct lv {
    const struct lvm_node *node;
    bool opaque;
    const char *why;
};

struct group {
    const struct lvm_text *t;
    const struct lvm_node *node, *lvs_node;
    uint64_t extent;                                 /* bytes */
    struct member *members;
    size_t n_members;
    struct lv *lvs;
    size_t n_lvs;
    size_t uses;
    const char *why;
    const struct lvm_sink *sink;
};

static int refuse(struct group *g, const char *why)
{
    g->why = why;
    return FSMAP_IN_USE;
}

static struct member *member_named(struct group *g, const struct lvm_node *name)
{
    for (size_t i = 0; i < g->n_members; i++)
        if (lvm_named(name, g->members[i].node->name, g->members[i].node->name_length))
            return &g->members[i];
    return NULL;
}

static void make_opaque(struct group *g, const struct lvm_node *name, const char *why)
{
    for (size_t i = 0; i < g->n_lvs; i++)
        if (lvm_named(name, g->lvs[i].node->name, g->lvs[i].node->name_length)) {
            g->lvs[i].opaque = true;
            g->lvs[i].why = why;
        }
}

/* "gCYgXr-530b-…": the same 32 characters that the header has, with dashes. */
static bool same_id(const struct lvm_node *id, const uint8_t uuid[32])
{
    size_t k = 0;
    if (!id)
        return false;
    for (uint32_t i = 0; i < id->text_length; i++)
        if (id->text[i] != '-' && (k == 32 || (uint8_t)id->text[i] != uuid[k++]))
            return false;
    return k == 32;
}

static int members_read(struct group *g, struct lvm_pv *pvs, size_t n, struct err *e)
{
    static const char *const status[] = {"ALLOCATABLE", NULL}, *const flags[] = {NULL};
    const struct lvm_node *all = lvm_find(g->t, g->node, "physical_volumes", LVM_SECTION);
    for (uint32_t i = all ? all->child : 0; i; i = g->t->nodes[i].next)
        g->n_members++;
    if (!g->n_members || g->n_members > GROUP_PVS_MAX)
        return refuse(g, "its group has no physical volumes, or too many");
    if (!(g->members = calloc(g->n_members, sizeof *g->members)))
        return err_oom(e);
    size_t k = 0;
    for (uint32_t i = all->child; i; i = g->t->nodes[i].next, k++) {
        struct member *m = &g->members[k];
        uint64_t pe_start, dev_size;
        m->node = &g->t->nodes[i];
        if (m->node->kind != LVM_SECTION || !lvm_only(g->t, m->node, "status", status) || !lvm_only(g->t, m->node, "flags", flags))
            return refuse(g, "its group has a physical volume that is missing or of an unknown kind");
        if (!lvm_number(g->t, m->node, "pe_start", INT64_MAX / 512, &pe_start) || !lvm_number(g->t, m->node, "pe_count", EXTENTS_MAX, &m->count) ||
            !lvm_number(g->t, m->node, "dev_size", INT64_MAX / 512, &dev_size))
            return refuse(g, "its group's metadata lacks a physical volume's size");
        m->at = pe_start * 512;
        for (size_t p = 0; p < n; p++)
            if (same_id(lvm_find(g->t, m->node, "id", LVM_STRING), pvs[p].uuid))
                m->pv = m->pv ? NULL : &pvs[p];
        if (!m->pv)
            continue;
        for (size_t other = 0; other < k; other++)
            if (g->members[other].pv == m->pv)
                return refuse(g, "its group has the same physical volume twice");
        uint64_t size = m->pv->end - m->pv->start;
        if (m->at != m->pv->data_at || m->at > size || m->count > (size - m->at) / g->extent || dev_size * 512 > size)
            return refuse(g, "its extents do not fit the physical volume");
    }
    return 0;
}

/* Notes the extents that a segment of a linear or striped volume takes. */
static int stripes_use(struct group *g, const struct lvm_node *segment, uint64_t extents, uint64_t stripes, struct err *e)
{
    const struct lvm_node *array = lvm_find(g->t, segment, "stripes", LVM_ARRAY);
    uint64_t seen = 0, each = extents / stripes;
    for (uint32_t i = array ? array->child : 0; i; i = g->t->nodes[i].next) {
        const struct lvm_node *name = &g->t->nodes[i];
        i = name->next;
        const struct lvm_node *from = i ? &g->t->nodes[i] : NULL;
        struct member *m = member_named(g, name);
        if (name->kind != LVM_STRING || !from || from->kind != LVM_NUMBER || ++g->uses > USES_MAX)
            return refuse(g, "its group's metadata has stripes that make no sense");
        seen++;
        if (!m)
            continue;                                /* another logical volume: segment_read made both opaque */
        if (from->number > m->count || each > m->count - from->number)
            return refuse(g, "its group's metadata gives out extents that are not there");
        if (!list_add(&m->used, from->number, from->number + each))
            return err_oom(e);
    }
    return seen == stripes ? 0 : refuse(g, "its group's metadata has stripes that make no sense");
}

/* Strings in what is not understood: names of logical volumes make those opaque, one of a physical volume ends it. */
static int names_in(struct group *g, const struct lvm_node *in, unsigned depth)
{
    for (uint32_t i = in->child; i; i = g->t->nodes[i].next) {
        const struct lvm_node *n = &g->t->nodes[i];
        if (n->kind == LVM_STRING) {
            if (member_named(g, n))
                return refuse(g, "its group has a segment of an unknown type on a physical volume");
            make_opaque(g, n, "another logical volume is made of it");
        }
        if (depth < 8 && n->child && names_in(g, n, depth + 1))
            return FSMAP_IN_USE;
    }
    return 0;
}

static bool is_plain(const struct group *g, const struct lvm_node *segment)
{
    const struct lvm_node *type = lvm_find(g->t, segment, "type", LVM_STRING);
    return lvm_is(type, "striped") || lvm_is(type, "linear");
}

static int segment_read(struct group *g, struct lv *lv, const struct lvm_node *segment, struct err *e)
{
    uint64_t extents, stripes;
    if (!is_plain(g, segment)) {
        lv->opaque = true;
        lv->why = "it is not linear or striped";
        return names_in(g, segment, 0);
    }
    if (!lvm_number(g->t, segment, "extent_count", EXTENTS_MAX, &extents) || !lvm_number(g->t, segment, "stripe_count", STRIPES_MAX, &stripes) || !stripes ||
        !extents || extents % stripes)
        return refuse(g, "its group has a segment whose size makes no sense");
    const struct lvm_node *array = lvm_find(g->t, segment, "stripes", LVM_ARRAY);
    for (uint32_t i = array ? array->child : 0; i; i = g->t->nodes[i].next)
        if (g->t->nodes[i].kind == LVM_STRING && !member_named(g, &g->t->nodes[i])) {
            lv->opaque = true;
            lv->why = "it is made of another logical volume";
            make_opaque(g, &g->t->nodes[i], "another logical volume is made of it");
        }
    return stripes_use(g, segment, extents, stripes, e);
}

static bool is_segment(const struct lvm_node *n)
{
    return n->kind == LVM_SECTION && n->name_length > 7 && !memcmp(n->name, "segment", 7);
}

static int lvs_read(struct group *g, struct err *e)
{
    static const char *const status[] = {"READ", "WRITE", "VISIBLE", NULL}, *const flags[] = {"ACTIVATION_SKIP", NULL};
    for (uint32_t i = g->lvs_node ? g->lvs_node->child : 0; i; i = g->t->nodes[i].next)
        g->n_lvs++;
    if (g->n_lvs > LVM_LVS_MAX)
        return refuse(g, "its group has too many logical volumes");
    if (g->n_lvs && !(g->lvs = calloc(g->n_lvs, sizeof *g->lvs)))
        return err_oom(e);
    size_t k = 0;
    for (uint32_t i = g->lvs_node ? g->lvs_node->child : 0; i; i = g->t->nodes[i].next)
        g->lvs[k++].node = &g->t->nodes[i];
    for (k = 0; k < g->n_lvs; k++) {
        struct lv *lv = &g->lvs[k];
        uint64_t count, seen = 0;
        if (lv->node->kind != LVM_SECTION || lv->node->name_length > LVM_NAME_MAX || !lvm_number(g->t, lv->node, "segment_count", USES_MAX, &count))
            return refuse(g, "its group has a logical volume that makes no sense");
        if (!lvm_only(g->t, lv->node, "status", status) || !lvm_only(g->t, lv->node, "flags", flags)) {
            lv->opaque = true;
            lv->why = "it is hidden, locked or of an unknown kind";
        }
        for (uint32_t i = lv->node->child; i; i = g->t->nodes[i].next) {
            if (!is_segment(&g->t->nodes[i]))
                continue;
            seen++;
            int r = segment_read(g, lv, &g->t->nodes[i], e);
            if (r)
                return r;
        }
        if (seen != count)
            return refuse(g, "its group has a logical volume that lacks segments");
    }
    return 0;
}

/* No extent twice: the sorted list has as many as were given out. */
static int check_apart(struct group *g)
{
    for (size_t i = 0; i < g->n_members; i++) {
        uint64_t before = list_bytes(&g->members[i].used);
        list_sort(&g->members[i].used);
        if (list_bytes(&g->members[i].used) != before)
            return refuse(g, "its group gives out an extent twice");
    }
    return 0;
}

static int group_open(struct group *g, struct lvm_pv *pvs, size_t n, struct err *e)
{
    static const char *const status[] = {"RESIZEABLE", "READ", "WRITE", NULL}, *const flags[] = {NULL};
    uint64_t sectors;
    const struct lvm_node *root = &g->t->nodes[0];
    if (!lvm_is(lvm_find(g->t, root, "contents", LVM_STRING), "Text Format Volume Group"))
        return refuse(g, "its metadata is of an unknown kind");
    for (uint32_t i = root->child; i; i = g->t->nodes[i].next)
        if (g->t->nodes[i].kind == LVM_SECTION) {
            if (g->node)
                return refuse(g, "its metadata describes two groups");
            g->node = &g->t->nodes[i];
        }
    if (!g->node || g->node->name_length > LVM_NAME_MAX || !lvm_is(lvm_find(g->t, g->node, "format", LVM_STRING), "lvm2"))
        return refuse(g, "its metadata describes no group");
    if (!lvm_only(g->t, g->node, "status", status) || !lvm_only(g->t, g->node, "flags", flags))
        return refuse(g, "its group is exported, shared or of an unknown kind");
    if (!lvm_number(g->t, g->node, "extent_size", UINT64_C(1) << 32, &sectors) || !sectors)
        return refuse(g, "its metadata lacks the size of an extent");
    g->extent = sectors * 512;
    g->lvs_node = lvm_find(g->t, g->node, "logical_volumes", LVM_SECTION);
    int r = members_read(g, pvs, n, e);
    if (!r)
        r = lvs_read(g, e);
    return r ? r : check_apart(g);
}

/* ---- what follows from it ---- */

static int pieces_compare(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* One segment as a piece; *ret_here is false if some of it is on another disk. */
static bool piece_make(struct group *g, const struct lvm_node *segment, struct piece *ret, bool *ret_here)
{
    uint64_t start, extents, stripes, chunk = 0;
    if (!lvm_number(g->t, segment, "start_extent", EXTENTS_MAX, &start) || !lvm_number(g->t, segment, "extent_count", EXTENTS_MAX, &extents) ||
        !lvm_number(g->t, segment, "stripe_count", STRIPES_MAX, &stripes))
        return false;
    if (stripes > 1 && (!lvm_number(g->t, segment, "stripe_size", UINT64_C(1) << 32, &chunk) || !chunk || g->extent % (chunk * 512)))
        return false;
    if (start + extents > INT64_MAX / g->extent)
        return false;
    *ret = (struct piece){.at = start * g->extent, .length = extents * g->extent, .stripes = (unsigned)stripes, .stripe_bytes = chunk * 512};
    unsigned k = 0;
    const struct lvm_node *array = lvm_find(g->t, segment, "stripes", LVM_ARRAY);
    for (uint32_t i = array ? array->child : 0; i && k < stripes; i = g->t->nodes[g->t->nodes[i].next].next, k++) {
        const struct member *m = member_named(g, &g->t->nodes[i]);
        if (!m || !m->pv)
            *ret_here = false;
        else
            ret->disk[k] = m->pv->start + m->at + g->t->nodes[g->t->nodes[i].next].number * g->extent;
    }
    return k == stripes;
}

/* The bytes of the logical volume that lie on this disk, and a physical volume with some of them. */
static uint64_t bytes_here(struct group *g, const struct lv *lv, const struct lvm_pv **ret_pv)
{
    uint64_t bytes = 0, extents, stripes;
    for (uint32_t i = lv->node->child; i; i = g->t->nodes[i].next) {
        const struct lvm_node *segment = &g->t->nodes[i];
        if (!is_segment(segment) || !is_plain(g, segment) || !lvm_number(g->t, segment, "extent_count", EXTENTS_MAX, &extents) ||
            !lvm_number(g->t, segment, "stripe_count", STRIPES_MAX, &stripes))
            continue;
        const struct lvm_node *array = lvm_find(g->t, segment, "stripes", LVM_ARRAY);
        for (uint32_t k = array ? array->child : 0; k; k = g->t->nodes[k].next) {
            const struct member *m = member_named(g, &g->t->nodes[k]);
            if (m && m->pv) {
                bytes += extents / stripes * g->extent;
                *ret_pv = m->pv;
            }
        }
    }
    return bytes;
}

static int lv_tell(struct group *g, struct lv *lv, struct err *e)
{
    char name[2 * LVM_NAME_MAX + 2];
    const struct lvm_pv *pv = NULL;
    uint64_t bytes = bytes_here(g, lv, &pv), at = 0;
    snprintf(name, sizeof name, "%.*s/%.*s", (int)g->node->name_length, g->node->name, (int)lv->node->name_length, lv->node->name);
    if (!pv)
        return 0;                                    /* nothing of it is here */
    if (lv->opaque)
        return g->sink->in_use(g->sink->arg, pv, name, bytes, lv->why, e);
    AUTO_FREE struct piece *pieces = NULL;
    size_t n = 0, size = 0;
    bool here = true, good = true;
    for (uint32_t i = lv->node->child; i && good; i = g->t->nodes[i].next) {
        if (!is_segment(&g->t->nodes[i]))
            continue;
        if (n == size) {
            size = size ? size * 2 : 8;
            void *p = size > PIECES_MAX ? NULL : realloc(pieces, size * sizeof *pieces);
            if (!p)
                return size > PIECES_MAX ? g->sink->in_use(g->sink->arg, pv, name, bytes, "it lies in too many pieces", e) : err_oom(e);
            pieces = p;
        }
        good = piece_make(g, &g->t->nodes[i], &pieces[n++], &here);
    }
    if (good && n)
        qsort(pieces, n, sizeof *pieces, pieces_compare);
    for (size_t i = 0; good && i < n; at += pieces[i++].length)
        good = pieces[i].at == at;
    if (!good || !here)
        return g->sink->in_use(g->sink->arg, pv, name, bytes, here ? "its segments make no sense" : "a part of it is on another disk", e);
    return g->sink->volume(g->sink->arg, pv, name, pieces, n, e);
}

static int member_tell(struct group *g, const struct member *m, struct err *e)
{
    AUTO_LIST struct fsmap_list free = {0};
    uint64_t at = 0, base = m->pv->start + m->at;
    for (size_t i = 0; i <= m->used.n; i++) {
        uint64_t to = i < m->used.n ? m->used.list[i].start : m->count;
        if (at < to && !list_add(&free, base + at * g->extent, base + to * g->extent))
            return err_oom(e);
        at = i < m->used.n ? m->used.list[i].end : at;
    }
    return g->sink->rest(g->sink->arg, m->pv, m->pv->end - m->pv->start - list_bytes(&m->used) * g->extent, &free, "", e);
}

static int group_tell(struct group *g, struct err *e)
{
    int r = 0;
    for (size_t i = 0; !r && i < g->n_members; i++)
        if (g->members[i].pv)
            r = member_tell(g, &g->members[i], e);
    for (size_t i = 0; !r && i < g->n_lvs; i++)
        r = lv_tell(g, &g->lvs[i], e);
    return r;
}

/* All volumes from pvs[first] on that have the same metadata; those told are marked by taking their text. */
static int group_judge(struct lvm_pv *pvs, size_t n, size_t first, const struct lvm_sink *sink, struct err *e)
{
    struct lvm_text text = {0};
    const char *why = NULL;
    char reason[160] = "";
    struct group g = {.t = &text, .sink = sink};
    AUTO_FREE char *source = STEAL(pvs[first].text);
    size_t length = pvs[first].text_length;
    int r = 0;
    bool parsed = lvm_text_parse(source, length, &text, &why);
    if (parsed)
        r = group_open(&g, pvs, n, e);
    else
        snprintf(reason, sizeof reason, "its metadata cannot be read: %s", why ? why : "unknown");
    if (r == FSMAP_IN_USE)
        snprintf(reason, sizeof reason, "%s", g.why);
    bool mine = false;
    for (size_t i = 0; i < g.n_members && !r && parsed; i++) {         /* every member here has this very text */
        struct lvm_pv *pv = g.members[i].pv;
        mine = mine || pv == &pvs[first];
        if (pv && pv != &pvs[first] && (!pv->text || pv->text_length != length || memcmp(pv->text, source, length)))
            snprintf(reason, sizeof reason, "the physical volumes of its group do not have the same metadata");
    }
    if (!r && parsed && !reason[0] && !mine)
        snprintf(reason, sizeof reason, "its group does not know it, or there are two of it");
    if (r >= 0 && !reason[0]) {
        r = group_tell(&g, e);
        for (size_t i = 0; i < g.n_members; i++)
            if (g.members[i].pv) {
                free(g.members[i].pv->text);
                g.members[i].pv->text = NULL;
                g.members[i].pv->text_length = 0;
                g.members[i].pv->reason[0] = 0;
                g.members[i].pv->told = true;
            }
    } else if (r >= 0) {
        r = sink->rest(sink->arg, &pvs[first], pvs[first].end - pvs[first].start, &(struct fsmap_list){0}, reason, e);
        pvs[first].told = true;
    }
    for (size_t i = 0; i < g.n_members; i++)
        list_free(&g.members[i].used);
    free(g.members);
    free(g.lvs);
    free(text.nodes);
    return r;
}

int lvm_judge(struct lvm_pv *pvs, size_t n, const struct lvm_sink *sink, struct err *e)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        if (pvs[i].told)
            continue;
        if (!pvs[i].text)
            r = sink->rest(sink->arg, &pvs[i], pvs[i].end - pvs[i].start, &(struct fsmap_list){0}, pvs[i].reason, e);
        else
            r = group_judge(pvs, n, i, sink, e);
    }
    return r;
}
