/* Whether the disks of a VM can be brought here, and what stands in the way: one set of rules for discovery, which tells, and for the
 * export, which refuses early. No requests; what was read is judged. Sources: Microsoft.Compute (disk states, network access, data access
 * authentication, incremental snapshots). Threads: any. */
#ifndef VMR_STORAGE_AZURE_EXPORTABLE_H
#define VMR_STORAGE_AZURE_EXPORTABLE_H

#include "storage/azure/compute.h"

enum exportable_weight { EXPORTABLE_NOTE /* worth knowing */, EXPORTABLE_WARNING /* it works, at a price */, EXPORTABLE_BLOCKED };
struct exportable_reason {
    const char *code;                                /* stable snake_case word: "ephemeral_os_disk", "private_network_only" … */
    enum exportable_weight weight;
    char *disk;                                      /* name of the disk, NULL: the VM */
    char *detail, *remedy;                           /* sentences for people; remedy may be "" */
};
struct exportable {
    bool possible;                                   /* no reason is EXPORTABLE_BLOCKED */
    struct exportable_reason *reasons;
    size_t n;
};
void exportable_free(struct exportable *x);

/* vm may be NULL (disks or snapshots alone). disks: those of the VM as far as they could be read, any order, matched to vm->disks by id; one that
 * is missing counts as not readable. data_disks: judge the data disks too, not the OS disk alone. inside_azure: this host runs in Azure, and may
 * so be within a private network. */
struct exportable_question {
    const struct compute_vm *vm;
    const struct compute_disk *const *disks;
    size_t n;
    bool data_disks, inside_azure;
};
int exportable_judge(const struct exportable_question *q, struct exportable *ret, struct err *e);
/* Whether this disk must be exported by a snapshot (its VM runs, is stopped but not deallocated, or another VM has the disk too), and whether that can be incremental. */
bool exportable_needs_snapshot(const struct compute_vm *vm, const struct compute_disk *disk);
bool exportable_can_be_incremental(const struct compute_disk *disk);
/* The snapshot or disk is a VHDX (4096-byte sectors): compute_access_options.vhdx. */
bool exportable_is_vhdx(const struct compute_disk *disk);

#endif
