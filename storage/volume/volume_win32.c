/* Volumes on Windows. */
#include "storage/volume/volume.h"

int volume_open(const struct volume_config *cfg, struct volume_host **ret, struct err *e)
{
    (void)cfg;
    (void)ret;
    err_set(e, ERR_UNSUPPORTED, "this version does not prepare volumes on Windows yet");
    return err_hint(e, "Make the volume by hand and set data_dir to a folder on it.");
}
