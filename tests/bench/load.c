/* An HTTP load: load HOST PORT TOKEN_FILE SECONDS CONNECTIONS list|get|post [IDS_FILE]
 * Keep-alive connections, one thread and one request at a time on each. Prints one line of JSON: requests, failures (any status but
 * 2xx, or a broken connection), requests per second, latency percentiles in milliseconds. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX (1u << 22)
#define IDS_MAX 200000

static const char *host, *port, *kind;
static char token[256];
static double end_at;
static char (*ids)[37];
static size_t n_ids;
static float *samples;
static atomic_uint n_samples;
static atomic_uint failures, serial;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(void)
{
    struct addrinfo *a, hint = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, port, &hint, &a))
        return -1;
    int on = 1, s = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
    if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen) < 0) {
        close(s);
        s = -1;
    }
    freeaddrinfo(a);
    if (s >= 0)
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return s;
}

static size_t make_request(char *buf, size_t size, unsigned *seed)
{
    char head[512], path[128] = "/v1/jobs?limit=20", body[512] = "";
    const char *method = "GET";
    if (!strcmp(kind, "get"))
        snprintf(path, sizeof path, "/v1/jobs/%s", ids[(size_t)rand_r(seed) % n_ids]);
    if (!strcmp(kind, "post")) {
        method = "POST";
        strcpy(path, "/v1/jobs");
        snprintf(body, sizeof body, "{\"name\":\"load%u\",\"disks\":[{\"source\":{\"type\":\"blank\",\"size\":1073741824},\"format\":\"raw\"}],\"until\":\"preflight\"}",
                 atomic_fetch_add(&serial, 1));
    }
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     method, path, host, port, token, strlen(body));
    return (size_t)snprintf(buf, size, "%.*s%s", n, head, body);
}

/* One answer, by its Content-Length; false if the connection broke. */
static bool read_answer(int s, char *buf, size_t size, int *ret_status)
{
    size_t n = 0, need = 0;
    while (!need || n < need) {
        if (n + 1 >= size)
            return false;
        ssize_t k = recv(s, buf + n, size - n - 1, 0);
        if (k <= 0)
            return false;
        n += (size_t)k;
        buf[n] = 0;
        char *end = need ? NULL : strstr(buf, "\r\n\r\n");
        if (end) {
            const char *cl = strcasestr(buf, "content-length:");
            if (!cl || cl > end)
                return false;
            need = (size_t)(end - buf) + 4 + strtoul(cl + 15, NULL, 10);
        }
    }
    return sscanf(buf, "HTTP/1.1 %d", ret_status) == 1;
}

static void *client(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg + 1;
    size_t size = 4u << 20;
    char *buf = malloc(size), rq[2048];
    int s = -1;
    while (buf && now() < end_at) {
        if (s < 0 && (s = dial()) < 0) {
            atomic_fetch_add(&failures, 1);
            usleep(10000);
            continue;
        }
        size_t n = make_request(rq, sizeof rq, &seed);
        int status = 0;
        double start = now();
        bool ok = send(s, rq, n, MSG_NOSIGNAL) == (ssize_t)n && read_answer(s, buf, size, &status);
        double took = now() - start;
        if (!ok) {
            close(s);
            s = -1;
        }
        if (!ok || status < 200 || status > 299) {
            atomic_fetch_add(&failures, 1);
            continue;
        }
        unsigned at = atomic_fetch_add(&n_samples, 1);
        if (at < SAMPLES_MAX)
            samples[at] = (float)(took * 1000);
    }
    if (s >= 0)
        close(s);
    free(buf);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static bool read_files(const char *token_file, const char *ids_file)
{
    FILE *f = fopen(token_file, "r");
    if (!f || !fgets(token, sizeof token, f))
        return false;
    fclose(f);
    token[strcspn(token, "\r\n")] = 0;
    if (!ids_file)
        return true;
    f = fopen(ids_file, "r");
    ids = calloc(IDS_MAX, sizeof *ids);
    if (!f || !ids)
        return false;
    while (n_ids < IDS_MAX && fscanf(f, "%36s", ids[n_ids]) == 1)
        n_ids++;
    fclose(f);
    return n_ids > 0;
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fputs("usage: load HOST PORT TOKEN_FILE SECONDS CONNECTIONS list|get|post [IDS_FILE]\n", stderr);
        return 2;
    }
    host = argv[1];
    port = argv[2];
    kind = argv[6];
    samples = malloc(SAMPLES_MAX * sizeof *samples);
    if (!samples || !read_files(argv[3], argc > 7 ? argv[7] : NULL) || (!strcmp(kind, "get") && !n_ids)) {
        fputs("load: token or ids cannot be read\n", stderr);
        return 1;
    }
    int n = atoi(argv[5]);
    pthread_t threads[256];
    double start = now();
    end_at = start + atof(argv[4]);
    for (int i = 0; i < n && i < 256; i++)
        pthread_create(&threads[i], NULL, client, (void *)(uintptr_t)i);
    for (int i = 0; i < n && i < 256; i++)
        pthread_join(threads[i], NULL);
    double took = now() - start;
    unsigned all = atomic_load(&n_samples), kept = all < SAMPLES_MAX ? all : SAMPLES_MAX;
    qsort(samples, kept, sizeof *samples, by_value);
#define PERCENTILE(p) (kept ? (double)samples[(size_t)((double)(kept - 1) * (p))] : 0.0)
    printf("{\"requests\":%u,\"failures\":%u,\"per_second\":%.0f,\"p50_ms\":%.2f,\"p90_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n", all,
           atomic_load(&failures), all / took, PERCENTILE(0.5), PERCENTILE(0.9), PERCENTILE(0.99), PERCENTILE(1.0));
    return 0;
}
