/* A VM's life: made once, started, ended in every way, found again by the next daemon, removed without a trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/os.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/hv_guest.h"

static bool exists(struct hvt *f, const char *name)
{
    AUTO_FREE char *path = hvt_path(f, "%s", name);
    return access(path, F_OK) == 0;
}

static bool running(int pid)
{
    char path[64], line[32] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *p = fopen(path, "re");
    size_t n = p ? fread(line, 1, sizeof line, p) : 0;
    if (p)
        fclose(p);
    return n > 0;                                      /* a zombie has no command line */
}

static void made_once(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *disk = hvt_path(f, "once.raw");
    guest_raw(disk, "once");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_create(f->hv, &s, &e));
    hvt_reopen(f);
    OK(hv_vm_create(f->hv, &s, &e));
    struct hv_vm **list = NULL;
    size_t n = 0;
    OK(hv_vm_list(f->hv, &list, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(list[0]->spec.id, s.id);
    assert_string_equal(list[0]->spec.job_id, s.job_id);
    assert_string_equal(list[0]->spec.name, s.name);
    assert_string_equal(list[0]->spec.disks[0].path, disk);
    assert_int_equal(list[0]->spec.n_disks, 1);
    assert_int_equal(list[0]->state, HV_OFF);
    assert_int_equal(list[0]->started_at_ms, 0);
    hv_vm_list_free(list, n);
    s.cpus = 2;
    assert_int_equal(hv_vm_create(f->hv, &s, &e), -ERR_WRONG_STATE);
    OK(hv_vm_delete(f->hv, s.id, &e));
    OK(hv_vm_delete(f->hv, s.id, &e));                 /* missing is fine */
    hv_vm_spec_clear(&s);
}

/* What create refuses, and what it then leaves behind: nothing. */
static void bad_specs(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *disk = hvt_path(f, "bad.raw"), *missing = hvt_path(f, "missing.raw");
    guest_raw(disk, "bad");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
#define REFUSED(change, undo, code) \
    do { \
        change; \
        assert_int_equal(hv_vm_create(f->hv, &s, &e), -(code)); \
        undo; \
    } while (0)
    REFUSED(s.generation = 3, s.generation = 1, ERR_VALUE);
    REFUSED(s.memory_mib = 1, s.memory_mib = 32, ERR_VALUE);
    REFUSED(s.cpus = 0, s.cpus = 1, ERR_VALUE);
    REFUSED(s.cpus = 1000, s.cpus = 1, ERR_VALUE);
    REFUSED(s.n_disks = 5, s.n_disks = 1, ERR_VALUE);
    REFUSED(s.disks[0].virtual_size = 513, s.disks[0].virtual_size = GUEST_DISK_BYTES, ERR_VALUE);
    REFUSED(s.disks[0].virtual_size = 2 * GUEST_DISK_BYTES, s.disks[0].virtual_size = GUEST_DISK_BYTES, ERR_IMAGE_DAMAGED);
    REFUSED(s.disks[0].format = HV_VHD, s.disks[0].format = HV_RAW, ERR_IMAGE_DAMAGED);       /* no room for a footer */
    REFUSED(s.disks[0].format = HV_VHDX, s.disks[0].format = HV_RAW, ERR_VM);                 /* it is none */
    char *keep = s.disks[0].path;
    REFUSED(s.disks[0].path = missing, s.disks[0].path = keep, ERR_IMAGE_DAMAGED);
    REFUSED(s.disks[0].path = (char *)(uintptr_t)"relative.raw", s.disks[0].path = keep, ERR_VALUE);
    char *net = s.network, *id = s.id;
    REFUSED(s.network = (char *)(uintptr_t)"switch:x", s.network = net, ERR_UNSUPPORTED);
    REFUSED(s.network = (char *)(uintptr_t)"bridge", s.network = net, ERR_VALUE);
    REFUSED(s.id = (char *)(uintptr_t)"../../etc", s.id = id, ERR_NOT_FOUND);
    REFUSED(s.dvd = missing, s.dvd = NULL, ERR_NOT_FOUND);
    AUTO_FREE char *folder = str_printf("vms/%s", id);
    assert_false(exists(f, folder));
    struct hv_vm *vm = NULL;
    assert_int_equal(hv_vm_get(f->hv, id, &vm, &e), -ERR_NOT_FOUND);
    assert_int_equal(hv_vm_start(f->hv, id, &e), -ERR_NOT_FOUND);
    assert_int_equal(hv_vm_start(f->hv, "../x", &e), -ERR_NOT_FOUND);
    OK(hv_vm_delete(f->hv, "../x", &e));
    hv_vm_spec_clear(&s);
}

static void power(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "power:");
    OK(hv_vm_start(f->hv, id, &e));                    /* running already */
    hvt_wait_text(f, id, "power:");
    hvt_type(f, id, "abc");
    hvt_wait_text(f, id, "power:abc");
    OK(hv_vm_reset(f->hv, id, &e));
    int64_t deadline = clock_mono_ms() + HVT_WAIT_MS;
    for (bool again = false; !again;) {                /* the old screen goes, the text comes anew; no text mode in between */
        AUTO_FREE char *text = NULL;
        int r = hv_screen_text(f->hv, id, &text, &e);
        assert_true(r == 0 || r == -ERR_UNSUPPORTED);
        again = r == 0 && strstr(text, "power:") && !strstr(text, "power:abc");
        assert_true(clock_mono_ms() < deadline);
    }
    OK(hv_vm_shutdown(f->hv, id, &e));                 /* this guest has no ACPI: asking is all */
    AUTO(hv_vm_free_ptr) struct hv_vm *vm = NULL;
    OK(hv_vm_get(f->hv, id, &vm, &e));
    assert_int_equal(vm->state, HV_RUNNING);
    assert_true(vm->started_at_ms > clock_now_ms() - 10 * 60000);
    int pid = hvt_pid(f, id);
    assert_true(pid > 1 && running(pid));
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hvt_state(f, id, NULL), HV_OFF);
    assert_false(running(pid));
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hv_vm_reset(f->hv, id, &e), -ERR_WRONG_STATE);
    assert_int_equal(hv_vm_shutdown(f->hv, id, &e), -ERR_WRONG_STATE);
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, "power:");
    pid = hvt_pid(f, id);
    OK(hv_vm_delete(f->hv, id, &e));                   /* while it runs */
    assert_false(running(pid));
    AUTO_FREE char *folder = str_printf("vms/%s", id);
    assert_false(exists(f, folder));
}

