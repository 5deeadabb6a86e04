/* Why a disk is not taken. One row a reason; a disk without any is taken. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "storage/volume/hostdisk.h"

/* What can be written there is the reason, behind its code; an empty text: it does not apply. */
typedef void reason_fn(const struct hostdisk *d, char *buf, size_t size);

#define SAY(...) snprintf(buf, size, __VA_ARGS__)

static void ambiguous(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->ambiguous)
        SAY("another disk of this host has the same id, so that it cannot be told which of them is meant");
}

static void os_disk(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->role == HOSTDISK_OS)
        SAY("the system runs from it");
}

static void temporary(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->role == HOSTDISK_TEMPORARY)
        SAY("it is local to the machine that this VM runs on at present: all that is on it vanishes when the VM is stopped, resized or moved. It is "
            "taken only when it is asked for by its id");
}

static void offline(const struct hostdisk *d, char *buf, size_t size)
{
    static const char *const words[] = {[1] = "by policy", [2] = "another path leads to it", [3] = "it is a snapshot",
                                        [4] = "its signature collides with another disk's", [5] = "the host lacks resources",
                                        [6] = "writes to it failed", [7] = "its integrity is being checked"};
    if (!d->offline || d->offline_reason == 1)
        return;
    unsigned n = d->offline_reason;
    SAY("it is offline (%s)", n < ARRAY_LEN(words) && words[n] ? words[n] : "no reason is given");
}

static void offline_by_policy(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->offline && d->offline_reason == 1)
        SAY("it is offline by the system's policy, and what is on it shows only when it is online. Asked for by its id, it is brought online and "
            "looked at");
}

static void no_medium(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->no_medium)
        SAY("there is no medium in it");
}

static void read_only(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->read_only && !d->offline)                 /* an offline one always says so */
        SAY("it is read-only");
}

static void removable(const struct hostdisk *d, char *buf, size_t size)
{
    static const bool buses[HOSTDISK_BUSES] = {[HOSTDISK_USB] = true, [HOSTDISK_SD] = true, [HOSTDISK_MMC] = true};
    if (d->removable || buses[d->bus])
        SAY("it can be removed while the host runs (%s)", hostdisk_bus_name(d->bus));
}

static void bus(const struct hostdisk *d, char *buf, size_t size)
{
    /* iSCSI: another host may write to it too, and nothing here can tell */
    static const char *const words[HOSTDISK_BUSES] = {[HOSTDISK_ISCSI] = "a disk behind iSCSI, which other hosts may use too",
                                                      [HOSTDISK_VIRTUAL] = "a virtual disk of this host", [HOSTDISK_FILE] = "a file of this host, attached as a disk",
                                                      [HOSTDISK_SPACES] = "a virtual disk of a storage pool"};
    if (words[d->bus])
        SAY("it is %s", words[d->bus]);
}

static void clustered(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->clustered)
        SAY("it belongs to a failover cluster");
}

static void health(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->health)
        SAY("it is not healthy: %s", d->health);
}

static void pooled(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->pooled)
        SAY("it is a member of a storage pool");
}

static void dynamic(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->dynamic)
        SAY("it is a dynamic disk of Windows' Logical Disk Manager");
}

static void too_small(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->size < HOSTDISK_MIN_BYTES)
        SAY("it has %" PRIu64 " bytes; a volume needs %" PRIu64 " at the least", d->size, HOSTDISK_MIN_BYTES);
}

static void sector(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->sector != 512 && d->sector != 4096)
        SAY("its sectors have %u bytes, and 512 or 4096 are understood", d->sector);
}

static void our_volume(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->volume)
        SAY("it is part of the volume %s, which vmrecover made", d->volume);
}

static void mounted(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->mounted)
        SAY(!strcmp(d->mounted, "[SWAP]") ? "the system swaps to it" : "it is mounted at %s", d->mounted);
    for (size_t i = 0; i < d->n_parts && !*buf; i++)
        if (d->parts[i].mounted && !strcmp(d->parts[i].mounted, "[SWAP]"))
            SAY("the system swaps to its partition %u", d->parts[i].number);
        else if (d->parts[i].mounted)
            SAY("its partition %u is mounted at %s", d->parts[i].number, d->parts[i].mounted);
}

static void held(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->holders)
        SAY("%s is built on it", d->holders);
}

