/* The writer: what it makes, qemu-img judges; what it was given, comes back. */
#include "tests/unit/image_util.h"

#include <inttypes.h>
#include <string.h>

#include "common/os.h"
#include "storage/image/open.h"
#include "storage/image/writer.h"

#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

static const struct shape { const char *name; struct image_layout layout; const char *judge; } shapes[] = {
    {"raw", {.format = IMAGE_RAW}, "driver=raw,file.filename=w"},
    {"vhd", {.format = IMAGE_VHD}, "driver=vpc,force_size_calc=current_size,file.filename=w"},
    {"vhd_dynamic", {.format = IMAGE_VHD_DYNAMIC}, "driver=vpc,force_size_calc=current_size,file.filename=w"},
    {"vhdx", {.format = IMAGE_VHDX}, "driver=vhdx,file.filename=w"},
    {"vhdx 32M", {.format = IMAGE_VHDX, .block_bytes = 32 << 20}, "driver=vhdx,file.filename=w"},
    {"vhdx_fixed", {.format = IMAGE_VHDX, .fixed = true}, "driver=vhdx,file.filename=w"},
    {"vhdx_fixed 4M", {.format = IMAGE_VHDX, .fixed = true, .block_bytes = 4 << 20}, "driver=vhdx,file.filename=w"},
};

/* Ranges of any size in any order, commits in between, the file left and opened again: in the end all of it is there. */
static void holds_ranges_in_any_order(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {512, 1536, 5 * MIB + 512, 40 * MIB, 133 * MIB + 512 * 7};
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            struct image_layout l = shapes[s].layout;
            l.virtual_size = sizes[k];
            dice_from(88172645463325252u + s * 100 + k);
            uint8_t *model = calloc(1, sizes[k]), *data = malloc(3 * MIB);
            assert_true(model && data);
            for (size_t i = 0; i < 3 * MIB; i++)
                data[i] = (uint8_t)(dice(255) + 1);
            os_remove("w", &err_);
            struct image_writer *w = NULL;
            OK(image_writer_create("w", &l, &w, &err_));
            for (int round = 0; round < 60; round++) {
                uint64_t n = 1 + dice(dice(3) ? 9000 : 3 * MIB), at;
                if (n > sizes[k])
                    n = sizes[k];
                at = dice(sizes[k] - n + 1);
                uint64_t skip = dice(3 * MIB - n + 1);
                memcpy(model + at, data + skip, n);
                OK(image_writer_write(w, data + skip, n, at, &err_));
                if (!dice(6))
                    OK(image_writer_commit(w, &err_));
                if (!dice(15)) {
                    OK(image_writer_commit(w, &err_));
                    image_writer_close(w);
                    w = NULL;
                    OK(image_writer_open("w", &l, &w, &err_));
                }
            }
            OK(image_writer_finish(w, &err_));
            image_writer_close(w);
            assert_reads("w", (int)l.format, model, sizes[k]);
            assert_int_equal(os_write_file("model", model, sizes[k], 0, &err_), 0);
            if (l.format == IMAGE_VHDX)
                sh("qemu-img check -f vhdx w");
            if (sizes[k] >= MIB)                     /* qemu-img's vpc driver wants a cylinder */
                sh("qemu-img compare --image-opts %s driver=raw,file.filename=model", shapes[s].judge);
            free(model);
            free(data);
        }
}

