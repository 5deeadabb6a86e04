/* Disk images: what is in a file or blob that claims to be a disk. All input is hostile: every offset, size and count is checked.
 * Sources: Microsoft "Virtual Hard Disk Image Format Specification" 1.0; MS-VHDX; UEFI 2.10 chapter 5 (GPT). */
#ifndef VMR_STORAGE_IMAGE_IMAGE_H
#define VMR_STORAGE_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/* Bytes from somewhere: a local file or ranged GETs. read gives all n bytes or an error. */
struct image_source {
    int (*read)(void *arg, void *buf, size_t n, uint64_t offset, struct err *e);
    void *arg;
    uint64_t size;                                   /* of the file */
    const char *name;                                /* for messages */
};

enum image_format { IMAGE_RAW, IMAGE_VHD, IMAGE_VHD_DYNAMIC, IMAGE_VHDX };
enum image_table { TABLE_NONE, TABLE_MBR, TABLE_GPT };

struct image_info {
    enum image_format format;
    uint64_t virtual_size;                           /* bytes that a guest sees */
    uint32_t sector_size;                            /* logical */
    char creator[5];                                 /* VHD: creator application, printable, else "" */
    uint8_t unique_id[16];                           /* VHD */
    enum image_table table;
    unsigned partitions;
    bool efi_system, bios_boot;                      /* such partitions are there */
    bool boot_code;                                  /* the MBR has code */
    bool table_damaged;                              /* a table that cannot be trusted (GPT CRC); the generation is then a guess */
    unsigned generation;                             /* 1 or 2: what fits the partition table */
};

/* Recognises the format (`expect` < 0: any but raw, which must be asked for) and reads all of the above. ERR_NOT_VHD with what was found
 * at which offset, ERR_VHD_DAMAGED (checksum, sizes, geometry against size), ERR_SOURCE_TRUNCATED when the footer is
 * missing but the header copy of a dynamic disk or the size says it should be there, ERR_UNSUPPORTED for differencing disks. */
int image_probe(const struct image_source *src, int expect, struct image_info *ret, struct err *e);
const char *image_format_name(enum image_format f);  /* "raw", "vhd", "vhd_dynamic", "vhdx" */

/* The 512-byte footer of a fixed VHD for this many bytes (a multiple of 512), with a fresh unique id. */
int image_vhd_footer(uint64_t virtual_size, uint8_t ret[512], struct err *e);
/* A new sparse fixed VHD (virtual_size + 512 bytes) or raw file; ERR_IO if path exists and is another size. Idempotent. */
int image_create_blank(const char *path, enum image_format format, uint64_t virtual_size, struct err *e);

/* image_source over a local file; image_file_close after use. */
struct os_file;
int image_file_open(const char *path, struct image_source *ret, struct err *e);
void image_file_close(struct image_source *src);

#endif