/* Said once: what is mounted or built on is claimed by that. */
static void in_use(const struct hostdisk *d, char *buf, size_t size)
{
    bool explained = d->holders || d->mounted;
    for (size_t i = 0; i < d->n_parts; i++)
        explained |= d->parts[i].mounted != NULL;
    if (d->user)
        SAY("%s has it open", d->user);
    else if (d->claimed && !explained)
        SAY("a program or the system itself holds it for its own use");
}

static void partitions(const struct hostdisk *d, char *buf, size_t size)
{
    static const char *const words[] = {[HOSTDISK_GPT] = "a GPT", [HOSTDISK_MBR] = "an MBR", [HOSTDISK_OTHER_TABLE] = "a partition table"};
    size_t n = 0;
    char text[160] = "";
    for (size_t i = 0; i < d->n_parts; i++) {
        const struct hostdisk_part *p = &d->parts[i];
        n += !p->hidden_by_system;
        if (p->content.type && !*text)
            snprintf(text, sizeof text, ", with %.40s%s%.60s", p->content.type, p->content.label ? " " : "", p->content.label ? p->content.label : "");
    }
    if (d->table != HOSTDISK_NO_TABLE)
        SAY("it has %s with %zu partition%s%s", words[d->table], n, n == 1 ? "" : "s", text);
    else if (n)
        SAY("it has %zu partition%s%s", n, n == 1 ? "" : "s", text);
}

static bool is_table(const char *type)
{
    return type && (!strcmp(type, "gpt") || !strcmp(type, "PMBR") || !strcmp(type, "dos"));
}

static void signature(const struct hostdisk *d, char *buf, size_t size)
{
    for (size_t i = 0; i < d->n_contents && !*buf; i++) {
        const struct hostdisk_content *c = &d->contents[i];
        if (d->table != HOSTDISK_NO_TABLE && is_table(c->type))
            continue;
        SAY("it holds %s%s%s at byte %" PRIu64, c->type ? c->type : "something", c->label ? " " : "", c->label ? c->label : "", c->offset);
    }
}

static void unreadable(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->unreadable)
        SAY("%s", d->unreadable);
}

static void not_blank(const struct hostdisk *d, char *buf, size_t size)
{
    if (d->blank == HOSTDISK_NOT_BLANK)
        SAY("byte %" PRIu64 " is not zero, so something was written to it", d->blank_at);
}

static const struct {
    const char *code;
    reason_fn *fn;
    bool unless_named, content;                      /* content: seen by reading the disk */
} rows[] = {
    {"ambiguous", ambiguous, false, false}, {"os_disk", os_disk, false, false}, {"temporary", temporary, true, false},
    {"offline", offline, false, false}, {"offline_by_policy", offline_by_policy, true, false}, {"no_medium", no_medium, false, false},
    {"read_only", read_only, false, false}, {"removable", removable, false, false}, {"bus", bus, false, false},
    {"clustered", clustered, false, false}, {"health", health, false, false}, {"pooled", pooled, false, false},
    {"dynamic", dynamic, false, false}, {"too_small", too_small, false, false}, {"sector_size", sector, false, false},
    {"volume", our_volume, false, false}, {"mounted", mounted, false, false}, {"held", held, false, false}, {"in_use", in_use, false, false},
    {"partitions", partitions, false, false}, {"signature", signature, false, false}, {"unreadable", unreadable, false, true},
    {"not_blank", not_blank, false, true},
};
_Static_assert(ARRAY_LEN(rows) < HOSTDISK_REASONS_MAX, "room for every reason, and for one more");

static void add(struct hostdisk_reasons *ret, const char *code, const char *text)
{
    snprintf(ret->text[ret->n++], HOSTDISK_REASON_LEN, "%s: %s", code, text);
}

bool hostdisk_judge(const struct hostdisk *d, bool named, struct hostdisk_reasons *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[HOSTDISK_REASON_LEN] = "";
        if (rows[i].unless_named && named)
            continue;
        rows[i].fn(d, text, sizeof text);
        if (*text)
            add(ret, rows[i].code, text);
    }
    if (!ret->n && d->blank == HOSTDISK_NOT_READ && !(named && d->offline))
        add(ret, "unreadable", "its content was not read");
    return !ret->n;
}

bool hostdisk_worth_a_look(const struct hostdisk *d, bool named)
{
    bool worth = true;
    for (size_t i = 0; i < ARRAY_LEN(rows) && worth; i++) {
        char text[HOSTDISK_REASON_LEN] = "";
        if (rows[i].content ? d->unreadable != NULL : !(rows[i].unless_named && named))
            rows[i].fn(d, text, sizeof text);
        worth = !*text;
    }
    return worth;
}
