/* Secrets sealed at rest: AES-256-GCM under a key file (mode 0600, `secret.key` in the data folder, or the one that
 * systemd credentials supply as $CREDENTIALS_DIRECTORY/vmrecover.key); on Windows DPAPI of the machine, with entropy from such a file.
 * A sealed blob is bound to its context (for example "credential/prod"): it opens only with the same words.
 * Threads: any, after secret_open. */
#ifndef VMR_COMMON_SECRET_H
#define VMR_COMMON_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/mem.h"

struct secret_box;
/* Loads the key, making it at the first start. */
int secret_open(const char *data_dir, struct secret_box **ret, struct err *e);
void secret_close(struct secret_box *box);
/* Caller frees *ret. */
int secret_seal(struct secret_box *box, const char *context, const char *plain, uint8_t **ret, size_t *ret_len, struct err *e);
/* *ret is NUL-terminated; the caller frees it with mem_free_secret. ERR_SECRET if key, context or bytes do not fit. */
int secret_unseal(struct secret_box *box, const char *context, const void *sealed, size_t n, char **ret, struct err *e);

/* secret.c, for secret_posix.c and secret_win32.c: a key file that must be there; the one of the data folder, made if it is missing. */
#define SECRET_KEY_LEN 32
int secret_key_load(const char *path, uint8_t ret[SECRET_KEY_LEN], struct err *e);
int secret_key_own(const char *data_dir, uint8_t ret[SECRET_KEY_LEN], struct err *e);

#endif
