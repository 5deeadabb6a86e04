/* The disks of this host: what each is, what is on it, and whether a volume may be made of it.
 *
 * A disk is taken only when nothing at all speaks against it: hostdisk_judge holds the reasons, one row each, the same on every platform. A platform
 * collects the facts (sysfs_posix.c from sysfs, wipefs and sfdisk; win_disks.c from Windows' storage classes). Facts that a platform does not
 * have stay zero, which never speaks for a disk: its blank samples are read in any case.
 *
 * Threads: a struct hostdisk belongs to one; nothing here keeps state. */
#ifndef VMR_STORAGE_VOLUME_HOSTDISK_H
#define VMR_STORAGE_VOLUME_HOSTDISK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define HOSTDISK_MIN_BYTES ((uint64_t)1 << 30)       /* no volume for VMs is smaller */
#define HOSTDISKS_MAX 256                            /* that are listed */

enum hostdisk_bus {
    HOSTDISK_BUS_OTHER, HOSTDISK_SCSI, HOSTDISK_ATA, HOSTDISK_SATA, HOSTDISK_SAS, HOSTDISK_NVME, HOSTDISK_VIRTIO, HOSTDISK_XEN, HOSTDISK_RAID,
    HOSTDISK_FC, HOSTDISK_USB, HOSTDISK_ISCSI, HOSTDISK_SD, HOSTDISK_MMC, HOSTDISK_VIRTUAL, HOSTDISK_FILE, HOSTDISK_SPACES, HOSTDISK_LOOP,
    HOSTDISK_BUSES
};
const char *hostdisk_bus_name(enum hostdisk_bus b);  /* "scsi", …; other: "other" */
/* os: the system runs from it. temporary: local to the machine that a cloud VM runs on at present, and empty again on the next one. */
enum hostdisk_role { HOSTDISK_DATA, HOSTDISK_OS, HOSTDISK_TEMPORARY };
const char *hostdisk_role_name(enum hostdisk_role r);
enum hostdisk_table { HOSTDISK_NO_TABLE, HOSTDISK_GPT, HOSTDISK_MBR, HOSTDISK_OTHER_TABLE };
const char *hostdisk_table_name(enum hostdisk_table t);      /* "none", "gpt", "mbr", "other" */

/* A file system, a member of an array, an encrypted container: what a tool recognised, or the system says. NULL: nothing. */
struct hostdisk_content {
    char *type, *label, *uuid;
    uint64_t offset;                                 /* on its device, in bytes */
};
struct hostdisk_part {
    unsigned number;                                 /* of the table; from 1 */
    uint64_t offset, size;                           /* bytes */
    char *device;                                    /* NULL: the system does not know it by a name */
    char *type, *id, *name;                          /* of the table: type (GUID, or two hexadecimal digits), GUID, name */
    struct hostdisk_content content;
    char *mounted;                                   /* where; "[SWAP]"; NULL: not */
    bool hidden_by_system;                           /* a Microsoft reserved partition, which every GPT of Windows has: holds nothing */
};

enum hostdisk_blank { HOSTDISK_NOT_READ, HOSTDISK_BLANK, HOSTDISK_NOT_BLANK };

struct hostdisk {
    char *id;                                        /* stays over restarts; names the disk in requests. Never NULL */
    char *device;                                    /* /dev/sdc, \\.\PhysicalDrive2: may be another disk's after a restart */
    char *model, *serial;                            /* "": none */
    char *moment;                                    /* another text as soon as another disk is behind `device`, or the host was restarted; "": not known */
    uint64_t size;                                   /* bytes */
    uint32_t sector;                                 /* logical, bytes */
    enum hostdisk_bus bus;
    enum hostdisk_role role;
    enum hostdisk_table table;
    char *table_id;                                  /* GUID, or eight hexadecimal digits behind 0x; NULL: none */
    bool offline, no_medium, read_only, removable, clustered, pooled, dynamic;
    bool claimed;                                    /* somebody has it open for himself alone */
    bool ambiguous;                                  /* another disk here has the same id */
    unsigned offline_reason;                         /* Windows' number; 1: policy, and it may be brought online */
    char *health;                                    /* what is wrong with it; NULL: nothing known */
    char *holders;                                   /* devices that are built on it; NULL: none */
    char *user;                                      /* who has it open; NULL: nobody that we may see */
    char *unreadable;                                /* why it cannot be read or asked; NULL: it can */
    char *mounted;                                   /* the disk itself, without a table: where; "[SWAP]"; NULL: not */
    char *volume;                                    /* id of the volume of ours that it is part of; NULL: none */
    struct hostdisk_content *contents;               /* on the disk itself, the table's own signatures among them */
    size_t n_contents;
    struct hostdisk_part *parts;
    size_t n_parts;

    enum hostdisk_blank blank;                       /* hostdisk_look */
    uint64_t blank_at;                               /* NOT_BLANK: where the first other byte was found */
};

struct hostdisks {
    struct hostdisk *at;
    size_t n;
};
void hostdisk_content_clear(struct hostdisk_content *c);
void hostdisk_clear(struct hostdisk *d);             /* frees the members */
void hostdisks_clear(struct hostdisks *l);           /* twice is fine */
/* A zeroed one at the end, the list's; NULL: no memory, or HOSTDISKS_MAX are there already. */
struct hostdisk *hostdisks_add(struct hostdisks *l);
struct hostdisk_part *hostdisk_add_part(struct hostdisk *d);             /* likewise */
struct hostdisk_content *hostdisk_add_content(struct hostdisk *d);
/* The only disk of this id; NULL: none, or several. */
struct hostdisk *hostdisks_find(const struct hostdisks *l, const char *id);
void hostdisks_mark_ambiguous(struct hostdisks *l);  /* sets .ambiguous */

/* ---- is it empty: blank.c ---- */

/* All n bytes at offset, read from the disk itself and from no cache. */
typedef int hostdisk_read_fn(void *arg, void *buf, size_t n, uint64_t offset, struct err *e);
/* Reads the first MiB, the last one, and samples all over the disk in between; sets .blank and .blank_at, or .unreadable. `turn` shifts the samples, so
 * that a second look sees other places. Fails for want of memory only. */
int hostdisk_look(struct hostdisk *d, unsigned turn, hostdisk_read_fn *read, void *arg, struct err *e);
/* The samples between the first MiB and the last one alone. */
int hostdisk_look_between(struct hostdisk *d, unsigned turn, hostdisk_read_fn *read, void *arg, struct err *e);

/* ---- may it be taken: judge.c ---- */

#define HOSTDISK_REASONS_MAX 24
#define HOSTDISK_REASON_LEN 240
struct hostdisk_reasons {
    char text[HOSTDISK_REASONS_MAX][HOSTDISK_REASON_LEN];    /* "code: sentence"; codes are stable */
    size_t n;
};
/* named: the user named this very disk, which is needed for a temporary disk and for one that is offline by the system's policy. True: nothing
 * speaks against it. A disk that was not looked at is never taken, but has no reason of its own for that unless all else is well. */
bool hostdisk_judge(const struct hostdisk *d, bool named, struct hostdisk_reasons *ret);
/* Would it be worth a look: does everything but its content speak for it? */
bool hostdisk_worth_a_look(const struct hostdisk *d, bool named);

/* The disk as the API has it: new reference or NULL. */
json_t *hostdisk_json(const struct hostdisk *d);

#endif
