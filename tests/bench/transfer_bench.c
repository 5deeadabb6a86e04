/* The transfer engine by itself: transfer_bench URL PATH [CONNECTIONS [RANGE_KIB]]. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/transfer/transfer.h"

static int fail(const struct err *e)
{
    fprintf(stderr, "%s: %s\n", err_info(e->code)->word, e->msg);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: transfer_bench URL PATH [CONNECTIONS [RANGE_KIB]]\n", stderr);
        return 2;
    }
    struct err e;
    struct blob_access access = {.url = argv[1]};
    struct blob_info info;
    struct blob_ranges ranges = {0};
    AUTO(blob_close_ptr) struct blob *b = NULL;
    if (http_init(&e) < 0 || blob_open(&access, &b, &e) < 0 || blob_head(b, &info, &e) < 0 || blob_page_ranges(b, &info, NULL, NULL, &ranges, &e) < 0)
        return fail(&e);
    struct transfer t = {.blob = b, .info = &info, .ranges = &ranges, .path = argv[2], .connections = argc > 3 ? (unsigned)atoi(argv[3]) : 8,
                         .range_bytes = (argc > 4 ? (uint64_t)atoi(argv[4]) : 4096) << 10};
    struct transfer_progress p;
    int r = transfer_run(&t, &p, &e);
    blob_ranges_free(&ranges);
    if (r < 0)
        return fail(&e);
    printf("%" PRIu64 " bytes, %" PRIu64 " transferred, %" PRIu64 " from the network\n", p.total, p.transferred, p.network);
    return 0;
}
