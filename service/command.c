#include "service/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int command_options(const char *command, int argc, char **argv, const struct command_option *options, int min, int max, const char *usage)
{
    int n = 0;
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        const struct command_option *o = options;
        if (ended || !str_starts(argv[i], "--")) {
            argv[n++] = argv[i];
            continue;
        }
        if ((ended = !strcmp(argv[i], "--")))
            continue;
        const char *equals = strchr(argv[i], '=');
        size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        while (o->name && (strlen(o->name) != length || strncmp(o->name, argv[i], length)))
            o++;
        if (!o->name || (o->flag && equals) || (o->value && !equals && i + 1 >= argc)) {
            fprintf(stderr, "vmrecoverd %s: %s %s\n%s", command, argv[i], o->name && o->value ? "needs a value" : "is not an option of it", usage);
            return -1;
        }
        if (o->flag)
            *o->flag = true;
        else
            *o->value = equals ? equals + 1 : argv[++i];
    }
    if (n < min || n > max) {
        fputs(usage, stderr);
        return -1;
    }
    return n;
}

bool command_source_format(const char *path, const char *word, int *ret)
{
    static const enum image_format formats[] = {IMAGE_RAW, IMAGE_VHD, IMAGE_VHD_DYNAMIC, IMAGE_VHDX};
    *ret = -1;
    for (size_t i = 0; word && i < ARRAY_LEN(formats); i++)
        if (!strcmp(word, image_format_name(formats[i]))) {
            *ret = (int)formats[i];
            return true;
        }
    if (word)
        return false;
    const char *dot = strrchr(os_path_base(path), '.');
    struct os_stat st;
    struct err ignored;
    bool device = os_stat(path, &st, &ignored) == 0 && st.exists && !st.is_file && !st.is_dir;
    if (device || (dot && (str_ieq(dot, ".raw") || str_ieq(dot, ".img"))))
        *ret = IMAGE_RAW;
    return true;
}

int command_fail(const struct err *e)
{
    const char *hint = e->code == ERR_NOT_FOUND && !e->hint[0] ? "Look at the path." : err_hint_text(e);       /* the table's is for the API's objects */
    fprintf(stderr, "vmrecoverd: %s\n%s%s%s", e->msg, *hint ? "  " : "", hint, *hint ? "\n" : "");
    return e->code == ERR_CONFIG ? 2 : 1;
}

const char *command_size(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes / 1024;
    size_t u = 0;
    for (; v >= 1024 && u + 1 < ARRAY_LEN(units); u++)
        v /= 1024;
    if (bytes < 1024)
        snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
    else
        snprintf(buf, 32, v == (double)(uint64_t)v ? "%.0f %s" : "%.1f %s", v, units[u]);
    return buf;
}
