/* Key names for drivers: what the W3C "UI Events KeyboardEvent code Values" are called elsewhere. Threads: any. */
#ifndef VMR_HYPERV_KEYS_H
#define VMR_HYPERV_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* QEMU's name ("qcode") of the key with this W3C code; NULL: no such key on a PC keyboard. */
const char *hv_key_qcode(const char *code);

/* What a PC keyboard sends in scan code set 1 when the key goes down or up; returns the number of bytes, 0: no such key. */
#define HV_SCANCODES_MAX 3
size_t hv_key_scancodes(const char *code, bool up, uint8_t ret[HV_SCANCODES_MAX]);

#endif
