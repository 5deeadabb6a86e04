#include "tests/unit/script_server_posix.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

static void clear(struct script *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->got[i].line);
        free(s->got[i].head);
        free(s->got[i].body);
    }
    memset(s->got, 0, sizeof s->got);
    s->n = 0;
}

/* Reads one request; false when the other side went away. */
static bool read_request(int c, struct script_request *ret)
{
    AUTO_STRBUF struct strbuf b = {.max = 1 << 20};
    char *end = NULL;
    size_t want = 0;
    for (char chunk[4096];;) {
        if (!end && b.data && (end = strstr(b.data, "\r\n\r\n"))) {
            const char *length = strcasestr(b.data, "\r\ncontent-length:");
            want = (size_t)(end + 4 - b.data) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
            end = b.data;
        }
        if (end && b.len >= want)
            break;
        ssize_t k = recv(c, chunk, sizeof chunk, 0);
        if (k <= 0)
            return false;
        strbuf_add(&b, chunk, (size_t)k);
        if (b.failed)
            return false;
    }
    char *head = strstr(b.data, "\r\n"), *body = strstr(b.data, "\r\n\r\n") + 4;
    size_t line = (size_t)(head - b.data);
    const char *version = memmem(b.data, line, " HTTP/", 6);
    ret->line = str_ndup(b.data, version ? (size_t)(version - b.data) : line);
    ret->head = str_ndup(head, (size_t)(body - head));
    ret->body = str_dup(body);
    ret->at_ms = clock_mono_ms();
    return true;
}

static void answer(const struct script *s, int c, const char *text)
{
    AUTO_STRBUF struct strbuf b = {.max = 5 << 20};
    const char *gap = strstr(text, "\n\n");
    const char *body = gap ? gap + 2 : "";
    size_t head = gap ? (size_t)(gap - text) : strlen(text);
    AUTO_STRBUF struct strbuf full = {.max = 4 << 20};
    strbuf_adds(&full, "");
    for (const char *p = body; *p; p++)
        if (*p == '@')
            strbuf_adds(&full, s->url);
        else
            strbuf_add(&full, p, 1);
    for (const char *p = text; p < text + head; p++)
        if (*p == '\n')
            strbuf_adds(&b, "\r\n");
        else if (*p == '@')
            strbuf_adds(&b, s->url);
        else
            strbuf_add(&b, p, 1);
    strbuf_addf(&b, "\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", full.len);
    strbuf_add(&b, full.data, full.len);
    for (size_t at = 0; at < b.len;) {
        ssize_t k = send(c, b.data + at, b.len - at, MSG_NOSIGNAL);
        if (k <= 0)
            break;
        at += (size_t)k;
    }
}

static void *serve(void *arg)
{
    struct script *s = arg;
    for (;;) {
        int c = accept(s->listener, NULL, NULL);
        if (c < 0)
            return NULL;
        struct timeval limit = {.tv_sec = 10};
        setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        struct script_request rq = {0};
        const char *text = NULL;
        bool ok = read_request(c, &rq);
        pthread_mutex_lock(&s->lock);
        if (ok && s->n < SCRIPT_MAX) {
            s->got[s->n] = rq;
            text = s->n_answers ? s->answers[s->n < s->n_answers ? s->n : s->n_answers - 1] : "";
            s->n++;
        }
        pthread_mutex_unlock(&s->lock);
        if (text && !strcmp(text, "wait"))
            recv(c, &(char){0}, 1, 0);               /* until the client gives up */
        else if (text && *text)
            answer(s, c, text);
        shutdown(c, SHUT_WR);
        for (char drain[256]; recv(c, drain, sizeof drain, 0) > 0;)
            ;
        close(c);
    }
}

void script_start(struct script *s, const char *const *answers, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    memset(s, 0, sizeof *s);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(s->listener, 64) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&a, &len) < 0) {
        perror("script server");
        abort();
    }
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    pthread_mutex_init(&s->lock, NULL);
    s->answers = answers;
    s->n_answers = n;
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        abort();
}

void script_set(struct script *s, const char *const *answers, size_t n)
{
    pthread_mutex_lock(&s->lock);
    clear(s);
    s->answers = answers;
    s->n_answers = n;
    pthread_mutex_unlock(&s->lock);
}

void script_stop(struct script *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    clear(s);
    pthread_mutex_destroy(&s->lock);
}

const char *script_header(const struct script *s, size_t i, const char *name, char *buf, size_t size)
{
    buf[0] = 0;
    for (const char *p = s->got[i].head; p && (p = strstr(p, "\r\n")) && p[2] != '\r';) {
        p += 2;
        size_t n = strlen(name);
        if (!strncasecmp(p, name, n) && p[n] == ':') {
            p += n + 1;
            while (*p == ' ')
                p++;
            snprintf(buf, size, "%.*s", (int)strcspn(p, "\r"), p);
        }
    }
    return buf;
}
