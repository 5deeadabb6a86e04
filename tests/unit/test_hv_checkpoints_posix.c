/* Checkpoints: of running and stopped VMs, of both generations, over restarts of the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/os.h"
#include "hyperv/qemu.h"
#include "tests/unit/hv_fixture.h"
#include "tests/unit/hv_guest.h"

static size_t count(struct hvt *f, const char *id)
{
    struct hv_checkpoint *list = NULL;
    size_t n = 0;
    struct err e;
    OK(hv_checkpoint_list(f->hv, id, &list, &n, &e));
    free(list);
    return n;
}

/* Did the guest write its second sector, as far as the disk knows now? VM off. */
static bool written(struct hvt *f, const char *id)
{
    AUTO_FREE char *path = hvt_path(f, "flat%u", f->next++), *data = NULL;
    size_t n = 0;
    struct err e;
    OK(hv_disk_export(f->hv, id, 0, HV_RAW, path, NULL, NULL, NULL, &e));
    OK(os_read_file(path, GUEST_DISK_BYTES, &data, &n, &e));
    assert_int_equal(n, GUEST_DISK_BYTES);
    bool same = !memcmp(data, data + 512, 512);
    OK(os_remove(path, &e));
    return same;
}

static void running(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint a, b;
    AUTO_FREE char *id = hvt_vm(f, "memory:");
    hvt_wait_text(f, id, "memory:");
    hvt_type(f, id, "one");
    hvt_wait_text(f, id, "memory:one");
    OK(hv_checkpoint_create(f->hv, id, "before \u00e4nderung", &a, &e));
    assert_true(a.with_memory);
    assert_true(a.created_at_ms > clock_now_ms() - 10 * 60000);
    hvt_type(f, id, "two!");
    hvt_wait_text(f, id, "memory:onetwo+");
    OK(hv_checkpoint_create(f->hv, id, "", &b, &e));
    hvt_reopen(f);

    struct hv_checkpoint *list = NULL;
    size_t n = 0;
    OK(hv_checkpoint_list(f->hv, id, &list, &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].id, a.id);
    assert_string_equal(list[0].name, "before \u00e4nderung");
    assert_true(list[0].with_memory && list[0].created_at_ms == a.created_at_ms);
    free(list);

    OK(hv_checkpoint_restore(f->hv, id, a.id, &e));    /* of a running VM: it runs, with the screen of then */
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);
    AUTO_FREE char *text = hvt_text(f, id);
    assert_true(str_starts(text, "memory:one\n"));
    hvt_type(f, id, "three");                          /* and takes keys */
    hvt_wait_text(f, id, "memory:onethree");
    OK(hv_vm_stop(f->hv, id, &e));
    assert_false(written(f, id));

    OK(hv_checkpoint_restore(f->hv, id, b.id, &e));    /* of a VM that is off: it runs after it */
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);
    AUTO_FREE char *again = hvt_text(f, id);
    assert_true(str_starts(again, "memory:onetwo+\n"));
    OK(hv_vm_stop(f->hv, id, &e));
    assert_true(written(f, id));

    assert_int_equal(hv_checkpoint_restore(f->hv, id, "7c9e6679-7425-40de-944b-e07fc1f90ae7", &e), -ERR_NOT_FOUND);
    assert_int_equal(hv_checkpoint_restore(f->hv, id, "../x", &e), -ERR_NOT_FOUND);
    OK(hv_checkpoint_delete(f->hv, id, a.id, &e));
    assert_int_equal(hv_checkpoint_delete(f->hv, id, a.id, &e), -ERR_NOT_FOUND);
    OK(hv_vm_start(f->hv, id, &e));
    OK(hv_checkpoint_delete(f->hv, id, b.id, &e));     /* while it runs */
    assert_int_equal(count(f, id), 0);
    OK(hv_vm_stop(f->hv, id, &e));
    AUTO_FREE char *overlay = hvt_path(f, "vms/%s/disk0.qcow2", id), *out = NULL;
    const char *argv[] = {"qemu-img", "snapshot", "-l", overlay, NULL};
    struct os_exec x = {.argv = argv};
    int status = 0;
    OK(os_run(&x, 60000, 4096, NULL, NULL, &out, &status, &e));
    assert_int_equal(status, 0);
    assert_null(strstr(out, b.id));                    /* nothing is left in the image */
    assert_null(strstr(out, a.id));
    OK(hv_vm_delete(f->hv, id, &e));
}

