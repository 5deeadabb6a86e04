/* Ids of resources in Azure Resource Manager:
 *   /subscriptions/{guid}/resourceGroups/{group}/providers/{namespace}/{type}/{name}
 * Azure itself writes one id in several cases (resourcegroups, GROUP in capitals): ids are compared ignoring ASCII case, and never as
 * raw text. Source: Azure Resource Manager, "Resource naming rules". Threads: any. */
#ifndef VMR_COMMON_ARM_ID_H
#define VMR_COMMON_ARM_ID_H

#include <stdbool.h>

#include "common/error.h"

#define ARM_ID_MAX 1024                              /* bytes of the text with its NUL */
struct arm_id {
    char subscription[37];                           /* lower case */
    char resource_group[91];
    char provider[64], type[64];                     /* "Microsoft.Compute", "virtualMachines" */
    char name[129];
};
/* type: "Microsoft.Compute/virtualMachines" for this type alone, NULL for any. ERR_VALUE (no field set) saying what is wrong, and of which
 * type the id is when it is of another. Child resources (…/name/child/name) are refused. */
int arm_id_parse(const char *text, const char *type, struct arm_id *ret, struct err *e);
/* The id as a path, in our spelling (subscriptions, resourceGroups, providers), each part percent-encoded where a URL needs it. */
void arm_id_path(const struct arm_id *id, char ret[ARM_ID_MAX]);
/* The same in lower case: equal for equal ids, to sort and look up by. */
void arm_id_key(const struct arm_id *id, char ret[ARM_ID_MAX]);
/* Whether both texts are ids of the same resource; texts that are no ids are never equal. */
bool arm_id_equal(const char *a, const char *b);
/* An id for the resource `name` of `type` ("Microsoft.Compute/snapshots") in a group. ERR_VALUE when a part is not allowed. */
int arm_id_make(const char *subscription, const char *resource_group, const char *type, const char *name, struct arm_id *ret, struct err *e);

#endif
