#include "db/spec.h"

#include <stdio.h>
#include <string.h>

#include "common/arm_id.h"
#include "common/json.h"
#include "common/os.h"
#include "common/url.h"
#include "db/credential.h"

#define MIB ((long long)1 << 20)
#define NAME_BYTES_MAX 100
#define URL_BYTES_MAX SPEC_URL_MAX
#define PATH_BYTES_MAX 1024
#define SWITCH_BYTES_MAX 64
#define BLANK_BYTES_MAX (64ll << 40)
#define VOLUME_LABEL_BYTES_MAX 12                    /* XFS takes no more */
#define VOLUME_DISK_BYTES_MAX 1024
#define RATE_MAX 1000000000000ll                     /* bytes per second */

/* In the order of the enum. */
static const char *const source_words[] = {"blob", "file", "blank", "vm", "managed_disk", "snapshot", NULL};
static const char *const format_words[] = {"auto", "vhd", "vhd_dynamic", "vhdx", "raw", NULL};
static const char *const kind_words[] = {"preflight", "export", "volume", "download", "create_vm", "start_vm", "export_vm", "verify", NULL};

const char *source_type_name(enum source_type t)
{
    return source_words[t];
}

bool source_is_arm(enum source_type t)
{
    return t == SOURCE_VM || t == SOURCE_MANAGED_DISK || t == SOURCE_SNAPSHOT;
}

const char *disk_format_name(enum disk_format f)
{
    return format_words[f];
}

const char *task_kind_name(enum task_kind k)
{
    return kind_words[k];
}

static int find_word(const char *const *words, int n, const char *word)
{
    for (int i = 0; word && i < n; i++)
        if (!strcmp(words[i], word))
            return i;
    return -1;
}

bool disk_format_parse(const char *word, enum disk_format *ret)
{
    int i = find_word(format_words, FORMATS, word);
    if (i >= 0)
        *ret = (enum disk_format)i;
    return i >= 0;
}

bool task_kind_parse(const char *word, enum task_kind *ret)
{
    int i = find_word(kind_words, TASK_KINDS, word);
    if (i >= 0)
        *ret = (enum task_kind)i;
    return i >= 0;
}

static void volume_free(struct spec_volume *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->n_disks; i++)
        free(v->disks[i]);
    free(v->label);
    free(v->mount_point);
    free(v);
}

void spec_free(struct spec *s)
{
    if (!s)
        return;
    free(s->name);
    for (size_t i = 0; i < SPEC_DISKS_MAX; i++) {
        mem_free_secret(s->disks[i].url);
        free(s->disks[i].credential);
        free(s->disks[i].path);
        free(s->disks[i].id);
        free(s->disks[i].storage_credential);
        free(s->disks[i].via.url);
        free(s->disks[i].via.credential);
    }
    volume_free(s->volume);
    free(s->vm.network);
    free(s->vm.dvd);
    free(s);
}

/* Takes a copy of a borrowed string; absent stays NULL. */
static void keep(struct json_in *in, char **to, const char *s)
{
    if (!s || in->e->code)
        return;
    *to = str_dup(s);
    if (!*to)
        err_oom(in->e);
}

/* ---- names and paths ---- */

/* What `name` gives on the display and in file names must be one plain word of a path. */
static const char *bad_name(const char *s)
{
    if (strchr(s, '/') || strchr(s, '\\'))
        return "must not contain '/' or '\\'";
    if (!strcmp(s, ".") || !strcmp(s, ".."))
        return "must not be '.' or '..'";
    return NULL;
}

