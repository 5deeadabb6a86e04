/* submit: options become the body of POST /v1/jobs; the daemon checks it. Options about a disk speak of the disk before them. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/crypto.h"

enum { BODY_MAX = 1 << 20, URL_MAX = 8192 };

enum option {
    URL = 1, URL_FILE, LOCAL_FILE, BLANK, AZURE_VM, AZURE_DISK, AZURE_SNAPSHOT,                      /* a disk */
    CREDENTIAL, DATA_DISKS, DEALLOCATE, STORAGE_CREDENTIAL, VIA, VIA_CREDENTIAL, FORMAT, SKIP_FREE, /* about it */
    NAME, UNTIL, MAX_RATE, CROSS_REGION, JSON_BODY, KEY, WAIT,           /* the job */
    VOLUME, LAYOUT, LABEL, FILE_SYSTEM, STYLE, MOUNT_POINT, DRIVE_LETTER,        /* the volume */
    GENERATION, MEMORY, CPUS, NESTED, NETWORK, NO_START, DVD,                    /* the VM */
};

static const struct opt_spec spec[] = {
    {"url", URL, true}, {"url-file", URL_FILE, true}, {"file", LOCAL_FILE, true}, {"blank", BLANK, true}, {"vm", AZURE_VM, true}, {"disk", AZURE_DISK, true},
    {"snapshot", AZURE_SNAPSHOT, true}, {"credential", CREDENTIAL, true}, {"data-disks", DATA_DISKS, false}, {"deallocate", DEALLOCATE, false},
    {"storage-credential", STORAGE_CREDENTIAL, true}, {"via-storage-account", VIA, true}, {"via-credential", VIA_CREDENTIAL, true},
    {"format", FORMAT, true}, {"skip-free-space", SKIP_FREE, true}, {"name", NAME, true}, {"until", UNTIL, true}, {"max-rate", MAX_RATE, true},
    {"allow-cross-region", CROSS_REGION, false}, {"json-body", JSON_BODY, true}, {"idempotency-key", KEY, true}, {"wait", WAIT, false},
    {"volume", VOLUME, true}, {"layout", LAYOUT, true}, {"label", LABEL, true}, {"file-system", FILE_SYSTEM, true}, {"partition-style", STYLE, true},
    {"mount-point", MOUNT_POINT, true}, {"drive-letter", DRIVE_LETTER, true},
    {"generation", GENERATION, true}, {"memory", MEMORY, true}, {"cpus", CPUS, true}, {"nested", NESTED, false},
    {"network", NETWORK, true}, {"no-start", NO_START, false}, {"dvd", DVD, true}, {0},
};

struct submission {
    json_t *body, *disks, *disk, *vm, *volume;       /* all but body are borrowed from it; disk, vm, volume: NULL until asked for */
    const char *key;
    bool from_options, from_file, wait;
};

/* A SAS on the command line stands in the process list and the shell's history. The first cannot be undone before it was seen;
 * from here on it is. */
static void hide_sas(char *value)
{
    char *query = strchr(value, '?');
    if (!query || (!strstr(query, "?sig=") && !strstr(query, "&sig=")))
        return;
    fputs("vmrecover: warning: a SAS was given on the command line, where other users can see it; "
          "use --url-file FILE, --url-file - or a credential\n",
          stderr);
    memset(query + 1, '*', strlen(query + 1));
}

static int set(json_t *object, const char *key, json_t *value, struct err *e)
{
    return json_object_set_new(object, key, value) == 0 ? 0 : err_set(e, ERR_VALUE, "%s: the value is not UTF-8", key);
}

static int set_number(json_t *object, const char *key, const char *option, const char *value, struct err *e)
{
    uint64_t n;
    int r = opt_number(option, value, 0, INT64_MAX, &n, e);
    return r < 0 ? r : set(object, key, json_integer((json_int_t)n), e);
}

static int add_disk(struct submission *s, const char *type, const char *member, json_t *value, struct err *e)
{
    json_t *source = json_pack("{s:s}", "type", type);
    int r = set(source, member, value, e);
    s->disk = json_pack("{s:o}", "source", source);
    if (r < 0) {
        json_decref(s->disk);
        s->disk = NULL;
        return r;
    }
    return json_array_append_new(s->disks, s->disk) == 0 ? 0 : err_oom(e);
}

