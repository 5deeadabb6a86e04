/* Several disks as one: a logical volume of LVM, striped over a partition on each.
 *
 * LVM and not an md RAID 0, since LVM keeps what it knows on the disks themselves, with room for our id (a tag): nothing in /etc has to be kept in step for
 * the volume to come up after a restart; each of its changes is one transaction, so that what a crash leaves is the state before or the state after; and it
 * answers in JSON. Reads and writes go through the same striping target of the kernel in both cases. */
#include <stdio.h>
#include <string.h>

#include "storage/volume/linux.h"
#include "storage/volume/tool.h"

#define LV "volume"
#define STRIPE "64k"
#define LVM_MS 180000

struct lvm {
    const struct linux_host *h;
    const struct volume_plan *p;
    char vg[40], tag[64];
    char *parts[VOLUME_DISKS_MAX];
    char *config;                                    /* looks at our partitions alone, whatever the host's configuration says */
    struct tool_rights rights;
};

static void lvm_clear(struct lvm *l)
{
    for (size_t i = 0; i < VOLUME_DISKS_MAX; i++)
        free(l->parts[i]);
    free(l->config);
}

static void name_of(const struct volume_plan *p, char ret[40])
{
    snprintf(ret, 40, "vmrecover_%.8s%.4s", p->id, p->id + 9);
}

char *lvm_device(const struct volume_plan *p)
{
    char vg[40];
    name_of(p, vg);
    return str_printf("/dev/mapper/%s-" LV, vg);
}

static int lvm_open(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct lvm *l, struct err *e)
{
    AUTO_STRBUF struct strbuf filter = {.max = 16384};
    *l = (struct lvm){.h = h, .p = p, .rights = {.volume = p->id, .mapper = true}};
    name_of(p, l->vg);
    snprintf(l->tag, sizeof l->tag, "vmrecover_%s", p->id);
    strbuf_adds(&filter, "devices { use_devicesfile=0 global_filter=[ ");
    for (size_t i = 0; i < p->n_disks; i++) {
        int r = table_partition(h, p, disks[i], &l->parts[i], e);
        if (r < 0)
            return r;
        l->rights.devices[l->rights.n_devices++] = l->parts[i];
        strbuf_addf(&filter, "\"a|^%s$|\", ", l->parts[i]);
    }
    strbuf_adds(&filter, "\"r|.*|\" ] }");
    return (l->config = strbuf_steal(&filter)) ? 0 : err_oom(e);
}

static int command(struct lvm *l, const char *const *words, struct err *e)
{
    const char *argv[VOLUME_DISKS_MAX + 24] = {words[0], "--config", l->config, "--quiet", "--yes"};
    size_t n = 5;
    for (size_t i = 1; words[i]; i++)
        argv[n++] = words[i];
    return tool_change(l->h, &l->rights, argv, NULL, LVM_MS, NULL, e);
}

/* The only row of a report, as new reference; NULL: none. */
static int report(struct lvm *l, const char *program, const char *list, const char *fields, const char *of, json_t **ret, struct err *e)
{
    json_t *o = NULL;
    const char *const argv[] = {program, "--config", l->config, "--reportformat", "json", "--options", fields, of, NULL};
    int r = tool_change_json(l->h, &l->rights, argv, &o, e);
    if (r < 0)
        return r;
    json_t *rows = json_object_get(json_array_get(json_object_get(o, "report"), 0), list);
    *ret = json_incref(json_array_get(rows, 0));
    json_decref(o);
    return 0;
}

static const char *text(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

/* Is the group there, and ours? */
static int find_group(struct lvm *l, bool *ret, struct err *e)
{
    json_t *o = NULL, *row;
    size_t i;
    const char *const argv[] = {"vgs", "--config", l->config, "--reportformat", "json", "--options", "vg_name,vg_tags", NULL};
    int r = tool_change_json(l->h, &l->rights, argv, &o, e);
    if (r < 0)
        return r;
    json_array_foreach(json_object_get(json_array_get(json_object_get(o, "report"), 0), "vg"), i, row) {
        bool named = !strcmp(text(row, "vg_name"), l->vg), tagged = strstr(text(row, "vg_tags"), l->tag) != NULL;
        if (named && tagged)
            *ret = true;
        else                                          /* on our own partitions */
            r = err_set(e, ERR_VOLUME, "the disks of the volume %s are part of the volume group %.60s, which is another's", l->p->label, text(row, "vg_name"));
    }
    json_decref(o);
    return r;
}

int lvm_activate(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    AUTO(lvm_clear) struct lvm l;
    bool there = false;
    int r = lvm_open(h, p, disks, &l, e);
    if (r == 0)
        r = find_group(&l, &there, e);
    if (r < 0)
        return r;
    if (!there)
        return err_set(e, ERR_VOLUME, "the volume group %s of the volume %s is not there", l.vg, p->label);
    return command(&l, (const char *const[]){"vgchange", "--activate", "y", l.vg, NULL}, e);
}

int lvm_join(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    AUTO(lvm_clear) struct lvm l;
    bool there = false;
    if (!tool_there("lvcreate")) {
        err_set(e, ERR_UNSUPPORTED, "a striped volume needs LVM, which is not installed");
        return err_hint(e, "Install the package lvm2, then retry the job.");
    }
    int r = lvm_open(h, p, disks, &l, e);
    if (r < 0 || (r = find_group(&l, &there, e)) < 0)
        return r;
    if (!there) {
        /* what is on the partitions, if anything, is the beginning of an earlier try */
        const char *words[VOLUME_DISKS_MAX + 8] = {"vgcreate", "--addtag", l.tag, l.vg};
        for (size_t i = 0; i < p->n_disks; i++) {
            AUTO(hostdisk_content_clear) struct hostdisk_content c = {0};
            if ((r = content_of(h, l.parts[i], &c, e)) < 0)
                return r;
            if (c.type && strcmp(c.type, "LVM2_member") != 0)
                return err_set(e, ERR_DISK_REFUSED, "%s holds %.40s, which this job did not write", l.parts[i], c.type);
            words[4 + i] = l.parts[i];
        }
        if ((r = command(&l, words, e)) < 0)
            return r;
    }
    json_t *row = NULL;
    char stripes[8];
    snprintf(stripes, sizeof stripes, "%zu", p->n_disks);
    if ((r = report(&l, "lvs", "lv", "lv_name", l.vg, &row, e)) < 0)
        return r;
    json_decref(row);
    if (row)
        return command(&l, (const char *const[]){"vgchange", "--activate", "y", l.vg, NULL}, e);
    return command(&l, (const char *const[]){"lvcreate", "--wipesignatures", "y", "--type", "striped", "--stripes", stripes, "--stripesize", STRIPE, "--extents",
                                             "100%FREE", "--name", LV, l.vg, NULL}, e);
}

int lvm_remove(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e)
{
    AUTO(lvm_clear) struct lvm l;
    bool there = false;
    if (!tool_there("vgs"))
        return 0;                                    /* then nothing was ever joined */
    int r = lvm_open(h, p, disks, &l, e);
    if (r == 0)
        r = find_group(&l, &there, e);
    if (r < 0 || !there)
        return r;
    return command(&l, (const char *const[]){"vgremove", "--force", l.vg, NULL}, e);
}
