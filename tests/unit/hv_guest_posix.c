#include "tests/unit/hv_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "common/os.h"

#define TEXT_AT 0x180                                  /* of the sector; the code reads it at 0x7C00 + 0x180 */
#define ISO_SECTOR 2048

static const uint8_t code[] = {
    /* start: cli; ax = ds = es = ss = 0; sp = 0x7C00; sti */
    0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C, 0xFB,
    /* text mode 3: int 0x10; si = 0x7D80; loop: lodsb; or al, al; jz main; call put; jmp loop */
    0xB8, 0x03, 0x00, 0xCD, 0x10, 0xBE, 0x80, 0x7D, 0xAC, 0x08, 0xC0, 0x74, 0x05, 0xE8, 0x4B, 0x00, 0xEB, 0xF6,
    /* main: key there? (int 0x16, ah = 1) jz serial; take it; '!' -> write; '@' -> graph; call put */
    0xB4, 0x01, 0xCD, 0x16, 0x74, 0x0F, 0x30, 0xE4, 0xCD, 0x16, 0x3C, 0x21, 0x74, 0x1B, 0x3C, 0x40, 0x74, 0x30, 0xE8, 0x34, 0x00,
    /* serial: byte at the port? jz idle; take it; call put; jmp main */
    0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x01, 0x74, 0x09, 0xBA, 0xF8, 0x03, 0xEC, 0xE8, 0x25, 0x00, 0xEB, 0xDA,
    /* idle: hlt; jmp main */
    0xF4, 0xEB, 0xD7,
    /* write: int 0x13: one sector from 0x7C00 to the second of disk 0x80; '+' or, with carry, '-'; call put; jmp main */
    0xB8, 0x01, 0x03, 0xB9, 0x02, 0x00, 0xBA, 0x80, 0x00, 0xBB, 0x00, 0x7C, 0xCD, 0x13, 0xB0, 0x2B, 0x73, 0x02, 0xB0, 0x2D, 0xE8, 0x09, 0x00,
    0xEB, 0xBE,
    /* graph: mode 0x13: int 0x10; jmp main */
    0xB8, 0x13, 0x00, 0xCD, 0x10, 0xEB, 0xB7,
    /* put: al to the screen (int 0x10, ah = 0x0E), then to the serial port when it is free; ret */
    0x50, 0xB4, 0x0E, 0x31, 0xDB, 0xCD, 0x10, 0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x20, 0x74, 0xF8, 0x58, 0xBA, 0xF8, 0x03, 0xEE, 0xC3,
};

static void boot_sector(uint8_t ret[512], const char *text)
{
    assert_true(sizeof code <= TEXT_AT && strlen(text) <= 100);
    memset(ret, 0, 512);
    memcpy(ret, code, sizeof code);
    memcpy(ret + TEXT_AT, text, strlen(text) + 1);
    ret[510] = 0x55;
    ret[511] = 0xAA;
}

static void put_file(const char *path, uint64_t size, const void *head, size_t head_len, const void *tail, size_t tail_len)
{
    struct os_file *f = NULL;
    struct err e;
    assert_int_equal(os_file_open(path, OS_WRITE | OS_CREATE | OS_TRUNCATE, &f, &e), 0);
    assert_int_equal(os_file_truncate(f, size, &e), 0);
    if (head_len)
        assert_int_equal(os_file_pwrite(f, head, head_len, 0, &e), 0);
    if (tail_len)
        assert_int_equal(os_file_pwrite(f, tail, tail_len, size - tail_len, &e), 0);
    os_file_close(f);
}

void guest_raw(const char *path, const char *text)
{
    uint8_t sector[512];
    boot_sector(sector, text);
    put_file(path, GUEST_DISK_BYTES, sector, sizeof sector, "last sector", 11);
}

/* The driver must not look at the footer: its geometry here says far too little. */
void guest_fixed_vhd(const char *path, const char *text)
{
    uint8_t sector[512], footer[512] = "conectix";
    boot_sector(sector, text);
    memcpy(footer + 28, "wa\0\0", 4);
    put_file(path, GUEST_DISK_BYTES + 512, sector, sizeof sector, footer, sizeof footer);
}

void guest_blank(const char *path)
{
    put_file(path, GUEST_DISK_BYTES, NULL, 0, NULL, 0);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Volume descriptors at sector 16 (primary), 17 (boot record), 18 (end), the boot catalogue at 19, the boot image at 20. */
void guest_iso(const char *path, const char *text)
{
    static uint8_t iso[32 * ISO_SECTOR];
    memset(iso, 0, sizeof iso);
    uint8_t *primary = iso + 16 * ISO_SECTOR, *boot = iso + 17 * ISO_SECTOR, *end = iso + 18 * ISO_SECTOR, *catalogue = iso + 19 * ISO_SECTOR;
    memcpy(primary, "\1CD001\1", 7);
    put32(primary + 80, 32);
    memcpy(boot, "\0CD001\1EL TORITO SPECIFICATION", 30);
    put32(boot + 0x47, 19);
    memcpy(end, "\377CD001\1", 7);
    catalogue[0] = 1;                                  /* validation entry; its 16 words add up to 0 */
    catalogue[0x1E] = 0x55;
    catalogue[0x1F] = 0xAA;
    catalogue[0x1C] = (uint8_t)(0x10000 - (0x0001 + 0xAA55));
    catalogue[0x1D] = (uint8_t)((0x10000 - (0x0001 + 0xAA55)) >> 8);
    catalogue[0x20] = 0x88;                            /* bootable, no emulation, one sector of 512 bytes at 20 */
    catalogue[0x26] = 1;
    put32(catalogue + 0x28, 20);
    boot_sector(iso + 20 * ISO_SECTOR, text);
    put_file(path, sizeof iso, iso, sizeof iso, NULL, 0);
}
