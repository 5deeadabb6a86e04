/* Reading JSON from outside strictly: each member has a type and limits, an unknown member is an error, and the error
 * names the member by JSON Pointer. On top of jansson.
 *
 *   struct json_in in = json_in_root(body, e);
 *   const char *name = json_in_string(&in, "name", NULL, 100);            // optional: default NULL
 *   struct json_in vm = json_in_object(&in, "vm");
 *   long long cpus = json_in_int(&vm, "cpus", 2, 1, 64);
 *   if ((r = json_in_end(&vm)) < 0 || (r = json_in_end(&in)) < 0) return r;
 *
 * The first error wins; after it every getter returns its default, so one check at the end is enough. Threads: one. */
#ifndef VMR_COMMON_JSON_H
#define VMR_COMMON_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define JSON_IN_MEMBERS 24
struct json_in {
    json_t *object;                                  /* borrowed; NULL: absent or erroneous */
    struct err *e;                                   /* code stays ERR_OK until something is wrong */
    char pointer[128];
    const char *seen[JSON_IN_MEMBERS];
    size_t n_seen;
};

/* Parses text strictly (UTF-8, no duplicates, depth and size bounded by jansson); caller json_decref()s *ret. */
int json_parse(const char *text, size_t len, json_t **ret, struct err *e);
struct json_in json_in_root(json_t *object, struct err *e);            /* clears *e; not an object is an error with field "" */
/* An optional object member; absent gives .object == NULL, and getters on that give defaults. */
struct json_in json_in_object(struct json_in *in, const char *key);
bool json_in_has(struct json_in *in, const char *key);
/* A string of 1..max bytes without control characters; NULL (the default) or def when absent. Borrowed. */
const char *json_in_string(struct json_in *in, const char *key, const char *def, size_t max);
/* The same, but tabs and line ends are allowed (PEM). */
const char *json_in_text(struct json_in *in, const char *key, const char *def, size_t max);
long long json_in_int(struct json_in *in, const char *key, long long def, long long min, long long max);
bool json_in_bool(struct json_in *in, const char *key, bool def);
/* One of the words (NULL-terminated array); returns its index, or def when absent. */
int json_in_enum(struct json_in *in, const char *key, const char *const *words, int def);
/* An array of min..max elements; NULL when absent. Elements as objects through json_in_element. */
json_t *json_in_array(struct json_in *in, const char *key, size_t min, size_t max);
struct json_in json_in_element(struct json_in *in, const char *key, size_t index);
void json_in_require(struct json_in *in, const char *key);             /* ERR_MISSING unless the member is there */
int json_in_fail(struct json_in *in, const char *key, enum err_code code, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* ERR_UNKNOWN_FIELD for a member that no getter asked for; else the first error or 0. */
int json_in_end(struct json_in *in);

/* err <-> the problem object of the API (RFC 9457), without and with HTTP's members. New reference or NULL. */
json_t *json_from_err(const struct err *e);
/* Reads an object that json_from_err made; anything missing stays empty. */
void json_to_err(json_t *object, struct err *ret);

#endif