/* What no commit covers is gone after a close; what one covers stays; and what is made anew in its place begins as zeros. */
static void forgets_what_was_not_committed(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        struct image_layout l = shapes[s].layout;
        if (l.format == IMAGE_VHD && !os_files_are_sparse())
            continue;                                /* has no footer before its end */
        bool blocks = l.format == IMAGE_VHD_DYNAMIC || (l.format == IMAGE_VHDX && !l.fixed);
        l.virtual_size = 700 * MIB;
        uint8_t *model = calloc(1, l.virtual_size), page[4096];
        assert_non_null(model);
        memset(page, 0xa5, sizeof page);
        os_remove("w", &err_);
        struct image_writer *w = NULL;
        OK(image_writer_create("w", &l, &w, &err_));
        OK(image_writer_write(w, page, sizeof page, 300 * MIB + 512, &err_));
        memcpy(model + 300 * MIB + 512, page, sizeof page);
        OK(image_writer_commit(w, &err_));
        for (uint64_t at = 0; at < 288 * MIB; at += 3 * MIB)
            OK(image_writer_write(w, page, sizeof page, at, &err_));
        image_writer_close(w);
        if (!blocks)
            for (uint64_t at = 0; at < 288 * MIB; at += 3 * MIB)
                memcpy(model + at, page, sizeof page);
        assert_reads("w", (int)l.format, model, l.virtual_size);
        OK(image_writer_open("w", &l, &w, &err_));
        assert_reads("w", (int)l.format, model, l.virtual_size);
        for (uint64_t at = 600 * MIB; at < 700 * MIB; at += 5 * MIB) {
            OK(image_writer_write(w, page, 100, at + 200, &err_));
            memcpy(model + at + 200, page, 100);
        }
        OK(image_writer_finish(w, &err_));
        image_writer_close(w);
        assert_reads("w", (int)l.format, model, l.virtual_size);
        free(model);
    }
}

static void goes_to_the_limits(void **state)
{
    (void)state;
    static const struct { struct image_layout layout; const char *check; } large[] = {
        {{.format = IMAGE_VHDX, .virtual_size = 64 * TIB}, "qemu-img check -f vhdx w"},
        {{.format = IMAGE_VHDX, .virtual_size = 8 * TIB + 3 * MIB}, "qemu-img check -f vhdx w"},
        {{.format = IMAGE_VHDX, .virtual_size = 64 * TIB, .sector_size = 4096}, "true"},
        {{.format = IMAGE_VHD_DYNAMIC, .virtual_size = 2040 * GIB}, "qemu-img info -f vpc w"},
        {{.format = IMAGE_VHD, .virtual_size = 2 * TIB}, "true"},
        {{.format = IMAGE_VHD, .virtual_size = 8 * TIB}, "true"},
    };
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        const struct image_layout *l = &large[i].layout;
        if (l->format == IMAGE_VHD && !os_files_are_sparse())
            continue;
        static const char text[] = "the last bytes of the disk";
        uint64_t at = l->virtual_size - sizeof text;
        os_remove("w", &err_);
        struct image_writer *w = NULL;
        OK(image_writer_create("w", l, &w, &err_));
        OK(image_writer_write(w, text, sizeof text, at, &err_));
        OK(image_writer_write(w, text, sizeof text, 0, &err_));
        OK(image_writer_commit(w, &err_));
        image_writer_close(w);
        OK(image_writer_open("w", l, &w, &err_));
        OK(image_writer_write(w, text, sizeof text, l->virtual_size / 2, &err_));
        OK(image_writer_finish(w, &err_));
        image_writer_close(w);
        sh("%s", large[i].check);
        AUTO(image_close_ptr) struct image *im = NULL;
        OK(image_open("w", (int)l->format, &im, &err_));
        const struct image_source *d = image_disk(im);
        assert_true(d->size == l->virtual_size);
        assert_int_equal(image_info(im)->sector_size, l->sector_size ? l->sector_size : 512);
        uint64_t start, end = 0;
        unsigned found = 0;
        char buf[sizeof text];
        for (uint64_t from = 0;; from = end) {       /* three places have data, and are found without a look at the rest */
            OK(image_next_data(d, from, d->size, &start, &end, &err_));
            if (start == end)
                break;
            found++;
        }
        assert_in_range(found, os_files_are_sparse() ? 3 : 1, 12);     /* Wine does not tell where a file's data is */
        static const int places = 3;
        for (int k = 0; k < places; k++) {
            OK(d->read(d->arg, buf, sizeof buf, k == 0 ? 0 : k == 1 ? d->size / 2 : at, &err_));
            assert_memory_equal(buf, text, sizeof text);
        }
    }
}

