#include "common/crypto.h"

#include <stdlib.h>
#include <string.h>

#include "common/os.h"

bool crypto_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;
    for (size_t i = 0; i < n; i++)
        differ |= (uint8_t)(x[i] ^ y[i]);
    return differ == 0;
}

void crypto_hex(const void *data, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) {
        *ret++ = digits[p[i] >> 4];
        *ret++ = digits[p[i] & 15];
    }
    *ret = 0;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *crypto_base64(const void *data, size_t n)
{
    const uint8_t *p = data;
    char *ret = malloc((n + 2) / 3 * 4 + 1), *out = ret;
    if (!ret)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = i + 1 < n ? base64_digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? base64_digits[v & 63] : '=';
    }
    *out = 0;
    return ret;
}

char *crypto_base64url(const void *data, size_t n)
{
    char *s = crypto_base64(data, n);
    if (!s)
        return NULL;
    s[strcspn(s, "=")] = 0;
    for (char *p = s; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return s;
}

bool crypto_base64_decode(const char *s, uint8_t **ret, size_t *ret_len)
{
    size_t n = strlen(s);
    if (n % 4)
        return false;
    size_t pad = n && s[n - 1] == '=' ? (s[n - 2] == '=' ? 2 : 1) : 0;
    size_t len = n / 4 * 3 - pad;
    uint8_t *out = malloc(len + 3);
    if (!out)
        return false;
    uint32_t v = 0;
    for (size_t i = 0, o = 0; i < n; i++) {
        const char *d = i >= n - pad ? base64_digits : s[i] ? strchr(base64_digits, s[i]) : NULL;
        if (!d) {
            free(out);
            return false;
        }
        v = v << 6 | (uint32_t)(d - base64_digits);
        if (i % 4 == 3) {
            out[o++] = (uint8_t)(v >> 16);
            out[o++] = (uint8_t)(v >> 8);
            out[o++] = (uint8_t)v;
        }
    }
    /* bits behind the last byte must be zero, or two texts would mean the same bytes */
    if ((pad == 1 && (v & 0xFF)) || (pad == 2 && (v & 0xFFFF))) {
        free(out);
        return false;
    }
    *ret = out;
    *ret_len = len;
    return true;
}

int crypto_uuid(char ret[UUID_LEN], struct err *e)
{
    uint8_t b[16];
    int r = os_random(b, sizeof b, e);
    if (r < 0)
        return r;
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    char hex[HEX_LEN(16)];
    crypto_hex(b, sizeof b, hex);
    snprintf(ret, UUID_LEN, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return 0;
}

bool crypto_is_uuid(const char *s)
{
    if (strlen(s) != UUID_LEN - 1)
        return false;
    for (int i = 0; i < UUID_LEN - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
            return false;
    }
    return true;
}

uint32_t crypto_crc32(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}