static void found_again(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "still here");
    hvt_wait_text(f, id, "still here");
    int pid = hvt_pid(f, id);
    hvt_reopen(f);
    assert_int_equal(hvt_pid(f, id), pid);
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);
    hvt_type(f, id, "!?");
    hvt_wait_text(f, id, "still here+?");
    OK(hv_vm_start(f->hv, id, &e));
    assert_int_equal(hvt_pid(f, id), pid);

    kill(pid, SIGKILL);
    hvt_wait_state(f, id, HV_FAILED);
    char detail[128];
    hvt_state(f, id, detail);
    assert_non_null(strstr(detail, "killed or crashed"));
    hvt_reopen(f);
    assert_int_equal(hvt_state(f, id, NULL), HV_FAILED);
    OK(hv_vm_start(f->hv, id, &e));
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);
    hvt_wait_text(f, id, "still here");
    kill(hvt_pid(f, id), SIGKILL);
    hvt_wait_state(f, id, HV_FAILED);
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(hvt_state(f, id, NULL), HV_OFF);

    OK(hv_vm_start(f->hv, id, &e));                    /* ended in order by somebody else: off, not failed */
    pid = hvt_pid(f, id);
    kill(pid, SIGTERM);
    hvt_wait_state(f, id, HV_OFF);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* A pid file that names a living process which is not ours. */
