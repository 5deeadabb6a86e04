/* A page-blob server for measuring: as fast as sendfile from the page cache, so that the client is what is measured. Loopback only.
 *
 *     blob_server FOLDER [PORT]      serves FOLDER/NAME under /any/path/NAME; prints its port, ends when standard input does
 *
 * HEAD, GET with Range or x-ms-range, comp=pagelist (the file's real extents, by SEEK_DATA), If-Match. A query is ignored but for comp.
 * One thread a connection. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 16384
#define PAGE 512

static const char *folder;

struct request {
    char method[8], target[8192], name[256];
    bool pagelist, keep_alive, has_range;
    uint64_t from, to;                               /* inclusive */
    char if_match[128];
};

static bool header_is(const char *line, const char *name, const char **ret_value)
{
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) || line[n] != ':')
        return false;
    *ret_value = line + n + 1 + strspn(line + n + 1, " ");
    return true;
}

static bool parse(char *text, struct request *rq)
{
    memset(rq, 0, sizeof *rq);
    rq->keep_alive = true;
    char *save, *line = strtok_r(text, "\r\n", &save);
    if (!line || sscanf(line, "%7s %8191s", rq->method, rq->target) != 2)
        return false;
    char *query = strchr(rq->target, '?');
    if (query) {
        *query++ = 0;
        rq->pagelist = strstr(query, "comp=pagelist") != NULL;
    }
    const char *slash = strrchr(rq->target, '/');
    if (!slash || !slash[1] || slash[1] == '.' || strlen(slash + 1) >= sizeof rq->name)
        return false;
    strcpy(rq->name, slash + 1);
    bool ms_range = false;
    while ((line = strtok_r(NULL, "\r\n", &save))) {
        const char *v;
        bool ms = header_is(line, "x-ms-range", &v);
        if (ms || (!ms_range && header_is(line, "Range", &v))) {
            rq->to = UINT64_MAX;
            rq->has_range = sscanf(v, "bytes=%" SCNu64 "-%" SCNu64, &rq->from, &rq->to) >= 1;
            ms_range = ms;
        } else if (header_is(line, "If-Match", &v)) {
            snprintf(rq->if_match, sizeof rq->if_match, "%s", v);
        } else if (header_is(line, "Connection", &v)) {
            rq->keep_alive = strcasecmp(v, "close") != 0;
        }
    }
    return true;
}