static void refuses_what_cannot_be(void **state)
{
    (void)state;
    static const struct { struct image_layout layout; enum err_code code; const char *text; } bad[] = {
        {{.format = IMAGE_VHDX, .virtual_size = 64 * TIB + 512}, ERR_UNSUPPORTED, "too large"},
        {{.format = IMAGE_VHD_DYNAMIC, .virtual_size = 2041 * GIB}, ERR_UNSUPPORTED, "too large"},
        {{.format = IMAGE_VHDX, .virtual_size = 513}, ERR_VALUE, "multiple of 512"},
        {{.format = IMAGE_VHDX, .virtual_size = 512, .sector_size = 4096}, ERR_VALUE, "multiple of 4096"},
        {{.format = IMAGE_VHD, .virtual_size = MIB, .sector_size = 4096}, ERR_UNSUPPORTED, "sectors of 512"},
        {{.format = IMAGE_VHDX, .virtual_size = 0}, ERR_VALUE, "cannot have 0"},
        {{.format = IMAGE_VHDX, .virtual_size = MIB, .block_bytes = 3 << 20}, ERR_VALUE, "powers of two"},
        {{.format = IMAGE_VHDX, .virtual_size = 64 * TIB, .block_bytes = 1 << 20}, ERR_VALUE, "at most"},
        {{.format = IMAGE_VHDX, .virtual_size = MIB, .sector_size = 520}, ERR_VALUE, "520"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        os_remove("bad", &err_);
        struct image_writer *w = NULL;
        assert_int_equal(image_writer_create("bad", &bad[i].layout, &w, &err_), -(int)bad[i].code);
        assert_non_null(strstr(err_.msg, bad[i].text));
    }
    struct image_layout l = {.format = IMAGE_VHDX, .virtual_size = 10 * MIB};
    struct image_writer *w = NULL;
    sh("echo mine >bad");
    assert_true(image_writer_create("bad", &l, &w, &err_) < 0);        /* never over a file */
    sh("[ \"$(cat bad)\" = mine ]; rm bad");
    OK(image_writer_create("bad", &l, &w, &err_));
    assert_int_equal(image_writer_write(w, "x", 1, 10 * MIB, &err_), -ERR_INTERNAL);
    image_writer_close(w);
    l.virtual_size = 11 * MIB;
    assert_int_equal(image_writer_open("bad", &l, &w, &err_), -ERR_IMAGE_DAMAGED);
    l = (struct image_layout){.format = IMAGE_VHD_DYNAMIC, .virtual_size = 10 * MIB};
    assert_int_equal(image_writer_open("bad", &l, &w, &err_), -ERR_IMAGE_DAMAGED);
    sh("qemu-img create -q -f vhdx bad 10M");
    l.format = IMAGE_VHDX;
    l.block_bytes = 1 << 20;
    assert_int_equal(image_writer_open("bad", &l, &w, &err_), -ERR_IMAGE_DAMAGED);
}

/* A footer that comes with the source stays as it is. */
static void keeps_a_footer(void **state)
{
    (void)state;
    uint8_t footer[512];
    OK(image_vhd_footer(3 * MIB, footer, &err_));
    struct image_layout l = {.format = IMAGE_VHD, .virtual_size = 3 * MIB, .footer = footer};
    struct image_writer *w = NULL;
    os_remove("w", &err_);
    OK(image_writer_create("w", &l, &w, &err_));
    OK(image_writer_finish(w, &err_));
    image_writer_close(w);
    struct mem_image m = mem_load("w");
    assert_int_equal(m.size, 3 * MIB + 512);
    assert_memory_equal(m.data + 3 * MIB, footer, 512);
    mem_drop(&m);
    os_remove("w", &err_);
    l.virtual_size = 4 * MIB;
    assert_true(image_writer_create("w", &l, &w, &err_) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_ranges_in_any_order), cmocka_unit_test(forgets_what_was_not_committed), cmocka_unit_test(goes_to_the_limits),
        cmocka_unit_test(refuses_what_cannot_be),    cmocka_unit_test(keeps_a_footer),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
