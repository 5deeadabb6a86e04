/* Inside of storage/volume, on Linux: what its files share. */
#ifndef VMR_STORAGE_VOLUME_LINUX_H
#define VMR_STORAGE_VOLUME_LINUX_H

#include "storage/volume/volume.h"

struct linux_host {
    struct volume_host base;
    const char *sys, *proc, *dev;                    /* "/sys", "/proc", "/dev"; other folders in tests */
    bool loop;                                       /* loop devices count as disks */
    bool (*stop)(void *arg);                         /* ends a program that runs; NULL: never */
    void *arg;
};

/* Content of a small file, without the spaces and line ends around it; NULL: not there, or no memory. Caller frees. */
char *linux_read(const char *folder, const char *name);

/* ---- sysfs_posix.c: what the kernel knows, without a look at any disk ---- */
int sysfs_disks(const struct linux_host *h, struct hostdisks *ret, struct err *e);
/* What is mounted from block devices, each device once. */
struct sysfs_mount { unsigned major, minor; char *where, *device, *type; bool read_only; };
int sysfs_mounts(const struct linux_host *h, struct sysfs_mount **ret, size_t *ret_n, struct err *e);
void sysfs_mounts_free(struct sysfs_mount *list, size_t n);
/* Does the kernel know a partition that begins there? *ret_device (caller frees) is NULL if not. */
int sysfs_partition(const struct linux_host *h, const char *disk, uint64_t offset, uint64_t size, char **ret_device, struct err *e);
/* Can the disk forget what was written (discard)? */
bool sysfs_discards(const struct linux_host *h, const char *disk);

/* ---- content_posix.c: what is on a disk, by the system's tools ---- */
int content_read(const struct linux_host *h, struct hostdisk *d, struct err *e);
/* The first signature on a device; *ret is zeroed if there is none. hostdisk_content_clear it. */
int content_of(const struct linux_host *h, const char *device, struct hostdisk_content *ret, struct err *e);

/* ---- rawdisk_posix.c ---- */
/* Somebody holds the disk for himself: .claimed; who has it open: .user; it cannot be opened: .unreadable. Leaves other disks alone. */
int rawdisk_probe(const struct linux_host *h, struct hostdisks *l, struct err *e);
/* .user alone. */
int rawdisk_users(const struct linux_host *h, struct hostdisks *l, struct err *e);
/* ERR_BUSY: somebody holds it, or a partition of it. */
int rawdisk_free(const char *device, struct err *e);
/* hostdisk_look (between: hostdisk_look_between) through the disk's device, past the cache. */
int rawdisk_look(struct hostdisk *d, unsigned turn, bool between, struct err *e);
/* n bytes at offset, both whole sectors, past the cache; buf is aligned to 4096. */
int rawdisk_read(const char *device, void *buf, size_t n, uint64_t offset, struct err *e);

/* ---- steps: each finds what it has done already ---- */
/* table_posix.c: one partition over the whole disk; the kernel knows it when this returns. */
int table_make(const struct linux_host *h, const struct volume_plan *p, unsigned k, const struct hostdisk *d, struct err *e);
int table_partition(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, char **ret_device, struct err *e);
int table_wipe(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *d, struct err *e);
/* A wipe that ended right after its last byte: nothing is on the disk, and the kernel still shows the partition. */
int table_forget(const struct linux_host *h, const struct volume_plan *p, const struct hostdisk *d, struct err *e);
/* lvm_posix.c: one logical volume, striped over the partitions. */
char *lvm_device(const struct volume_plan *p);       /* its path; heap or NULL */
int lvm_join(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
int lvm_activate(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
int lvm_remove(const struct linux_host *h, const struct volume_plan *p, struct hostdisk *const *disks, struct err *e);
/* mount_posix.c */
int mount_make(const struct linux_host *h, const struct volume_plan *p, const char *device, struct err *e);
/* device NULL: there is none any more. */
int mount_remove(const struct linux_host *h, const struct volume_plan *p, const char *device, struct err *e);

#endif
