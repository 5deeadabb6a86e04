/* Inside of the double's Windows Storage: what storage.c (disks, partitions, volumes), storage_pool.c, storage_bytes.c and storage_host.c share. */
#ifndef VMR_TESTS_WMI_STORAGE_H
#define VMR_TESTS_WMI_STORAGE_H

#include "tests/doubles/wmi/core.h"

#define STORAGE_NS WMI_NS_STORAGE
#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)
#define GPT_DATA "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"
#define GPT_MSR "{e3c9e316-0b5c-4db8-817d-f92df00215ae}"
#define GPT_ESP "{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}"

enum {                                                 /* what the methods return ("Storage Management API common return codes") */
    S_NOT_SUPPORTED = 1, S_FAILED = 4, S_INVALID_PARAMETER = 5, S_IN_USE = 6, S_NO_SPACE = 40000, S_DENIED = 40001, S_STALE = 40003, S_EXCLUSIVE = 40005,
    S_RAW = 41000, S_INITIALIZED = 41001, S_READ_ONLY = 41002, S_OFFLINE = 41003, S_ALIGNMENT = 41005, S_TYPE = 41006, S_HAS_DATA = 41008, S_CRITICAL = 41009,
    S_PATH_IN_USE = 42002, S_BAD_PATH = 42007, S_CLUSTER_SIZE = 43000, S_FILE_SYSTEM = 43001, S_PRIMORDIAL = 48000, S_NOT_ENOUGH_DISKS = 48004,
    S_DISK_NOT_USABLE = 51000,
};

/* What is not to be seen from outside. */
struct hidden {
    struct inst *disk;
    uint64_t real_style;                               /* of an offline disk: shown once it is online */
    uint64_t used;                                     /* bytes that partitions take */
};
struct parked { char model[64], serial[64]; uint64_t size; unsigned bus, number; };              /* in a pool: no MSFT_Disk any more */
struct extent { char serial[64]; uint64_t offset; size_t n; };
struct storage {
    struct hidden at[64];
    size_t n;
    struct parked parked[64];
    size_t n_parked;
    struct extent *extents;                            /* of the disks' bytes: what is not zero, as far as was written through here */
    size_t n_extents;
    unsigned volumes, next_number, spaces;
    struct inst *subsystem;
};
struct storage *storage_of(struct dbl *d);
struct hidden *hidden_of(struct dbl *d, const struct inst *disk);
void storage_object_id(struct dbl *d, struct dobj *o, const char *kind, const char *tail);       /* as it is: full of quotes and backslashes */
/* The answer of a method that went wrong says so in its ExtendedStatus too. */
uint32_t storage_say(struct call *c, uint32_t code, const char *text);
bool storage_is_stale(struct call *c);
void storage_changed(struct dbl *d);                   /* the cache may be behind until it is refreshed */
uint32_t storage_as_job(struct call *c, unsigned ms);

struct inst *disk_add(struct dbl *d, const char *model, const char *serial, uint64_t size, unsigned bus, unsigned number, uint64_t style, bool offline);
void disk_forget(struct dbl *d, struct inst *disk);    /* with its partitions and volumes */
void disk_count(struct dbl *d, struct inst *disk);     /* partitions, room, whether a pool takes it */
struct inst *disk_by_serial(struct dbl *d, const char *serial);
struct inst *physical_add(struct dbl *d, struct inst *disk);
struct inst *partition_add(struct dbl *d, struct inst *disk, uint64_t size, const char *gpt_type, unsigned mbr_type, uint16_t letter);
struct inst *volume_add(struct dbl *d, struct inst *partition, const char *file_system, const char *label, int64_t delay_ms);
char *volume_folder(struct dbl *d, const struct inst *volume);           /* where its files lie while no folder leads to it; NULL: no work_dir */

/* ---- bytes: files in work_dir, one a disk ---- */
char *bytes_file(struct dbl *d, const char *serial);   /* NULL: no work_dir */
void bytes_write(struct dbl *d, const char *serial, uint64_t offset, const void *data, size_t n);
void bytes_read(struct dbl *d, const char *serial, uint64_t offset, void *data, size_t n);
void bytes_zero(struct dbl *d, const char *serial, uint64_t from, uint64_t to);
bool bytes_any(struct dbl *d, const char *serial);     /* is something on it? */
/* The table as its sectors say it; style 0 zeroes the first MiB and the last, as Clear does. */
void bytes_table(struct dbl *d, struct inst *disk);
void bytes_format(struct dbl *d, struct inst *partition, const char *label);
/* What was left by a file system that was there before: its label, heap; NULL: nothing. */
char *bytes_left_label(struct dbl *d, const char *serial, uint64_t offset);

extern const struct impl pool_impls[];

#endif
