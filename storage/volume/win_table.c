/* A disk by itself: looked at, brought online, given a table with one partition, and emptied again.
 *
 * What tells that a disk is ours is the GUID of its table (its number, with an MBR): Windows makes one up when it initialises a disk, and ours is set right
 * after. A death between the two leaves a table without any partition for data on a disk that was empty a moment before: that is taken for ours too, as long
 * as the rest of it is still empty, for nobody can have anything on it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/mark.h"
#include "storage/volume/win.h"

#define ALIGN 4096
#define ZERO_MS (7u * 24 * 3600 * 1000)              /* writing zeros to a large slow disk */
#define HEAD_END ((uint64_t)256 << 20)               /* the partition begins before that: behind a reserved one of 16 to 128 MiB */
#define TAIL_BYTES ((uint64_t)8 << 20)
#define GPT_DATA "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"
#define MBR_IFS 7u

/* ---- its bytes ---- */

struct raw { struct win_host *h; struct win_raw *r; };

static int raw_open(struct win_host *h, const char *device, bool write, struct raw *ret, struct err *e)
{
    *ret = (struct raw){h, NULL};
    return h->p->ops->raw_open(h->p->arg, device, write, &ret->r, e);
}

static void raw_close(struct raw *r)
{
    if (r->r)
        r->h->p->ops->raw_close(r->r);
    r->r = NULL;
}

static int raw_read(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct raw *r = arg;
    if (win_stopped(r->h))
        return err_set(e, ERR_CANCELLED, "stopped");
    return r->h->p->ops->raw_read(r->r, buf, n, offset, e);
}

static int look(struct win_host *h, struct hostdisk *d, unsigned turn, bool between, struct err *e)
{
    AUTO(raw_close) struct raw raw = {0};
    struct err why;
    d->blank = HOSTDISK_NOT_READ;
    int r = raw_open(h, d->device, false, &raw, &why);
    if (r < 0) {
        free(d->unreadable);
        return (d->unreadable = str_dup(why.msg)) ? 0 : err_oom(e);
    }
    r = between ? hostdisk_look_between(d, turn, raw_read, &raw, e) : hostdisk_look(d, turn, raw_read, &raw, e);
    return r == 0 && win_stopped(h) ? err_set(e, ERR_CANCELLED, "stopped") : r;
}

/* The device of this disk at present; NULL when it has none. */
static int device_now(struct win_host *h, const struct hostdisk *d, char **ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL;
    int r = win_find(h, d->id, &disk, &physical, e);
    *ret = NULL;
    if (r < 0 || !disk)
        return r;
    return (*ret = str_printf(WIN_DEVICE "%u", (unsigned)wmi_uint(disk, "Number", 0))) ? 0 : err_oom(e);
}

/* Numbers can be dealt anew at any time. Before something is written on the strength of a look it must have been at the right disk: its number is asked for
 * before and after. */
int win_look(struct win_host *h, struct hostdisk *d, unsigned turn, bool between, struct err *e)
{
    AUTO_FREE char *before = NULL, *after = NULL;
    if (!d->id || turn == 0)
        return look(h, d, turn, between, e);
    int r = device_now(h, d, &before, e);
    if (r < 0)
        return r;
    if (before) {
        free(d->device);
        d->device = STEAL(before);
    }
    if ((r = look(h, d, turn, between, e)) < 0 || (r = device_now(h, d, &after, e)) < 0 || !after || !strcmp(after, d->device))
        return r;
    d->blank = HOSTDISK_NOT_READ;
    return err_set(e, ERR_VOLUME, "Windows gave the disk %.120s another number while it was read", d->id);
}

/* ---- attributes ---- */

static int set_attribute(struct win_host *h, const char *what, const struct wmi_object *disk, const char *name, bool value, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_Disk", "SetAttributes", &in, e);
    if (r == 0)
        r = wmi_put_bool(in, name, value, e);
    return r < 0 ? r : win_exec(h, what, disk, "SetAttributes", in, WIN_CHANGE_MS, e);
}

/* Offline again, as it was found. */
static int back_offline(struct win_host *h, const char *id, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL;
    int r = win_find(h, id, &disk, &physical, e);
    return r < 0 || !disk ? r : win_exec(h, "taking a disk offline again", disk, "Offline", NULL, WIN_CHANGE_MS, e);
}

