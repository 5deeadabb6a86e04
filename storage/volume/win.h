/* Inside of storage/volume, on Windows: what its files share. All of it is portable and stands on two tables: WMI, and what is not WMI; volume_win32.c has the
 * real ones, the tests a Windows in memory.
 *
 * Sources: "Windows Storage Management API" (MSFT_Disk, MSFT_Partition, MSFT_Volume, MSFT_PhysicalDisk, MSFT_StoragePool, MSFT_VirtualDisk and their
 * associations), UEFI 2.10, chapter 5. Objects that methods return carry no path, so what was made is always asked for anew. */
#ifndef VMR_STORAGE_VOLUME_WIN_H
#define VMR_STORAGE_VOLUME_WIN_H

#include "common/wmi/wmi.h"
#include "storage/volume/volume.h"

#define WIN_DEVICE "\\\\.\\PhysicalDrive"
#define WIN_READ_MS 120000                           /* enumerating disks takes Windows seconds, or more on a large host */
#define WIN_CHANGE_MS 600000

/* ---- what is not WMI ---- */
struct win_raw;                                      /* a disk, open; the same disk until it is closed, whatever its number becomes */
struct win_ops {
    int (*raw_open)(void *arg, const char *device, bool write, struct win_raw **ret, struct err *e);
    void (*raw_close)(struct win_raw *r);
    /* All n bytes at offset, past every cache; whole sectors, memory aligned to 4096. */
    int (*raw_read)(struct win_raw *r, void *buf, size_t n, uint64_t offset, struct err *e);
    int (*raw_write)(struct win_raw *r, const void *buf, size_t n, uint64_t offset, struct err *e);
    /* A file in the root of a volume that no path leads to: `volume` is MSFT_Volume.Path, \\?\Volume{…}\. ERR_NOT_FOUND; at most max bytes. Caller frees. */
    int (*read_file)(void *arg, const char *volume, const char *name, size_t max, char **ret, size_t *ret_n, struct err *e);
    /* Lets only the system and its administrators into the root of a volume, and into all that is made there. */
    int (*close_root)(void *arg, const char *path, struct err *e);
    int64_t (*now_ms)(void *arg);
    void (*sleep_ms)(void *arg, unsigned ms);
};
struct win_platform {
    const struct wmi_ops *wmi;
    void *wmi_arg;
    const struct win_ops *ops;
    void *arg;
    const char *run;                                 /* another text at each start of the program, without '/' */
};
struct win_host {
    struct volume_host base;
    const struct win_platform *p;
    struct wmi *wmi;                                 /* Windows Storage; NULL: not yet needed */
    struct wmi *hyperv;                              /* Hyper-V; NULL: not there, or not yet needed */
};
/* volume_open on a platform; borrowed for as long as the host is open. volume_wmi.c */
int win_open_on(const struct win_platform *p, const struct volume_config *cfg, struct volume_host **ret, struct err *e);

