/* Shared by compute.c, compute_disk.c and compute_vm.c; nobody else includes this. */
#ifndef VMR_STORAGE_AZURE_COMPUTE_INTERNAL_H
#define VMR_STORAGE_AZURE_COMPUTE_INTERNAL_H

#include "storage/azure/compute.h"

/* A member by its path, names parted by '.': NULL when it or one on the way is missing. Borrowed. */
const json_t *compute_member(const json_t *o, const char *path);
/* Its text; "" when it is no text. Borrowed. */
const char *compute_text(const json_t *o, const char *path);
#define COMPUTE_COPY(to, o, path) compute_copy(to, sizeof(to), o, path)
void compute_copy(char *to, size_t size, const json_t *o, const char *path);    /* cut at size; one line of UTF-8 */
/* A copy of the text, or NULL when it is missing or empty; *failed is set when memory ran out. */
char *compute_dup(const json_t *o, const char *path, bool *failed);
/* Whole GiB of a member as bytes; 0 when it is missing or no size. */
uint64_t compute_gib(const json_t *o, const char *path);
unsigned compute_generation(const char *word);       /* "V1", "V2" */

/* The path of a resource with an action ("/beginGetAccess" or "") and query, from its id. Caller frees. NULL with *e set. */
char *compute_path(const char *id, const char *type, const char *action, const char *api, struct err *e);
/* A list's path: of a subscription, or of a group in it. */
char *compute_list_path(const char *subscription, const char *resource_group, const char *type, const char *query, struct err *e);

/* An answer as ours. ERR_UPSTREAM when it has no id of the type. */
int compute_parse_disk(const json_t *o, struct compute_disk *ret, struct err *e);
int compute_parse_vm(const json_t *o, struct compute_vm *ret, struct err *e);
/* Power state and what else only the instance view tells. */
void compute_parse_view(const json_t *view, struct compute_vm *vm);
void compute_disk_clear(struct compute_disk *d);
void compute_vm_clear(struct compute_vm *vm);

#endif