static bool send_all(int s, const char *p, size_t n, int flags)
{
    while (n) {
        ssize_t k = send(s, p, n, flags | MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool send_head(int s, int status, const char *text, const struct stat *st, uint64_t length, const char *more, int flags)
{
    char head[1024], date[64], modified[64];
    struct tm tm;
    time_t now = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    strftime(modified, sizeof modified, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&st->st_mtime, &tm));
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Length: %" PRIu64 "\r\nContent-Type: application/octet-stream\r\nLast-Modified: %s\r\nETag: \"0x%lX%lX\"\r\n"
                     "Accept-Ranges: bytes\r\nServer: bench\r\nx-ms-request-id: 00000000-0000-0000-0000-000000000000\r\nx-ms-version: 2020-10-02\r\n"
                     "x-ms-blob-type: PageBlob\r\nx-ms-blob-sequence-number: 0\r\nx-ms-lease-status: unlocked\r\nx-ms-lease-state: available\r\n"
                     "x-ms-server-encrypted: true\r\nx-ms-creation-time: %s\r\n%sDate: %s\r\n\r\n",
                     status, text, length, modified, (long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec, modified, more, date);
    return send_all(s, head, (size_t)n, flags);
}

static bool send_error(int s, int status, const char *code, const struct stat *st)
{
    char body[256], more[128];
    int n = snprintf(body, sizeof body, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>%s</Message></Error>", code, code);
    snprintf(more, sizeof more, "x-ms-error-code: %s\r\n", code);
    return send_head(s, status, code, st, (uint64_t)n, more, MSG_MORE) && send_all(s, body, (size_t)n, 0);
}

/* The list of [from, to], in memory: a few MiB for the most fragmented file that is used here. */
static bool send_page_list(int s, int fd, const struct stat *st, uint64_t from, uint64_t to)
{
    char *body = NULL, more[96];
    size_t n = 0;
    FILE *f = open_memstream(&body, &n);
    if (!f)
        return false;
    fputs("\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>", f);
    for (off_t at = (off_t)from; (uint64_t)at <= to;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 || (uint64_t)data > to)
            break;
        off_t hole = lseek(fd, data, SEEK_HOLE);
        uint64_t start = (uint64_t)data / PAGE * PAGE, end = ((uint64_t)hole + PAGE - 1) / PAGE * PAGE;
        if (end > to + 1)
            end = to + 1;
        if (start < from)
            start = from;
        fprintf(f, "<PageRange><Start>%" PRIu64 "</Start><End>%" PRIu64 "</End></PageRange>", start, end - 1);
        at = hole;
    }
    fputs("</PageList>", f);
    fclose(f);
    snprintf(more, sizeof more, "x-ms-blob-content-length: %" PRIu64 "\r\n", (uint64_t)st->st_size);
    bool ok = send_head(s, 200, "OK", st, n, more, MSG_MORE) && send_all(s, body, n, 0);
    free(body);
    return ok;
}

static bool send_file(int s, int fd, const struct stat *st, const struct request *rq, uint64_t from, uint64_t to)
{
    char more[128] = "";
    if (rq->has_range)
        snprintf(more, sizeof more, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", from, to, (uint64_t)st->st_size);
    bool head_only = !strcmp(rq->method, "HEAD");
    if (!send_head(s, rq->has_range ? 206 : 200, "OK", st, to - from + 1, more, head_only ? 0 : MSG_MORE))
        return false;
    off_t at = (off_t)from;
    for (uint64_t left = head_only ? 0 : to - from + 1; left;) {
        ssize_t k = sendfile(s, fd, &at, left > (8u << 20) ? (8u << 20) : (size_t)left);
        if (k <= 0)
            return false;
        left -= (uint64_t)k;
    }
    return true;
}

static bool answer(int s, const struct request *rq)
{
    char path[4096], etag[64];
    struct stat st = {0};
    snprintf(path, sizeof path, "%s/%s", folder, rq->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return send_error(s, 404, "BlobNotFound", &st);
    }
    snprintf(etag, sizeof etag, "\"0x%lX%lX\"", (long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec);
    uint64_t size = (uint64_t)st.st_size, from = rq->has_range ? rq->from : 0, to = rq->has_range && rq->to < size ? rq->to : size - 1;
    bool ok;
    if (strcmp(rq->method, "GET") && strcmp(rq->method, "HEAD"))
        ok = send_error(s, 405, "UnsupportedHttpVerb", &st);
    else if (rq->if_match[0] && strcmp(rq->if_match, "*") && strcmp(rq->if_match, etag))
        ok = send_error(s, 412, "ConditionNotMet", &st);
    else if (from >= size || from > to)
        ok = send_error(s, 416, "InvalidRange", &st);
    else if (rq->pagelist)
        ok = send_page_list(s, fd, &st, from, to);
    else
        ok = send_file(s, fd, &st, rq, from, to);
    close(fd);
    return ok;
}

static void *serve(void *arg)
{
    int s = (int)(intptr_t)arg, on = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char *buf = malloc(REQUEST_MAX + 1);
    size_t n = 0;
    bool ok = buf != NULL;
    while (ok) {
        char *end;
        buf[n] = 0;
        while (!(end = strstr(buf, "\r\n\r\n"))) {
            ssize_t k = n < REQUEST_MAX ? recv(s, buf + n, REQUEST_MAX - n, 0) : 0;
            if (k <= 0)
                goto out;
            n += (size_t)k;
            buf[n] = 0;
        }
        size_t used = (size_t)(end - buf) + 4;
        *end = 0;
        struct request rq;
        ok = parse(buf, &rq) && answer(s, &rq) && rq.keep_alive;
        n -= used;
        memmove(buf, buf + used, n);
    }
out:
    free(buf);
    close(s);
    return NULL;
}

static void *wait_for_end(void *arg)
{
    char c;
    (void)arg;
    while (read(0, &c, 1) > 0)
        ;
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: blob_server FOLDER [PORT]\n", stderr);
        return 2;
    }
    folder = argv[1];
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[2]) : 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 256) < 0 || getsockname(l, (struct sockaddr *)&a, &len) < 0) {
        perror("blob_server");
        return 1;
    }
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    pthread_t t;
    pthread_create(&t, NULL, wait_for_end, NULL);
    for (;;) {
        int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
        if (s < 0)
            continue;
        if (pthread_create(&t, NULL, serve, (void *)(intptr_t)s) == 0)
            pthread_detach(t);
        else
            close(s);
    }
}
