#include "storage/http_os.h"

#include <windows.h>

#include <winhttp.h>

#include "common/os_win32.h"
#include "storage/tls_win32.h"

CURLcode http_os_set_ca(CURL *h, const char *ca_file)
{
    /* Lists of revoked certificates are looked at where they can be had. By default Schannel refuses a server when they cannot, and a
     * recovery host is often let out to its source alone. */
    CURLcode c = curl_easy_setopt(h, CURLOPT_SSL_OPTIONS, (long)CURLSSLOPT_REVOKE_BEST_EFFORT);
    return c || !ca_file ? c : tls_also_trust(h, ca_file);
}

const char *http_os_refusal(void)
{
    return tls_refusal();
}

/* NULL where there is nothing, or nothing that can be read; false: memory ran out. */
static bool take(wchar_t *text, char **ret)
{
    struct err e;
    e.code = ERR_OK;
    bool ok = !text || !*text || win_utf8(text, ret, &e) == 0 || e.code != ERR_OOM;
    if (text)
        GlobalFree(text);
    return ok;
}

/* What `netsh winhttp set proxy` set for the machine. Read anew for each connection, so that a change needs no restart. */
bool http_os_proxy(char **ret_list, char **ret_bypass)
{
    WINHTTP_PROXY_INFO info = {0};
    *ret_list = *ret_bypass = NULL;
    if (!WinHttpGetDefaultProxyConfiguration(&info))
        return true;
    bool ok = take(info.lpszProxy, ret_list);
    ok = take(info.lpszProxyBypass, ret_bypass) && ok;
    if (info.dwAccessType != WINHTTP_ACCESS_TYPE_NAMED_PROXY) {
        free(STEAL(*ret_list));
        free(STEAL(*ret_bypass));
    }
    return ok;
}
