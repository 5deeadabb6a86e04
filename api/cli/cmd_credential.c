/* credential list | set | delete | sign-in. Secrets come from a file, from standard input or from the terminal, never from argv. */
#include <string.h>

#include "api/cli/cli.h"
#include "common/crypto.h"

enum { SECRET_MAX = 16 << 10, CERTIFICATE_MAX = 48 << 10 };

/* ---- list ---- */

/* What tells one from another of its type. */
static const char *detail_of(const json_t *c)
{
    static const char *const keys[] = {"account", "client_id", "tenant_id", "token_file"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (*jstr(c, keys[i]))
            return jstr(c, keys[i]);
    return json_is_false(json_object_get(c, "signed_in")) ? "(not signed in)" : "";
}

static void credential_line(const json_t *c)
{
    print_field(stdout, jstr(c, "name"), 24);
    putchar(' ');
    print_field(stdout, jstr(c, "type"), 18);
    print_text(stdout, detail_of(c));
    putchar('\n');
}

static int list(struct cli *cli, int argc, char **argv, struct err *e)
{
    int r = opt_words(argc, argv, 0, 0, NULL, NULL, e);
    return r < 0 ? r : cli_list(cli, "/v1/credentials", "credentials", credential_line, e);
}

static char *path_of(struct cli *cli, const char *name)
{
    AUTO_FREE char *escaped = client_escape(cli->client, name);
    return escaped ? str_printf("/v1/credentials/%s", escaped) : NULL;
}

/* ---- set ---- */

struct given {
    const char *name, *type, *account, *tenant, *client, *secret_file, *certificate_file, *password_file, *token_file;
};

static int read_secret(const char *file, const char *what, char **ret, struct err *e)
{
    if (!file && term_is_tty(stdin))
        return term_read_secret(what, ret, e);
    size_t n = 0;
    int r = opt_read_input(file ? file : "-", SECRET_MAX, ret, &n, e);
    while (r == 0 && n > 0 && strchr("\r\n \t", (*ret)[n - 1]))
        (*ret)[--n] = '\0';
    if (r == 0 && n == 0)
        r = err_set(e, ERR_VALUE, "the %s is empty", what);
    return r;
}

/* PEM goes as it is, anything else (PKCS#12) as base64. */
static int read_certificate(const char *file, char **ret, struct err *e)
{
    size_t n = 0;
    AUTO_SECRET char *raw = NULL;
    int r = opt_read_input(file, CERTIFICATE_MAX, &raw, &n, e);
    if (r < 0)
        return r;
    bool text = strlen(raw) == n && strstr(raw, "-----BEGIN ");
    *ret = text ? STEAL(raw) : crypto_base64(raw, n);
    if (!text)
        mem_wipe(raw, n);
    return *ret ? 0 : err_oom(e);
}

static int set(json_t *body, const char *key, const char *value, struct err *e)
{
    return !value || json_object_set_new(body, key, json_string(value)) == 0 ? 0 : err_set(e, ERR_VALUE, "%s is not UTF-8", key);
}

/* The member that proves who it is: `key` from --secret-file, standard input or the terminal. */
static int set_secret(const struct given *g, const char *key, const char *what, json_t *body, struct err *e)
{
    AUTO_SECRET char *secret = NULL;
    int r = read_secret(g->secret_file, what, &secret, e);
    return r < 0 ? r : set(body, key, secret, e);
}

static int set_certificate(const struct given *g, json_t *body, struct err *e)
{
    AUTO_SECRET char *certificate = NULL, *password = NULL;
    int r = read_certificate(g->certificate_file, &certificate, e);
    if (r == 0 && g->password_file)
        r = read_secret(g->password_file, "password", &password, e);
    if (r == 0)
        r = set(body, "certificate", certificate, e);
    return r < 0 ? r : set(body, "certificate_password", password, e);
}

/* Which options a type takes; the daemon checks the values. */
static const struct kind {
    const char *type;
    bool account, tenant, client, principal, secret;
    const char *key, *what;
} kinds[] = {
    {.type = "account_key", .account = true, .secret = true, .key = "key", .what = "account key"},
    {.type = "sas", .secret = true, .key = "sas", .what = "SAS"},
    {.type = "managed_identity", .client = true},
    {.type = "arc"},
    {.type = "service_principal", .tenant = true, .client = true, .principal = true, .secret = true, .key = "client_secret", .what = "client secret"},
    {.type = "az_cli", .tenant = true},
    {.type = "device_code", .tenant = true, .client = true},
};

static int check_given(const struct kind *k, const struct given *g, struct err *e)
{
    const struct { const char *option, *value; bool allowed; } rows[] = {
        {"--account", g->account, k->account}, {"--tenant", g->tenant, k->tenant}, {"--client-id", g->client, k->client},
        {"--secret-file", g->secret_file, k->secret && !g->certificate_file && !g->token_file},
        {"--certificate-file", g->certificate_file, k->principal && !g->token_file}, {"--token-file", g->token_file, k->principal},
        {"--password-file", g->password_file, g->certificate_file},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].value && !rows[i].allowed)
            return err_set(e, ERR_VALUE, "%s does not go with the rest of --type %s", rows[i].option, k->type);
    if (k->account && !g->account)
        return err_set(e, ERR_VALUE, "an account_key needs --account NAME");
    if (k->principal && (!g->tenant || !g->client))
        return err_set(e, ERR_VALUE, "a service_principal needs --tenant and --client-id");
    return 0;
}

