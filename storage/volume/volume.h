/* Volumes for the disks of recovered VMs: made of empty disks of the host, found again, and taken apart again.
 *
 * A volume is one partition on one disk, or a stripe over several, with one file system. Its id is a random UUID, chosen before anything is written, and
 * everything that is made for it carries that id in a form of its own (volume_guid), so that what a crash left half-made is recognised as ours and
 * finished or removed, and nothing else ever is. In its root lies a file, VOLUME_MARK, that says whose it is.
 *
 *   volume_plan_make     which disks, which layout; nothing is changed
 *   volume_make          each disk is looked at once more, then written; every step says so before it begins (volume_watch.save)
 *   volume_ready         mounted, and the very volume; before each use
 *   volume_undo          back to empty disks, unless something is on it
 *
 * Order of steps and all decisions are here, the same on every platform; a platform carries out single steps (struct volume_ops: volume_posix.c with the
 * system's tools, volume_wmi.c through Windows' storage classes).
 * Threads: a struct volume_host belongs to one thread, which opens it, uses it and closes it. Two threads must not plan at once, nor make the same volume:
 * the caller holds a lock around a plan and its record. */
#ifndef VMR_STORAGE_VOLUME_VOLUME_H
#define VMR_STORAGE_VOLUME_VOLUME_H

#include "common/crypto.h"
#include "storage/volume/hostdisk.h"

#define VOLUME_DISKS_MAX 32
#define VOLUME_LABEL_MAX 12                          /* bytes; XFS takes no more */
#define VOLUME_MARK ".vmrecover-volume"
#define VOLUME_EDGE_BYTES ((uint64_t)1 << 20)        /* of a disk, at its beginning and end: tables and alignment */

enum volume_layout { VOLUME_LAYOUT_AUTO, VOLUME_SINGLE, VOLUME_STRIPED, VOLUME_LAYOUTS };
enum volume_fs { VOLUME_FS_AUTO, VOLUME_XFS, VOLUME_EXT4, VOLUME_NTFS, VOLUME_REFS, VOLUME_FSS };
enum volume_style { VOLUME_GPT, VOLUME_MBR, VOLUME_STYLES };
const char *volume_layout_name(enum volume_layout l);        /* "auto", "single", "striped" */
const char *volume_fs_name(enum volume_fs f);                /* "auto", "xfs", "ext4", "ntfs", "refs" */
const char *volume_style_name(enum volume_style s);          /* "gpt", "mbr" */
/* 1 to VOLUME_LABEL_MAX of A-Z a-z 0-9 . _ -, and no '.' or '-' in front. */
bool volume_label_ok(const char *s);

struct volume_request {
    const char *const *disks;                        /* ids; n_disks 0: choose */
    size_t n_disks;
    enum volume_layout layout;
    enum volume_fs fs;
    enum volume_style style;
    const char *label, *mount_point;                 /* NULL: choose */
};

/* What is done of a volume; in this order. */
enum volume_step { VOLUME_NOTHING, VOLUME_DISKS, VOLUME_JOINED, VOLUME_FORMATTED, VOLUME_MOUNTED };

struct volume_member {
    char *id, *serial, *moment;
    uint64_t size;
    uint32_t sector;
    bool begun;                                      /* we may have written to it */
};
struct volume_plan {
    char id[UUID_LEN];
    bool found;                                      /* it was there already */
    enum volume_layout layout;                       /* not AUTO; nor the next */
    enum volume_fs fs;
    enum volume_style style;
    char *label, *mount_point;                       /* mount_point: the folder where it is, or will be */
    uint64_t capacity;                               /* bytes for files, a low estimate */
    struct volume_member disks[VOLUME_DISKS_MAX];
    size_t n_disks;
    enum volume_step done;
};
void volume_plan_clear(struct volume_plan *p);
json_t *volume_plan_json(const struct volume_plan *p);       /* for the database; new reference or NULL */
int volume_plan_parse(json_t *o, struct volume_plan *ret, struct err *e);

/* What stands for the volume where a UUID is asked for: of its k-th disk ("disk"), of the partition on that ("part"). Always the same for the same. */
int volume_guid(const char *volume_id, const char *what, unsigned k, char ret[UUID_LEN], struct err *e);

/* ---- volumes that are there ---- */
struct hostvolume {
    char *id;                                        /* ours: the volume's; else that of its file system; never NULL */
    char *device, *mount_point, *file_system, *label;        /* mount_point NULL: not mounted */
    uint64_t size, free;                             /* bytes of the file system; free: for us */
    bool managed, read_only;                         /* managed: we made it */
    bool broken;                                     /* ours, but parts of it are missing */
    char *disks[VOLUME_DISKS_MAX];                   /* ids; of managed ones */
    size_t n_disks;
};
struct hostvolumes { struct hostvolume *at; size_t n; };
void hostvolumes_clear(struct hostvolumes *l);
struct hostvolume *hostvolumes_add(struct hostvolumes *l);   /* as hostdisks_add */

