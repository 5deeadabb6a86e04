/* The endpoints of an Azure cloud: where to sign in, where Azure Resource Manager and the storage hosts are. Sources: the clouds' tables of
 * the Azure CLI; Microsoft.Compute (the hosts of disk SAS URLs lie outside the storage suffix). Threads: read-only once opened. */
#ifndef VMR_STORAGE_AZURE_CLOUD_H
#define VMR_STORAGE_AZURE_CLOUD_H

#include <stdbool.h>

#include "common/error.h"
#include "common/mem.h"

/* As in the configuration, [azure]. NULL or "": the value of the named cloud; what "custom" has no value for must be given. */
struct cloud_options {
    const char *cloud;                               /* "public" (also NULL), "china", "usgov", "custom" */
    const char *arm_endpoint, *login_endpoint;       /* https://host[:port]; http for loopback only; no path, no query */
    const char *imds_endpoint, *arc_endpoint;        /* the same; http also for 169.254.169.254 */
    const char *blob_suffix;                         /* "blob.core.windows.net": hosts are <account>.<suffix> */
    const char *disk_sas_suffix;                     /* "blob.storage.azure.net" */
    const char *arc_token_dir;                       /* absolute: the only folder whose challenge files are read */
};
struct cloud {
    char *name;
    char *arm, *login, *imds, *arc;                  /* without '/' at the end */
    char *blob_suffix, *disk_sas_suffix, *arc_token_dir;
    bool custom;
};
/* ERR_CONFIG naming the key. An Arc agent that the environment names (IDENTITY_ENDPOINT, when it is loopback) is used when arc_endpoint is
 * not given. */
int cloud_open(const struct cloud_options *o, struct cloud **ret, struct err *e);
void cloud_close(struct cloud *c);                   /* NULL is a no-op */
DEFINE_AUTO(struct cloud, cloud_close)

/* Same scheme, host (case ignored) and port: what a URL from outside must fulfil before a token is sent there. */
bool cloud_same_origin(const char *url, const char *endpoint);
/* The URL that beginGetAccess gave: https (http for loopback), host "md-…" below disk_sas_suffix; in a custom cloud the suffix itself or
 * anything below it. ERR_UPSTREAM_FINAL with the host's name otherwise (never with the query). */
int cloud_check_disk_sas(const struct cloud *c, const char *url, struct err *e);
/* A page blob's URL in a storage account of this cloud (unmanaged disks): host <account>.<blob_suffix>; in a custom cloud also the suffix
 * itself with the account as first part of the path. ERR_VALUE otherwise. */
int cloud_check_blob(const struct cloud *c, const char *url, struct err *e);

#endif