/* As it is now that it is online, in place of d. */
static int read_anew(struct win_host *h, struct hostdisk *d, struct err *e)
{
    AUTO(hostdisks_clear) struct hostdisks l = {0};
    int r = win_refresh(h, e);
    if (r == 0)
        r = win_disks(h, &l, e);
    hostdisks_mark_ambiguous(&l);
    struct hostdisk *now = r == 0 ? hostdisks_find(&l, d->id) : NULL;
    if (r == 0 && !now)
        return err_set(e, ERR_DISK_REFUSED, "the disk %.200s vanished when it was brought online", d->id);
    if (r < 0)
        return r;
    struct hostdisk old = *d;
    *d = *now;
    *now = old;
    return 0;
}

/* Its bytes are read before anything else: most often they tell already, and it can stay as it is. Online it is read-only first, by the same policy that
 * had taken it offline, so that no file system on it is touched. */
int win_online(struct win_host *h, struct hostdisk *d, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL;
    if (!hostdisk_worth_a_look(d, true))
        return 0;
    int r = win_look(h, d, 1, false, e);
    if (r < 0)
        return r;
    if (d->blank == HOSTDISK_NOT_BLANK) {             /* that speaks against it, not that it is offline */
        d->offline = d->read_only = false;
        return 0;
    }
    free(STEAL(d->unreadable));                       /* some disks are read only when they are online */
    if ((r = win_find(h, d->id, &disk, &physical, e)) < 0 || !disk)
        return r;
    AUTO_FREE char *what = str_printf("bringing the disk %.120s online", d->id);
    if (!what)
        return err_oom(e);
    if ((r = win_exec(h, what, disk, "Online", NULL, WIN_CHANGE_MS, e)) < 0)
        return r;
    if ((r = read_anew(h, d, e)) == 0) {
        d->read_only = false;
        if (hostdisk_worth_a_look(d, true))
            r = win_look(h, d, 1, false, e);
    }
    struct err why;
    bool keep = r == 0 && d->blank == HOSTDISK_BLANK;
    if (!keep && back_offline(h, d->id, r < 0 ? &why : e) < 0 && r == 0)
        r = -(int)e->code;
    return r;
}

/* ---- the table ---- */

static int guid_of(const struct volume_plan *p, unsigned k, char ret[UUID_LEN + 2], struct err *e)
{
    char guid[UUID_LEN];
    int r = volume_guid(p->id, "disk", k, guid, e);
    if (r == 0)
        snprintf(ret, UUID_LEN + 2, "{%s}", guid);
    return r;
}

static int is_ours(const struct volume_plan *p, const struct wmi_object *disk, bool *ret, struct err *e)
{
    AUTO_FREE char *now = wmi_str(disk, "Guid");
    char guid[UUID_LEN + 2];
    uint32_t number;
    int r = guid_of(p, 0, guid, e);
    if (r < 0 || (r = mark_mbr_id(p, &number, e)) < 0)
        return r;
    *ret = p->style == VOLUME_MBR ? (uint32_t)wmi_uint(disk, "Signature", 0) == number : now && str_ieq(now, guid);
    return 0;
}

static uint64_t style_of(const struct volume_plan *p)
{
    return p->style == VOLUME_MBR ? 1 : 2;
}

int win_table_mine(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, enum volume_mine *ret, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL, *partition = NULL;
    size_t n = 0;
    bool ours = false;
    *ret = VOLUME_FOREIGN;
    int r = win_find(h, d->id, &disk, &physical, e);
    if (r < 0 || !disk || d->pooled)
        return r;
    uint64_t style = wmi_uint(disk, "PartitionStyle", 0);
    if (style == 0) {
        if ((r = win_look(h, d, 2, false, e)) == 0 && d->blank == HOSTDISK_BLANK)
            *ret = VOLUME_BARE;
        else if (r == 0 && d->unreadable && !d->offline)
            r = err_set(e, ERR_IO, "the disk %.120s: %s", d->id, d->unreadable);
        return r;
    }
    if (style != style_of(p) || (r = is_ours(p, disk, &ours, e)) < 0 || (r = win_data_partitions(h, disk, &partition, &n, e)) < 0)
        return r;
    if (n == 0 && !ours && (r = win_look(h, d, 2, true, e)) < 0)
        return r;
    if (n == 0 && (ours || d->blank == HOSTDISK_BLANK))
        *ret = VOLUME_PARTLY;
    else if (n == 1 && ours)
        *ret = VOLUME_WHOLLY;
    return 0;
}

static int initialise(struct win_host *h, const struct volume_plan *p, const char *what, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_Disk", "Initialize", &in, e);
    if (r == 0)
        r = wmi_put_uint(in, "PartitionStyle", style_of(p), e);
    return r < 0 ? r : win_exec(h, what, disk, "Initialize", in, WIN_CHANGE_MS, e);
}

