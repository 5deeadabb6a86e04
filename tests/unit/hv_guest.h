/* A guest of 125 bytes for tests of hypervisor drivers: a boot sector that prints a text on screen and serial port, then echoes what is typed on
 * keyboard and serial port to both. '!' writes its second sector and shows '+' or '-'; '@' goes into a graphics mode. */
#ifndef VMR_TESTS_HV_GUEST_H
#define VMR_TESTS_HV_GUEST_H

#include <stdint.h>

#define GUEST_DISK_BYTES ((uint64_t)1 << 20)

/* Each writes a file at path or fails the running cmocka test. text: at most 100 bytes. */
void guest_raw(const char *path, const char *text);    /* GUEST_DISK_BYTES */
void guest_fixed_vhd(const char *path, const char *text);   /* and 512 bytes of footer */
void guest_blank(const char *path);                    /* nothing to boot */
void guest_iso(const char *path, const char *text);    /* El Torito, without emulation */

#endif
