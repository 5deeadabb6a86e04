/* tests/doubles/blob_server.mjs as a child of a test. It dies with the test. */
#ifndef VMR_TESTS_UNIT_BLOB_SERVER_H
#define VMR_TESTS_UNIT_BLOB_SERVER_H

#include <stdint.h>

#include "storage/azure/blob.h"
#include "storage/transfer/transfer.h"

struct blob_server {
    int pid;
    unsigned port;
    char url[128];                                   /* of the blob: http://127.0.0.1:PORT/vhds/disk.vhd */
};
/* args: NULL-terminated, further options of the server. Aborts the test on failure. */
void server_start(struct blob_server *s, const char *const *args);
void server_stop(struct blob_server *s);
void server_faults(const struct blob_server *s, const char *lines);
unsigned long long server_stat(const struct blob_server *s, const char *name);
/* The whole blob by one plain GET, as a file: what a download must give. */
void server_fetch(const struct blob_server *s, const char *path);
void assert_same_file(const char *a, const char *b);

/* A blob that is open, and its properties and ranges; quick retries and a stall limit of 1 s. */
struct source {
    struct blob *blob;
    struct blob_info info;
    struct blob_ranges ranges;
};
void source_open(struct source *src, const char *url);
void source_close(struct source *src);
void source_leave_footer(struct source *src);        /* the ranges end where the VHD's footer begins */

#endif
