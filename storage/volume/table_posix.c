/* The partition table, by sfdisk, and what undoes it. The kernel reads a new table by itself where it understands that kind; partx tells it in any case. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "storage/volume/linux.h"
#include "storage/volume/mark.h"
#include "storage/volume/tool.h"

#define APPEAR_MS 20000                              /* a partition's device, after the table was written */
#define WIPE_MS (7u * 24 * 3600 * 1000)              /* writing zeros to a large slow disk */

#define TYPE_LINUX "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
#define TYPE_LVM "E6D6D379-F507-44C2-A23C-238F2A3DF928"

static struct tool_rights rights_of(const struct volume_plan *p, const struct hostdisk *d)
{
    return (struct tool_rights){.volume = p->id, .devices = {d->device}, .n_devices = 1};
}

/* What sfdisk reads. */
static int script(const struct volume_plan *p, unsigned k, const struct hostdisk *d, struct strbuf *b, struct err *e)
{
    char disk[UUID_LEN], part[UUID_LEN];
    uint64_t offset, size;
    uint32_t id;
    int r = volume_guid(p->id, "disk", k, disk, e);
    if (r < 0 || (r = volume_guid(p->id, "part", k, part, e)) < 0 || (r = mark_mbr_id(p, &id, e)) < 0)
        return r;
    mark_span(d->size, &offset, &size);
    if (p->style == VOLUME_MBR)
        strbuf_addf(b, "label: dos\nlabel-id: 0x%08" PRIx32 "\nunit: sectors\nstart=%" PRIu64 ", size=%" PRIu64 ", type=83\n", id, offset / d->sector,
                    size / d->sector);
    else
        strbuf_addf(b, "label: gpt\nlabel-id: %s\nunit: sectors\nstart=%" PRIu64 ", size=%" PRIu64 ", type=%s, uuid=%s, name=\"%s\"\n", disk,
                    offset / d->sector, size / d->sector, p->layout == VOLUME_STRIPED ? TYPE_LVM : TYPE_LINUX, part, p->id);
    return b->failed ? err_oom(e) : 0;
}

int table_partition(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, char **ret_device, struct err *e)
{
    uint64_t offset, size;
    int64_t deadline = clock_mono_ms() + APPEAR_MS;
    struct tool_rights rights = rights_of(p, d);
    mark_span(d->size, &offset, &size);
    for (bool told = false;;) {
        int r = sysfs_partition(h, d->device, offset, size, ret_device, e);
        if (r < 0 || *ret_device)
            return r;
        if (!told && (r = tool_change(h, &rights, (const char *const[]){"partx", "--update", d->device, NULL}, NULL, TOOL_MS, NULL, e)) < 0)
            return r;
        told = true;
        if (clock_mono_ms() > deadline)
            return err_set(e, ERR_VOLUME, "the kernel does not show the partition of %s", d->device);
        if (h->stop && h->stop(h->arg))
            return err_set(e, ERR_CANCELLED, "stopped");
        clock_sleep_ms(50);
    }
}

int table_make(const struct linux_host *h, const struct volume_plan *p, unsigned k, const struct hostdisk *d, struct err *e)
{
    AUTO_STRBUF struct strbuf text = {.max = 1000};
    AUTO_FREE char *partition = NULL;
    struct tool_rights rights = rights_of(p, d);
    const char *const argv[] = {"sfdisk", "--quiet", "--lock=yes", "--wipe", "never", "--wipe-partitions", "never", d->device, NULL};
    int r = script(p, k, d, &text, e);
    if (r < 0 || (r = tool_change(h, &rights, argv, text.data, TOOL_MS, NULL, e)) < 0)
        return r;
    return table_partition(h, p, d, &partition, e);
}

/* ---- back to an empty disk ---- */

