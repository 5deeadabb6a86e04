/* Key names for drivers: what the W3C "UI Events KeyboardEvent code Values" are called elsewhere. Threads: any. */
#ifndef VMR_HYPERV_KEYS_H
#define VMR_HYPERV_KEYS_H

/* QEMU's name ("qcode") of the key with this W3C code; NULL: no such key on a PC keyboard. */
const char *hv_key_qcode(const char *code);

#endif
