/* LVM2 physical volumes: the label in one of the first four sectors, the header behind it, and the areas with the group's metadata.
 * Source: lvm2, lib/label/label.h, lib/format_text/layout.h, lib/format_text/format-text.c. */
#include <string.h>

#include "common/crypto.h"
#include "storage/image/fsmap_lvm.h"

#define AREAS_MAX 8
#define MDA_HEADER 512u

struct area { uint64_t at, size; };

/* LVM's CRC: the polynomial of CRC-32, begun otherwise and not inverted. */
static uint32_t lvm_crc(const void *p, size_t n)
{
    return ~crypto_crc32(~0xf597a6cfu, p, n);
}

static int label_find(struct volume *v, uint8_t label[512], struct err *e)
{
    for (uint64_t i = 0; i < 4; i++) {
        int r = volume_read(v, label, 512, i * 512, e);
        if (r)
            return r;
        if (memcmp(label, "LABELONE", 8))
            continue;
        if (le64(label + 8) != i || memcmp(label + 24, "LVM2 001", 8) || lvm_crc(label + 20, 492) != le32(label + 16))
            return volume_refuse(v, "its label is damaged");
        return 0;
    }
    return volume_refuse(v, "no label");
}

/* Two lists of areas, each ended by one of no place and size: data, then metadata. A size of 0 means up to the end. */
static int areas_read(struct volume *v, const uint8_t *label, struct lvm_pv *ret, struct area areas[AREAS_MAX], size_t *ret_n, struct err *e)
{
    size_t at = le32(label + 20), lists = 0, data = 0, n = 0;
    (void)e;
    if (at < 32 || at > 512 - 40)
        return volume_refuse(v, "its label is damaged");
    memcpy(ret->uuid, label + at, 32);
    uint64_t size = le64(label + at + 32);
    if (size > v->size)
        return volume_refuse(v, "it says to have %llu bytes, which do not fit the volume", (unsigned long long)size);
    for (at += 40; lists < 2; at += 16) {
        if (at + 16 > 512)
            return volume_refuse(v, "its header does not end");
        struct area a = {le64(label + at), le64(label + at + 8)};
        if (!a.at && !a.size) {
            lists++;
        } else if (lists == 0) {
            ret->data_at = a.at;
            data++;
        } else {
            if (n == AREAS_MAX || a.at > v->size || a.size > v->size - a.at || a.size < 2 * MDA_HEADER)
                return volume_refuse(v, "a metadata area does not fit the volume");
            areas[n++] = a;
        }
    }
    if (data != 1 || !n)
        return volume_refuse(v, "it has %zu data and %zu metadata areas", data, n);
    *ret_n = n;
    return 0;
}

/* The text of one area: a ring behind the area's header. */
static int area_read(struct volume *v, const struct area *a, char **ret, size_t *ret_n, struct err *e)
{
    uint8_t h[MDA_HEADER];
    int r = volume_read(v, h, sizeof h, a->at, e);
    if (r)
        return r;
    uint64_t at = le64(h + 40), n = le64(h + 48);
    if (memcmp(h + 4, " LVM2 x[5A%r0N*>", 16) || lvm_crc(h + 4, sizeof h - 4) != le32(h) || le32(h + 20) != 1 || le64(h + 24) != a->at ||
        le64(h + 32) != a->size)
        return volume_refuse(v, "the header of a metadata area is damaged");
    if (le64(h + 64))
        return volume_refuse(v, "a change of its group was not finished");
    if (!at || le32(h + 60))
        return volume_refuse(v, "it belongs to no group, or its metadata is kept elsewhere");
    if (at < MDA_HEADER || at >= a->size || !n || n > LVM_TEXT_MAX || n > a->size - MDA_HEADER)
        return volume_refuse(v, "its metadata does not fit its area");
    AUTO_FREE char *text = malloc((size_t)n);
    if (!text)
        return err_oom(e);
    size_t head = n < a->size - at ? (size_t)n : (size_t)(a->size - at);
    r = volume_read(v, text, head, a->at + at, e);
    if (!r)
        r = volume_read(v, text + head, (size_t)n - head, a->at + MDA_HEADER, e);
    if (r)
        return r;
    if (lvm_crc(text, (size_t)n) != le32(h + 56))
        return volume_refuse(v, "the checksum of its metadata is wrong");
    *ret = STEAL(text);
    *ret_n = (size_t)n;
    return volume_metadata(v, a->at, a->at + MDA_HEADER, e);
}

int lvm_pv_read(struct volume *v, struct lvm_pv *ret, struct err *e)
{
    uint8_t label[512];
    struct area areas[AREAS_MAX];
    size_t n = 0;
    int r = label_find(v, label, e);
    if (!r)
        r = areas_read(v, label, ret, areas, &n, e);
    if (!r)
        r = volume_metadata(v, 0, 4096 < v->size ? 4096 : v->size, e);
    AUTO_FREE char *text = NULL;
    size_t length = 0;
    for (size_t i = 0; !r && i < n; i++) {
        AUTO_FREE char *copy = NULL;
        size_t copy_length = 0;
        r = area_read(v, &areas[i], &copy, &copy_length, e);
        if (!r && text && (copy_length != length || memcmp(copy, text, length)))
            return volume_refuse(v, "its metadata areas differ");
        if (!r && !text) {
            text = STEAL(copy);
            length = copy_length;
        }
    }
    if (r)
        return r;
    ret->text = STEAL(text);
    ret->text_length = length;
    return 0;
}

void lvm_pv_free(struct lvm_pv *p)
{
    free(p->text);
    list_free(&p->first);
    *p = (struct lvm_pv){0};
}

int fsmap_lvm_member(struct volume *v, struct err *e)
{
    (void)e;
    volume_refuse(v, "a physical volume inside a logical one is not looked into");
    return FSMAP_MEMBER;
}