/* ---- a platform ---- */
struct volume_host;
/* What is on a disk that a plan began with: something else; nothing; the beginning of our table; our whole table. */
enum volume_mine { VOLUME_FOREIGN, VOLUME_BARE, VOLUME_PARTLY, VOLUME_WHOLLY };
struct volume_ops {
    const char *name;
    void (*close)(struct volume_host *h);
    /* All disks with what is on them, without a look at their bytes; .volume set for ours. */
    int (*disks)(struct volume_host *h, struct hostdisks *ret, struct err *e);
    int (*look)(struct volume_host *h, struct hostdisk *d, unsigned turn, struct err *e);
    int (*volumes)(struct volume_host *h, const struct hostdisks *disks, struct hostvolumes *ret, struct err *e);
    enum volume_fs (*fs)(struct volume_host *h, enum volume_layout layout);      /* what "auto" is here */
    bool (*takes_fs)(struct volume_host *h, enum volume_fs fs);
    /* The folder where a volume of this label goes unless another is asked for; caller frees. */
    char *(*place)(struct volume_host *h, const char *label);
    /* May this be brought online to be looked at? It becomes readable, or keeps its reason. NULL: no disk here is ever offline. */
    int (*online)(struct volume_host *h, struct hostdisk *d, struct err *e);
    /* Ends what an earlier run of ours may still be doing to the volume: a program that outlived the daemon which started it. NULL: none does. */
    int (*settle)(struct volume_host *h, const struct volume_plan *p, struct err *e);
    int (*mine)(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, enum volume_mine *ret, struct err *e);
    int (*take_disk)(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e);
    int (*join)(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);      /* striped only */
    int (*format)(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
    int (*mount)(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
    /* Not mounted any more; what was joined is apart. Nothing to do is 0. */
    int (*release)(struct volume_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
    /* Empty again, as it was found. What tells that it is ours goes last. */
    int (*wipe_disk)(struct volume_host *h, const struct volume_plan *p, unsigned k, struct hostdisk *d, struct err *e);
};
struct volume_config {
    const char *data_dir;                            /* mount points are made below it */
    bool loop_devices;
    bool (*stop)(void *arg);                         /* true: what is under way ends with ERR_CANCELLED, and goes on at the next call. NULL: never */
    void *arg;
};
/* Every platform embeds this as its first member. */
struct volume_host {
    const struct volume_ops *ops;
    struct volume_config cfg;
};
/* The platform's own: volume_posix.c, volume_win32.c. The strings stay the caller's and must live as long. */
int volume_open(const struct volume_config *cfg, struct volume_host **ret, struct err *e);
void volume_close(struct volume_host *h);            /* NULL is a no-op */
DEFINE_AUTO(struct volume_host, volume_close)

/* ---- for callers: volume.c ---- */

/* Every disk, judged; ids that several disks have are marked. */
int volume_disks(struct volume_host *h, struct hostdisks *ret, struct err *e);
int volume_volumes(struct volume_host *h, struct hostvolumes *ret, struct err *e);

/* plan.c. `taken`: ids of disks that other jobs are about to use; wanted: bytes that are to go there. Looks, decides, changes nothing.
 * ERR_DISK_REFUSED with the reasons; ERR_DISK_FULL when a volume that must be used is too small; ERR_UNSUPPORTED. */
int volume_plan_make(struct volume_host *h, const struct volume_request *rq, const char *const *taken, size_t n_taken, uint64_t wanted,
                     struct volume_plan *ret, struct err *e);

struct volume_watch {
    /* p->done and .begun changed: to be on stable storage when it returns 0. Else nothing further is touched. */
    int (*save)(void *arg, const struct volume_plan *p, struct err *e);
    void *arg;
};
/* Makes what is missing of the volume. Safe to call again after a crash at any instant. */
int volume_make(struct volume_host *h, struct volume_plan *p, const struct volume_watch *w, struct err *e);
/* Mounted where the plan says, and the volume that it says; mounts it when it is not. ERR_VOLUME. */
int volume_ready(struct volume_host *h, const struct volume_plan *p, struct err *e);
/* Takes the volume apart and empties its disks. *ret_kept (caller frees): what is on it, so that it was left as it is; NULL: it is gone. */
int volume_undo(struct volume_host *h, struct volume_plan *p, const struct volume_watch *w, char **ret_kept, struct err *e);

#endif
