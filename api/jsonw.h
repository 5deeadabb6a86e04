/* Writes JSON straight into a buffer: lists of many jobs are rendered without a tree of nodes in between. Text that is not
 * UTF-8 (file names, console output) is made so with U+FFFD, so a document is always valid.
 *
 *   struct jsonw w = {0};
 *   jsonw_open(&w, NULL, '{');
 *   jsonw_str(&w, "name", name);
 *   jsonw_close(&w, '}');
 *
 * key is NULL for an element of an array and for the root. Check w.b.failed (memory or the buffer's limit) once at the end. */
#ifndef VMR_API_JSONW_H
#define VMR_API_JSONW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/mem.h"

struct jsonw { struct strbuf b; };
void jsonw_free(struct jsonw *w);
#define AUTO_JSONW AUTO(jsonw_free)

void jsonw_open(struct jsonw *w, const char *key, char bracket);         /* '{' or '[' */
void jsonw_close(struct jsonw *w, char bracket);                         /* '}' or ']' */
void jsonw_str(struct jsonw *w, const char *key, const char *s);         /* NULL gives null */
void jsonw_strn(struct jsonw *w, const char *key, const char *s, size_t n);
void jsonw_int(struct jsonw *w, const char *key, int64_t v);
void jsonw_u64(struct jsonw *w, const char *key, uint64_t v);
void jsonw_bool(struct jsonw *w, const char *key, bool v);
void jsonw_null(struct jsonw *w, const char *key);
void jsonw_time(struct jsonw *w, const char *key, int64_t ms);           /* RFC 3339; 0 gives null */
void jsonw_json(struct jsonw *w, const char *key, json_t *j);            /* borrowed; NULL gives null */

#endif
