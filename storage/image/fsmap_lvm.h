/* Private to the LVM reader: the metadata's text as a tree (fsmap_lvm_text.c), physical volumes (fsmap_lvm_pv.c), groups (fsmap_lvm.c). */
#ifndef VMR_STORAGE_IMAGE_FSMAP_LVM_H
#define VMR_STORAGE_IMAGE_FSMAP_LVM_H

#include "storage/image/fsmap_volume.h"

#define LVM_TEXT_MAX (4u << 20)                      /* bytes of a group's metadata; LVM makes room for 1 MiB unless told otherwise */
#define LVM_PVS_MAX 64                               /* on one disk */
#define LVM_LVS_MAX 1024
#define LVM_NAME_MAX 128

enum lvm_kind { LVM_SECTION, LVM_STRING, LVM_NUMBER, LVM_ARRAY };
struct lvm_node {
    enum lvm_kind kind;
    const char *name, *text;                         /* into the text, not terminated; name of an array's element: NULL */
    uint32_t name_length, text_length;
    uint64_t number;
    uint32_t child, next;                            /* indexes; 0: none */
};
struct lvm_text { struct lvm_node *nodes; uint32_t n, size; };         /* node 0 is the whole */

/* false with *ret_why (a constant) if it is no such text; true with *ret, whose nodes point into `text`. ret->nodes is the caller's to free in
 * both cases. Out of memory counts as no such text too. */
bool lvm_text_parse(const char *text, size_t n, struct lvm_text *ret, const char **ret_why);
const struct lvm_node *lvm_find(const struct lvm_text *t, const struct lvm_node *in, const char *name, enum lvm_kind kind);
bool lvm_number(const struct lvm_text *t, const struct lvm_node *in, const char *name, uint64_t max, uint64_t *ret);
bool lvm_is(const struct lvm_node *n, const char *s);                  /* a string node's value */
bool lvm_named(const struct lvm_node *n, const char *s, size_t len);   /* a string node's value is this name */
/* Every string in the array `name` (absent: none) is one of the words (NULL-terminated). */
bool lvm_only(const struct lvm_text *t, const struct lvm_node *in, const char *name, const char *const *words);

struct lvm_pv {
    uint64_t start, end;                             /* the partition, bytes of the disk */
    uint8_t uuid[32];
    uint64_t data_at;                                /* bytes of the partition: where its first extent begins */
    char *text;                                      /* the group's metadata as this volume has it; NULL: refused */
    size_t text_length;
    char reason[160];                                /* of the refusal */
    bool told;                                       /* lvm_judge's own: the sink has heard of it */
    struct fsmap_list first;                         /* label and metadata, bytes of the disk */
};
/* Reads label, headers and metadata of one physical volume. */
int lvm_pv_read(struct volume *v, struct lvm_pv *ret, struct err *e);
void lvm_pv_free(struct lvm_pv *p);

/* What the groups' judgement is told; results as those of readers. */
struct lvm_sink {
    void *arg;
    /* A logical volume whose pieces are all on this disk: judge it. */
    int (*volume)(void *arg, const struct lvm_pv *pv, const char *name, const struct piece *pieces, size_t n, struct err *e);
    /* One that stays in use. */
    int (*in_use)(void *arg, const struct lvm_pv *pv, const char *name, uint64_t bytes, const char *reason, struct err *e);
    /* What of a physical volume belongs to no logical volume, `free` of it extents of none; free spans in bytes of the disk. reason ""
     * unless all of it is in use. */
    int (*rest)(void *arg, const struct lvm_pv *pv, uint64_t bytes, const struct fsmap_list *free, const char *reason, struct err *e);
};
int lvm_judge(struct lvm_pv *pvs, size_t n, const struct lvm_sink *sink, struct err *e);

#endif
