/* disks, volumes: what this host could put recovered VMs on. */
#include <string.h>

#include "api/cli/cli.h"

/* Name and value, where there is one. */
static void part(const char *name, const char *value)
{
    if (!*value)
        return;
    printf("%s", name);
    print_text(stdout, value);
}

static void disk_line(const json_t *d)
{
    char size[SIZE_TEXT];
    size_text((uint64_t)jint(d, "size"), size);
    print_field(stdout, json_is_true(json_object_get(d, "eligible")) ? "free" : *jstr(d, "volume") ? "volume" : "-", 7);
    print_field(stdout, jstr(d, "device"), 19);
    print_field(stdout, size, -11);
    part("  ", jstr(d, "bus"));
    part(" ", jstr(d, "model"));
    printf("\n%7s", "");
    print_text(stdout, jstr(d, "id"));
    putchar('\n');
    size_t i;
    json_t *reason;
    json_array_foreach(json_object_get(d, "reasons"), i, reason) {
        const char *text = json_string_value(reason), *sentence = text ? strchr(text, ' ') : NULL;
        printf("%9s", "");
        print_text(stdout, sentence ? sentence + 1 : "");
        putchar('\n');
    }
}

int cmd_disks(struct cli *cli, int argc, char **argv, struct err *e)
{
    int r = opt_words(argc, argv, 0, 0, NULL, NULL, e);
    return r < 0 ? r : cli_list(cli, "/v1/disks", "disks", disk_line, e);
}

static void volume_line(const json_t *v)
{
    char size[SIZE_TEXT], room[SIZE_TEXT];
    size_text((uint64_t)jint(v, "size"), size);
    size_text((uint64_t)jint(v, "free"), room);
    bool managed = json_is_true(json_object_get(v, "managed"));
    print_field(stdout, json_is_true(json_object_get(v, "broken")) ? "broken" : managed ? "managed" : "-", 8);
    print_field(stdout, *jstr(v, "mount_point") ? jstr(v, "mount_point") : "(not mounted)", 36);
    print_field(stdout, size, -11);
    print_field(stdout, room, -11);
    printf(" free  %zu jobs", json_array_size(json_object_get(v, "jobs")));
    part("  ", jstr(v, "file_system"));
    part(" ", jstr(v, "label"));
    part("  ", jstr(v, "device"));
    putchar('\n');
}

int cmd_volumes(struct cli *cli, int argc, char **argv, struct err *e)
{
    int r = opt_words(argc, argv, 0, 0, NULL, NULL, e);
    return r < 0 ? r : cli_list(cli, "/v1/volumes", "volumes", volume_line, e);
}