static void take_path(struct json_in *in, const char *key, char **to)
{
    const char *path = json_in_string(in, key, NULL, PATH_BYTES_MAX);
    if (!path)
        return;
    const char *why = os_path_refuse(path);
    if (why)
        json_in_fail(in, key, ERR_VALUE, "%s", why);
    else
        keep(in, to, path);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The last part of a URL's path or of a path, without the extension of a disk image; what a name may not hold becomes '-'. */
static char *default_name(const struct spec_disk *d)
{
    const char *from = d->url ? d->url : d->path ? d->path : d->id ? d->id : "";
    size_t end = d->url ? strcspn(from, "?#") : strlen(from), start = end;
    const char *authority = d->url ? strstr(from, "://") : NULL;
    size_t first = authority ? (size_t)(authority - from) + 3 : 0;
    first += d->url ? strcspn(from + first, "/?#") : 0;          /* a host is no name */
    while (start > first && from[start - 1] != '/' && from[start - 1] != '\\')
        start--;
    if (start > end)
        start = end;

    AUTO_STRBUF struct strbuf b = {.max = URL_BYTES_MAX};
    for (size_t i = start; i < end; i++) {
        char c = from[i];
        if (d->url && c == '%' && i + 2 < end && hex(from[i + 1]) >= 0 && hex(from[i + 2]) >= 0) {
            c = (char)(hex(from[i + 1]) * 16 + hex(from[i + 2]));
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 0x7F || c == '/' || c == '\\')
            c = '-';
        strbuf_add(&b, &c, 1);
    }
    char *s = strbuf_steal(&b);
    if (!s)
        return NULL;
    static const char *const extensions[] = {".vhd", ".vhdx", ".raw", ".img"};
    size_t n = strlen(s);
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++) {
        size_t m = strlen(extensions[i]);
        if (n > m && str_ieq(s + n - m, extensions[i])) {
            s[n -= m] = 0;
            break;
        }
    }
    if (n > NAME_BYTES_MAX)
        n = NAME_BYTES_MAX;
    while (n && !str_is_utf8(s, n) && n + 4 > NAME_BYTES_MAX)    /* cut within a character */
        n--;
    s[n] = 0;
    if (n && str_is_utf8(s, n) && !bad_name(s))
        return s;
    free(s);
    return str_dup("recovery");
}

/* ---- disks ---- */

/* Is there a signature in the query? (Other parameters, as snapshot=, go together with a credential.) */
static bool has_sas(const char *url)
{
    const char *p = strchr(url, '?');
    while (p) {
        if (str_istarts(p + 1, "sig="))
            return true;
        p = strchr(p + 1, '&');
    }
    return false;
}

static void take_credential(struct json_in *in, const char *key, char **to)
{
    const char *name = json_in_string(in, key, NULL, 64);
    if (name && !credential_name_ok(name))
        json_in_fail(in, key, ERR_VALUE, "is no credential name: 1 to 64 of A-Z a-z 0-9 . _ - and no '.' in front");
    else
        keep(in, to, name);
}

static void parse_blob(struct json_in *in, struct spec_disk *d)
{
    json_in_require(in, "url");
    const char *url = json_in_string(in, "url", NULL, URL_BYTES_MAX);
    if (url) {
        struct err why;
        if (url_check(url, true, &why) < 0)
            json_in_fail(in, "url", why.code, "%s", why.msg);
        else
            keep(in, &d->url, url);
    }
    take_credential(in, "credential", &d->credential);
    if (d->credential && d->url && has_sas(d->url))
        json_in_fail(in, "credential", ERR_VALUE, "the URL holds a SAS already; give one of the two");
}

static void parse_blank(struct json_in *in, struct spec_disk *d)
{
    json_in_require(in, "size");
    long long size = json_in_int(in, "size", MIB, MIB, BLANK_BYTES_MAX);
    if (size % MIB)
        json_in_fail(in, "size", ERR_VALUE, "must be a multiple of 1 MiB (1048576 bytes)");
    d->size = (uint64_t)size;
}

/* The URL of a container: account and container, nothing behind. */
static int check_container(const char *url, struct err *why)
{
    int r = url_check(url, false, why);
    if (r < 0)
        return r;
    if (strchr(url, '?'))
        return err_set(why, ERR_VALUE, "must have no query: name a credential instead of a SAS");
    const char *path = strchr(strstr(url, "://") + 3, '/');
    if (!path || !path[1] || url[strlen(url) - 1] == '/')
        return err_set(why, ERR_VALUE, "must end with the container's name, as in https://account.blob.core.windows.net/recovery");
    return 0;
}

static void parse_via(struct json_in *source, struct spec_disk *d)
{
    if (!json_in_has(source, "via_storage_account"))
        return;
    struct json_in in = json_in_object(source, "via_storage_account");
    json_in_require(&in, "url");
    const char *url = json_in_string(&in, "url", NULL, PATH_BYTES_MAX);
    struct err why;
    if (url && check_container(url, &why) < 0)
        json_in_fail(&in, "url", ERR_VALUE, "%s", why.msg);
    else
        keep(&in, &d->via.url, url);
    take_credential(&in, "credential", &d->via.credential);
    json_in_end(&in);
}

