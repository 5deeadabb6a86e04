/* What a job is asked to do: the body of POST /v1/jobs, checked and typed. */
#ifndef VMR_DB_SPEC_H
#define VMR_DB_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

#define SPEC_URL_MAX 4096                              /* bytes of a source's URL, SAS included */
#define SPEC_DISKS_MAX 4
#define SPEC_VOLUME_DISKS_MAX 32

/* The last three are in Azure Resource Manager: resolved by preflight, exported before they are downloaded. */
enum source_type { SOURCE_BLOB, SOURCE_FILE, SOURCE_BLANK, SOURCE_VM, SOURCE_MANAGED_DISK, SOURCE_SNAPSHOT, SOURCE_TYPES };
/* "auto" and the formats of the API; the order is that of the words in spec.c. */
enum disk_format { FORMAT_AUTO, FORMAT_VHD, FORMAT_VHD_DYNAMIC, FORMAT_VHDX, FORMAT_RAW, FORMATS };
/* In the order of the graph. */
enum task_kind { TASK_PREFLIGHT, TASK_EXPORT, TASK_VOLUME, TASK_DOWNLOAD, TASK_CREATE_VM, TASK_START_VM, TASK_EXPORT_VM, TASK_VERIFY, TASK_KINDS };
const char *source_type_name(enum source_type t);
bool source_is_arm(enum source_type t);               /* named by an id of Azure Resource Manager */
const char *disk_format_name(enum disk_format f);
bool disk_format_parse(const char *word, enum disk_format *ret);
const char *task_kind_name(enum task_kind k);        /* "preflight", "export", "volume", "download", "create_vm", "start_vm", "export_vm", "verify" */
bool task_kind_parse(const char *word, enum task_kind *ret);

struct spec_disk {
    enum source_type type;
    char *url;                                       /* blob: whole, with its SAS: a secret */
    char *credential;                                /* blob, ARM: name or NULL; for ARM it signs in to Microsoft Entra */
    char *path;                                      /* file: absolute */
    uint64_t size;                                   /* blank: bytes, a multiple of 1 MiB */
    char *id;                                        /* ARM: as it was given */
    bool data_disks, deallocate;                     /* vm: the data disks too; stop and deallocate it first */
    char *storage_credential;                        /* vm: for the page blobs of unmanaged disks; NULL: credential */
    struct {                                         /* ARM: copied by Azure into the user's storage account first */
        char *url;                                   /* of the container; NULL: not */
        char *credential;                            /* NULL: the source's */
    } via;
    enum disk_format format;
    bool skip_free_space;
};

/* Words as the API has them; the service knows what they mean. */
struct spec_volume {
    char *disks[SPEC_VOLUME_DISKS_MAX];              /* ids; n_disks 0: "auto" */
    size_t n_disks;
    const char *layout, *file_system, *partition_style;      /* never NULL: "auto", "auto", "gpt" unless asked for */
    char *label;                                     /* NULL: any */
    char *mount_point;                               /* absolute; a drive letter as "E:\\"; NULL: any */
};

struct spec {
    char *name;                                      /* 1..100 bytes, no '/', '\\' or control characters; never NULL after parsing */
    struct spec_disk disks[SPEC_DISKS_MAX];
    size_t n_disks;
    struct {
        unsigned generation;                         /* 0: auto */
        unsigned memory_mib, cpus;
        char *network;                               /* "none", "nat", "switch:<name>" */
        bool nested;                                 /* the guest may run virtual machines itself */
        bool start;
        char *dvd;                                   /* absolute path or NULL */
    } vm;
    struct spec_volume *volume;                      /* NULL: none; the disks go into the data folder */
    bool allow_cross_region;
    uint64_t max_bytes_per_second;                   /* 0: no limit */
    enum task_kind until;
};

/* Checks everything that can be checked without looking at the outside world. Errors carry field, nothing is changed. */
int spec_parse(json_t *body, struct spec **ret, struct err *e);
void spec_free(struct spec *s);
DEFINE_AUTO(struct spec, spec_free)
/* As spec_parse takes it, but with URLs redacted. New reference or NULL. */
json_t *spec_json(const struct spec *s);

#endif