static void never_kills_others(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "x");
    OK(hv_vm_stop(f->hv, id, &e));
    const char *argv[] = {"sleep", "300", NULL};
    struct os_exec x = {.argv = argv};
    int64_t other = 0;
    OK(os_spawn(&x, &other, &e));
    AUTO_FREE char *path = hvt_path(f, "vms/%s/qemu.pid", id), *text = str_printf("%lld\n", (long long)other);
    OK(os_write_file(path, text, strlen(text), 0, &e));
    assert_int_equal(hvt_state(f, id, NULL), HV_FAILED);                /* the file was left by a QEMU that is gone */
    OK(hv_vm_stop(f->hv, id, &e));
    assert_true(running((int)other));
    OK(os_write_file(path, text, strlen(text), 0, &e));
    OK(hv_vm_start(f->hv, id, &e));
    OK(hv_vm_delete(f->hv, id, &e));
    assert_true(running((int)other));
    OK(os_process_kill(other, &e));
}

/* A daemon that has run out of descriptors must not take a living QEMU for a dead one and remove its folder. */
static void no_descriptors_left(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "alive"), *disk = hvt_path(f, "vms/%s/disk0.qcow2", id);
    hvt_wait_text(f, id, "alive");
    int pid = hvt_pid(f, id), held[256];
    size_t n = 0;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = (struct rlimit){.rlim_cur = 128, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < ARRAY_LEN(held) && (held[n] = dup(0)) >= 0)
        n++;
    int deleted = hv_vm_delete(f->hv, id, &e), stopped = hv_vm_stop(f->hv, id, &e);
    struct hv_vm *vm = NULL;
    int got = hv_vm_get(f->hv, id, &vm, &e);
    while (n)
        close(held[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(deleted, -ERR_BUSY);
    assert_int_equal(stopped, -ERR_BUSY);
    assert_int_equal(got, 0);
    assert_int_equal(vm->state, HV_RUNNING);
    hv_vm_free(vm);
    assert_true(running(pid));
    assert_int_equal(access(disk, F_OK), 0);
    hvt_type(f, id, "!");
    hvt_wait_text(f, id, "alive+");
    OK(hv_vm_delete(f->hv, id, &e));
    assert_false(running(pid));
}

/* A QEMU that does not answer is an error within its time limit, and can be stopped. */
static void hung(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "hang");
    hvt_wait_text(f, id, "hang");
    int pid = hvt_pid(f, id);
    kill(pid, SIGSTOP);
    struct hv_image img = {0};
    int64_t start = clock_mono_ms();
    assert_int_equal(hv_screen(f->hv, id, &img, &e), -ERR_TIMEOUT);
    assert_true(clock_mono_ms() - start < 60000);
    char detail[128];
    assert_int_equal(hvt_state(f, id, detail), HV_RUNNING);
    assert_non_null(strstr(detail, "does not answer"));
    OK(hv_vm_stop(f->hv, id, &e));
    assert_false(running(pid));
    assert_int_equal(hvt_state(f, id, NULL), HV_OFF);
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, "hang");
    OK(hv_vm_delete(f->hv, id, &e));
}

/* What a crash in vm_create or vm_delete leaves: a folder without vm.json. And a vm.json that is no definition. */
static void half_made(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *disk = hvt_path(f, "half.raw");
    guest_raw(disk, "half");
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    AUTO_FREE char *dir = hvt_path(f, "vms/%s", s.id), *overlay = os_path_join(dir, "disk0.qcow2"), *def = os_path_join(dir, "vm.json");
    OK(os_mkdirs(dir, 0, &e));
    OK(os_write_file(overlay, "half an overlay", 15, 0, &e));
    hvt_reopen(f);
    struct hv_vm *vm = NULL;
    assert_int_equal(hv_vm_get(f->hv, s.id, &vm, &e), -ERR_NOT_FOUND);
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "half");
    int pid = hvt_pid(f, s.id);

    OK(os_write_file(def, "{\"version\": 1}", 14, 0, &e));
    hvt_reopen(f);
    assert_int_equal(hv_vm_get(f->hv, s.id, &vm, &e), -ERR_NOT_FOUND);
    assert_true(running(pid));
    assert_int_equal(hv_vm_create(f->hv, &s, &e), -ERR_IO);            /* what was repaired in it is not thrown away for a new one */
    assert_true(strstr(e.msg, "vm.json") && strstr(err_hint_text(&e), dir));
    assert_true(running(pid));
    assert_int_equal(access(overlay, F_OK), 0);
    OK(hv_vm_delete(f->hv, s.id, &e));                 /* by its folder; the QEMU in it goes too */
    assert_false(running(pid));
    assert_int_not_equal(access(dir, F_OK), 0);
    hv_vm_spec_clear(&s);
}

