/* The API on a free port, over a database of its own and the hypervisor of fake_hv.h; and a client for it. */
#ifndef VMR_TESTS_API_FIXTURE_H
#define VMR_TESTS_API_FIXTURE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdint.h>

#include "api/api.h"
#include "db/job.h"
#include "tests/unit/fake_hv.h"

#define VM_ID "11111111-2222-4333-8444-555555555555"
#define NO_ID "99999999-2222-4333-8444-555555555555"

struct fixture {
    char *dir, *db_path;
    char token[80];
    struct secret_box *box;
    struct db *db;                                   /* the test's own connection */
    struct fake_hv *hv;
    struct api *api;
    atomic_uint wakes;
    unsigned max_streams;
    atomic_bool sick;
};
struct fixture *fixture_new(bool with_hv);           /* aborts when something fails */
void fixture_free(struct fixture *f);
/* A job that is the VM's too, made by POST. */
char *fixture_job(struct fixture *f, const char *name);

struct reply {
    long status;
    char *body;
    size_t len;
    char headers[8192];                              /* as they came */
    json_t *json;                                    /* NULL: the body is none */
};
void reply_clear(struct reply *r);
#define AUTO_REPLY AUTO(reply_clear)
/* headers: "Name: value" one a line, "-Authorization" style removes nothing but tells not to add ours; NULL: none. body NULL: none;
 * a body goes as application/json unless the headers say otherwise. */
struct reply call(struct fixture *f, const char *method, const char *path, const char *body, const char *headers);
const char *reply_header_of(struct reply *r, const char *name, char *buf, size_t size);
const char *text_at(const struct reply *r, const char *key);             /* of the JSON; "" when there is none */
char *body_of(const char *format, ...);              /* a body by json_pack's format; caller frees */
/* Sends bytes as they are and returns what comes until the other side closes or `until` is seen. Caller frees. */
char *raw(struct fixture *f, const char *bytes, const char *until);
typedef intptr_t raw_socket;                         /* api_fixture_posix.c, api_fixture_win32.c */
raw_socket raw_open(struct fixture *f, const char *bytes);
void raw_close(raw_socket s);
int raw_receive(raw_socket s, void *buf, size_t n, unsigned wait_ms);    /* bytes, 0: none came in time; -1: the end */
char *raw_read(raw_socket s, const char *until, unsigned ms);            /* what came until `until` or the end */
unsigned fixture_port(struct fixture *f);

#endif
