/* A screen as a PNG. Threads: any. */
#ifndef VMR_API_PNG_H
#define VMR_API_PNG_H

#include "hyperv/hypervisor.h"

/* Scales to `width` (0: as it is), the height in proportion, averaging where it gets smaller. New pixels in *ret. */
int png_scale(const struct hv_image *img, unsigned width, struct hv_image *ret, struct err *e);
/* Caller frees *ret. */
int png_encode(const struct hv_image *img, uint8_t **ret, size_t *ret_len, struct err *e);

#endif
