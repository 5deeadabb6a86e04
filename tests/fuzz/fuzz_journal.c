/* A transfer's journal as a crash, a bad disk or another hand may leave it. The first byte says what is made right before it is opened, since
 * no input would meet the checksums by chance: 1 the header's, 2 the records'. */
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/transfer/journal.h"
#include "tests/fuzz/fuzz.h"

#define HEADER_CRC (JOURNAL_HEADER - 4)
#define RECORD_CRC (JOURNAL_RECORD - 4)

static void mend(uint8_t *file, size_t n, unsigned what)
{
    if (n < JOURNAL_HEADER)
        return;
    uint32_t crc = crypto_crc32(0, file, HEADER_CRC);
    if (what & 1)
        memcpy(file + HEADER_CRC, &crc, sizeof crc);
    memcpy(&crc, file + HEADER_CRC, sizeof crc);
    for (size_t at = JOURNAL_HEADER; (what & 2) && n - at >= JOURNAL_RECORD; at += JOURNAL_RECORD) {
        uint32_t own = crypto_crc32(crc, file + at, RECORD_CRC);
        memcpy(file + at + RECORD_CRC, &own, sizeof own);
    }
}

static void must_be_spans(const struct spans *s, uint64_t length)
{
    for (size_t i = 0; i < s->n; i++)
        MUST(s->list[i].start < s->list[i].end && s->list[i].end <= length && (i == 0 || s->list[i].start > s->list[i - 1].end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    AUTO_FREE char *file = fuzz_string(data + 1, n - 1);
    n--;
    mend((uint8_t *)file, n, data[0]);
    int fd = memfd_create("journal", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, file, n) == (ssize_t)n);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct journal_source src = {.length = 1 << 20, .etag = "\"0x8D\"", .last_modified = "Sun, 06 Nov 1994 08:49:37 GMT"};
    struct err e = {0};
    AUTO(journal_close_ptr) struct journal *j = NULL;
    bool damaged = false;
    int r = journal_open(path, &src, &j, &damaged, &e);
    must_be_result(r, &e);
    MUST(!damaged || r == -ERR_EMPTY);
    if (r == 0) {
        must_be_spans(journal_spans(j), src.length);
        size_t had = journal_spans(j)->n;
        uint64_t last = had ? journal_spans(j)->list[had - 1].end : 0;
        AUTO(spans_free) struct spans add = {0};
        if (last < src.length && had < 1000) {         /* what is added is there when it is opened again, behind what a torn end leaves */
            MUST(spans_add(&add, last, src.length));
            MUST(journal_append(j, &add, &e) == 0);
            journal_close(STEAL(j));
            MUST(journal_open(path, &src, &j, &damaged, &e) == 0);
            must_be_spans(journal_spans(j), src.length);
            MUST(journal_spans(j)->n && journal_spans(j)->list[journal_spans(j)->n - 1].end == src.length);
        }
    }
    close(fd);
    return 0;
}
