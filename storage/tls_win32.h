/* A further CA beside the system's, with Schannel. libcurl's own way (CURLOPT_CAINFO) puts a file in the place of the system's store; a
 * copy of that store is no way out, since Windows fetches most of its public CAs only when it judges a certificate itself. So
 * Windows judges here, after the handshake and before anything is sent: by its own store, and if that does not trust the certificate, by the
 * file's CAs alone. Name, validity, usage and revocation count in both. */
#ifndef VMR_STORAGE_TLS_WIN32_H
#define VMR_STORAGE_TLS_WIN32_H

#include <curl/curl.h>

/* Lets h trust the CAs in ca_file too. One file a process: another one replaces it for the requests that follow. A file that cannot be used
 * makes every https request fail, with the reason. */
CURLcode tls_also_trust(CURL *h, const char *ca_file);
/* Why the last certificate that this thread looked at was refused. */
const char *tls_refusal(void);

#endif
