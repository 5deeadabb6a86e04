/* What the tests of volumes on Windows share: the double's disks, their bytes, the platform on top. */
#ifndef VMR_TESTS_VOLUME_RIG_H
#define VMR_TESTS_VOLUME_RIG_H

#include "storage/volume/win.h"
#include "tests/doubles/wmi/double.h"

#define VOLUME_GIB ((uint64_t)1 << 30)

struct volume_rig {
    char *dir, *data;
    struct dbl *d;
    struct win_platform p;
    struct volume_host *h;
    unsigned roots_closed, raw_writes;
    bool renumber_while_read;                          /* the disks' numbers change while one is read */
    struct volume_plan kept;                           /* what volume_watch.save saved last */
};
struct volume_rig *volume_rig_new(const struct dbl_options *o);
void volume_rig_open(struct volume_rig *g);            /* again, as a new daemon does */
void volume_rig_free(struct volume_rig *g);
extern const struct win_ops volume_rig_ops;            /* arg: the rig */
struct volume_watch volume_rig_watch(struct volume_rig *g);              /* saves to .kept */
char *volume_rig_disk(const char *serial);             /* its id; heap */
/* Plans a volume; asserts that it works. */
struct volume_plan volume_rig_plan(struct volume_rig *g, const char *const *serials, size_t n, enum volume_layout layout, const char *label);
/* All instances of Windows Storage and all bytes, as text. */
char *volume_rig_state(struct volume_rig *g);

#define OK(call) volume_rig_ok((call), &e, #call, __FILE__, __LINE__)
void volume_rig_ok(int r, const struct err *e, const char *what, const char *file, int line);

#endif