static void stopped(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c;
    AUTO_FREE char *id = hvt_vm(f, "disk:");
    OK(hv_vm_stop(f->hv, id, &e));
    OK(hv_checkpoint_create(f->hv, id, "clean", &c, &e));
    assert_false(c.with_memory);
    OK(hv_vm_start(f->hv, id, &e));
    hvt_wait_text(f, id, "disk:");
    hvt_type(f, id, "!");
    hvt_wait_text(f, id, "disk:+");
    OK(hv_vm_stop(f->hv, id, &e));
    assert_true(written(f, id));
    OK(hv_vm_start(f->hv, id, &e));
    OK(hv_checkpoint_restore(f->hv, id, c.id, &e));    /* ends it */
    assert_int_equal(hvt_state(f, id, NULL), HV_OFF);
    assert_false(written(f, id));
    OK(hv_vm_delete(f->hv, id, &e));
}

/* A VHDX below keeps QEMU from saving memory: the disks alone are saved, from the running VM. */
static void running_on_vhdx(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c;
    AUTO_FREE char *raw = hvt_path(f, "x.raw"), *vhdx = hvt_path(f, "x.vhdx"), *out = NULL;
    guest_raw(raw, "vhdx:");
    const char *argv[] = {"qemu-img", "convert", "-f", "raw", "-O", "vhdx", raw, vhdx, NULL};
    struct os_exec x = {.argv = argv};
    int status = 0;
    OK(os_run(&x, 60000, 4096, NULL, NULL, &out, &status, &e));
    assert_int_equal(status, 0);
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){vhdx, NULL});
    s.disks[0].format = HV_VHDX;
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_vm_start(f->hv, s.id, &e));
    hvt_wait_text(f, s.id, "vhdx:");
    OK(hv_checkpoint_create(f->hv, s.id, "live", &c, &e));
    assert_false(c.with_memory);
    hvt_type(f, s.id, "!");
    hvt_wait_text(f, s.id, "vhdx:+");
    OK(hv_checkpoint_restore(f->hv, s.id, c.id, &e));
    assert_int_equal(hvt_state(f, s.id, NULL), HV_OFF);
    assert_false(written(f, s.id));
    OK(hv_checkpoint_delete(f->hv, s.id, c.id, &e));
    assert_int_equal(count(f, s.id), 0);
    OK(hv_vm_delete(f->hv, s.id, &e));
    hv_vm_spec_clear(&s);
}

