/* Memory that releases itself, and strings that grow up to a limit. GCC and Clang only (mingw-w64 on Windows). */
#ifndef VMR_COMMON_MEM_H
#define VMR_COMMON_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/printf.h"

/* `AUTO_FREE char *s = ...;` is freed when s goes out of scope; `return STEAL(s);` takes it out. */
#define AUTO_FREE __attribute__((cleanup(mem_free_ptr)))
#define AUTO(fn) __attribute__((cleanup(fn)))
#define STEAL(p) \
    __extension__({ __typeof__(p) *stolen_from = &(p); __typeof__(p) stolen = *stolen_from; *stolen_from = NULL; stolen; })
#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))
/* Defines `static inline void NAME_ptr(TYPE **p)` for AUTO(NAME_ptr) from a free function that accepts NULL. */
#define DEFINE_AUTO(type, fn) \
    static inline void fn##_ptr(type **p) { fn(*p); *p = NULL; }

static inline void mem_free_ptr(void *p)
{
    void **pp = p;
    free(*pp);
    *pp = NULL;
}

/* Nothing but zeros? n of 0: yes. */
bool mem_is_zero(const void *p, size_t n);
/* Overwrites n bytes in a way that the compiler keeps; for secrets. NULL with n = 0 is fine. */
void mem_wipe(void *p, size_t n);
/* free() of a string after wiping it. NULL is a no-op. */
void mem_free_secret(char *s);
static inline void mem_free_secret_ptr(char **p) { mem_free_secret(*p); *p = NULL; }
#define AUTO_SECRET AUTO(mem_free_secret_ptr)

/* Formatted string on the heap (caller frees) or NULL when memory ran out. */
char *str_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
char *str_vprintf(const char *fmt, va_list ap) PRINTF_LIKE(1, 0);
char *str_dup(const char *s);                       /* NULL gives NULL */
char *str_ndup(const char *s, size_t n);
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_ieq(const char *a, const char *b);         /* ASCII case ignored */
bool str_istarts(const char *s, const char *prefix);
bool str_is_utf8(const char *s, size_t n);          /* well-formed, shortest form, no surrogates */
/* Cuts *rest at the first of `delimiters` and returns what was before it; *rest becomes what is behind, or NULL at the end. NULL when *rest
 * is: as strsep(3), which not every C library has. */
char *str_sep(char **rest, const char *delimiters);
/* Decimal digits only, no sign or space, at most max. */
bool str_to_u64(const char *s, unsigned long long max, unsigned long long *ret);

/* A growing byte buffer with a ceiling. Invariant: data[len] == 0 whenever data != NULL. Once an append failed
 * (ceiling or memory) `failed` stays set and later appends do nothing, so one check at the end is enough. */
struct strbuf {
    char *data;
    size_t len, size, max;   /* max: the most bytes that len may reach; 0 means 16 MiB */
    bool failed;
};
#define AUTO_STRBUF AUTO(strbuf_free)
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void strbuf_reset(struct strbuf *b);                /* empty, memory kept */
void strbuf_free(struct strbuf *b);
char *strbuf_steal(struct strbuf *b);               /* the string (caller frees), NULL if an append failed; b is empty after */

#endif
