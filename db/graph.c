/*  preflight --> export[disk] --> download[disk] --> create_vm --> start_vm
 *          \---> volume ------------^
 * The export of a VM's data disk waits for that of its OS disk, which takes the snapshots of all of them.
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

static bool is_skipped(const struct spec *s, enum task_kind kind, const struct graph_disk *disk)
{
    if (kind > s->until)
        return true;
    switch (kind) {
    case TASK_EXPORT: return !source_is_arm(disk->type) || s->until == TASK_VOLUME;      /* the volume waits for no access */
    case TASK_VOLUME: return !s->volume;
    case TASK_DOWNLOAD: return disk->type == SOURCE_FILE;
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

static size_t lay_out(const struct spec *s, const struct graph_disk *disks, size_t n_disks, struct node *nodes)
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        int first = kinds[i].per_disk ? 0 : -1, last = kinds[i].per_disk ? (int)n_disks - 1 : -1;
        size_t kind_at = n;
        for (int disk = first; disk <= last; disk++, n++) {
            nodes[n] = (struct node){.kind = kinds[i].kind, .disk = disk, .skipped = is_skipped(s, kinds[i].kind, disk < 0 ? NULL : &disks[disk]),
                                     .needs = needs_of(nodes, n, kinds[i].kind, disk)};
            if (kinds[i].kind == TASK_EXPORT && disks[disk].origin != (unsigned)disk && !nodes[kind_at + disks[disk].origin].skipped)
                nodes[n].needs |= UINT32_C(1) << (kind_at + disks[disk].origin);
        }
    }
    return n;
}

/* Those that have an id are there already. */
static int insert_nodes(struct db *db, int64_t seq, struct node *nodes, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct node *t = &nodes[i];
        if (t->id)
            continue;
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

int graph_insert(struct db *db, int64_t seq, const struct spec *s, const struct graph_disk *disks, size_t n_disks, struct err *e)
{
    struct node nodes[NODES_MAX];
    return insert_nodes(db, seq, nodes, lay_out(s, disks, n_disks, nodes), e);
}

int graph_replace(struct db *db, int64_t seq, const struct spec *s, const struct graph_disk *disks, size_t n_disks, struct err *e)
{
    struct node nodes[NODES_MAX];
    int64_t preflight, started;
    int r;
    size_t n = lay_out(s, disks, n_disks, nodes);
    if ((r = sql_int(db, &preflight, e, "SELECT id FROM task WHERE job = ?1 AND kind = 'preflight' AND state = 'running'", SI(seq))) < 0 ||
        (r = sql_int(db, &started, e, "SELECT count(*) FROM task WHERE job = ?1 AND kind <> 'preflight'"
                     " AND kind NOT IN " KINDS_ASKED_LATER " AND started_at_ms > 0",
                     SI(seq))) < 0)
        return r;
    if (!preflight || started)
        return err_set(e, ERR_INTERNAL, "the disks of a job can be changed by its preflight alone");
    if ((r = sql_run(db, e, "DELETE FROM task WHERE job = ?1 AND kind <> 'preflight' AND kind NOT IN " KINDS_ASKED_LATER, SI(seq))) < 0)
        return r;
    nodes[0].id = preflight;
    return insert_nodes(db, seq, nodes, n, e);
}
