/* Programs of the system that look at disks and change them. Started with argv, never through a shell.
 *
 * Where systemd rules, what changes something runs in a transient service of its own, which may use the devices and folders that are named for it and
 * nothing else: the daemon itself needs no right to write to any disk. Elsewhere it is the daemon's child, and ends with it. */
#ifndef VMR_STORAGE_VOLUME_TOOL_H
#define VMR_STORAGE_VOLUME_TOOL_H

#include "storage/volume/linux.h"
#include "storage/volume/volume.h"

#define TOOL_MS 60000                                /* for programs that only look */
#define TOOL_DEVICES_MAX (2 * VOLUME_DISKS_MAX)

bool tool_there(const char *name);                   /* is it in PATH? */
bool tool_systemd(void);                             /* systemd is PID 1, and we may ask it */

/* A program that only reads; *ret (caller decrefs) is the JSON object that it writes. ERR_NOT_FOUND: it is not installed; ERR_IO: it failed, with its
 * own words. */
int tool_json(const struct linux_host *h, const char *const *argv, json_t **ret, struct err *e);

/* One that changes something. What a daemon before this one may have left at work has been ended (tool_end): the services have one name. */
struct tool_rights {
    const char *volume;                              /* id: only one program at a time works on a volume */
    const char *devices[TOOL_DEVICES_MAX];           /* to read and write */
    size_t n_devices;
    bool mapper;                                     /* the device mapper too, and all that it has made, with LVM's own folders */
    const char *folder;                              /* that it may write to; NULL: none */
};
/* input: what it reads from stdin, or NULL. *ret_out (caller frees) may be NULL. ERR_VOLUME with the program's own words when it fails. */
int tool_change(const struct linux_host *h, const struct tool_rights *rights, const char *const *argv, const char *input, unsigned timeout_ms, char **ret_out,
                struct err *e);
/* Ends the service that a daemon before this one may have left at work on the volume. Only where systemd rules. */
void tool_end(const struct volume_plan *p);
/* The same as tool_change for what answers in JSON. */
int tool_change_json(const struct linux_host *h, const struct tool_rights *rights, const char *const *argv, json_t **ret, struct err *e);
/* systemctl, which asks PID 1; elsewhere not to be called. */
int tool_systemctl(const struct linux_host *h, const char *verb, const char *unit, struct err *e);

#endif
