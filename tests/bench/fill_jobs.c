/* Puts finished jobs into a database: fill_jobs DATA_DIR COUNT; their ids go to standard output, one a line. The daemon must not
 * run. Jobs are created and cancelled through db/ itself; only the wait for the disk after each of them is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/os.h"
#include "db/job.h"
#include "db/sql.h"

static int fill(const char *dir, long count, struct err *e)
{
    AUTO_FREE char *path = os_path_join(dir, "vmrecover.db");
    struct secret_box *box = NULL;
    AUTO(db_close_ptr) struct db *db = NULL;
    int r = path ? secret_open(dir, &box, e) : err_oom(e);
    if (r == 0)
        r = db_create(path, box, &db, e);
    if (r == 0)
        sqlite3_exec(db->conn, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    for (long i = 0; i < count && r == 0; i++) {
        AUTO_FREE char *text = str_printf("{\"name\":\"web%05ld\",\"disks\":[{\"source\":{\"type\":\"blob\",\"url\":\"https://account.blob.core.windows.net/"
                                          "vhds/web%05ld.vhd?sv=2020-10-02&sig=c2VjcmV0\"}},{\"source\":{\"type\":\"file\",\"path\":\"/srv/%ld.vhd\"}}]}", i, i, i);
        json_t *body = NULL;
        AUTO(spec_free_ptr) struct spec *s = NULL;
        uint8_t hash[SHA256_LEN];
        char id[UUID_LEN];
        bool existing;
        r = text ? json_parse(text, strlen(text), &body, e) : err_oom(e);
        if (r == 0)
            r = spec_parse(body, &s, e);
        json_decref(body);
        if (r == 0)
            r = crypto_sha256(text, strlen(text), hash, e);
        if (r == 0)
            r = job_create(db, s, NULL, hash, id, &existing, e);
        if (r == 0)
            r = job_cancel(db, id, e);
        if (r == 0)
            puts(id);
    }
    db_close(STEAL(db));
    secret_close(box);
    return r;
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc != 3) {
        fputs("usage: fill_jobs DATA_DIR COUNT\n", stderr);
        return 2;
    }
    if (os_mkdirs(argv[1], OS_PRIVATE, &e) < 0 || fill(argv[1], atol(argv[2]), &e) < 0) {
        fprintf(stderr, "fill_jobs: %s\n", e.msg);
        return 1;
    }
    return 0;
}
