/* Sealed blob: version (1 byte), nonce (12), tag (16), ciphertext. The context is authenticated with it. */
#include "common/secret.h"

#include <openssl/evp.h>
#include <string.h>

#include "common/os.h"

#define NONCE_LEN 12
#define TAG_LEN 16
#define HEAD_LEN (1 + NONCE_LEN + TAG_LEN)
#define VERSION 1

struct secret_box {
    uint8_t key[SECRET_KEY_LEN];
};

int secret_open(const char *data_dir, struct secret_box **ret, struct err *e)
{
    struct secret_box *box = calloc(1, sizeof *box);
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    AUTO_FREE char *given = folder ? os_path_join(folder, "vmrecover.key") : NULL;
    if (!box || (folder && !given)) {
        free(box);
        return err_oom(e);
    }
    struct os_stat st = {0};
    int r = given ? os_stat(given, &st, e) : 0;
    if (r == 0)
        r = st.exists ? secret_key_load(given, box->key, e) : secret_key_own(data_dir, box->key, e);
    if (r < 0) {
        secret_close(box);
        return r;
    }
    *ret = box;
    return 0;
}

void secret_close(struct secret_box *box)
{
    if (box)
        mem_wipe(box->key, SECRET_KEY_LEN);
    free(box);
}

/* One pass of AES-256-GCM either way; false when the library fails or, opening, the tag does not fit. */
static bool gcm(const struct secret_box *box, bool seal, const uint8_t *nonce, uint8_t *tag, const char *context, const uint8_t *in, size_t n,
                uint8_t *out)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int len = 0, tail = 0;
    bool ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, box->key, nonce, seal) == 1 &&
              EVP_CipherUpdate(c, NULL, &len, (const uint8_t *)context, (int)strlen(context)) == 1 &&
              EVP_CipherUpdate(c, out, &len, in, (int)n) == 1 &&
              (seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1) && EVP_CipherFinal_ex(c, out + len, &tail) == 1 &&
              (!seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag) == 1);
    EVP_CIPHER_CTX_free(c);
    return ok;
}

int secret_seal(struct secret_box *box, const char *context, const char *plain, uint8_t **ret, size_t *ret_len, struct err *e)
{
    size_t n = strlen(plain);
    if (n > 1u << 20)
        return err_set(e, ERR_TOO_LARGE, "a secret may have 1 MiB at most");
    AUTO_FREE uint8_t *out = malloc(HEAD_LEN + n + 1);
    if (!out)
        return err_oom(e);
    out[0] = VERSION;
    int r = os_random(out + 1, NONCE_LEN, e);
    if (r < 0)
        return r;
    if (!gcm(box, true, out + 1, out + 1 + NONCE_LEN, context, (const uint8_t *)plain, n, out + HEAD_LEN))
        return err_set(e, ERR_INTERNAL, "libcrypto cannot seal a secret");
    *ret = STEAL(out);
    *ret_len = HEAD_LEN + n;
    return 0;
}

int secret_unseal(struct secret_box *box, const char *context, const void *sealed, size_t n, char **ret, struct err *e)
{
    const uint8_t *in = sealed;
    if (n < HEAD_LEN || n > HEAD_LEN + (1u << 20) || in[0] != VERSION)
        return err_set(e, ERR_SECRET, "the stored secret of %s is not in a form that is known", context);
    AUTO_FREE char *out = calloc(1, n - HEAD_LEN + 1);
    uint8_t tag[TAG_LEN];
    memcpy(tag, in + 1 + NONCE_LEN, TAG_LEN);
    if (!out)
        return err_oom(e);
    if (!gcm(box, false, in + 1, tag, context, in + HEAD_LEN, n - HEAD_LEN, (uint8_t *)out)) {
        mem_wipe(out, n - HEAD_LEN);
        return err_set(e, ERR_SECRET, "the stored secret of %s does not open with this host's key", context);
    }
    *ret = STEAL(out);
    return 0;
}