/* Somebody removed the folder of a running VM, and the daemon was started again: its QEMU is found all the same. */
static void folder_vanished(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "lost"), *dir = hvt_path(f, "vms/%s", id);
    hvt_wait_text(f, id, "lost");
    int pid = hvt_pid(f, id);
    OK(os_remove_tree(dir, &e));
    hvt_reopen(f);
    struct hv_vm *vm = NULL;
    assert_int_equal(hv_vm_get(f->hv, id, &vm, &e), -ERR_NOT_FOUND);
    assert_true(running(pid));
    OK(hv_vm_delete(f->hv, id, &e));
    assert_false(running(pid));
}

/* A foreign account starts a program with a VM's id on its command line. */
static void not_fooled_by_other_accounts(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct passwd *pw = getpwnam("nobody");
    if (geteuid() != 0 || !pw)
        skip();
    AUTO_FREE char *id = hvt_vm(f, "x"), *dir = hvt_path(f, "vms/%s", id);
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(chmod(f->dir, 0711), 0);
    AUTO_FREE char *vms = hvt_path(f, "vms");
    assert_int_equal(chmod(vms, 0711) | chmod(dir, 0755), 0);
    /* the shell passes these on as its own arguments, and sleeps as one process */
    const char *argv[] = {"sh", "-c", "sleep 300; :", "qemu", "-uuid", id, NULL};
    struct os_exec x = {.argv = argv, .cwd = dir, .run_as = "nobody"};
    int64_t other = 0;
    OK(os_spawn(&x, &other, &e));
    OK(hv_vm_start(f->hv, id, &e));                    /* which looks through all processes first */
    hvt_wait_text(f, id, "x");
    OK(hv_vm_delete(f->hv, id, &e));
    assert_true(running((int)other));
    assert_int_equal(kill(-(pid_t)other, SIGKILL), 0);
    assert_int_equal(chmod(f->dir, 0700), 0);
}

struct deletion { struct hvt *f; const char *id; int r; };
static void *delete_vm(void *arg)
{
    struct deletion *d = arg;
    struct err e;
    d->r = hv_vm_delete(d->f->hv, d->id, &e);
    return NULL;
}

/* QEMUs that hang keep nobody from the others: lists stay quick, the driver opens, VMs are made and deleted meanwhile. */
static void hung_ones_are_alone(void **state)
{
    enum { N = 4 };
    struct hvt *f = *state;
    struct err e;
    char *ids[N];
    int pids[N];
    for (int i = 0; i < N; i++) {
        ids[i] = hvt_vm(f, "hang");
        hvt_wait_text(f, ids[i], "hang");
        pids[i] = hvt_pid(f, ids[i]);
    }
    int64_t start = clock_mono_ms();
    for (int i = 0; i < N; i++)
        kill(pids[i], SIGSTOP);
    struct hv_vm **list;
    size_t n;
    OK(hv_vm_list(f->hv, &list, &n, &e));
    hv_vm_list_free(list, n);
    assert_int_equal(n, N);
    int64_t first = clock_mono_ms() - start;
    start = clock_mono_ms();
    for (int i = 0; i < 20; i++) {
        OK(hv_vm_list(f->hv, &list, &n, &e));
        for (size_t k = 0; k < n; k++)
            assert_int_equal(list[k]->state, HV_RUNNING);
        hv_vm_list_free(list, n);
    }
    int64_t next = clock_mono_ms() - start;
    start = clock_mono_ms();
    hvt_reopen(f);
    int64_t opened = clock_mono_ms() - start;
    if (first > 20000 || next > 20000 || opened > 25000)               /* one after the other they would take 40 s each */
        fail_msg("a list took %d ms, 20 more %d ms, the opening %d ms", (int)first, (int)next, (int)opened);

    pthread_t thread;
    struct deletion d = {f, ids[0], -1};
    start = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, delete_vm, &d), 0);
    clock_sleep_ms(100);                               /* it waits for the first one now */
    AUTO_FREE char *other = hvt_vm(f, "quick");
    OK(hv_vm_delete(f->hv, other, &e));
    bool during = running(pids[0]);
    pthread_join(thread, NULL);
    assert_int_equal(d.r, 0);
    if (!during)
        print_message("the hung VM was gone before the other was made (%d ms)\n", (int)(clock_mono_ms() - start));
    for (int i = 0; i < N; i++) {
        if (i)
            OK(hv_vm_delete(f->hv, ids[i], &e));
        assert_false(running(pids[i]));
        free(ids[i]);
    }
}

