/* The test's own connection to the double: TCP on loopback, a command a connection, answered with text until it is closed.
 *
 *   dump             everything in all namespaces, as dbl_dump has it       live           what callers hold of COM objects, and of the double's
 *   vms              GUID STATE, a line for each VM of the program's         log            a line for each call
 *   keys GUID        scan codes that reached the guest since the last time  unmodelled     what the double does not play
 *   say GUID TEXT    the guest writes to its first serial port              heard GUID     what it was sent there
 *   cut N            RPC fails at the Nth call from now                     restart        the management service restarts
 *   slow MS          the next call takes so much longer */
#include "tests/doubles/com/com_double_win32.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void hex(struct strbuf *b, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        strbuf_addf(b, "%02x%s", bytes[i], i + 1 < n ? " " : "");
}

static void vms(struct dbl *d, struct strbuf *b)
{
    const char *guid;
    for (size_t i = 0; (guid = dbl_vm_guid(d, i)); i++)
        strbuf_addf(b, "%s %u\n", guid, dbl_vm_state(d, guid));
}

static void counts(struct dbl *d, struct strbuf *b)
{
    char text[256];
    com_live_text(text, sizeof text);
    strbuf_addf(b, "%s inside %ld connections %ld\n", text, dbl_live_objects(d), dbl_live_connections(d));
}

static void add_and_free(struct strbuf *b, char *text)
{
    strbuf_adds(b, text);
    free(text);
}

static void answer(struct dbl *d, char *line, struct strbuf *b)
{
    char *rest = line;
    const char *verb = str_sep(&rest, " ");
    static uint8_t bytes[1 << 16];
    if (!strcmp(verb, "dump")) {
        add_and_free(b, dbl_dump(d, DBL_ALL));
    } else if (!strcmp(verb, "vms")) {
        vms(d, b);
    } else if (!strcmp(verb, "live")) {
        counts(d, b);
    } else if (!strcmp(verb, "log")) {
        add_and_free(b, dbl_log(d));
    } else if (!strcmp(verb, "unmodelled")) {
        add_and_free(b, dbl_unmodelled(d));
    } else if (!strcmp(verb, "restart")) {
        dbl_vmms_restart(d);
    } else if (rest && !strcmp(verb, "cut")) {
        dbl_fault_add(d, &(struct dbl_fault){.kind = DBL_CUT, .at = (unsigned)strtoul(rest, NULL, 10)});
    } else if (rest && !strcmp(verb, "slow")) {
        dbl_fault_add(d, &(struct dbl_fault){.kind = DBL_SLOW, .at = 1, .code = (uint32_t)strtoul(rest, NULL, 10)});
    } else if (rest && !strcmp(verb, "keys")) {
        size_t n = dbl_vm_keys(d, rest, bytes, sizeof bytes);
        hex(b, bytes, n < sizeof bytes ? n : sizeof bytes);
    } else if (rest && !strcmp(verb, "heard")) {
        strbuf_add(b, bytes, dbl_vm_serial_heard(d, rest, 0, bytes, sizeof bytes));
    } else if (rest && !strcmp(verb, "say")) {
        const char *guid = str_sep(&rest, " ");
        if (rest)
            dbl_vm_serial_say(d, guid, 0, rest, strlen(rest));
    } else {
        strbuf_addf(b, "no such command: %s\n", verb);
    }
}

static void serve_one(struct dbl *d, SOCKET s)
{
    char line[4096];
    int n = 0, k;
    AUTO_STRBUF struct strbuf b = {.max = 64u << 20};
    while (n < (int)sizeof line - 1 && !memchr(line, '\n', (size_t)n) && (k = recv(s, line + n, (int)sizeof line - 1 - n, 0)) > 0)
        n += k;
    line[n] = 0;
    line[strcspn(line, "\r\n")] = 0;
    answer(d, line, &b);
    for (size_t at = 0; at < b.len;) {
        k = send(s, b.data + at, (int)(b.len - at < 65536 ? b.len - at : 65536), 0);
        if (k <= 0)
            break;
        at += (size_t)k;
    }
    shutdown(s, SD_SEND);
    closesocket(s);
}

struct control { struct dbl *d; SOCKET listening; };

static void *serve(void *arg)
{
    struct control *c = arg;
    for (SOCKET s; (s = accept(c->listening, NULL, NULL)) != INVALID_SOCKET;)
        serve_one(c->d, s);
    return NULL;
}

void com_control(struct dbl *d)
{
    static struct control c;
    AUTO_FREE char *dir = os_getenv("VMR_DOUBLE_DIR"), *path = dir ? os_path_join(dir, "port") : NULL;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = sizeof a;
    char port[16];
    WSADATA data;
    pthread_t t;
    struct err e;
    if (!path)
        return;
    c.d = d;
    if (WSAStartup(MAKEWORD(2, 2), &data) || (c.listening = socket(AF_INET, SOCK_STREAM, 0)) == INVALID_SOCKET ||
        bind(c.listening, (struct sockaddr *)&a, sizeof a) || listen(c.listening, 4) || getsockname(c.listening, (struct sockaddr *)&a, &size))
        abort();
    snprintf(port, sizeof port, "%u\n", ntohs(a.sin_port));
    if (os_write_file(path, port, strlen(port), 0, &e) < 0 || pthread_create(&t, NULL, serve, &c))
        abort();
    pthread_detach(t);
}
