/* The thread that gives back what was borrowed, when it cannot: it comes back at its own pace, whatever stands in the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/log.h"
#include "db/resource.h"
#include "service/daemon.h"
#include "tests/unit/db_util.h"

static atomic_uint not_given_back, not_known;

static void count(const struct log_entry *entry)
{
    if (strstr(entry->msg, "not given back yet"))
        atomic_fetch_add(&not_given_back, 1);
    if (strstr(entry->msg, "is not known now"))
        atomic_fetch_add(&not_known, 1);
}

static void test_pace(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct daemon d = {.db_path = f->path, .box = f->box, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    char id[UUID_LEN];
    int64_t row;
    cond_init(&d.bell);
    make_job(f->db, NULL, id);
    ok(job_cancel(f->db, id, &err));
    ok(resource_intend(f->db, id, 3, "sas", "/of/no/disk", NULL, false, &row, &err));      /* the job has no disk 3: cannot be given back */
    ok(resource_made(f->db, row, &err));
    log_set_sink(count);
    assert_int_equal(pthread_create(&thread, NULL, giveback_main, &d), 0);
    for (int64_t until = clock_mono_ms() + 20000; !atomic_load(&not_given_back) && clock_mono_ms() < until;)
        clock_sleep_ms(10);
    /* and now its job cannot even be read */
    assert_int_equal(sqlite3_exec(f->db->conn, "UPDATE job SET spec = '[]'", NULL, NULL, NULL), SQLITE_OK);
    for (int64_t until = clock_mono_ms() + 20000; !atomic_load(&not_known) && clock_mono_ms() < until;)
        clock_sleep_ms(10);
    clock_sleep_ms(1500);
    pthread_mutex_lock(&d.lock);
    d.stopping = true;
    pthread_cond_broadcast(&d.bell);
    pthread_mutex_unlock(&d.lock);
    pthread_join(thread, NULL);
    log_set_sink(NULL);
    pthread_cond_destroy(&d.bell);
    assert_in_range(atomic_load(&not_given_back), 1, 3);
    assert_in_range(atomic_load(&not_known), 1, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_pace, fixture_setup, fixture_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
