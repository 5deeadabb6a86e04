/* The classes of a version of Windows, from schema.json: what exists, with which types. The double knows no name that is not in there.
 * Threads: read-only after schema_load, any. Names ignore ASCII case. */
#ifndef VMR_TESTS_WMI_SCHEMA_H
#define VMR_TESTS_WMI_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/wmi/wmi.h"

struct schema_member {                                 /* a property, or a parameter */
    char *name;
    enum wmi_type type;
    bool array, key;
    bool newer;                                        /* this version of Windows does not have it yet: no caller may see it */
    char *of;                                          /* class of a reference or an embedded object; NULL: none */
};
struct schema_layout {                                 /* what an object holds: a class's properties with the inherited ones, or parameters */
    struct schema_member *at;
    size_t n;
};
struct schema_method {
    char *name, *doc;
    bool is_static, newer;
    struct schema_layout in, out;                      /* out: ReturnValue first */
};
struct schema_class {
    char *name, *doc;                                  /* doc: address of its documentation, or name of the generated binding */
    const char *ns;
    char *parent_name;
    const struct schema_class *parent;
    bool newer;
    struct schema_layout layout;
    struct schema_method *methods;                     /* own ones */
    size_t n_methods;
};
struct schema;

/* `text` is schema.json. What came after `build` is there, marked newer. ERR_INTERNAL names what is wrong with the file. */
int schema_load(const char *text, size_t n, unsigned build, struct schema **ret, struct err *e);
void schema_free(struct schema *s);                    /* NULL is a no-op */
unsigned schema_build(const struct schema *s);
const char *schema_namespace(const struct schema *s, const char *ns);    /* the name as the schema has it; NULL: no such namespace */
/* NULL: no such class, in this version. _any: in any version. */
const struct schema_class *schema_class(const struct schema *s, const char *ns, const char *name);
const struct schema_class *schema_class_any(const struct schema *s, const char *ns, const char *name);
bool schema_isa(const struct schema_class *c, const char *base);         /* is it `base`, or derived from it? */
const struct schema_method *schema_method(const struct schema_class *c, const char *name);      /* inherited ones too; NULL: none */
const struct schema_method *schema_method_any(const struct schema_class *c, const char *name);
/* Index of a member that this version has, or -1. _any: that any version has. */
int schema_member(const struct schema_layout *l, const char *name);
int schema_member_any(const struct schema_layout *l, const char *name);
size_t schema_count(const struct schema *s);           /* of classes */
const struct schema_class *schema_at(const struct schema *s, size_t i);

#endif
