#include "storage/http_os.h"

#include <pthread.h>
#include <string.h>

#include "common/os.h"

#define CA_FILE_MAX ((size_t)4 << 20)

/* The further CA beside the system's. Where libcurl knows a hashed folder of CAs, that folder stays and ca_file takes the place of
 * the bundle (which holds the same certificates); elsewhere one bundle of both is built here, once, and kept: handles refer to it. */
static pthread_mutex_t bundle_lock = PTHREAD_MUTEX_INITIALIZER;
static char *bundle, *bundle_of;
static size_t bundle_len;

static bool bundle_build(const char *ca_file)
{
    struct err ignored;
    char *own = NULL, *system = NULL;
    size_t own_len = 0, system_len = 0;
    if (os_read_file(ca_file, CA_FILE_MAX, &own, &own_len, &ignored) < 0)
        return false;
    const char *path = curl_version_info(CURLVERSION_NOW)->cainfo;
    if (path && os_read_file(path, CA_FILE_MAX, &system, &system_len, &ignored) < 0)
        system_len = 0;
    bundle = malloc(own_len + system_len + 2);
    bundle_of = str_dup(ca_file);
    if (bundle && bundle_of) {
        memcpy(bundle, own, own_len);
        bundle[own_len] = '\n';
        if (system_len)
            memcpy(bundle + own_len + 1, system, system_len);
        bundle_len = own_len + 1 + system_len;
    } else {
        free(bundle);
        bundle = NULL;
    }
    free(own);
    free(system);
    return bundle;
}

/* A ca_file that cannot be read is left to libcurl, which names it when the connection is made. */
CURLcode http_os_set_ca(CURL *h, const char *ca_file)
{
    const char *folder = curl_version_info(CURLVERSION_NOW)->capath;
    if (!ca_file) /* without a folder libcurl keeps one parsed bundle for all connections */
        return folder ? curl_easy_setopt(h, CURLOPT_CAPATH, NULL) : CURLE_OK;
    if (folder)
        return curl_easy_setopt(h, CURLOPT_CAINFO, ca_file);
    struct curl_blob blob = {.flags = CURL_BLOB_NOCOPY};
    pthread_mutex_lock(&bundle_lock);
    if (bundle ? !strcmp(bundle_of, ca_file) : bundle_build(ca_file)) {
        blob.data = bundle;
        blob.len = bundle_len;
    }
    pthread_mutex_unlock(&bundle_lock);
    return blob.data ? curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &blob) : curl_easy_setopt(h, CURLOPT_CAINFO, ca_file);
}

bool http_os_proxy(char **ret_list, char **ret_bypass)
{
    *ret_list = *ret_bypass = NULL;                   /* there is the environment, and libcurl reads that */
    return true;
}

const char *http_os_refusal(void)
{
    return "";                                        /* OpenSSL looks by itself, and libcurl says what it saw */
}