static int set_identity(struct win_host *h, const struct volume_plan *p, const char *what, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    char guid[UUID_LEN + 2];
    uint32_t number;
    int r = win_in(h, "MSFT_Disk", "SetAttributes", &in, e);
    if (r < 0 || (r = guid_of(p, 0, guid, e)) < 0 || (r = mark_mbr_id(p, &number, e)) < 0)
        return r;
    r = p->style == VOLUME_MBR ? wmi_put_uint(in, "Signature", number, e) : wmi_put_str(in, "Guid", guid, e);
    return r < 0 ? r : win_exec(h, what, disk, "SetAttributes", in, WIN_CHANGE_MS, e);
}

static int create_partition(struct win_host *h, const struct volume_plan *p, const char *what, const struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_Disk", "CreatePartition", &in, e);
    if (r == 0)
        r = wmi_put_bool(in, "UseMaximumSize", true, e);
    if (r == 0)
        r = p->style == VOLUME_MBR ? wmi_put_uint(in, "MbrType", MBR_IFS, e) : wmi_put_str(in, "GptType", GPT_DATA, e);
    return r < 0 ? r : win_exec(h, what, disk, "CreatePartition", in, WIN_CHANGE_MS, e);
}

/* The object as it is after a change. */
static int again(struct win_host *h, struct wmi_object **disk, struct err *e)
{
    AUTO_FREE char *path = NULL;
    struct wmi_wait w = {.timeout_ms = WIN_READ_MS, .stop = h->base.cfg.stop, .arg = h->base.cfg.arg};
    struct wmi_object *now = NULL;
    int r = wmi_path(*disk, &path, e);
    if (r < 0 || (r = wmi_get(h->wmi, path, &w, &now, e)) < 0)
        return r;
    wmi_object_free(*disk);
    *disk = now;
    return 0;
}

/* From an empty disk, or what an earlier try left, to a table with one partition. */
static int set_up(struct win_host *h, const struct volume_plan *p, const char *name, struct wmi_object **disk, struct err *e)
{
    AUTO_FREE char *what = str_printf("initialising %.160s", name), *part = str_printf("making a partition on %.160s", name);
    AUTO(wmi_object_free_ptr) struct wmi_object *partition = NULL;
    size_t n = 0;
    bool ours = false;
    int r = what && part ? 0 : err_oom(e);
    if (r == 0 && wmi_bool(*disk, "IsOffline", false) && (r = win_exec(h, what, *disk, "Online", NULL, WIN_CHANGE_MS, e)) == 0 &&
        (r = win_refresh(h, e)) == 0)
        r = again(h, disk, e);
    if (r == 0 && wmi_bool(*disk, "IsReadOnly", false))
        r = set_attribute(h, what, *disk, "IsReadOnly", false, e);
    if (r == 0 && wmi_uint(*disk, "PartitionStyle", 0) == 0 && (r = initialise(h, p, what, *disk, e)) == 0)
        r = again(h, disk, e);
    if (r < 0 || (r = is_ours(p, *disk, &ours, e)) < 0 || (r = win_data_partitions(h, *disk, &partition, &n, e)) < 0)
        return r;
    if (n > 1 || (n == 1 && !ours) || wmi_uint(*disk, "PartitionStyle", 0) != style_of(p))
        return err_set(e, ERR_DISK_REFUSED, "%.200s has partitions that this job did not make", name);
    if (!ours)
        r = set_identity(h, p, what, *disk, e);
    return r < 0 || n == 1 ? r : create_partition(h, p, part, *disk, e);
}

int win_table_make(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL;
    AUTO_FREE char *name = str_printf("the disk %.120s", d->id);
    int r = name ? win_find(h, d->id, &disk, &physical, e) : err_oom(e);
    if (r == 0 && !disk)
        r = err_set(e, ERR_DISK_REFUSED, "the disk %.120s is in a storage pool", d->id);
    return r < 0 ? r : set_up(h, p, name, &disk, e);
}

int win_partition_make(struct win_host *h, const struct volume_plan *p, const char *what, struct wmi_object *disk, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *copy = NULL;
    int r = wmi_clone(disk, &copy, e);
    return r < 0 ? r : set_up(h, p, what, &copy, e);
}

/* ---- back to an empty disk ---- */

/* Windows itself refuses while there is a partition for data. */
int win_clear(struct win_host *h, const char *what, struct wmi_object *disk, bool zero, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *in = NULL;
    int r = win_in(h, "MSFT_Disk", "Clear", &in, e);
    if (r == 0)
        r = wmi_put_bool(in, "RemoveData", false, e);
    if (r == 0)
        r = wmi_put_bool(in, "RemoveOEM", false, e);
    if (r == 0)
        r = wmi_put_bool(in, "ZeroOutEntireDisk", zero, e);
    if (r == 0 && zero && wmi_has(in, "RunAsJob"))
        r = wmi_put_bool(in, "RunAsJob", true, e);
    if (r == 0)
        r = win_exec(h, what, disk, "Clear", in, zero ? ZERO_MS : WIN_CHANGE_MS, e);
    return r < 0 ? r : win_refresh(h, e);
}