static int add_url_file(struct submission *s, const char *path, struct err *e)
{
    AUTO_SECRET char *url = NULL;
    int r = opt_read_input(path, URL_MAX, &url, NULL, e);
    if (r < 0)
        return r;
    url[strcspn(url, "\r\n")] = '\0';
    return add_disk(s, "blob", "url", json_string(url), e);
}

/* Where the disk is copied to first: both of its options may come first. */
static int via_option(json_t *source, const char *member, const char *value, struct err *e)
{
    json_t *via = json_object_get(source, "via_storage_account");
    if (!via) {
        via = json_object();
        if (json_object_set_new(source, "via_storage_account", via) != 0)
            return err_oom(e);
    }
    return set(via, member, json_string(value), e);
}

static int source_option(json_t *source, int o, const char *value, struct err *e)
{
    switch (o) {
    case CREDENTIAL: return set(source, "credential", json_string(value), e);
    case DATA_DISKS: return set(source, "data_disks", json_true(), e);
    case DEALLOCATE: return set(source, "deallocate", json_true(), e);
    case STORAGE_CREDENTIAL: return set(source, "storage_credential", json_string(value), e);
    case VIA: return via_option(source, "url", value, e);
    default: return via_option(source, "credential", value, e);
    }
}

static int disk_option(struct submission *s, int o, char *value, struct err *e)
{
    uint64_t n;
    int r;
    switch (o) {
    case URL:
        r = add_disk(s, "blob", "url", json_string(value), e);
        hide_sas(value);
        return r;
    case URL_FILE: return add_url_file(s, value, e);
    case LOCAL_FILE: return add_disk(s, "file", "path", json_string(value), e);
    case AZURE_VM: return add_disk(s, "vm", "id", json_string(value), e);
    case AZURE_DISK: return add_disk(s, "managed_disk", "id", json_string(value), e);
    case AZURE_SNAPSHOT: return add_disk(s, "snapshot", "id", json_string(value), e);
    case BLANK: r = opt_size("--blank", value, &n, e); return r < 0 ? r : add_disk(s, "blank", "size", json_integer((json_int_t)n), e);
    }
    if (!s->disk)
        return err_set(e, ERR_VALUE, "--credential, --data-disks, --format and the like stand behind the --vm, --disk, --snapshot, --url, --file or --blank that "
                                     "they are about");
    if (o < FORMAT)
        return source_option(json_object_get(s->disk, "source"), o, value, e);
    if (o == FORMAT)
        return set(s->disk, "format", json_string(value), e);
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return err_set(e, ERR_VALUE, "--skip-free-space takes yes or no, not '%s'", value);
    return set(s->disk, "skip_free_space", json_boolean(*value == 'y'), e);
}

static int vm_option(struct submission *s, int o, const char *value, struct err *e)
{
    if (!s->vm) {
        s->vm = json_object();
        if (json_object_set_new(s->body, "vm", s->vm) != 0)
            return err_oom(e);
    }
    switch (o) {
    case GENERATION: return strcmp(value, "auto") == 0 ? set(s->vm, "generation", json_string(value), e) : set_number(s->vm, "generation", "--generation", value, e);
    case MEMORY: return set_number(s->vm, "memory_mib", "--memory", value, e);
    case CPUS: return set_number(s->vm, "cpus", "--cpus", value, e);
    case NESTED: return set(s->vm, "nested", json_true(), e);
    case NETWORK: return set(s->vm, "network", json_string(value), e);
    case DVD: return set(s->vm, "dvd", json_string(value), e);
    default: return set(s->vm, "start", json_false(), e);
    }
}

/* "auto", or the id of a disk: one --volume for each. */
static int volume_disk(json_t *volume, const char *value, struct err *e)
{
    json_t *list = json_object_get(volume, "disks");
    if (!strcmp(value, "auto"))
        return list ? 0 : set(volume, "disks", json_string(value), e);
    if (!json_is_array(list)) {
        list = json_array();
        if (json_object_set_new(volume, "disks", list) != 0)
            return err_oom(e);
    }
    return json_array_append_new(list, json_string(value)) == 0 ? 0 : err_set(e, ERR_VALUE, "the id of a disk is not UTF-8");
}

