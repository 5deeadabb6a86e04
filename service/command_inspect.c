#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "service/commands.h"
#include "storage/image/fsmap.h"

#define USAGE "usage: vmrecoverd inspect [--json] [--source-format raw|vhd|vhd_dynamic|vhdx] FILE\n"

struct inspection {
    const char *path;
    int expect;
    struct os_stat st;
    struct image_part parts[IMAGE_PARTS_MAX];
    size_t n_parts;
    struct image *image;                             /* NULL: not readable, `why` says so */
    struct err why;
    struct fsmap map;
    bool mapped;                                     /* else `map_why` */
    struct err map_why;
};

static void inspection_clear(struct inspection *x)
{
    fsmap_free(&x->map);
    image_close(x->image);
}

static int look(struct inspection *x, struct err *e)
{
    AUTO_IMAGE_FILE struct image_source src = {0};
    int r = os_stat(x->path, &x->st, e);
    if (r == 0 && x->st.is_dir)
        return err_set(e, ERR_VALUE, "%s is a folder, not a disk image", x->path);
    if (r == 0)
        r = image_file_open(x->path, &src, e);
    if (r == 0 && x->expect != IMAGE_RAW)
        r = image_parts(&src, x->parts, &x->n_parts, e);
    if (r < 0)
        return r;
    if (image_open(x->path, x->expect, &x->image, &x->why) < 0)
        return 0;
    const struct fsmap_options o = {.sector_size = image_info(x->image)->sector_size};
    x->mapped = fsmap_read(image_disk(x->image), &o, &x->map, &x->map_why) == 0;
    return 0;
}

static const char *kind(const struct image_info *i)
{
    return i->format == IMAGE_RAW ? "" : i->differencing ? "differencing" : i->fixed ? "fixed" : "dynamic";
}

/* As the specification writes a VHD's unique id: bytes in their order. */
static const char *id_text(const uint8_t id[16], char buf[37])
{
    size_t at = 0;
    for (int i = 0; i < 16; i++)
        at += (size_t)snprintf(buf + at, 37 - at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
    return buf;
}

/* ---- JSON ---- */

static json_t *parts_json(const struct inspection *x)
{
    json_t *list = json_array();
    for (size_t i = 0; i < x->n_parts; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:b, s:b}", "name", x->parts[i].name, "offset", (json_int_t)x->parts[i].offset, "good",
                                              (int)x->parts[i].good, "current", (int)x->parts[i].current));
    return list;
}

static json_t *parents_json(const struct image *im)
{
    json_t *list = json_array();
    for (size_t i = 1; i < image_layers(im); i++) {
        const struct image_layer *l = image_layer(im, i);
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:I, s:I}", "path", l->path, "format", image_format_name(l->format), "differencing",
                                              (int)l->differencing, "virtual_size", (json_int_t)l->virtual_size, "file_size", (json_int_t)l->file_size));
    }
    return list;
}

static json_t *systems_json(const struct fsmap *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_regions; i++) {
        const struct fsmap_region *r = &m->regions[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "rule", r->rule, "volume", r->volume, "start", (json_int_t)r->start,
                                              "end", (json_int_t)r->end, "bytes", (json_int_t)r->bytes, "used_bytes", (json_int_t)r->used, "reason", r->reason));
    }
    return list;
}

static json_t *disk_json(const struct inspection *x)
{
    const struct image_info *i = image_info(x->image);
    char id[37];
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:I, s:I, s:b, s:b, s:o}", "format", image_format_name(i->format), "kind", kind(i), "virtual_size",
                          (json_int_t)i->virtual_size, "sector_size", (json_int_t)i->sector_size, "block_size", (json_int_t)i->block_bytes, "partition_table",
                          image_table_name(i->table), "partition_table_damaged", (int)i->table_damaged, "partitions", (json_int_t)i->partitions, "generation",
                          (json_int_t)i->generation, "efi_system", (int)i->efi_system, "boot_code", (int)i->boot_code, "parents", parents_json(x->image));
    if (i->format == IMAGE_VHD || i->format == IMAGE_VHD_DYNAMIC) {
        json_object_set_new(o, "creator", json_string(i->creator));
        json_object_set_new(o, "unique_id", json_string(id_text(i->unique_id, id)));
    }
    if (x->mapped) {
        json_object_set_new(o, "used_bytes", json_integer((json_int_t)x->map.bytes));
        json_object_set_new(o, "file_systems", systems_json(&x->map));
    } else {
        json_object_set_new(o, "file_systems_error", json_from_err(&x->map_why));
    }
    return o;
}