/* Zeros where there are others; what is zero already costs no write. */
static int zero_range(struct raw *raw, uint8_t *buf, uint8_t *zeros, uint64_t from, uint64_t to, struct err *e)
{
    int r = 0;
    for (uint64_t at = from; at < to && r == 0; at += MARK_EDGE_BYTES) {
        size_t n = to - at < MARK_EDGE_BYTES ? (size_t)(to - at) : MARK_EDGE_BYTES;
        if ((r = raw_read(raw, buf, n, at, e)) == 0 && !mem_is_zero(buf, n))
            r = raw->h->p->ops->raw_write(raw->r, zeros, n, at, e);
    }
    return r;
}

/* The edges of the partition hold what samples may miss and Windows would find again: the file system's first and last sectors. Only while the table on that
 * very disk, read by the same handle, is ours. */
int win_zero_edges(struct win_host *h, const struct volume_plan *p, const struct hostdisk *d, struct err *e)
{
    AUTO(raw_close) struct raw raw = {0};
    AUTO_FREE uint8_t *memory = malloc(2 * MARK_EDGE_BYTES + ALIGN);
    bool ours = false;
    if (!memory)
        return err_oom(e);
    uint8_t *buf = memory + (ALIGN - (uintptr_t)memory % ALIGN), *zeros = buf + MARK_EDGE_BYTES;
    AUTO_FREE char *device = NULL;
    int r = d->id ? device_now(h, d, &device, e) : (device = str_dup(d->device)) ? 0 : err_oom(e);
    if (r < 0 || !device || (r = raw_open(h, device, true, &raw, e)) < 0 || (r = raw_read(&raw, buf, MARK_EDGE_BYTES, 0, e)) < 0 || (r = mark_head(p, 0, d->sector, buf, &ours, e)) < 0 || !ours)
        return r;
    memset(zeros, 0, MARK_EDGE_BYTES);
    uint64_t end = (d->size - VOLUME_EDGE_BYTES) / ALIGN * ALIGN, head = end < HEAD_END ? end : HEAD_END, tail = end > TAIL_BYTES ? end - TAIL_BYTES : 0;
    r = zero_range(&raw, buf, zeros, VOLUME_EDGE_BYTES, head, e);
    return r < 0 || tail <= head ? r : zero_range(&raw, buf, zeros, tail, end, e);
}

/* Are the samples of several turns all empty? */
static int is_blank_between(struct win_host *h, struct hostdisk *d, bool *ret, struct err *e)
{
    int r = 0;
    *ret = true;
    for (unsigned turn = 0; turn < 6 && r == 0 && *ret; turn += 2) {
        r = win_look(h, d, turn, true, e);
        *ret = d->blank == HOSTDISK_BLANK;
    }
    return r;
}

int win_table_wipe(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e)
{
    AUTO(wmi_object_free_ptr) struct wmi_object *disk = NULL, *physical = NULL, *partition = NULL;
    AUTO_FREE char *what = str_printf("emptying the disk %.120s", d->id);
    size_t n = 0;
    bool ours = false, blank = false;
    int r = what ? win_find(h, d->id, &disk, &physical, e) : err_oom(e);
    if (r < 0 || !disk || (r = is_ours(p, disk, &ours, e)) < 0 || (r = win_data_partitions(h, disk, &partition, &n, e)) < 0)
        return r;
    if (n > 1 || (n && !ours))
        return err_set(e, ERR_DISK_REFUSED, "the disk %.120s has partitions that this job did not make", d->id);
    if (n && (r = win_exec(h, what, partition, "DeleteObject", NULL, WIN_CHANGE_MS, e)) < 0)
        return r;
    if ((ours && (r = win_zero_edges(h, p, d, e)) < 0) || (r = is_blank_between(h, d, &blank, e)) < 0 || (r = win_clear(h, what, disk, !blank, e)) < 0)
        return r;
    if ((r = win_look(h, d, 3, false, e)) == 0 && d->blank != HOSTDISK_BLANK)
        r = err_set(e, ERR_VOLUME, "the disk %.120s is not empty after it was emptied: byte %" PRIu64 " is not zero%s%.100s", d->id, d->blank_at,
                    d->unreadable ? ": " : "", d->unreadable ? d->unreadable : "");
    return r;
}