static int build(const struct given *g, json_t *body, struct err *e)
{
    const struct kind *k = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].type, g->type))
            k = &kinds[i];
    if (!k)
        return err_set(e, ERR_VALUE, "--type takes account_key, sas, managed_identity, arc, service_principal, az_cli or device_code, not '%s'", g->type);
    int r;
    if ((r = check_given(k, g, e)) < 0 || (r = set(body, "type", g->type, e)) < 0 || (r = set(body, "account", g->account, e)) < 0 ||
        (r = set(body, "tenant_id", g->tenant, e)) < 0 || (r = set(body, "client_id", g->client, e)) < 0 ||
        (r = set(body, "token_file", g->token_file, e)) < 0)
        return r;
    if (g->certificate_file)
        return set_certificate(g, body, e);
    return k->secret && !g->token_file ? set_secret(g, k->key, k->what, body, e) : 0;
}

static int put(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const struct opt_spec spec[] = {{"type", 1, true}, {"account", 2, true}, {"tenant", 3, true}, {"client-id", 4, true}, {"secret-file", 5, true},
                                           {"certificate-file", 6, true}, {"password-file", 7, true}, {"token-file", 8, true}, {0}};
    struct given g = {0};
    const char **const values[] = {&g.type, &g.account, &g.tenant, &g.client, &g.secret_file, &g.certificate_file, &g.password_file, &g.token_file};
    struct opt_iter it = {.spec = spec, .argc = argc, .argv = argv};
    for (int o; (o = opt_next(&it, e)) != OPT_END;) {
        if (o < 0)
            return o;
        if (o != OPT_WORD)
            *values[(size_t)o - 1] = it.value;
        else if (g.name)
            return err_set(e, ERR_VALUE, "'%s' is one word too many; the secret is read from --secret-file or standard input", it.value);
        else
            g.name = it.value;
    }
    if (!g.name || !g.type)
        return err_set(e, ERR_VALUE, "give a name and --type");
    json_t *body = json_object();
    AUTO_FREE char *path = path_of(cli, g.name);
    int r = body && path ? build(&g, body, e) : err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    if (r == 0)
        r = client_call(cli->client, &(struct call){.method = "PUT", .path = path, .body = body}, &reply, e);
    json_decref(body);
    if (r == 0 && cli->json && reply.json)
        print_json(reply.json);
    return r;
}

/* ---- delete ---- */

static int drop(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *name;
    int r = opt_words(argc, argv, 1, 1, &name, NULL, e);
    if (r < 0)
        return r;
    AUTO_FREE char *path = path_of(cli, name);
    if (!path)
        return err_oom(e);
    AUTO_REPLY struct reply reply = {0};
    return client_call(cli->client, &(struct call){.method = "DELETE", .path = path}, &reply, e);
}

/* ---- sign-in ---- */

int cli_sign_in(struct cli *cli, const char *name, struct err *e)
{
    AUTO_FREE char *escaped = client_escape(cli->client, name), *shown = NULL;
    for (;;) {
        AUTO_FREE char *code = shown ? client_escape(cli->client, shown) : NULL;
        AUTO_FREE char *path = escaped ? str_printf("/v1/credentials/%s/sign_in%s%s", escaped, code ? "?shown=" : "", code ? code : "") : NULL;
        AUTO_REPLY struct reply reply = {0};
        if (!path || (shown && !code))
            return err_oom(e);
        int r = client_call(cli->client, &(struct call){.method = "POST", .path = path}, &reply, e);
        if (r < 0 || reply.status != 202)
            return r;
        const char *fresh = jstr(reply.json, "user_code");
        if (shown && !strcmp(shown, fresh))
            continue;                                /* nobody has entered it yet */
        free(shown);
        if (!(shown = str_dup(fresh)))
            return err_oom(e);
        print_text(stderr, jstr(reply.json, "message"));
        fputc('\n', stderr);
    }
}

static int sign_in(struct cli *cli, int argc, char **argv, struct err *e)
{
    char *name;
    int r = opt_words(argc, argv, 1, 1, &name, NULL, e);
    return r < 0 ? r : cli_sign_in(cli, name, e);
}

int cmd_credential(struct cli *cli, int argc, char **argv, struct err *e)
{
    static const struct {
        const char *verb;
        command_fn *run;
    } verbs[] = {{"list", list}, {"set", put}, {"delete", drop}, {"sign-in", sign_in}};
    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(verbs); i++)
        if (strcmp(argv[0], verbs[i].verb) == 0)
            return verbs[i].run(cli, argc - 1, argv + 1, e);
    return err_set(e, ERR_VALUE, "credential takes list, set, delete or sign-in");
}
