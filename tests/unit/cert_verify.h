/* Checks signatures by the system's own means, not by those of crypto.h. */
#ifndef VMR_TESTS_UNIT_CERT_VERIFY_H
#define VMR_TESTS_UNIT_CERT_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RSASSA-PSS with SHA-256 and a salt of 32 bytes; pem: the certificate. */
bool cert_verify_ps256(const char *pem, const void *data, size_t n, const uint8_t *sig, size_t sig_len);
/* PKCS#12 with a key that is kept in memory alone: Wine cannot do that. */
bool cert_verify_has_pkcs12(void);

#endif