/* The daemon wants to stop: a start that waits for its QEMU is given up soon, and nothing is left of it. */
static bool stop_now;
static bool on_stop(void *arg)
{
    (void)arg;
    return __atomic_load_n(&stop_now, __ATOMIC_SEQ_CST);
}

static void *stop_soon(void *arg)
{
    (void)arg;
    clock_sleep_ms(300);
    __atomic_store_n(&stop_now, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* A driver of its own whose QEMU is this shell script; the VM of *ret_id is made and off. */
static struct hv *slow_driver(struct hvt *f, const char *name, const char *script, char **ret_id)
{
    struct err e;
    struct hv *hv = NULL;
    AUTO_FREE char *data = hvt_path(f, "%s", name), *program = os_path_join(data, "qemu-system-x86_64"), *img = os_path_join(data, "qemu-img"),
                   *disk = os_path_join(data, "slow.raw");
    static const char link[] = "#!/bin/sh\nexec qemu-img \"$@\"\n";
    OK(os_mkdirs(data, 0, &e));
    guest_raw(disk, "slow");
    OK(os_write_file(program, script, strlen(script), 0, &e));
    OK(os_write_file(img, link, sizeof link - 1, 0, &e));
    assert_int_equal(chmod(program, 0755) | chmod(img, 0755), 0);
    struct hv_config cfg = {.data_dir = data, .accel = "tcg", .scope = "none", .program = program, .stop = on_stop};
    OK(hv_open(&hv_qemu, &cfg, &hv, &e));
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    OK(hv_vm_create(hv, &s, &e));
    *ret_id = str_dup(s.id);
    hv_vm_spec_clear(&s);
    return hv;
}

static void gives_up(struct hvt *f, const char *name, const char *script)
{
    struct err e;
    pthread_t thread;
    AUTO_FREE char *id = NULL;
    struct hv *hv = slow_driver(f, name, script, &id);
    int64_t start = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    assert_int_equal(hv_vm_start(hv, id, &e), -ERR_CANCELLED);
    pthread_join(thread, NULL);
    int64_t took = clock_mono_ms() - start;
    __atomic_store_n(&stop_now, false, __ATOMIC_SEQ_CST);
    if (took > 20000)                                  /* a start waits for a minute, for a greeting half of it */
        fail_msg("the start was given up after %d ms", (int)took);
    OK(hv_vm_delete(hv, id, &e));
    hv_close(hv);
}

/* A QEMU that runs and never listens. */
static void given_up(void **state)
{
    gives_up(*state, "deaf", "#!/bin/sh\ncase \"$*\" in *-uuid*) exec sleep 300 ;; *) exec qemu-system-x86_64 \"$@\" ;; esac\n");
}

/* One that listens and does not greet: it waits for a disk of the host, say. */
static const char silent[] =
    "#!/bin/sh\n"
    "case \"$*\" in *-uuid*) ;; *) exec qemu-system-x86_64 \"$@\" ;; esac\n"
    "while [ \"$1\" != -uuid ]; do shift; done\n"
    "exec qemu-system-x86_64 -machine none -nodefaults -display none -pidfile qemu.pid -uuid \"$2\" "
    "-chardev socket,id=q,path=qmp.sock,server=on,wait=off\n";

static void given_up_without_greeting(void **state)
{
    gives_up(*state, "silent", silent);
}

struct start { struct hv *hv; const char *id; int r; };
static void *start_vm(void *arg)
{
    struct start *s = arg;
    struct err e;
    s->r = hv_vm_start(s->hv, s->id, &e);
    return NULL;
}

/* And a user stops it meanwhile. */
static void stopped_without_greeting(void **state)
{
    struct err e;
    pthread_t thread;
    AUTO_FREE char *id = NULL;
    struct hv *hv = slow_driver(*state, "silent2", silent, &id);
    AUTO_FREE char *sock = hvt_path(*state, "silent2/vms/%s/qmp.sock", id);
    struct start s = {hv, id, 0};
    assert_int_equal(pthread_create(&thread, NULL, start_vm, &s), 0);
    for (int64_t until = clock_mono_ms() + 20000; access(sock, F_OK) < 0 && clock_mono_ms() < until;)
        clock_sleep_ms(20);
    assert_int_equal(access(sock, F_OK), 0);
    clock_sleep_ms(300);
    int64_t start = clock_mono_ms();
    OK(hv_vm_stop(hv, id, &e));
    int64_t took = clock_mono_ms() - start;
    pthread_join(thread, NULL);
    assert_int_equal(s.r, -ERR_CANCELLED);
    if (took > 20000)
        fail_msg("the stop took %d ms", (int)took);
    OK(hv_vm_delete(hv, id, &e));
    hv_close(hv);
}

static void start_fails_clearly(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "x");
    OK(hv_vm_stop(f->hv, id, &e));
    AUTO_FREE char *overlay = hvt_path(f, "vms/%s/disk0.qcow2", id);
    OK(os_write_file(overlay, "no qcow2", 8, 0, &e));
    assert_int_equal(hv_vm_start(f->hv, id, &e), -ERR_VM);
    if (!strstr(e.msg, "qcow2"))
        fail_msg("%s", e.msg);
    assert_string_equal(e.upstream.service, "qemu");
    char detail[128];
    assert_int_equal(hvt_state(f, id, detail), HV_FAILED);
    assert_true(detail[0]);
    assert_int_equal(hvt_pid(f, id), 0);
    OK(hv_vm_delete(f->hv, id, &e));
}

static void account(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct passwd *pw = getpwnam("nobody");
    if (geteuid() != 0 || !pw)
        skip();
    struct hv *hv = NULL, *keep = f->hv;
    AUTO_FREE char *data = hvt_path(f, "account"), *disk = hvt_path(f, "account.raw"), *secret = hvt_path(f, "secret.raw");
    guest_raw(disk, "as nobody");
    guest_raw(secret, "secret");
    assert_int_equal(chmod(f->dir, 0711) | chmod(disk, 0644) | chmod(secret, 0600), 0);
    OK(os_mkdirs(data, 0, &e));
    struct hv_config cfg = {.data_dir = data, .accel = "tcg", .scope = "none", .run_as = "nobody"};
    OK(hv_open(&hv_qemu, &cfg, &hv, &e));
    f->hv = hv;
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL}), t = hvt_spec(f, (const char *const[]){secret, NULL});
    OK(hv_vm_create(hv, &s, &e));
    OK(hv_vm_start(hv, s.id, &e));
    hvt_wait_text(f, s.id, "as nobody");
    AUTO_FREE char *pidfile = str_printf("%s/vms/%s/qemu.pid", data, s.id), *pid = NULL, *def = str_printf("%s/vms/%s/vm.json", data, s.id);
    size_t n;
    struct stat st;
    OK(os_read_file(pidfile, 64, &pid, &n, &e));
    AUTO_FREE char *proc = str_printf("/proc/%d", atoi(pid));
    assert_int_equal(stat(proc, &st), 0);
    assert_int_equal(st.st_uid, pw->pw_uid);
    assert_int_equal(stat(def, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(hv_vm_create(hv, &t, &e), -ERR_PERMISSION);
    assert_non_null(strstr(err_hint_text(&e), "nobody"));
    OK(hv_vm_delete(hv, s.id, &e));
    hv_vm_spec_clear(&s);
    hv_vm_spec_clear(&t);
    hv_close(hv);
    f->hv = keep;
    assert_int_equal(chmod(f->dir, 0700), 0);
}

static const struct hv_check *row(const struct hv_check *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].check, name))
            return &rows[i];
    fail_msg("the report has no row '%s'", name);
    return NULL;
}

