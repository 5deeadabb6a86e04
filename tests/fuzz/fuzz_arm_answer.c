/* Answers of Azure Resource Manager, parted by NUL: status line and headers, an empty line, the body. The first begins an operation, the others
 * are the answers to its polls; each is also taken for an error, and its budgets are learned. */
#include "storage/azure/azure_internal.h"
#include "tests/fuzz/fuzz.h"

static bool take(const uint8_t *data, size_t n, struct rest_answer *a)
{
    rest_answer_clear(a);
    while (n) {
        const uint8_t *nl = memchr(data, '\n', n);
        size_t len = nl ? (size_t)(nl - data) + 1 : n;
        AUTO_FREE char *line = fuzz_string(data, len);
        if (rest_collect_header(line, 1, len, a) != len)
            return false;
        data += len;
        n -= len;
        if (len <= 2)
            break;
    }
    a->body.max = 1 << 16;
    strbuf_add(&a->body, data, n);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct azure azure;
    static const char *const methods[] = {"POST", "PUT", "DELETE"};
    struct err e = {0};
    if (!azure.cloud)
        MUST(cloud_open(&(struct cloud_options){0}, &azure.cloud, &e) == 0);
    if (!n)
        return 0;
    AUTO(budgets_free_ptr) struct budgets *budgets = budgets_new();
    MUST(budgets);
    azure.budgets = budgets;
    struct arm arm = {.azure = &azure, .identity = {.name = "prod"}};
    AUTO(operation_clear) struct operation o = {.arm = &arm, .method = methods[*data % 3],
        .url = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d?api-version=1"};
    const char *method = o.method, *url = o.url;
    data++;
    n--;
    AUTO(rest_answer_clear) struct rest_answer a = {.max = 1 << 16};
    for (unsigned i = 0; n && o.state != OPERATION_DONE && i < 20; i++) {
        const uint8_t *end = memchr(data, 0, n);
        size_t len = end ? (size_t)(end - data) : n;
        if (!take(data, len, &a))
            return 0;
        data += end ? len + 1 : len;
        n -= end ? len + 1 : len;
        char kind[BUDGET_KIND_MAX];
        budget_kind(method, strchr(url + 8, '/'), kind);
        budgets_learn(azure.budgets, kind, a.headers.status, a.remaining.data, a.headers.retry_after_ms, i);
        MUST(budgets_take(azure.budgets, kind, i) <= 600000);
        must_be_result(arm_error(&arm, method, url, &a, &e), &e);
        MUST(e.code && !strcmp(e.upstream.service, "arm"));
        json_t *body = NULL;
        if (a.body.len && arm_json(url, &a, &body, &e) < 0)
            must_be_result(-(int)e.code, &e);
        if (a.headers.status < 200 || a.headers.status > 299) {
            json_decref(body);
            continue;
        }
        int r = i == 0 ? operation_begin(&o, &a, body, &e) : operation_step(&o, &a, body, &e);
        json_decref(body);
        must_be_result(r, &e);
        if (r < 0)
            break;
        MUST(o.state == OPERATION_DONE || !o.next || cloud_same_origin(o.next, azure.cloud->arm));
        MUST(o.pause_ms <= 600000);
    }
    return 0;
}
