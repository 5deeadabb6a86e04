/* What the tests of db/ share: a database in a temporary folder, short ways to make and run jobs, and a judge of the whole
 * database that derives everything anew, in SQL of its own. */
#ifndef VMR_TESTS_UNIT_DB_UTIL_H
#define VMR_TESTS_UNIT_DB_UTIL_H

#include "db/job.h"
#include "db/sql.h"

struct fixture {
    char *dir, *path;
    struct secret_box *box;
    struct db *db;
};
int fixture_setup(void **state);                     /* for cmocka_unit_test_setup_teardown: *state is a struct fixture */
int fixture_teardown(void **state);

/* Fails the test with the error's own words unless r is 0. */
#define ok(call) ok_at((call), &err, #call, __FILE__, __LINE__)
/* The call must answer -code. */
#define fails(call, code) fails_at((call), (code), &err, #call, __FILE__, __LINE__)
void ok_at(int r, const struct err *e, const char *what, const char *file, int line);
void fails_at(int r, int code, const struct err *e, const char *what, const char *file, int line);

/* JSON with ' for ", and "@/" for the root of an absolute path; heap. */
char *json_text_of(const char *text);
struct spec *spec_of(const char *json);              /* single quotes stand for double ones */
/* One blob disk (no SAS) unless `json` says otherwise (NULL: so). The id is written to ret. */
void make_job(struct db *db, const char *json, char ret[UUID_LEN]);
/* Claims in the lane and checks what came: kind TASK_KINDS means that nothing may come. Returns the task's id, 0 for nothing. */
int64_t claim(struct db *db, enum task_lane lane, enum task_kind kind);
void finish(struct db *db, int64_t id, enum task_outcome o);
void run_one(struct db *db, enum task_kind kind);    /* claims it and lets it succeed */
void run_all(struct db *db);                         /* until nothing can be claimed */
enum job_state state_of(struct db *db, const char *id);
enum task_state task_state_of(struct db *db, const char *id, enum task_kind kind, int disk);

/* One value of a query on a connection of its own; heap, "" for no row. */
char *ask(const char *path, const char *sql);
#define assert_ask(path, sql, expected) do { AUTO_FREE char *got_ = ask((path), (sql)); assert_string_equal(got_, (expected)); } while (0)
/* Every stored state, count and flag equals what follows from the rest; the file is sound. Fails the test otherwise. */
void check_consistent(const char *path);
/* All rows of all tables as text, for before and after. Heap. */
char *dump_all(const char *path);
/* The bytes must not occur in any file of the folder. */
void assert_not_in_files(const char *dir, const char *secret);

#endif
