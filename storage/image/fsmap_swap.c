/* Linux swap areas. Contents are worth something only to the kernel that wrote them, unless it sleeps (other signatures).
 * Source: Linux, include/linux/swap.h (union swap_header); mkswap(8). */
#include <string.h>

#include "storage/image/fsmap_volume.h"

int fsmap_swap(struct volume *v, struct err *e)
{
    static const uint32_t page_sizes[] = {4096, 16384, 65536};
    if (!v->reader->o->skip_swap)
        return volume_refuse(v, "contents of swap areas are kept");
    for (size_t i = 0; i < ARRAY_LEN(page_sizes); i++) {
        uint32_t page = page_sizes[i];
        uint8_t magic[10], h[12];
        if (v->size < page)
            break;
        int r = volume_read(v, magic, sizeof magic, page - 10, e);
        if (!r)
            r = volume_read(v, h, sizeof h, 1024, e);
        if (r)
            return r;
        if (memcmp(magic, "SWAPSPACE2", 10))
            continue;
        uint32_t version = le32(h), last = le32(h + 4), bad = le32(h + 8);
        if (version != 1 || bad || !last || last >= v->size / page)
            return volume_refuse(v, "the swap header does not fit the volume (version %u, last page %u, %u bad pages)", version, last, bad);
        r = volume_metadata(v, 0, page, e);
        return r ? r : volume_declare_free(v, page, ((uint64_t)last + 1) * page, e);
    }
    return volume_refuse(v, "no swap header");
}
