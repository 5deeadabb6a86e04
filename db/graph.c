/*  preflight --> export[disk] --> download[disk] --> create_vm --> start_vm
 *          \---> volume ------------^
 * A task that need not run is born SKIPPED. Nobody waits for it: what it would have waited for is passed on to those behind
 * it, so a download whose export is skipped still waits for the preflight. */
#include "db/state.h"

static const struct { enum task_kind kind, needs; } edges[] = {
    {TASK_EXPORT, TASK_PREFLIGHT}, {TASK_VOLUME, TASK_PREFLIGHT},   {TASK_DOWNLOAD, TASK_EXPORT},
    {TASK_DOWNLOAD, TASK_VOLUME},  {TASK_CREATE_VM, TASK_DOWNLOAD}, {TASK_START_VM, TASK_CREATE_VM},
};

/* In graph order: what a kind waits for stands before it. */
static const struct { enum task_kind kind; bool per_disk; } kinds[] = {
    {TASK_PREFLIGHT, false}, {TASK_EXPORT, true},     {TASK_VOLUME, false},
    {TASK_DOWNLOAD, true},   {TASK_CREATE_VM, false}, {TASK_START_VM, false},
};
#define NODES_MAX (4 + 2 * SPEC_DISKS_MAX)

struct node {
    enum task_kind kind;
    int disk;
    bool skipped;
    uint32_t needs;                                  /* bit per node that runs and must succeed first */
    int64_t id;
};

static bool is_skipped(const struct spec *s, enum task_kind kind, int disk)
{
    if (kind > s->until)
        return true;
    switch (kind) {
    case TASK_EXPORT: return true;                   /* every source that there is can be read as it is */
    case TASK_VOLUME: return true;
    case TASK_DOWNLOAD: return s->disks[disk].type == SOURCE_FILE;
    case TASK_START_VM: return !s->vm.start;
    default: return false;
    }
}

static uint32_t needs_of(const struct node *nodes, size_t n, enum task_kind kind, int disk)
{
    uint32_t needs = 0;
    for (size_t i = 0; i < ARRAY_LEN(edges); i++)
        for (size_t k = 0; edges[i].kind == kind && k < n; k++)
            if (nodes[k].kind == edges[i].needs && (nodes[k].disk == disk || nodes[k].disk < 0 || disk < 0))
                needs |= nodes[k].skipped ? nodes[k].needs : UINT32_C(1) << k;
    return needs;
}

int graph_insert(struct db *db, int64_t seq, const struct spec *s, struct err *e)
{
    struct node nodes[NODES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int first = kinds[i].per_disk ? 0 : -1, last = kinds[i].per_disk ? (int)s->n_disks - 1 : -1;
        for (int disk = first; disk <= last; disk++, n++)
            nodes[n] = (struct node){.kind = kinds[i].kind, .disk = disk, .skipped = is_skipped(s, kinds[i].kind, disk),
                                     .needs = needs_of(nodes, n, kinds[i].kind, disk)};
    }
    for (size_t i = 0; i < n; i++) {
        struct node *t = &nodes[i];
        int r = sql_run(db, e, "INSERT INTO task (job, kind, disk, lane, state, unmet) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", SI(seq),
                        SS(task_kind_name(t->kind)), SI(t->disk), SS(task_lane_name(task_kind_lane(t->kind))),
                        SS(task_state_name(t->skipped ? TASK_SKIPPED : TASK_PENDING)), SI(t->skipped ? 0 : __builtin_popcount(t->needs)));
        if (r < 0)
            return r;
        t->id = sqlite3_last_insert_rowid(db->conn);
        for (size_t k = 0; !t->skipped && k < i; k++)
            if (t->needs >> k & 1 && (r = sql_run(db, e, "INSERT INTO task_need (needs, task) VALUES (?1, ?2)", SI(nodes[k].id), SI(t->id))) < 0)
                return r;
    }
    return 0;
}
