/* Driving the double of Windows as WMI callers do, for its own tests: settings as text, methods that may be jobs. */
#ifndef VMR_TESTS_UNIT_WMI_KIT_H
#define VMR_TESTS_UNIT_WMI_KIT_H

#include "tests/doubles/wmi/double.h"

struct kit {
    struct dbl *d;
    struct wmi *hv, *storage, *net;
    struct wmi_wait wait;
    struct err e;
    char *tmp;
};
struct kit *kit_new(const struct dbl_options *o);      /* o->schema NULL: that of 2025 */
void kit_free(struct kit *k);                          /* asserts that nothing leaked and nothing was unmodelled */

struct said {                                          /* what a method said in the end */
    uint32_t value;                                    /* ReturnValue, or of a job that failed its code */
    bool was_job, failed;                              /* failed: any way but 0 and a job that came through */
    uint64_t job_state;
    uint32_t code;                                     /* in brackets at the end of a job's text; else as value */
    char text[512];
    struct wmi_object *out;                            /* kit_said_clear frees it */
};
void kit_said_clear(struct said *s);
/* in: freed. Waits for a job to end. */
struct said kit_exec(struct kit *k, struct wmi *wmi, const char *path, const char *method, struct wmi_object *in);
uint32_t kit_call(struct kit *k, struct wmi *wmi, const char *path, const char *method, struct wmi_object *in);     /* its .code, all else dropped */
struct wmi_object *kit_in(struct kit *k, struct wmi *wmi, const char *class, const char *method);
char *kit_path_of(struct kit *k, struct wmi *wmi, const char *wql);      /* of the first row; NULL: none */
struct wmi_object *kit_one(struct kit *k, struct wmi *wmi, const char *wql);
size_t kit_count(struct kit *k, struct wmi *wmi, const char *wql);
uint32_t kit_query_code(struct kit *k, struct wmi *wmi, const char *wql);                      /* HRESULT, 0: it came through */

/* A VM. Each returns what the service said; the text is freed. */
struct said kit_service(struct kit *k, const char *method, const char *param, char *text, const char *affected);
char *kit_text(struct kit *k, const char *class, const char *const *pairs);    /* "Name", "value", …, NULL: strings, numbers, TRUE, "a|b" for arrays */
char *kit_define(struct kit *k, unsigned generation, const char *name);        /* path of its settings; asserts that it came through */
char *kit_vm_path(struct kit *k, const char *settings);
char *kit_guid(struct kit *k, const char *settings);
char *kit_device(struct kit *k, const char *settings, const char *sub_type, unsigned nth);     /* path; NULL: none */
uint32_t kit_add(struct kit *k, const char *settings, const char *class, const char *const *pairs);
uint32_t kit_modify(struct kit *k, const char *class, const char *const *pairs);
uint32_t kit_remove(struct kit *k, const char *path);
uint32_t kit_state(struct kit *k, const char *settings, unsigned want);
/* A drive on the nth controller of a kind, and a disk file in it. The code of what failed, or 0. */
uint32_t kit_attach(struct kit *k, const char *settings, const char *controller, unsigned nth, const char *slot, const char *file);
char *kit_file(struct kit *k, const char *name, const void *data, size_t n);   /* in the kit's folder; path */
char *kit_vhd(struct kit *k, const char *name, int format, int type, uint64_t size, const char *parent);        /* through the image service */

#endif
