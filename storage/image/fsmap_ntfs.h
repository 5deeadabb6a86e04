/* Private to the NTFS reader: MFT records and where attributes lie (fsmap_ntfs_record.c), for fsmap_ntfs.c and fsmap_ntfs_files.c. */
#ifndef VMR_STORAGE_IMAGE_FSMAP_NTFS_H
#define VMR_STORAGE_IMAGE_FSMAP_NTFS_H

#include "storage/image/fsmap_volume.h"

#define NTFS_RECORD_MAX 4096
#define NTFS_HOLE UINT64_MAX
#define NTFS_NUMBER UINT64_C(0xffffffffffff)         /* the record number in a reference */

enum ntfs_record { MFT = 0, MIRROR = 1, LOGFILE = 2, VOLUME = 3, ROOT = 5, BITMAP = 6, BOOT = 7, BADCLUS = 8 };
enum ntfs_attr {
    ATTR_LIST = 0x20, ATTR_FILE_NAME = 0x30, ATTR_VOLUME_INFORMATION = 0x70, ATTR_DATA = 0x80, ATTR_INDEX_ROOT = 0x90, ATTR_INDEX_ALLOCATION = 0xa0
};

struct ntfs_run { uint64_t lcn, n; };                /* clusters; lcn NTFS_HOLE: sparse */
struct ntfs_runs {
    struct ntfs_run *list;
    size_t n, size;
    uint64_t clusters;                               /* sum */
    uint64_t bytes, initialized;                     /* of the data */
};
void ntfs_runs_free(struct ntfs_runs *r);
#define AUTO_RUNS AUTO(ntfs_runs_free)

struct ntfs {
    struct volume *v;
    uint32_t sector, cluster, record;                /* bytes */
    uint64_t clusters;
    uint64_t mft_lcn, mirror_lcn;
    struct ntfs_runs mft;
};

/* One attribute of a record; all pointers into the record. */
struct ntfs_attribute {
    uint32_t type;
    const uint8_t *at;
    uint32_t length;
    bool resident;
    uint8_t name_length;
    const uint8_t *value;                            /* resident */
    uint32_t value_length;
    uint64_t lowest, highest;                        /* not resident: clusters of the attribute */
};

/* Reads record `number` into buf (n->record bytes) and undoes its fixups. *ret_used: it is in use. A record that is not in use is not looked
 * at any further. */
int ntfs_record_read(struct ntfs *n, uint64_t number, uint8_t *buf, bool *ret_used, struct err *e);
/* The next attribute behind *at (0: the first); false at the end. A record that breaks its own bounds: *ret_broken. */
bool ntfs_attribute_next(const struct ntfs *n, const uint8_t *record, uint32_t *at, struct ntfs_attribute *ret, bool *ret_broken);
/* Appends where a non-resident attribute lies, and its sizes if it begins at its start. */
int ntfs_runs_decode(struct ntfs *n, const struct ntfs_attribute *a, struct ntfs_runs *runs, struct err *e);
/* All of the unnamed (or, for indexes, $I30's) attribute `type` of a record, through its attribute list if it has one. Bounded. */
int ntfs_runs_of(struct ntfs *n, uint64_t number, uint32_t type, struct ntfs_runs *ret, struct err *e);
int ntfs_runs_read(struct ntfs *n, const struct ntfs_runs *runs, void *buf, size_t len, uint64_t offset, struct err *e);
/* Undoes the fixups of a record or index block of len bytes; false: torn or no such block. */
bool ntfs_fixup(uint8_t *buf, size_t len, const char magic[4]);

/* Where the contents of paging and hibernation files lie, as free spans of the volume, sorted; the files of \ alone (fsmap_ntfs_files.c). */
int ntfs_pagefiles(struct ntfs *n, struct fsmap_list *ret, struct err *e);

#endif
