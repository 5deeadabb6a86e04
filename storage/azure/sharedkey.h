/* SharedKey authorization of Azure Storage (Blob service). Source: its REST reference, "Authorize with Shared Key". Threads: any. */
#ifndef VMR_STORAGE_AZURE_SHAREDKEY_H
#define VMR_STORAGE_AZURE_SHAREDKEY_H

#include <curl/curl.h>

#include "common/error.h"
#include "common/mem.h"

/* What is signed for a request without body: `headers` are "Name: value" lines that will be sent (x-ms-date among them). The URL
 * is signed as it stands: path as sent (an emulator's path has the account in it, so that it is there twice), query decoded. */
int sharedkey_string(const char *account, const char *verb, const char *url, const struct curl_slist *headers, struct strbuf *ret,
                     struct err *e);
/* The whole header line "Authorization: SharedKey account:signature"; the caller frees *ret (mem_free_secret). ERR_CREDENTIAL when
 * the key is no base64. */
int sharedkey_sign(const char *account, const char *key, const char *verb, const char *url, const struct curl_slist *headers,
                   char **ret, struct err *e);

#endif