static void parse_arm(struct json_in *in, struct spec_disk *d)
{
    static const char *const types[SOURCE_TYPES] = {[SOURCE_VM] = "Microsoft.Compute/virtualMachines", [SOURCE_MANAGED_DISK] = "Microsoft.Compute/disks",
                                                    [SOURCE_SNAPSHOT] = "Microsoft.Compute/snapshots"};
    json_in_require(in, "id");
    const char *id = json_in_string(in, "id", NULL, ARM_ID_MAX - 1);
    struct arm_id parsed;
    struct err why;
    if (id && arm_id_parse(id, types[d->type], &parsed, &why) < 0)
        json_in_fail(in, "id", ERR_VALUE, "%s", why.msg);
    else
        keep(in, &d->id, id);
    take_credential(in, "credential", &d->credential);
    if (d->type == SOURCE_VM) {
        d->data_disks = json_in_bool(in, "data_disks", false);
        d->deallocate = json_in_bool(in, "deallocate", false);
        take_credential(in, "storage_credential", &d->storage_credential);
    }
    parse_via(in, d);
}

static void parse_source(struct json_in *disk, struct spec_disk *d)
{
    json_in_require(disk, "source");
    struct json_in in = json_in_object(disk, "source");
    json_in_require(&in, "type");
    d->type = (enum source_type)json_in_enum(&in, "type", source_words, SOURCE_BLOB);
    switch (d->type) {
    case SOURCE_BLOB: parse_blob(&in, d); break;
    case SOURCE_BLANK: parse_blank(&in, d); break;
    case SOURCE_VM:
    case SOURCE_MANAGED_DISK:
    case SOURCE_SNAPSHOT: parse_arm(&in, d); break;
    default:
        json_in_require(&in, "path");
        take_path(&in, "path", &d->path);
        break;
    }
    json_in_end(&in);
}

static void parse_disk(struct json_in *root, size_t i, bool skip_free_space, struct spec_disk *d)
{
    struct json_in in = json_in_element(root, "disks", i);
    parse_source(&in, d);
    d->format = (enum disk_format)json_in_enum(&in, "format", format_words, FORMAT_AUTO);
    d->skip_free_space = json_in_bool(&in, "skip_free_space", skip_free_space);
    json_in_end(&in);
}

/* ---- the rest ---- */

/* "auto", 1 or 2; as a number. */
static unsigned parse_generation(struct json_in *in)
{
    static const char *const words[] = {"auto", NULL};
    if (in->object && json_is_string(json_object_get(in->object, "generation"))) {
        json_in_enum(in, "generation", words, 0);
        return 0;
    }
    return (unsigned)json_in_int(in, "generation", 0, 1, 2);
}

static void parse_network(struct json_in *in, char **to)
{
    const char *s = json_in_string(in, "network", "none", sizeof "switch:" + SWITCH_BYTES_MAX);
    if (!strcmp(s, "none") || !strcmp(s, "nat")) {
        keep(in, to, s);
        return;
    }
    size_t n = str_starts(s, "switch:") ? strlen(s) - strlen("switch:") : 0;
    if (n < 1 || n > SWITCH_BYTES_MAX)
        json_in_fail(in, "network", ERR_VALUE, "must be none, nat or switch:<name> with a name of 1 to %d bytes", SWITCH_BYTES_MAX);
    else
        keep(in, to, s);
}

static void parse_vm(struct json_in *root, struct spec *s)
{
    struct json_in in = json_in_object(root, "vm");
    s->vm.generation = parse_generation(&in);
    s->vm.memory_mib = (unsigned)json_in_int(&in, "memory_mib", 4096, 64, 1048576);
    s->vm.cpus = (unsigned)json_in_int(&in, "cpus", 2, 1, 64);
    parse_network(&in, &s->vm.network);
    s->vm.nested = json_in_bool(&in, "nested", false);
    s->vm.start = json_in_bool(&in, "start", true);
    take_path(&in, "dvd", &s->vm.dvd);
    json_in_end(&in);
}

/* ---- volume ---- */

static const char *const layout_words[] = {"auto", "single", "striped", NULL};
static const char *const file_system_words[] = {"auto", "xfs", "ext4", "ntfs", "refs", NULL};
static const char *const style_words[] = {"gpt", "mbr", NULL};