static void report(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_check rows[16];
    size_t n = hv_report(f->hv, rows, ARRAY_LEN(rows), NULL);
    assert_int_equal(row(rows, n, "hypervisor")->status, HV_OK);
    assert_non_null(strstr(row(rows, n, "hypervisor")->detail, "QEMU emulator version"));
    assert_int_equal(row(rows, n, "acceleration")->status, HV_WARNING);
    assert_true(row(rows, n, "acceleration")->remedy[0]);
    assert_int_equal(row(rows, n, "nat")->status, HV_OK);
    row(rows, n, "firmware_gen2");
    row(rows, n, "scope");
    assert_int_equal(hv_report(f->hv, rows, 1, NULL), 1);

    /* no QEMU: the driver opens, says so, and its VMs cannot be made */
    struct hv *hv = NULL;
    AUTO_FREE char *data = hvt_path(f, "without"), *disk = hvt_path(f, "without.raw");
    guest_raw(disk, "x");
    struct hv_config cfg = {.data_dir = data, .program = "/nonexistent/qemu-system-x86_64", .accel = "auto"};
    OK(hv_open(&hv_qemu, &cfg, &hv, &e));
    n = hv_report(hv, rows, ARRAY_LEN(rows), NULL);
    assert_int_equal(row(rows, n, "hypervisor")->status, HV_CHECK_FAILED);
    assert_non_null(strstr(row(rows, n, "hypervisor")->remedy, "apt install"));
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){disk, NULL});
    assert_int_equal(hv_vm_create(hv, &s, &e), -ERR_HYPERVISOR);
    hv_vm_spec_clear(&s);
    hv_close(hv);

    /* "auto" ends in a VM that answers, with KVM where the probe passes and without it elsewhere */
    struct hv_config automatic = {.data_dir = f->dir, .accel = "auto", .scope = "auto"};
    hv_close(f->hv);
    OK(hv_open(&hv_qemu, &automatic, &f->hv, &e));
    AUTO_FREE char *id = hvt_vm(f, "auto");
    hvt_wait_text(f, id, "auto");
    OK(hv_vm_delete(f->hv, id, &e));
    struct hv_config wrong = {.data_dir = f->dir, .accel = "xen"};
    assert_int_equal(hv_open(&hv_qemu, &wrong, &hv, &e), -ERR_CONFIG);
    struct hv_config nobody = {.data_dir = f->dir, .run_as = "no-such-account"};
    assert_int_equal(hv_open(&hv_qemu, &nobody, &hv, &e), -ERR_CONFIG);
    hvt_reopen(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_once), cmocka_unit_test(bad_specs),           cmocka_unit_test(power),   cmocka_unit_test(found_again),
        cmocka_unit_test(hung), cmocka_unit_test(no_descriptors_left),     cmocka_unit_test(never_kills_others),  cmocka_unit_test(half_made),
        cmocka_unit_test(account),   cmocka_unit_test(start_fails_clearly), cmocka_unit_test(report),
        cmocka_unit_test(folder_vanished), cmocka_unit_test(not_fooled_by_other_accounts), cmocka_unit_test(hung_ones_are_alone), cmocka_unit_test(given_up),
        cmocka_unit_test(given_up_without_greeting), cmocka_unit_test(stopped_without_greeting),
    };
    return cmocka_run_group_tests(tests, hvt_setup, hvt_teardown);
}