/* Zeros from offset on: by discarding, where the disk can, or written. */
static int clear(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, bool discard, uint64_t offset, uint64_t n, struct err *e)
{
    AUTO_FREE char *from = str_printf("%" PRIu64, offset), *length = str_printf("%" PRIu64, n);
    struct tool_rights rights = rights_of(p, d);
    if (!from || !length)
        return err_oom(e);
    int r = rawdisk_free(d->device, e);               /* --force does not ask */
    if (r < 0)
        return r;
    const char *const argv[] = {"blkdiscard", "--force", "--offset", from, "--length", length, discard ? d->device : "--zeroout", discard ? NULL : d->device, NULL};
    return tool_change(h, &rights, argv, NULL, WIPE_MS, NULL, e);
}

static int is_zero(const struct hostdisk *d, uint64_t offset, uint64_t n, bool *ret, struct err *e)
{
    AUTO_FREE uint8_t *buf = malloc((size_t)n + 4096);
    if (!buf)
        return err_oom(e);
    uint8_t *at = buf + (4096 - (uintptr_t)buf % 4096);
    int r = rawdisk_read(d->device, at, (size_t)n, offset, e);
    *ret = true;
    for (size_t i = 0; i < n && *ret && r == 0; i++)
        *ret = !at[i];
    return r;
}

/* A few MiB that may be zero already. */
static int clear_edge(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, uint64_t offset, uint64_t n, struct err *e)
{
    bool zero = false;
    int r = is_zero(d, offset, n, &zero, e);
    return r < 0 || zero ? r : clear(h, p, d, false, offset, n, e);
}

/* The kernel may have noticed by itself, or is told. */
static int drop_partition(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, struct err *e)
{
    AUTO_FREE char *part = NULL;
    struct tool_rights rights = rights_of(p, d);
    uint64_t offset, size;
    mark_span(d->size, &offset, &size);
    int r = sysfs_partition(h, d->device, offset, size, &part, e);
    return r < 0 || !part ? r : tool_change(h, &rights, (const char *const[]){"partx", "--delete", d->device, NULL}, NULL, TOOL_MS, NULL, e);
}

int table_forget(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, struct err *e)
{
    bool zero = false;
    int r = is_zero(d, 0, VOLUME_EDGE_BYTES, &zero, e);
    return r < 0 || !zero ? r : drop_partition(h, p, d, e);
}

int table_wipe(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e)
{
    uint64_t inside = d->size - 2 * VOLUME_EDGE_BYTES;
    struct err ignored;
    int r = rawdisk_free(d->device, e);
    if (r == 0)
        r = rawdisk_look(d, 0, true, e);
    if (r == 0 && d->blank != HOSTDISK_BLANK && sysfs_discards(h, d->device) && (r = clear(h, p, d, true, VOLUME_EDGE_BYTES, inside, &ignored)) < 0)
        r = ignored.code == ERR_CANCELLED ? (*e = ignored, r) : 0;      /* a disk may refuse what it announces */
    if (r == 0)
        r = rawdisk_look(d, 2, true, e);
    if (r == 0 && d->blank != HOSTDISK_BLANK)
        r = clear(h, p, d, false, VOLUME_EDGE_BYTES, inside, e);
    /* the edges of the partition hold what the samples may have missed */
    if (r == 0)
        r = clear_edge(h, p, d, VOLUME_EDGE_BYTES, VOLUME_EDGE_BYTES, e);
    if (r == 0)
        r = clear_edge(h, p, d, d->size - 4 * VOLUME_EDGE_BYTES, 4 * VOLUME_EDGE_BYTES, e);
    if (r == 0)
        r = clear_edge(h, p, d, 0, VOLUME_EDGE_BYTES, e);
    if (r == 0)
        r = rawdisk_look(d, 3, false, e);
    if (r == 0 && d->blank != HOSTDISK_BLANK)
        r = err_set(e, ERR_VOLUME, "%s is not empty after it was wiped: byte %" PRIu64 " is not zero%s%s", d->device, d->blank_at, d->unreadable ? ": " : "",
                    d->unreadable ? d->unreadable : "");
    return r < 0 ? r : drop_partition(h, p, d, e);
}