static bool label_ok(const char *s)
{
    size_t n = strlen(s);
    return n <= VOLUME_LABEL_BYTES_MAX && *s != '.' && *s != '-' &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* "auto", or ids, each once. */
static void parse_volume_disks(struct json_in *in, struct spec_volume *v)
{
    static const char *const automatic[] = {"auto", NULL};
    if (!in->object || !json_is_array(json_object_get(in->object, "disks"))) {
        json_in_enum(in, "disks", automatic, 0);
        return;
    }
    json_t *list = json_in_array(in, "disks", 1, SPEC_VOLUME_DISKS_MAX);
    struct json_in at = {.e = in->e};
    snprintf(at.pointer, sizeof at.pointer, "%.100s/disks", in->pointer);
    for (size_t i = 0; i < json_array_size(list) && !in->e->code; i++) {
        const char *id = json_string_value(json_array_get(list, i));
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        if (!id || !*id || strlen(id) > VOLUME_DISK_BYTES_MAX) {
            json_in_fail(&at, key, id ? ERR_VALUE : ERR_TYPE, "must be the id of a disk: a text of 1 to %d bytes", VOLUME_DISK_BYTES_MAX);
            return;
        }
        for (size_t k = 0; k < v->n_disks; k++)
            if (!strcmp(v->disks[k], id))
                json_in_fail(&at, key, ERR_VALUE, "names a disk that is named already");
        keep(in, &v->disks[i], id);
        v->n_disks += v->disks[i] != NULL;
    }
}

/* A folder, or on Windows a letter; either way a path. */
static void parse_place(struct json_in *in, struct spec_volume *v)
{
    const char *letter = json_in_string(in, "drive_letter", NULL, 2);
    take_path(in, "mount_point", &v->mount_point);
    if (!letter)
        return;
    char upper = (char)(*letter >= 'a' && *letter <= 'z' ? *letter - 'a' + 'A' : *letter);
    char root[4] = {upper, ':', '\\', 0};
    if (upper < 'C' || upper > 'Z' || (letter[1] && strcmp(letter + 1, ":") != 0))
        json_in_fail(in, "drive_letter", ERR_VALUE, "must be a letter from C to Z");
    else if (v->mount_point)
        json_in_fail(in, "drive_letter", ERR_VALUE, "goes without a mount_point");
    else if (os_path_refuse(root))
        json_in_fail(in, "drive_letter", ERR_VALUE, "this host has no drive letters; name a mount_point");
    else
        keep(in, &v->mount_point, root);
}

static void parse_volume(struct json_in *root, struct spec *s)
{
    if (!json_in_has(root, "volume"))
        return;
    struct json_in in = json_in_object(root, "volume");
    struct spec_volume *v = s->volume = calloc(1, sizeof *v);
    if (!v) {
        err_oom(root->e);
        return;
    }
    parse_volume_disks(&in, v);
    v->layout = layout_words[json_in_enum(&in, "layout", layout_words, 0)];
    v->file_system = file_system_words[json_in_enum(&in, "file_system", file_system_words, 0)];
    v->partition_style = style_words[json_in_enum(&in, "partition_style", style_words, 0)];
    const char *label = json_in_string(&in, "label", NULL, VOLUME_LABEL_BYTES_MAX);
    if (label && !label_ok(label))
        json_in_fail(&in, "label", ERR_VALUE, "is no label: 1 to %d of A-Z a-z 0-9 . _ - and no '.' or '-' in front", VOLUME_LABEL_BYTES_MAX);
    else
        keep(&in, &v->label, label);
    parse_place(&in, v);
    if (!strcmp(v->layout, "single") && v->n_disks > 1)
        json_in_fail(&in, "layout", ERR_VALUE, "a single volume is made of one disk");
    if (!strcmp(v->layout, "striped") && v->n_disks == 1)
        json_in_fail(&in, "layout", ERR_VALUE, "a striped volume is made of two disks or more");
    if (!strcmp(v->partition_style, "mbr") && (!strcmp(v->layout, "striped") || v->n_disks > 1))
        json_in_fail(&in, "partition_style", ERR_VALUE, "a striped volume needs GPT");
    json_in_end(&in);
}

static void parse_until(struct json_in *in, struct spec *s)
{
    /* the kinds of the graph; the others are asked for in another way */
    static const char *const words[] = {"preflight", "export", "volume", "download", "create_vm", "start_vm", NULL};
    s->until = (enum task_kind)json_in_enum(in, "until", words, TASK_START_VM);
    if (s->until == TASK_VOLUME && !json_in_has(in, "volume"))
        json_in_fail(in, "until", ERR_VALUE, "there is no \"volume\" in the request");
}

static void parse_name(struct json_in *in, struct spec *s)
{
    const char *name = json_in_string(in, "name", NULL, NAME_BYTES_MAX);
    const char *why = name ? bad_name(name) : NULL;
    if (why)
        json_in_fail(in, "name", ERR_VALUE, "%s", why);
    else
        keep(in, &s->name, name);
}

int spec_parse(json_t *body, struct spec **ret, struct err *e)
{
    AUTO(spec_free_ptr) struct spec *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(e);
    struct json_in in = json_in_root(body, e);
    parse_name(&in, s);
    parse_until(&in, s);
    parse_volume(&in, s);
    parse_vm(&in, s);
    s->allow_cross_region = json_in_bool(&in, "allow_cross_region", false);
    s->max_bytes_per_second = (uint64_t)json_in_int(&in, "max_bytes_per_second", 0, 0, RATE_MAX);
    json_in_require(&in, "disks");
    s->n_disks = json_array_size(json_in_array(&in, "disks", s->volume && s->until == TASK_VOLUME ? 0 : 1, SPEC_DISKS_MAX));
    for (size_t i = 0; i < s->n_disks; i++)
        parse_disk(&in, i, s->until != TASK_DOWNLOAD, &s->disks[i]);
    int r = json_in_end(&in);
    if (r < 0)
        return r;
    if (!s->name)
        s->name = s->n_disks ? default_name(&s->disks[0]) : str_dup(s->volume->label ? s->volume->label : "volume");
    if (!s->name)
        return err_oom(e);
    *ret = STEAL(s);
    return 0;
}

/* ---- back to JSON ---- */

static json_t *arm_json(const struct spec_disk *d)
{
    json_t *j = json_pack("{s:s, s:s, s:s*}", "type", source_words[d->type], "id", d->id, "credential", d->credential);
    json_t *via = d->via.url ? json_pack("{s:s, s:s*}", "url", d->via.url, "credential", d->via.credential) : NULL;
    bool vm = d->type == SOURCE_VM, failed = !j || (d->via.url && !via);
    failed = failed || (via && json_object_set(j, "via_storage_account", via));
    failed = failed || (vm && json_object_set_new(j, "data_disks", json_boolean(d->data_disks)));
    failed = failed || (vm && json_object_set_new(j, "deallocate", json_boolean(d->deallocate)));
    failed = failed || (d->storage_credential && json_object_set_new(j, "storage_credential", json_string(d->storage_credential)));
    json_decref(via);
    if (!failed)
        return j;
    json_decref(j);
    return NULL;
}

static json_t *source_json(const struct spec_disk *d)
{
    switch (d->type) {
    case SOURCE_BLOB: {
        /* without a query there is nothing to hide, and the URL stays as it was given, byte for byte */
        AUTO_FREE char *url = strpbrk(d->url, "?#@") ? url_redact(d->url) : str_dup(d->url);
        return url ? json_pack("{s:s, s:s, s:s*}", "type", source_words[d->type], "url", url, "credential", d->credential) : NULL;
    }
    case SOURCE_FILE: return json_pack("{s:s, s:s}", "type", source_words[d->type], "path", d->path);
    case SOURCE_VM:
    case SOURCE_MANAGED_DISK:
    case SOURCE_SNAPSHOT: return arm_json(d);
    default: return json_pack("{s:s, s:I}", "type", source_words[d->type], "size", (json_int_t)d->size);
    }
}

static json_t *disks_json(const struct spec *s)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < s->n_disks; i++) {
        const struct spec_disk *d = &s->disks[i];
        json_t *disk = json_pack("{s:o, s:s, s:b}", "source", source_json(d), "format", format_words[d->format], "skip_free_space",
                                 d->skip_free_space);
        if (!disk || json_array_append_new(list, disk)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *volume_json(const struct spec_volume *v)
{
    json_t *disks = v->n_disks ? json_array() : json_string("auto");
    bool failed = !disks;
    for (size_t i = 0; i < v->n_disks && !failed; i++)
        failed = json_array_append_new(disks, json_string(v->disks[i])) < 0;
    json_t *o = failed ? NULL
                       : json_pack("{s:O, s:s, s:s, s:s, s:s*, s:s*}", "disks", disks, "layout", v->layout, "file_system", v->file_system,
                                   "partition_style", v->partition_style, "label", v->label, "mount_point", v->mount_point);
    json_decref(disks);
    return o;
}

json_t *spec_json(const struct spec *s)
{
    json_t *generation = s->vm.generation ? json_integer(s->vm.generation) : json_string("auto");
    json_t *vm = json_pack("{s:o, s:i, s:i, s:b, s:s, s:b, s:s*}", "generation", generation, "memory_mib", (int)s->vm.memory_mib, "cpus",
                           (int)s->vm.cpus, "nested", s->vm.nested, "network", s->vm.network, "start", s->vm.start, "dvd", s->vm.dvd);
    json_t *o = json_pack("{s:s, s:o, s:o, s:b, s:I, s:s}", "name", s->name, "disks", disks_json(s), "vm", vm, "allow_cross_region",
                          s->allow_cross_region, "max_bytes_per_second", (json_int_t)s->max_bytes_per_second, "until", kind_words[s->until]);
    if (!o || !s->volume || json_object_set_new(o, "volume", volume_json(s->volume)) == 0)
        return o;
    json_decref(o);
    return NULL;
}
