/* A small HTTP server on loopback, in a thread of the test: answers requests one after the other as a script says, and keeps what was asked.
 * One request a connection. It ends with script_stop, at the latest when a connection says nothing for 10 seconds. */
#ifndef VMR_TESTS_UNIT_SCRIPT_SERVER_POSIX_H
#define VMR_TESTS_UNIT_SCRIPT_SERVER_POSIX_H

#include <pthread.h>
#include <stddef.h>

#define SCRIPT_MAX 64
struct script_request {
    char *line;                                      /* "GET /path?query" */
    char *head;                                      /* all header lines */
    char *body;
    long long at_ms;                                 /* monotonic */
};
struct script {
    char url[64];                                    /* http://127.0.0.1:PORT */
    int listener;
    pthread_t thread;
    pthread_mutex_t lock;
    /* "HTTP/1.1 200 OK\n" headers, an empty line, the body; lines end in \n here; @ stands for the url; Content-Length is added. "": the
     * connection is closed without an answer; "wait": nothing is said. */
    const char *const *answers;
    size_t n_answers;
    struct script_request got[SCRIPT_MAX];
    size_t n;
};
void script_start(struct script *s, const char *const *answers, size_t n);       /* the script may be changed with script_set */
void script_set(struct script *s, const char *const *answers, size_t n);         /* from the next request on; what was asked is forgotten */
void script_stop(struct script *s);
#define SCRIPT(s, ...) script_set(s, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
const char *script_header(const struct script *s, size_t i, const char *name, char *buf, size_t size);    /* "" when it is not there */

#endif
