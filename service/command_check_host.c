#include "service/commands.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/os.h"
#include "hyperv/check.h"
#include "service/config.h"
#include "storage/image/image.h"

#define FOLDER "check-host"                            /* in the data folder; setup.c knows it */
#define DISK_BYTES ((uint64_t)16 << 20)
#define ISO_SECTORS 18

static void say(void *arg, const char *line)
{
    (void)arg;
    puts(line);
    fflush(stdout);
}

/* ---- two records ---- */

static int load(const char *path, json_t **ret, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    int r = os_read_file(path, HYPERV_RECORD_MAX, &text, &n, e);
    if (r == 0 && (r = json_parse(text, n, ret, e)) < 0)
        r = err_prefix(e, "%s", path);
    return r;
}

static int compare(const char *expected_path, const char *found_path)
{
    struct err e;
    json_t *expected = NULL, *found = NULL;
    AUTO_STRBUF struct strbuf out = {0};
    size_t n = 0;
    int r = load(expected_path, &expected, &e);
    if (r == 0)
        r = load(found_path, &found, &e);
    if (r == 0)
        r = hyperv_check_compare(expected, found, &out, &n, &e);
    json_decref(expected);
    json_decref(found);
    if (r < 0)
        return command_fail(&e);
    fputs(out.data ? out.data : "", stdout);
    printf("%zu differences\n", n);
    return n ? 1 : 0;
}

/* ---- the check ---- */

/* The least that is an ISO 9660 image: an empty system area and a volume descriptor. */
static int write_iso(const char *path, struct err *e)
{
    AUTO_FREE char *sectors = calloc(ISO_SECTORS, 2048);
    if (!sectors)
        return err_oom(e);
    memcpy(sectors + 2048 * 16, "\1CD001\1", 7);
    memcpy(sectors + 2048 * 17, "\377CD001\1", 7);
    return os_write_file(path, sectors, (size_t)ISO_SECTORS * 2048, 0, e);
}

static int write_record(const char *path, const json_t *record, struct err *e)
{
    AUTO_FREE char *text = json_dumps(record, JSON_INDENT(1));
    return text ? os_write_file(path, text, strlen(text), 0, e) : err_oom(e);
}

/* With images of its own in a folder of its own, so that a service that runs knows nothing of it. */
static int check_in(const char *dir, bool nat, json_t **ret, size_t *ret_failed, struct err *e)
{
    AUTO_FREE char *os = os_path_join(dir, "os.vhdx"), *further = os_path_join(dir, "further.vhdx"), *iso = os_path_join(dir, "empty.iso");
    if (!os || !further || !iso)
        return err_oom(e);
    const char *const images[] = {os, further};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(images); i++)
        if ((r = os_remove(images[i], e)) == 0)        /* of an earlier check */
            r = image_create_blank(images[i], IMAGE_VHDX, DISK_BYTES, NULL, NULL, e);
    if (r == 0 && (r = os_remove(iso, e)) == 0)
        r = write_iso(iso, e);
    struct hyperv_check c = {.platform = hyperv_platform_here(), .dir = dir, .iso = iso, .nat = nat, .said = say};
    c.os = (struct hv_disk){.path = os, .format = HV_VHDX, .virtual_size = DISK_BYTES, .overlay = true};
    c.further = (struct hv_disk){.path = further, .format = HV_VHDX, .virtual_size = DISK_BYTES, .overlay = true};
    return r == 0 ? hyperv_check_run(&c, ret, ret_failed, e) : r;
}

/* The folder goes when no VM is left in it that only its records could tell. */
static int clean_up(const char *dir, struct err *e)
{
    AUTO_FREE char *vms = os_path_join(dir, "vms");
    int r = vms ? os_remove_empty_dir(vms, e) : err_oom(e);
    struct os_stat st = {.exists = true};
    if (r == 0)
        r = os_stat(vms, &st, e);
    return r < 0 || st.exists ? r : os_remove_tree(dir, e);
}

static int check(const struct config *cfg, const char *output, bool nat)
{
    struct err e;
    AUTO_FREE char *dir = os_path_join(cfg->data_dir, FOLDER), *lock_path = dir ? os_path_join(dir, "lock") : NULL;
    AUTO(os_file_close_ptr) struct os_file *lock = NULL;
    json_t *record = NULL;
    size_t failed = 0;
    int r = lock_path ? os_mkdirs(dir, OS_PRIVATE, &e) : err_oom(&e);
    if (r == 0)
        r = os_file_open(lock_path, OS_WRITE | OS_CREATE | OS_PRIVATE, &lock, &e);
    if (r == 0 && (r = os_file_lock(lock, &e)) == -ERR_LOCKED)
        err_prefix(&e, "another check-host runs");
    if (r < 0)
        return command_fail(&e);
    r = check_in(dir, nat, &record, &failed, &e);
    os_file_close(STEAL(lock));
    if (r == 0)
        r = write_record(output, record, &e);
    json_decref(record);
    struct err ignored;
    if (r == 0)
        r = clean_up(dir, &e);
    else
        clean_up(dir, &ignored);
    if (r < 0)
        return command_fail(&e);
    printf("%s%zu steps failed; the record is %s\n", failed ? "NOT as expected: " : "As expected: ", failed, output);
    return failed ? 1 : 0;
}

int command_check_host(int argc, char **argv)
{
    const char *output = "check-host.json";
    bool nat = true;
    if (argc >= 1 && !strcmp(argv[0], "--compare")) {
        if (argc == 3)
            return compare(argv[1], argv[2]);
        fputs("usage: vmrecoverd check-host --compare REFERENCE RECORD\n", stderr);
        return 2;
    }
    for (; argc; argc--, argv++) {
        if (!strcmp(argv[0], "--no-nat"))
            nat = false;
        else if (argc >= 2 && !strcmp(argv[0], "--output"))
            output = argv[1], argc--, argv++;
        else
            break;
    }
    if (!hyperv_platform_here()) {
        fputs("vmrecoverd: check-host tries Hyper-V, which this system does not have.\n  `vmrecover host` says whether this host is fit.\n", stderr);
        return 2;
    }
    struct err e;
    AUTO(config_free_ptr) struct config *cfg = NULL;
    return config_load_args(argc, argv, &cfg, &e) < 0 ? command_fail(&e) : check(cfg, output, nat);
}