static int volume_option(struct submission *s, int o, const char *value, struct err *e)
{
    static const char *const members[] = {"layout", "label", "file_system", "partition_style", "mount_point", "drive_letter"};
    if (!s->volume) {
        s->volume = json_object();
        if (json_object_set_new(s->body, "volume", s->volume) != 0)
            return err_oom(e);
    }
    return o == VOLUME ? volume_disk(s->volume, value, e) : set(s->volume, members[o - LAYOUT], json_string(value), e);
}

static int job_option(struct submission *s, int o, const char *value, struct err *e)
{
    uint64_t n;
    int r;
    switch (o) {
    case NAME: return set(s->body, "name", json_string(value), e);
    case UNTIL: return set(s->body, "until", json_string(value), e);
    case MAX_RATE: r = opt_size("--max-rate", value, &n, e); return r < 0 ? r : set(s->body, "max_bytes_per_second", json_integer((json_int_t)n), e);
    default: return set(s->body, "allow_cross_region", json_true(), e);
    }
}

static int read_body(struct submission *s, const char *path, struct err *e)
{
    AUTO_SECRET char *text = NULL;
    size_t n = 0;
    int r = opt_read_input(path, BODY_MAX, &text, &n, e);
    if (r < 0)
        return r;
    json_error_t at;
    json_t *body = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
    if (!body)
        return err_set(e, ERR_JSON, "%s: line %d: %s", path, at.line, at.text);
    json_decref(s->body);
    s->body = body;
    s->from_file = true;
    return 0;
}

static int parse(struct submission *s, int argc, char **argv, struct err *e)
{
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        int r = 0;
        if (o < 0)
            return o;
        if (o == OPT_WORD)
            return err_set(e, ERR_VALUE, "'%s' is no option; a VM in Azure is given with --vm, a blob with --url or --url-file, a local image with --file", it.value);
        if (o == WAIT) {
            s->wait = true;
            continue;
        }
        if (o == KEY) {
            s->key = it.value;
            continue;
        }
        if (o == JSON_BODY) {
            r = read_body(s, it.value, e);
        } else {
            s->from_options = true;
            if (!s->from_file)
                r = o <= SKIP_FREE   ? disk_option(s, o, it.value, e)
                    : o < VOLUME     ? job_option(s, o, it.value, e)
                    : o < GENERATION ? volume_option(s, o, it.value, e)
                                     : vm_option(s, o, it.value, e);
        }
        if (r < 0)
            return r;
        if (s->from_file && s->from_options)
            return err_set(e, ERR_VALUE, "--json-body holds the whole request: of the other options only --wait and --idempotency-key go with it");
    }
    bool volume_alone = s->volume && !strcmp(jstr(s->body, "until"), "volume");
    if (!s->from_file && json_array_size(s->disks) == 0 && !volume_alone)
        return err_set(e, ERR_VALUE, "give a disk: --vm, --disk, --snapshot, --url, --url-file, --file, --blank or --json-body");
    return 0;
}

static int send(struct cli *cli, struct submission *s, struct err *e)
{
    char key[UUID_LEN];
    int r = crypto_uuid(key, e);
    if (r < 0)
        return r;
    AUTO_REPLY struct reply reply = {0};
    struct call call = {.method = "POST", .path = "/v1/jobs", .body = s->body, .idempotency_key = s->key ? s->key : key};
    r = client_call(cli->client, &call, &reply, e);
    if (r < 0)
        return r;
    const char *id = jstr(reply.json, "id");
    if (!crypto_is_uuid(id))
        return err_set(e, ERR_UPSTREAM_FINAL, "the daemon's answer names no job");
    if (!s->wait) {
        if (cli->json)
            print_json(reply.json);
        else
            puts(id);
        return EXIT_DONE;
    }
    if (!cli->json) {
        fprintf(stderr, "job %s\n", id);
        fflush(stderr);
    }
    return watch_job(cli, id, e);
}

int cmd_submit(struct cli *cli, int argc, char **argv, struct err *e)
{
    struct submission s = {.body = json_pack("{s:[]}", "disks")};
    if (!s.body)
        return err_oom(e);
    s.disks = json_object_get(s.body, "disks");
    int r = parse(&s, argc, argv, e);
    if (r == 0)
        r = send(cli, &s, e);
    json_decref(s.body);
    return r;
}
