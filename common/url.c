#include "common/url.h"

#include <curl/curl.h>
#include <string.h>

#include "common/mem.h"

char *url_redact(const char *url)
{
    CURLU *u = curl_url();
    char *text = NULL, *copy = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        if (curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
            copy = str_dup(text);
    }
    curl_free(text);
    curl_url_cleanup(u);
    return copy;
}

static bool is_loopback(const char *host)
{
    /* "127.example.org" is a name like any other. */
    return str_ieq(host, "localhost") || (str_starts(host, "127.") && host[strspn(host, "0123456789.")] == 0) || !strcmp(host, "[::1]");
}

static bool is_printable(const char *s)
{
    while (*s > ' ' && *s <= '~')
        s++;
    return !*s;
}

static char *part(CURLU *u, CURLUPart what)
{
    char *s = NULL;
    return curl_url_get(u, what, &s, 0) == CURLUE_OK ? s : NULL;
}

int url_check(const char *url, bool allow_http, struct err *e)
{
    size_t n = strlen(url);
    if (n > 4096)
        return err_set(e, ERR_VALUE, "the URL has %zu bytes, at most 4096 are allowed", n);
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p > '~')
            return err_set(e, ERR_VALUE, "the URL has a character at position %td that must be percent-encoded", p - url);
    /* libcurl mends "https:/x" and "https:///x" in its own way: what means two things is refused here */
    const char *host_at = str_istarts(url, "https://") ? url + 8 : str_istarts(url, "http://") ? url + 7 : NULL;
    if (!host_at)
        return err_set(e, ERR_VALUE, "the URL must begin with https:// or http://");
    if (!*host_at || strchr("/?#:", *host_at))
        return err_set(e, ERR_VALUE, "the URL names no host");
    if (memchr(host_at, '%', strcspn(host_at, "/?#")))
        return err_set(e, ERR_VALUE, "the URL's host must not be percent-encoded");
    CURLU *u = curl_url();
    if (!u)
        return err_oom(e);
    int r = 0;
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, url, 0);
    char *scheme = NULL, *host = NULL, *user = NULL, *fragment = NULL;
    if (rc != CURLUE_OK) {
        r = err_set(e, ERR_VALUE, "not an http or https URL: %s", curl_url_strerror(rc));
    } else {
        scheme = part(u, CURLUPART_SCHEME);
        host = part(u, CURLUPART_HOST);
        user = part(u, CURLUPART_USER);
        fragment = part(u, CURLUPART_FRAGMENT);
        if (!scheme || (!str_ieq(scheme, "https") && !str_ieq(scheme, "http")))
            r = err_set(e, ERR_VALUE, "the URL must begin with https:// or http://");
        else if (!host || !*host)
            r = err_set(e, ERR_VALUE, "the URL names no host");
        else if (!is_printable(host))                      /* libcurl decodes %xx in it */
            r = err_set(e, ERR_VALUE, "the host in the URL has a character that no host name has");
        else if (user)
            r = err_set(e, ERR_VALUE, "the URL must not hold a user name or password");
        else if (fragment)
            r = err_set(e, ERR_VALUE, "the URL must not have a fragment (#)");
        else if (str_ieq(scheme, "http") && !allow_http && !is_loopback(host))
            r = err_set(e, ERR_VALUE, "plain http is accepted for this machine only; use https");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(fragment);
    curl_url_cleanup(u);
    return r;
}

static char *converted(char *from_curl)
{
    char *s = str_dup(from_curl);
    curl_free(from_curl);
    return s;
}

char *url_escape(const char *text)
{
    return converted(curl_easy_escape(NULL, text, 0));
}

char *url_unescape(const char *text)
{
    return converted(curl_easy_unescape(NULL, text, 0, NULL));
}
