#include "api/png.h"

#include <png.h>
#include <string.h>

#define COMPRESSION 3             /* a text screen is small at any level; this one is quick */
#define SIDE_MAX 8192
#define PNG_BYTES_MAX (64 << 20)

/* Each new pixel is the mean of the old pixels that it covers, at least one; for a larger picture that repeats pixels, so
 * that text stays sharp. */
int png_scale(const struct hv_image *img, unsigned width, struct hv_image *ret, struct err *e)
{
    if (!img->width || !img->height)
        return err_set(e, ERR_VM, "the screen has no pixels");
    size_t w = width ? width : img->width, h = (w * img->height + img->width / 2) / img->width;
    if (!h)
        h = 1;
    if (w > SIDE_MAX || h > SIDE_MAX)
        return err_set(e, ERR_VM, "a picture of %zu x %zu pixels is too large", w, h);
    uint8_t *out = malloc(w * h * 3);
    if (!out)
        return err_oom(e);
    for (size_t y = 0; y < h; y++) {
        size_t y0 = y * img->height / h, y1 = (y + 1) * img->height / h;
        for (size_t x = 0; x < w; x++) {
            size_t x0 = x * img->width / w, x1 = (x + 1) * img->width / w;
            uint64_t sum[3] = {0};
            size_t n = 0;
            for (size_t v = y0; v < y1 || v == y0; v++)
                for (size_t u = x0; u < x1 || u == x0; u++, n++)
                    for (size_t c = 0; c < 3; c++)
                        sum[c] += img->rgb[(v * img->width + u) * 3 + c];
            for (size_t c = 0; c < 3; c++)
                out[(y * w + x) * 3 + c] = (uint8_t)((sum[c] + n / 2) / n);
        }
    }
    *ret = (struct hv_image){.width = (unsigned)w, .height = (unsigned)h, .rgb = out};
    return 0;
}

static void write_part(png_structp png, png_bytep data, size_t n)
{
    struct strbuf *b = png_get_io_ptr(png);
    strbuf_add(b, data, n);
    if (b->failed)
        png_error(png, "no memory");
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static void fail(png_structp png, png_const_charp text)
{
    (void)text;
    png_longjmp(png, 1);
}

static void ignore_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* libpng's way out of an error is longjmp back to here: so this has no variable that changes after setjmp. */
static bool write_png(png_structp png, png_infop info, const struct hv_image *img)
{
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_compression_level(png, COMPRESSION);
    png_set_IHDR(png, info, img->width, img->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (size_t y = 0; y < img->height; y++)
        png_write_row(png, img->rgb + y * img->width * 3);
    png_write_end(png, info);
    return true;
}

int png_encode(const struct hv_image *img, uint8_t **ret, size_t *ret_len, struct err *e)
{
    AUTO_STRBUF struct strbuf b = {.max = PNG_BYTES_MAX};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, fail, ignore_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    bool ok = false;
    if (info) {
        png_set_write_fn(png, &b, write_part, flush_nothing);
        ok = write_png(png, info, img);
    }
    png_destroy_write_struct(&png, &info);
    if (!ok)
        return err_set(e, ERR_INTERNAL, "the screen of %u x %u pixels could not be made a PNG", img->width, img->height);
    *ret_len = b.len;
    *ret = (uint8_t *)strbuf_steal(&b);
    return *ret ? 0 : err_oom(e);
}
