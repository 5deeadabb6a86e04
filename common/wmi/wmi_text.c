/* WMI's text forms: literals of WQL, object paths, and instances in CIM DTD 2.0 as methods return them (parsed with expat). */
#include <expat.h>
#include <string.h>

#include "common/wmi/wmi.h"

/* ---- WQL and paths ---- */

char *wmi_quote(const char *s)
{
    AUTO_STRBUF struct strbuf b = {.max = WMI_TEXT_MAX};
    strbuf_adds(&b, "'");
    for (; *s; s++) {
        if (*s == '\\' || *s == '\'')
            strbuf_adds(&b, "\\");
        strbuf_add(&b, s, 1);
    }
    strbuf_adds(&b, "'");
    return strbuf_steal(&b);
}

/* Behind "\\server\namespace:", which a relative path does not have. */
static const char *relative(const char *path)
{
    const char *colon = str_starts(path, "\\\\") ? strchr(path, ':') : NULL;
    return colon ? colon + 1 : path;
}

/* The next character as it is meant: an escaped backslash or quote is one. */
static int next_char(const char **p)
{
    const char *s = *p;
    if (s[0] == '\\' && (s[1] == '\\' || s[1] == '"'))
        s++;
    *p = *s ? s + 1 : s;
    unsigned char c = (unsigned char)*s;
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool wmi_same_path(const char *a, const char *b)
{
    a = relative(a);
    b = relative(b);
    for (;;) {
        int x = next_char(&a), y = next_char(&b);
        if (x != y)
            return false;
        if (!x)
            return true;
    }
}

/* ---- instances ---- */

#define PROPERTIES_MAX 1024
#define VALUES_MAX 65536
#define DEPTH_MAX 64

struct parse {
    struct wmi_instance_text t;
    struct strbuf value;
    unsigned depth, instances;                         /* instances: how deep in INSTANCE elements */
    size_t values;                                     /* of all properties */
    bool in_property, in_value, wrong;
    XML_Parser parser;
};

static const char *attribute(const char **atts, const char *name)
{
    for (; atts[0]; atts += 2)
        if (str_ieq(atts[0], name))
            return atts[1];
    return NULL;
}

static void refuse(struct parse *p)
{
    p->wrong = true;
    XML_StopParser(p->parser, XML_FALSE);
}

static void add_property(struct parse *p, const char *name, bool array)
{
    struct wmi_text_property *grown =
        name && p->t.n < PROPERTIES_MAX ? realloc(p->t.properties, (p->t.n + 1) * sizeof *p->t.properties) : NULL;
    char *copy = str_dup(name);
    if (grown)
        p->t.properties = grown;
    if (!grown || !copy) {
        free(copy);
        refuse(p);
        return;
    }
    p->t.properties[p->t.n++] = (struct wmi_text_property){.name = copy, .array = array};
    p->in_property = true;
}

static void add_value(struct parse *p)
{
    struct wmi_text_property *prop = &p->t.properties[p->t.n - 1];
    char **grown = p->values < VALUES_MAX ? realloc(prop->values, (prop->n + 1) * sizeof(char *)) : NULL;
    if (grown)
        prop->values = grown;
    char *text = p->value.len ? strbuf_steal(&p->value) : str_dup("");
    if (!grown || !text) {
        free(text);
        refuse(p);
        return;
    }
    prop->values[prop->n++] = text;
    p->values++;
}

static void XMLCALL on_start(void *arg, const char *name, const char **atts)
{
    struct parse *p = arg;
    if (++p->depth > DEPTH_MAX) {
        refuse(p);
    } else if (str_ieq(name, "INSTANCE")) {
        if (++p->instances == 1 && !p->t.class_name && !(p->t.class_name = str_dup(attribute(atts, "CLASSNAME"))))
            refuse(p);
    } else if (p->instances != 1) {
        return;                                        /* inside an embedded instance: not asked for by anybody */
    } else if (str_ieq(name, "PROPERTY") || str_ieq(name, "PROPERTY.ARRAY") || str_ieq(name, "PROPERTY.REFERENCE")) {
        add_property(p, attribute(atts, "NAME"), str_ieq(name, "PROPERTY.ARRAY"));
    } else if (str_ieq(name, "VALUE") && p->in_property) {
        p->in_value = true;
        strbuf_reset(&p->value);
    }
}

static void XMLCALL on_end(void *arg, const char *name)
{
    struct parse *p = arg;
    p->depth--;
    if (str_ieq(name, "INSTANCE")) {
        p->instances--;
    } else if (p->instances == 1 && str_ieq(name, "VALUE") && p->in_value) {
        p->in_value = false;
        add_value(p);
    } else if (p->instances == 1 && str_istarts(name, "PROPERTY")) {
        p->in_property = false;
    }
}

static void XMLCALL on_text(void *arg, const char *s, int n)
{
    struct parse *p = arg;
    if (p->in_value && p->instances == 1)
        strbuf_add(&p->value, s, (size_t)n);
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *public, int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    refuse(arg);                                       /* an instance has none; entities of its own are not wanted */
}

void wmi_text_clear(struct wmi_instance_text *t)
{
    for (size_t i = 0; i < t->n; i++) {
        for (size_t k = 0; k < t->properties[i].n; k++)
            free(t->properties[i].values[k]);
        free(t->properties[i].values);
        free(t->properties[i].name);
    }
    free(t->properties);
    free(t->class_name);
    *t = (struct wmi_instance_text){0};
}

int wmi_text_parse(const char *xml, struct wmi_instance_text *ret, struct err *e)
{
    size_t len = strlen(xml);
    struct parse p = {.value.max = WMI_TEXT_MAX};
    if (len > WMI_TEXT_MAX)
        return err_set(e, ERR_UPSTREAM_FINAL, "an instance text of %zu bytes is longer than the %u that are read", len, WMI_TEXT_MAX);
    if (!(p.parser = XML_ParserCreate("UTF-8")))
        return err_oom(e);
    XML_SetUserData(p.parser, &p);
    XML_SetElementHandler(p.parser, on_start, on_end);
    XML_SetCharacterDataHandler(p.parser, on_text);
    XML_SetStartDoctypeDeclHandler(p.parser, on_doctype);
    bool ok = XML_Parse(p.parser, xml, (int)len, 1) == XML_STATUS_OK && !p.wrong && !p.value.failed && p.t.class_name;
    int r = 0;
    if (!ok)
        r = err_set(e, ERR_UPSTREAM_FINAL, "what should be an instance text is none (line %lu: %s)", (unsigned long)XML_GetCurrentLineNumber(p.parser),
                    p.wrong ? "refused" : XML_ErrorString(XML_GetErrorCode(p.parser)));
    XML_ParserFree(p.parser);
    strbuf_free(&p.value);
    if (r < 0)
        wmi_text_clear(&p.t);
    else
        *ret = p.t;
    return r;
}

const char *wmi_text_value(const struct wmi_instance_text *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_ieq(t->properties[i].name, name))
            return t->properties[i].n ? t->properties[i].values[0] : NULL;
    return NULL;
}