static int print_json(const struct inspection *x)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:o}", "path", x->path, "file_size", (json_int_t)x->st.size, "allocated", (json_int_t)x->st.allocated, "parts",
                          parts_json(x));
    if (x->image) {
        json_t *d = disk_json(x);
        json_object_update(o, d);
        json_decref(d);
    } else {
        json_object_set_new(o, "error", json_from_err(&x->why));
    }
    AUTO_FREE char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    puts(text ? text : "{}");
    return x->image && text ? 0 : 1;
}

/* ---- text ---- */

static void print_disk(const struct inspection *x)
{
    const struct image_info *i = image_info(x->image);
    char size[32], used[32], id[37];
    printf("format            %s%s%s\n", image_format_name(i->format), *kind(i) ? ", " : "", kind(i));
    printf("virtual size      %" PRIu64 " (%s), sectors of %" PRIu32 "\n", i->virtual_size, command_size(i->virtual_size, size), i->sector_size);
    if (i->block_bytes)
        printf("block size        %s\n", command_size(i->block_bytes, size));
    if (i->creator[0])
        printf("creator           %s, id %s\n", i->creator, id_text(i->unique_id, id));
    for (size_t k = 1; k < image_layers(x->image); k++)
        printf("%-17s %s (%s%s)\n", k == 1 ? "parent" : "its parent", image_layer(x->image, k)->path, image_format_name(image_layer(x->image, k)->format),
               image_layer(x->image, k)->differencing ? ", differencing" : "");
    printf("partition table   %s%s, %u partition%s\n", image_table_name(i->table), i->table_damaged ? " (damaged)" : "", i->partitions,
           i->partitions == 1 ? "" : "s");
    printf("generation        %u%s\n", i->generation, i->table_damaged || i->table == TABLE_NONE ? " (a guess)" : "");
    if (!x->mapped) {
        printf("file systems      cannot be read: %s\n", x->map_why.msg);
        return;
    }
    printf("in use            %s, by what the file systems say\n\n", command_size(x->map.bytes, used));
    printf("%16s %10s %10s  %s\n", "start", "size", "in use", "what");
    for (size_t k = 0; k < x->map.n_regions; k++) {
        const struct fsmap_region *r = &x->map.regions[k];
        printf("%16" PRIu64 " %10s %10s  %s%s%s%s%s\n", r->start, command_size(r->bytes, size), command_size(r->used, used), r->rule, r->volume[0] ? " " : "",
               r->volume, r->reason[0] ? ": " : "", r->reason);
    }
}

static int print_text(const struct inspection *x)
{
    char size[32], allocated[32];
    printf("file              %s\n", x->path);
    printf("file size         %" PRIu64 " (%s, %s allocated)\n", x->st.size, command_size(x->st.size, size), command_size(x->st.allocated, allocated));
    for (size_t i = 0; i < x->n_parts; i++)
        printf("%-17s %s%s, at %" PRIu64 "\n", x->parts[i].name, x->parts[i].good ? "good" : "DAMAGED", x->parts[i].current ? " (counts)" : "", x->parts[i].offset);
    if (!x->image)
        return fflush(stdout), command_fail(&x->why);
    print_disk(x);
    return 0;
}

int command_inspect(int argc, char **argv)
{
    bool json = false;
    const char *format = NULL;
    const struct command_option options[] = {{"--json", NULL, &json}, {"--source-format", &format, NULL}, {0}};
    if (command_options("inspect", argc, argv, options, 1, 1, USAGE) < 0)
        return 2;
    AUTO(inspection_clear) struct inspection x = {.path = argv[0]};
    if (!command_source_format(x.path, format, &x.expect)) {
        fprintf(stderr, "vmrecoverd inspect: a format named \"%s\" is not known here\n" USAGE, format);
        return 2;
    }
    struct err e;
    if (look(&x, &e) < 0)
        return command_fail(&e);
    return json ? print_json(&x) : print_text(&x);
}
