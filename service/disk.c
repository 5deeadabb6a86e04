#include <stdio.h>
#include <string.h>

#include "service/volumes.h"

static const char *extension(enum disk_format f)
{
    switch (f) {
    case FORMAT_VHDX: return "vhdx";
    case FORMAT_RAW: return "raw";
    default: return "vhd";
    }
}

char *disk_path(const struct task_run *t, unsigned index, enum disk_format format)
{
    const struct spec_disk *s = &t->job->disks[index].spec;
    if (s->type == SOURCE_FILE)
        return str_dup(s->path);
    char name[32];
    snprintf(name, sizeof name, "disk%u.%s", index, extension(format));
    AUTO_FREE char *folder = os_path_join(volumes_folder(t), t->job->id);
    return folder ? os_path_join(folder, name) : NULL;
}

static int read_blob(void *arg, void *buf, size_t n, uint64_t offset, struct err *e)
{
    struct disk_blob_reader *rd = arg;
    return blob_read(rd->blob, rd->info, buf, n, offset, e);
}

struct image_source disk_blob_source(struct disk_blob_reader *reader)
{
    return (struct image_source){.read = read_blob, .arg = reader, .size = reader->info->length, .name = blob_name(reader->blob)};
}

int disk_probe(const struct spec_disk *spec, const struct image_source *src, struct image_info *ret, struct err *e)
{
    return image_probe(src, spec->format == FORMAT_RAW ? IMAGE_RAW : -1, ret, e);
}

int disk_probe_source(const struct spec_disk *spec, const struct image_source *src, struct image_info *ret, struct err *e)
{
    int r = image_probe(src, -1, ret, e);
    bool no_image = r == -ERR_NOT_VHD || r == -ERR_VHD_DAMAGED || r == -ERR_SOURCE_TRUNCATED || r == -ERR_UNSUPPORTED;
    return no_image && spec->format == FORMAT_RAW ? image_probe(src, IMAGE_RAW, ret, e) : r;
}

static const enum disk_format found[] = {[IMAGE_RAW] = FORMAT_RAW, [IMAGE_VHD] = FORMAT_VHD, [IMAGE_VHD_DYNAMIC] = FORMAT_VHD_DYNAMIC,
                                         [IMAGE_VHDX] = FORMAT_VHDX};

int disk_format_of(const struct spec_disk *spec, const struct image_info *info, const char *name, enum disk_format *ret, struct err *e)
{
    enum disk_format f = found[info->format];
    if (spec->format != FORMAT_AUTO && spec->format != f) {
        err_set(e, ERR_UNSUPPORTED, "%s is in the form %s, and %s was asked for", name, disk_format_name(f), disk_format_name(spec->format));
        return err_hint(e, "Leave \"format\" out to take the disk as it is: only a fixed VHD is brought into another form while it is downloaded. Convert the "
                           "file afterwards with vmrecoverd convert.");
    }
    *ret = f;
    return 0;
}

enum disk_format disk_auto_format(const struct task_run *t)
{
    if (t->d->hv)
        return hv_preferred_format(t->d->hv, t->job->spec->vm.generation) == HV_VHDX ? FORMAT_VHDX : FORMAT_VHD;
    return os_files_are_sparse() ? FORMAT_VHD : FORMAT_VHDX;
}

int disk_download_format(const struct task_run *t, const struct spec_disk *spec, const struct image_info *source, const char *name, enum disk_format *ret,
                         struct err *e)
{
    if (source->format != IMAGE_VHD)
        return disk_format_of(spec, source, name, ret, e);
    enum disk_format f = spec->format == FORMAT_AUTO ? disk_auto_format(t) : spec->format;
    int r = image_layout_check(&(const struct image_layout){.format = disk_image_format(f), .virtual_size = source->virtual_size}, e);
    if (r == 0)
        *ret = f;
    return r;
}

bool disk_download_layout(enum disk_format format, const struct image_info *source, struct image_layout *ret)
{
    enum image_format f = disk_image_format(format);
    *ret = (struct image_layout){.format = f, .virtual_size = source->virtual_size, .sector_size = source->sector_size};
    return f != source->format;
}

enum image_format disk_image_format(enum disk_format f)
{
    switch (f) {
    case FORMAT_VHD_DYNAMIC: return IMAGE_VHD_DYNAMIC;
    case FORMAT_VHDX: return IMAGE_VHDX;
    case FORMAT_RAW: return IMAGE_RAW;
    default: return IMAGE_VHD;
    }
}

enum hv_format disk_hv_format(enum disk_format f)
{
    switch (f) {
    case FORMAT_VHD: return HV_VHD;
    case FORMAT_VHD_DYNAMIC: return HV_VHD_DYNAMIC;
    case FORMAT_VHDX: return HV_VHDX;
    default: return HV_RAW;
    }
}