static void disks_changed_since(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint memory, two;
    AUTO_FREE char *id = hvt_vm(f, "more:"), *more = hvt_path(f, "more.raw");
    guest_raw(more, "more");
    struct hv_disk d = {.path = more, .format = HV_RAW, .virtual_size = GUEST_DISK_BYTES, .overlay = true};
    hvt_wait_text(f, id, "more:");
    OK(hv_checkpoint_create(f->hv, id, "one disk", &memory, &e));
    OK(hv_vm_stop(f->hv, id, &e));
    OK(hv_disk_attach(f->hv, id, 1, &d, &e));
    assert_int_equal(hv_checkpoint_restore(f->hv, id, memory.id, &e), -ERR_WRONG_STATE);
    OK(hv_checkpoint_create(f->hv, id, "two disks", &two, &e));
    OK(hv_checkpoint_restore(f->hv, id, two.id, &e));
    OK(hv_disk_detach(f->hv, id, 1, &e));
    assert_int_equal(hv_checkpoint_restore(f->hv, id, two.id, &e), -ERR_WRONG_STATE);
    OK(hv_checkpoint_restore(f->hv, id, memory.id, &e));                /* fits again */
    AUTO_FREE char *text = hvt_text(f, id);
    assert_true(str_starts(text, "more:\n"));
    OK(hv_checkpoint_delete(f->hv, id, two.id, &e));   /* what is left of it */
    assert_int_equal(count(f, id), 1);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* The daemon died while QEMU made a checkpoint: it is not shown, and is swept away at the next chance. */
static void cut_off(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c, next;
    AUTO_FREE char *id = hvt_vm(f, "cut");
    OK(hv_vm_stop(f->hv, id, &e));
    OK(hv_checkpoint_create(f->hv, id, "cut off", &c, &e));
    AUTO_FREE char *def = hvt_path(f, "vms/%s/vm.json", id), *text = NULL;
    size_t n = 0;
    OK(os_read_file(def, 65536, &text, &n, &e));
    char *word = strstr(text, "\"complete\": true");
    assert_non_null(word);
    memcpy(word, "\"complete\":false", 16);
    OK(os_write_file(def, text, n, 0, &e));
    hvt_reopen(f);
    assert_int_equal(count(f, id), 0);
    assert_int_equal(hv_checkpoint_restore(f->hv, id, c.id, &e), -ERR_NOT_FOUND);
    OK(hv_checkpoint_create(f->hv, id, "next", &next, &e));
    assert_int_equal(count(f, id), 1);
    AUTO_FREE char *overlay = hvt_path(f, "vms/%s/disk0.qcow2", id), *out = NULL;
    const char *argv[] = {"qemu-img", "snapshot", "-l", overlay, NULL};
    struct os_exec x = {.argv = argv};
    int status = 0;
    OK(os_run(&x, 60000, 4096, NULL, NULL, &out, &status, &e));
    assert_non_null(strstr(out, next.id));
    assert_null(strstr(out, c.id));
    OK(hv_vm_delete(f->hv, id, &e));
}

static void wait_log(struct hvt *f, const char *id, const char *text)
{
    int64_t deadline = clock_mono_ms() + 3 * HVT_WAIT_MS;
    static char buf[262144];
    for (;;) {
        struct err e;
        size_t n = 0;
        uint64_t size = 0;
        OK(hv_serial_read(f->hv, id, 0, buf, sizeof buf - 1, &n, &size, &e));
        buf[n] = 0;
        if (strstr(buf, text))
            return;
        if (clock_mono_ms() > deadline)
            fail_msg("'%s' does not appear on the serial port", text);
        clock_sleep_ms(100);
    }
}

/* UEFI: the firmware finds nothing to boot on a blank disk and ends in its shell; its variables are part of a checkpoint. */
static void generation_2(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c, d;
    if (!(hv_capabilities(f->hv) & HV_CAP_GEN2))
        skip();
    AUTO_FREE char *blank = hvt_path(f, "gen2.raw");
    guest_blank(blank);
    struct hv_vm_spec s = hvt_spec(f, (const char *const[]){blank, NULL});
    s.generation = 2;
    s.memory_mib = 128;
    OK(hv_vm_create(f->hv, &s, &e));
    OK(hv_checkpoint_create(f->hv, s.id, "new", &d, &e));
    assert_false(d.with_memory);
    OK(hv_vm_start(f->hv, s.id, &e));
    wait_log(f, s.id, "Shell>");
    struct hv_image img = {0};
    OK(hv_screen(f->hv, s.id, &img, &e));
    assert_true(img.width >= 640 && img.height >= 400);
    hv_image_clear(&img);
    char *text = NULL;
    assert_int_equal(hv_screen_text(f->hv, s.id, &text, &e), -ERR_UNSUPPORTED);
    OK(hv_checkpoint_create(f->hv, s.id, "shell", &c, &e));
    assert_true(c.with_memory);
    OK(hv_vm_stop(f->hv, s.id, &e));
    OK(hv_checkpoint_restore(f->hv, s.id, c.id, &e));
    assert_int_equal(hvt_state(f, s.id, NULL), HV_RUNNING);
    hvt_type(f, s.id, "echo restored-\n");       /* the shell lives on; typing shows on the serial console */
    wait_log(f, s.id, "restored-");
    OK(hv_checkpoint_restore(f->hv, s.id, d.id, &e));
    assert_int_equal(hvt_state(f, s.id, NULL), HV_OFF);
    OK(hv_checkpoint_delete(f->hv, s.id, c.id, &e));
    OK(hv_checkpoint_delete(f->hv, s.id, d.id, &e));
    OK(hv_vm_delete(f->hv, s.id, &e));
    hv_vm_spec_clear(&s);
}

/* Snapshots in the overlay of slot 0, as qemu-img sees them. VM off. */
static size_t in_overlay(struct hvt *f, const char *id)
{
    AUTO_FREE char *overlay = hvt_path(f, "vms/%s/disk0.qcow2", id), *out = NULL;
    const char *argv[] = {"qemu-img", "snapshot", "-l", overlay, NULL};
    struct os_exec x = {.argv = argv};
    struct err e;
    int status = 0;
    OK(os_run(&x, 60000, 65536, NULL, NULL, &out, &status, &e));
    size_t lines = 0;
    for (const char *p = out; (p = strchr(p, '\n')); p++)
        lines++;
    return lines > 2 ? lines - 2 : 0;                  /* two lines of heading */
}

/* A daemon that died while QEMU made a checkpoint leaves a job that nobody dismissed; the next one is not disturbed by it. */
static void jobs_of_a_dead_daemon(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c, d;
    AUTO_FREE char *id = hvt_vm(f, "job:"), *dir = hvt_path(f, "vms/%s", id);
    hvt_wait_text(f, id, "job:");
    OK(hv_checkpoint_create(f->hv, id, "first", &c, &e));
    hv_close(f->hv);
    f->hv = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct qmp *m = NULL;
    json_t *jobs = NULL;
    OK(qmp_open(fd, 20000, NULL, NULL, &m, &e));
    for (int i = 1; i <= 20; i++) {                    /* every name that a counter would give */
        char name[16];
        snprintf(name, sizeof name, "vmr%d", i);
        OK(qmp_call(m, "snapshot-delete", json_pack("{s:s, s:s, s:[s]}", "job-id", name, "tag", "none", "devices", "disk0"), 20000, NULL, &e));
    }
    for (bool over = false; !over; clock_sleep_ms(20)) {
        OK(qmp_call(m, "query-jobs", NULL, 20000, &jobs, &e));
        size_t i;
        json_t *job;
        over = json_array_size(jobs) == 20;
        json_array_foreach(jobs, i, job)
            over = over && !strcmp(json_string_value(json_object_get(job, "status")), "concluded");
        json_decref(jobs);
    }
    qmp_close(m);
    hvt_reopen(f);
    OK(hv_checkpoint_create(f->hv, id, "second", &d, &e));
    OK(hv_checkpoint_restore(f->hv, id, c.id, &e));
    assert_int_equal(hvt_state(f, id, NULL), HV_RUNNING);
    hv_close(f->hv);
    f->hv = NULL;
    OK(qmp_open(fd, 20000, NULL, NULL, &m, &e));
    OK(qmp_call(m, "query-jobs", NULL, 20000, &jobs, &e));
    assert_int_equal(json_array_size(jobs), 0);
    json_decref(jobs);
    qmp_close(m);
    close(fd);
    hvt_reopen(f);
    OK(hv_vm_delete(f->hv, id, &e));
}

/* QEMU does not answer while a checkpoint is deleted: that is an error, and what is left of it goes later. */
static void delete_that_fails(void **state)
{
    struct hvt *f = *state;
    struct err e;
    struct hv_checkpoint c, d;
    AUTO_FREE char *id = hvt_vm(f, "x");
    hvt_wait_text(f, id, "x");
    OK(hv_checkpoint_create(f->hv, id, "first", &c, &e));
    int pid = hvt_pid(f, id);
    kill(pid, SIGSTOP);
    assert_true(hv_checkpoint_delete(f->hv, id, c.id, &e) < 0);
    kill(pid, SIGCONT);
    OK(hv_vm_stop(f->hv, id, &e));
    assert_int_equal(in_overlay(f, id), 1);
    OK(hv_checkpoint_create(f->hv, id, "second", &d, &e));
    assert_int_equal(in_overlay(f, id), 1);            /* the second one alone */
    assert_int_equal(count(f, id), 1);
    OK(hv_checkpoint_delete(f->hv, id, d.id, &e));
    assert_int_equal(in_overlay(f, id), 0);
    OK(hv_vm_delete(f->hv, id, &e));
}

struct attempt { struct hvt *f; const char *id; int r; struct err e; };
static void *make_checkpoint(void *arg)
{
    struct attempt *a = arg;
    struct hv_checkpoint c;
    a->r = hv_checkpoint_create(a->f->hv, a->id, "never", &c, &a->e);
    return NULL;
}

/* Who ends a VM does not wait for an operation that hangs in it. */
static void ended_meanwhile(void **state)
{
    struct hvt *f = *state;
    struct err e;
    AUTO_FREE char *id = hvt_vm(f, "x");
    hvt_wait_text(f, id, "x");
    for (int way = 0; way <= 1; way++) {
        struct attempt a = {f, id, 0, {0}};
        pthread_t thread;
        OK(hv_vm_start(f->hv, id, &e));
        hvt_wait_text(f, id, "x");
        kill(hvt_pid(f, id), SIGSTOP);
        assert_int_equal(pthread_create(&thread, NULL, make_checkpoint, &a), 0);
        clock_sleep_ms(300);
        OK(way ? hv_vm_delete(f->hv, id, &e) : hv_vm_stop(f->hv, id, &e));
        pthread_join(thread, NULL);
        assert_true(a.r < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running),             cmocka_unit_test(stopped), cmocka_unit_test(running_on_vhdx),
        cmocka_unit_test(disks_changed_since), cmocka_unit_test(cut_off), cmocka_unit_test(generation_2),
        cmocka_unit_test(jobs_of_a_dead_daemon), cmocka_unit_test(delete_that_fails), cmocka_unit_test(ended_meanwhile),
    };
    return cmocka_run_group_tests(tests, hvt_setup, hvt_teardown);
}
