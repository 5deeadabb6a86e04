/* A VM's specification as JSON, in the records that drivers keep of their VMs. Threads: any. */
#ifndef VMR_HYPERV_VMSPEC_H
#define VMR_HYPERV_VMSPEC_H

#include <jansson.h>

#include "hyperv/hypervisor.h"

json_t *vmspec_json(const struct hv_vm_spec *s);         /* new reference or NULL */
/* Strict. *ret is zero before; after false it may hold something, so hv_vm_spec_clear in any case. */
bool vmspec_read(json_t *o, struct hv_vm_spec *ret);
/* For the rest of such records: a member that is an integer between min and max. */
bool vmspec_int(json_t *o, const char *key, long long min, long long max, long long *ret);
/* The record itself, DIR/vm.json. Read: *ret is a new reference; ERR_NOT_FOUND where there is none. Write: takes o, also when it fails; NULL is
 * out of memory; the file is replaced whole. */
int vmspec_file_read(const char *dir, json_t **ret, struct err *e);
int vmspec_file_write(const char *dir, json_t *o, struct err *e);
/* The word of a format in JSON ("vhd_dynamic"). */
const char *vmspec_format_name(enum hv_format f);

#endif