/* ---- calls: win_call.c ---- */
bool win_stopped(struct win_host *h);
int win_sleep(struct win_host *h, unsigned ms, struct err *e);           /* ERR_CANCELLED */
int win_query(struct win_host *h, struct wmi_rows *ret, struct err *e, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Of the objects that `association` binds to this one. */
int win_others(struct win_host *h, const struct wmi_object *o, const char *association, struct wmi_rows *ret, struct err *e);
/* The first of them; *ret NULL: none. */
int win_other(struct win_host *h, const struct wmi_object *o, const char *association, struct wmi_object **ret, struct err *e);
/* The in-parameters of a method; *ret NULL when it takes none. */
int win_in(struct win_host *h, const char *class_name, const char *method, struct wmi_object **ret, struct err *e);
/* Calls a method of an object (in: borrowed, may be NULL) and waits for what it started. `what` says for messages what is done to what. Every other
 * ReturnValue than 0 is an error with Windows' own number (upstream.code) and words; one that says that its cache is old is met by renewing that. */
int win_exec(struct win_host *h, const char *what, const struct wmi_object *o, const char *method, struct wmi_object *in, unsigned timeout_ms, struct err *e);
unsigned win_code(const struct err *e);              /* that number; 0: it came from elsewhere */
/* Windows looks at all disks anew. */
int win_refresh(struct win_host *h, struct err *e);
#define WIN_IN_USE 6u
#define WIN_NOT_SUPPORTED 1u
#define WIN_NOT_INITIALIZED 41000u
#define WIN_PATH_IN_USE 42002u

/* ---- objects: win_find.c ---- */
/* All disks as Windows has them twice: disks with a table, and disks of Storage Spaces. A disk in a pool is only the latter. */
struct win_map { struct wmi_rows disks, physical; };
void win_map_clear(struct win_map *m);
int win_map_read(struct win_host *h, struct win_map *ret, struct err *e);
/* Of the other list, the same disk; NULL: none. Borrowed. */
struct wmi_object *win_physical_of(const struct win_map *m, const struct wmi_object *disk);
struct wmi_object *win_disk_of(const struct win_map *m, const struct wmi_object *physical);
/* What the disk is called in requests; heap, NULL: no memory. Either may be NULL, not both. */
char *win_id(const struct wmi_object *disk, const struct wmi_object *physical);
/* By id; each may be NULL where there is none, the caller's. ERR_NOT_FOUND: neither. */
int win_find(struct win_host *h, const char *id, struct wmi_object **ret_disk, struct wmi_object **ret_physical, struct err *e);

/* A partition that Windows makes for itself on every GPT; holds nothing. */
bool win_is_reserved(const struct wmi_object *partition);
/* Partitions of a disk but those; *ret_n how many, *ret the first (caller's; NULL: none). */
int win_data_partitions(struct win_host *h, const struct wmi_object *disk, struct wmi_object **ret, size_t *ret_n, struct err *e);
/* The volume on a partition, which may take its time to appear; wait_ms 0: look once. *ret NULL: none. */
int win_volume_on(struct win_host *h, const struct wmi_object *partition, unsigned wait_ms, struct wmi_object **ret, struct err *e);
/* The access path of a partition that is a folder or a letter; heap; NULL: none, or no memory. */
char *win_path_to(const struct wmi_object *partition);
bool win_same_folder(const char *a, const char *b);  /* as access paths: case, kind and end of separators do not matter */
/* Is there a file system, and which? "RAW" is none. Heap; NULL: none, or no memory. */
char *win_file_system(const struct wmi_object *volume);
/* Our volume as a whole: the disk on which its file system lies, which is the disk itself or the virtual disk of its pool. ERR_VOLUME when it is not there. */
int win_target(struct win_host *h, const char *volume_id, bool striped, const char *disk_id, struct wmi_object **ret, struct err *e);

/* ---- lists ---- */
int win_disks(struct win_host *h, struct hostdisks *ret, struct err *e);                                      /* win_disks.c */
int win_volumes(struct win_host *h, const struct hostdisks *disks, struct hostvolumes *ret, struct err *e);   /* win_volumes.c */
/* The id of the volume of ours that this one says it is; heap; *ret NULL: it says nothing. */
int win_read_mark(struct win_host *h, const struct wmi_object *partition, const struct wmi_object *volume, char **ret, struct err *e);

/* ---- one disk, one partition: win_table.c ---- */
int win_look(struct win_host *h, struct hostdisk *d, unsigned turn, bool between, struct err *e);
int win_online(struct win_host *h, struct hostdisk *d, struct err *e);
int win_table_mine(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, enum volume_mine *ret, struct err *e);
int win_table_make(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e);
int win_partition_make(struct win_host *h, const struct volume_plan *p, const char *what, struct wmi_object *disk, struct err *e);
/* Deletes the partition of ours, and empties what it held. */
int win_table_wipe(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e);
/* Zeros where the file system begins and ends on a disk with our table; d without an id: what its device is at present. */
int win_zero_edges(struct win_host *h, const struct volume_plan *p, const struct hostdisk *d, struct err *e);
/* A disk of ours (or of our pool) that has no partition with data any more becomes RAW; `zero`: all of it is written. */
int win_clear(struct win_host *h, const char *what, struct wmi_object *disk, bool zero, struct err *e);

/* ---- several disks in a pool: win_spaces.c ---- */
#define WIN_POOL_TEXT "vmrecover volume "            /* in OtherUsageDescription, with the volume's id behind it */
/* The volume of ours that the pool says it is; heap; NULL: another's, or no memory. */
char *win_pool_volume(const struct wmi_object *pool);
int win_pool_of(struct win_host *h, const char *volume_id, struct wmi_object **ret, struct err *e);          /* *ret NULL: none */
int win_space_of(struct win_host *h, const struct wmi_object *pool, struct wmi_object **ret, struct err *e);  /* its virtual disk, likewise */
int win_space_disk(struct win_host *h, const struct wmi_object *space, unsigned wait_ms, struct wmi_object **ret, struct err *e);
int win_spaces_mine(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, enum volume_mine *ret, struct err *e);
int win_spaces_add(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e);
int win_spaces_join(struct win_host *h, const struct volume_plan *p, struct err *e);
int win_spaces_apart(struct win_host *h, const struct volume_plan *p, struct err *e);                        /* the virtual disk goes */
int win_spaces_wipe(struct win_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e);     /* the pool goes */

/* ---- the file system, and where it is: win_mount.c ---- */
int win_format(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e);
int win_mount(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e);
int win_unmount(struct win_host *h, const struct volume_plan *p, const struct wmi_object *disk, struct err *e);

#endif
