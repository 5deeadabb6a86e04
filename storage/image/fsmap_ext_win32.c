/* ext2, ext3, ext4: not read by this build, which has no libext2fs. */
#include "storage/image/fsmap_volume.h"

int fsmap_ext(struct volume *v, struct err *e)
{
    (void)e;
    return volume_refuse(v, "this build does not read ext file systems");
}
