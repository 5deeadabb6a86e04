/* Disk images: what is in a file or blob that claims to be a disk. All input is hostile: every offset, size and count is checked.
 * Sources: Microsoft "Virtual Hard Disk Image Format Specification" 1.0; MS-VHDX; UEFI 2.10 chapter 5 (GPT).
 * Threads: any; a call keeps nothing but what it returns. */
#ifndef VMR_STORAGE_IMAGE_IMAGE_H
#define VMR_STORAGE_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

/* Bytes from somewhere: a local file or ranged GETs. read gives all n bytes or an error; a probe asks for at most 64 KiB
 * at a time, never past size. */
struct image_source {
    int (*read)(void *arg, void *buf, size_t n, uint64_t offset, struct err *e);
    void *arg;
    uint64_t size;                                   /* of the file */
    const char *name;                                /* for messages */
    /* The first bytes from offset on, before limit, that may be other than zero: [*ret_start, *ret_end). None: both are limit. NULL: all of
     * them may be (image_next_data sees to that). */
    int (*next_data)(void *arg, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e);
};
int image_next_data(const struct image_source *src, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e);

enum image_format { IMAGE_RAW, IMAGE_VHD, IMAGE_VHD_DYNAMIC, IMAGE_VHDX };
enum image_table { TABLE_NONE, TABLE_MBR, TABLE_GPT };

#define IMAGE_MAX_BYTES (UINT64_C(64) << 40)         /* the largest disk that is believed: VHDX's limit; Azure's is 32 TiB */
#define VHD_FOOTER_BYTES 512

struct image_info {
    enum image_format format;
    uint64_t virtual_size;                           /* bytes that a guest sees */
    uint32_t sector_size;                            /* logical */
    uint32_t block_bytes;                            /* of a format that stores blocks where they are used; else 0 */
    bool fixed;                                      /* all of the disk is stored: raw, fixed VHD, a VHDX that was made so */
    bool differencing;                               /* holds changes to a parent (image_open alone takes such) */
    char creator[5];                                 /* VHD: creator application, printable, else "" */
    uint8_t unique_id[16];                           /* VHD */
    enum image_table table;
    unsigned partitions;                             /* that can hold data: an extended partition's shell does not count */
    bool efi_system, bios_boot;                      /* such partitions are there */
    bool boot_code;                                  /* the MBR has code */
    /* The table cannot be trusted (both GPT copies bad, no protective MBR, a chain that breaks, a partition past the end of the disk).
     * The generation is then a guess. */
    bool table_damaged;
    unsigned generation;                             /* 1 or 2: what fits the partition table (partition.c has the rule) */
};

/* Recognises the format (`expect` < 0: any but raw, which must be asked for; else the image must be of that format) and reads all
 * of the above. In a VHD the *current size* field is the truth; the geometry is not looked at, because Azure's exports carry one
 * that does not fit. ERR_NOT_VHD with what was found at which offset; ERR_VHD_DAMAGED (checksum, sizes, tables); ERR_SOURCE_TRUNCATED
 * when the size, the header copy of a dynamic disk, a block or a partition says that there should be more; ERR_UNSUPPORTED for
 * differencing disks and a VHDX whose log was not replayed; whatever read gives. */
int image_probe(const struct image_source *src, int expect, struct image_info *ret, struct err *e);
const char *image_format_name(enum image_format f);  /* "raw", "vhd", "vhd_dynamic", "vhdx" */
const char *image_table_name(enum image_table t);    /* "none", "mbr", "gpt" */

/* The footer of a fixed VHD for this many bytes (a multiple of 512, at most IMAGE_MAX_BYTES), with a fresh unique id. */
int image_vhd_footer(uint64_t virtual_size, uint8_t ret[VHD_FOOTER_BYTES], struct err *e);
/* Grows a fixed VHD to whole MiB, which Azure asks for, with zeros and a footer that says so; one of whole MiB stays as it is. Not for a file that
 * anybody else reads meanwhile, or that a crash must leave whole. Durable when it returns. */
int image_vhd_whole_mib(const char *path, struct err *e);
/* A new empty disk: a fixed VHD (virtual_size + 512 bytes) or raw file, as os_file_truncate makes it, a dynamic VHD or a dynamic VHDX. Idempotent: a
 * file that is there and is what would be made stays as it is, anything else at path is ERR_IO. Complete and durable when it appears
 * under its name. Where files are not sparse this takes as long as writing all of it; `stop` (NULL: never) is asked in between, true:
 * ERR_CANCELLED, and nothing is left. */
int image_create_blank(const char *path, enum image_format format, uint64_t virtual_size, bool (*stop)(void *arg), void *arg, struct err *e);

/* image_source over a local file or block device; image_file_close after use (fine on a zeroed struct). */
int image_file_open(const char *path, struct image_source *ret, struct err *e);
void image_file_close(struct image_source *src);
#define AUTO_IMAGE_FILE AUTO(image_file_close)

#endif
