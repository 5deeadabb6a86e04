/* What the tests of the Hyper-V driver share: a host of the double, a folder, images that Hyper-V made, the driver on top. */
#ifndef VMR_TESTS_HYPERV_RIG_H
#define VMR_TESTS_HYPERV_RIG_H

#include "hyperv/hyperv_host.h"
#include "hyperv/hypervisor.h"
#include "hyperv/scenario.h"
#include "tests/doubles/wmi/double.h"

#define RIG_DISK_BYTES ((uint64_t)4 << 20)

struct rig {
    char *dir;                                         /* removed at the end */
    struct dbl *d;
    struct hyperv_platform platform;
    struct hv_config cfg;
    struct hv *hv;
    unsigned next;
};

/* A calm host of 2019 unless `o` says more; o->work_dir is set by the rig. */
struct dbl_options rig_calm(void);
struct rig *rig_new(const struct dbl_options *o);
/* For tests of many lives: rigs lie in memory (/dev/shm) unless TMPDIR says where. Their thousands of flushes are not what is tested. */
void rig_in_memory(void);
/* Deletes nothing: closes the driver, asserts that nothing leaked across the seam and that nothing was asked that the double does not play. */
void rig_free(struct rig *g);
void rig_open(struct rig *g);                          /* hv_open */
void rig_reopen(struct rig *g);                        /* what a new daemon does */
char *rig_path(struct rig *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));      /* inside dir; heap */
/* Makes an image through Hyper-V itself and writes a pattern into it; heap path. The name gets the extension of the format. */
char *rig_image(struct rig *g, const char *name, enum hv_format format);
char *rig_iso(struct rig *g, const char *name);
/* A specification with one disk (overlay over `image`); hv_vm_spec_clear after use. */
struct hv_vm_spec rig_spec(struct rig *g, unsigned generation, const char *image, enum hv_format format);
/* Creates such a VM; heap id. */
char *rig_vm(struct rig *g, unsigned generation, const char *image, enum hv_format format);
enum hv_state rig_state(struct rig *g, const char *id, char detail[128]);    /* detail may be NULL */
const char *rig_guid(struct rig *g, size_t i);         /* of the i-th VM of ours in the double; fails the test when there is none */
/* The file that the VM writes to for a slot; heap. */
char *rig_medium(struct rig *g, const char *guid, unsigned generation, unsigned slot);
/* SHA-256 of a file in hex; heap. */
char *rig_hash(const char *path);
/* Fills a scenario for this rig; strings live as long as the rig's images do. */
struct scenario rig_scenario(struct rig *g, unsigned generation, const char *image, enum hv_format format, const char *further, const char *iso);

#define OK(call) rig_ok((call), &e, #call, __FILE__, __LINE__)
void rig_ok(int r, const struct err *e, const char *what, const char *file, int line);

#endif
