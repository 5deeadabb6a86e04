#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "service/commands.h"
#include "storage/image/convert.h"

#define REPORT_MS 2000
#define USAGE "usage: vmrecoverd convert [--format FORMAT] [--source-format FORMAT] [--quiet] SRC DST\n" \
    "\nFORMAT   raw, vhd (fixed), vhd_dynamic, vhdx (dynamic), vhdx_fixed; azure: a fixed VHD of whole MiB, as Azure takes it for upload.\n" \
    "         Without --format: by DST's extension (.vhd, .vhdx, .raw, .img).\n" \
    "SRC      raw, vhd, vhd_dynamic or vhdx; differencing disks are flattened. Names that end in .raw or .img, and devices, are raw.\n" \
    "\nNever overwrites DST. Interrupted, it leaves DST.part; the same command goes on from there.\n"

static const char *format_of_name(const char *path)
{
    static const struct { const char *extension, *format; } known[] = {{".vhd", "vhd"}, {".vhdx", "vhdx"}, {".raw", "raw"}, {".img", "raw"}};
    const char *dot = strrchr(os_path_base(path), '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(known); i++)
        if (str_ieq(dot, known[i].extension))
            return known[i].format;
    return NULL;
}

struct report {
    int64_t began_ms, said_ms;
    bool quiet;
};

static void on_progress(void *arg, const struct image_convert_progress *p)
{
    struct report *r = arg;
    int64_t now = clock_mono_ms();
    if (r->quiet || now - r->said_ms < REPORT_MS)
        return;
    r->said_ms = now;
    char done[32], total[32], written[32];
    double seconds = (double)(now - r->began_ms) / 1000, part = (double)(p->done - p->resumed_at) / (double)(p->total - p->resumed_at + 1);
    fprintf(stderr, "%3.0f %%  %s of %s, %s written, %.0f s left\n", 100 * (double)p->done / (double)p->total, command_size(p->done, done),
            command_size(p->total, total), command_size(p->written, written), part > 0 ? seconds / part - seconds : 0);
}

int command_convert(int argc, char **argv)
{
    const char *format = NULL, *source_format = NULL;
    struct report report = {0};
    const struct command_option options[] = {
        {"--format", &format, NULL}, {"--source-format", &source_format, NULL}, {"--quiet", NULL, &report.quiet}, {0}};
    if (command_options("convert", argc, argv, options, 2, 2, USAGE) < 0)
        return 2;
    struct image_convert c = {.to = argv[1], .progress = on_progress, .arg = &report};
    int expect;
    if (!format && !(format = format_of_name(argv[1]))) {
        fprintf(stderr, "vmrecoverd convert: %s does not say by its extension which format it should have; say so with --format\n%s", argv[1], USAGE);
        return 2;
    }
    if (!image_convert_format(format, &c) || !command_source_format(argv[0], source_format, &expect)) {
        fprintf(stderr, "vmrecoverd convert: a format named \"%s\" is not known here\n%s", image_convert_format(format, &c) ? source_format : format, USAGE);
        return 2;
    }
    struct err e;
    AUTO(image_close_ptr) struct image *from = NULL;
    struct image_convert_progress p = {0};
    report.began_ms = report.said_ms = clock_mono_ms();
    int r = image_open(argv[0], expect, &from, &e);
    c.from = from;
    if (r == 0)
        r = image_convert(&c, &p, &e);
    if (r < 0)
        return command_fail(&e);
    char total[32], written[32], resumed[64] = "", at[32];
    if (p.resumed_at)
        snprintf(resumed, sizeof resumed, ", gone on with from %s", command_size(p.resumed_at, at));
    printf("%s: %s, %s, %s written in %.1f s%s\n", argv[1], format, command_size(p.total, total), command_size(p.written, written),
           (double)(clock_mono_ms() - report.began_ms) / 1000, resumed);
    return 0;
}
