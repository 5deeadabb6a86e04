/* Sealed blob: version (1 byte), HMAC-SHA-256 of all that follows and of the context (32), what DPAPI made of the text.
 *
 * DPAPI of the machine opens a blob for every process of this machine, so it is given further entropy: it comes from `secret.key` in the
 * data folder, 32 random bytes that SYSTEM and Administrators alone can read, and from the context. The blob is thus bound to this
 * machine, to that file and to the context. The HMAC under the same file tells a wrong key or a changed blob with certainty and before
 * DPAPI looks at it. */
#include "common/secret.h"

#include <windows.h>

#include <string.h>
#include <wincrypt.h>

#include "common/crypto.h"
#include "common/os.h"

#define VERSION 2                                     /* 1 is the form of secret_posix.c */
#define HEAD_LEN (1 + SHA256_LEN)
#define PLAIN_MAX ((size_t)1 << 20)
#define SEALED_MAX (PLAIN_MAX + 65536)

struct secret_box {
    uint8_t key[SECRET_KEY_LEN];
};

int secret_open(const char *data_dir, struct secret_box **ret, struct err *e)
{
    struct secret_box *box = calloc(1, sizeof *box);
    int r = box ? secret_key_own(data_dir, box->key, e) : err_oom(e);
    if (r < 0)
        secret_close(box);
    else
        *ret = box;
    return r;
}

void secret_close(struct secret_box *box)
{
    if (box)
        mem_wipe(box->key, SECRET_KEY_LEN);
    free(box);
}

/* Two uses of one key: each MAC begins with a word of its own. */
static int mac_of(const struct secret_box *box, const char *use, const char *context, const void *data, size_t n, uint8_t ret[SHA256_LEN], struct err *e)
{
    AUTO_STRBUF struct strbuf b = {.max = SEALED_MAX + 4096};
    strbuf_add(&b, use, strlen(use) + 1);
    strbuf_add(&b, context, strlen(context) + 1);
    strbuf_add(&b, data, n);
    return b.failed ? err_oom(e) : crypto_hmac_sha256(box->key, SECRET_KEY_LEN, b.data, b.len, ret, e);
}

int secret_seal(struct secret_box *box, const char *context, const char *plain, uint8_t **ret, size_t *ret_len, struct err *e)
{
    size_t n = strlen(plain);
    if (n > PLAIN_MAX)
        return err_set(e, ERR_TOO_LARGE, "a secret may have 1 MiB at most");
    uint8_t entropy[SHA256_LEN];
    int r = mac_of(box, "entropy", context, "", 0, entropy, e);
    if (r < 0)
        return r;
    DATA_BLOB in = {(DWORD)n, (BYTE *)(uintptr_t)plain}, more = {sizeof entropy, entropy}, out = {0};
    bool done = CryptProtectData(&in, NULL, &more, NULL, NULL, CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN, &out);
    mem_wipe(entropy, sizeof entropy);
    if (!done)
        return err_os(e, ERR_INTERNAL, (long)GetLastError(), "DPAPI cannot seal a secret");
    uint8_t *sealed = malloc(HEAD_LEN + out.cbData);
    r = sealed ? mac_of(box, "sealed", context, out.pbData, out.cbData, sealed + 1, e) : err_oom(e);
    if (r == 0) {
        sealed[0] = VERSION;
        memcpy(sealed + HEAD_LEN, out.pbData, out.cbData);
        *ret = STEAL(sealed);
        *ret_len = HEAD_LEN + out.cbData;
    }
    free(sealed);
    LocalFree(out.pbData);
    return r;
}

int secret_unseal(struct secret_box *box, const char *context, const void *sealed, size_t n, char **ret, struct err *e)
{
    const uint8_t *in = sealed;
    uint8_t mac[SHA256_LEN], entropy[SHA256_LEN];
    if (n < HEAD_LEN + 1 || n > SEALED_MAX || in[0] != VERSION)
        return err_set(e, ERR_SECRET, "the stored secret of %s is not in a form that is known", context);
    int r = mac_of(box, "sealed", context, in + HEAD_LEN, n - HEAD_LEN, mac, e);
    if (r == 0 && !crypto_equal(mac, in + 1, sizeof mac))
        r = err_set(e, ERR_SECRET, "the stored secret of %s does not open with this host's key", context);
    if (r < 0 || (r = mac_of(box, "entropy", context, "", 0, entropy, e)) < 0)
        return r;
    DATA_BLOB blob = {(DWORD)(n - HEAD_LEN), (BYTE *)(uintptr_t)in + HEAD_LEN}, more = {sizeof entropy, entropy}, out = {0};
    bool done = CryptUnprotectData(&blob, NULL, &more, NULL, NULL, CRYPTPROTECT_UI_FORBIDDEN, &out);
    mem_wipe(entropy, sizeof entropy);
    if (!done)
        return err_os(e, ERR_SECRET, (long)GetLastError(), "the stored secret of %s does not open on this machine", context);
    char *text = str_ndup((const char *)out.pbData, out.cbData);
    mem_wipe(out.pbData, out.cbData);
    LocalFree(out.pbData);
    if (!text)
        return err_oom(e);
    *ret = text;
    return 0;
}
