/* The screen as pixels, as text and as a connection to QEMU's VNC server, and the keyboard. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "hyperv/keys.h"
#include "hyperv/qemu.h"

#define SIDE_MAX 8192                                  /* pixels */
#define KEY_HOLD_MS 20
#define KEY_PACE_MS 30                                 /* from one key to the next; slower guests lose keys below it */
#define TEXT_MEMORY 0xB8000
#define TEXT_BYTES 32768
#define TEXT_COLUMNS_MAX 160
#define TEXT_ROWS_MAX 100

/* "P6 <width> <height> 255" and one white space, as QEMU writes it; anything else is refused. */
static int parse_ppm(const char *head, size_t n, unsigned *w, unsigned *h, size_t *ret_offset, struct err *e)
{
    char text[64];
    int used = 0;
    size_t len = n < sizeof text ? n : sizeof text - 1;
    memcpy(text, head, len);
    text[len] = 0;
    if (sscanf(text, "P6 %5u %5u 255%n", w, h, &used) != 2 || used == 0 || (size_t)used >= len || *w < 1 || *h < 1 || *w > SIDE_MAX || *h > SIDE_MAX)
        return err_set(e, ERR_VM, "QEMU wrote a picture of the screen that cannot be read");
    *ret_offset = (size_t)used + 1;
    return 0;
}

static int load_ppm(int dirfd, const char *name, struct hv_image *ret, struct err *e)
{
    char head[64];
    size_t n = 0, offset = 0;
    struct hv_image img = {0};
    int r = qemu_read_at(dirfd, name, 0, head, sizeof head, &n, NULL, e);
    if (r == 0)
        r = parse_ppm(head, n, &img.width, &img.height, &offset, e);
    if (r < 0)
        return r;
    size_t size = (size_t)img.width * img.height * 3;
    img.rgb = malloc(size);
    if (!img.rgb)
        return err_oom(e);
    r = qemu_read_at(dirfd, name, offset, img.rgb, size, &n, NULL, e);
    if (r == 0 && n != size)
        r = err_set(e, ERR_VM, "QEMU wrote only a part of the picture of the screen");
    if (r < 0)
        hv_image_clear(&img);
    else
        *ret = img;
    return r;
}

int qemu_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_on(vm, "show its screen", e);
    if (r == 0)
        r = qemu_vm_call(vm, "screendump", json_pack("{s:s}", "filename", "screen.ppm"), NULL, e);
    if (r == 0)
        r = load_ppm(vm->dirfd, "screen.ppm", ret, e);
    unlinkat(vm->dirfd, "screen.ppm", 0);
    qemu_op_end(vm);
    return r;
}

/* Code page 437 from 0x80 on, and the pictures that it has where ASCII has control characters. */
static const uint16_t cp437_high[128] = {
    0x00C7, 0x00FC, 0x00E9, 0x00E2, 0x00E4, 0x00E0, 0x00E5, 0x00E7, 0x00EA, 0x00EB, 0x00E8, 0x00EF, 0x00EE, 0x00EC, 0x00C4, 0x00C5,
    0x00C9, 0x00E6, 0x00C6, 0x00F4, 0x00F6, 0x00F2, 0x00FB, 0x00F9, 0x00FF, 0x00D6, 0x00DC, 0x00A2, 0x00A3, 0x00A5, 0x20A7, 0x0192,
    0x00E1, 0x00ED, 0x00F3, 0x00FA, 0x00F1, 0x00D1, 0x00AA, 0x00BA, 0x00BF, 0x2310, 0x00AC, 0x00BD, 0x00BC, 0x00A1, 0x00AB, 0x00BB,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255D, 0x255C, 0x255B, 0x2510,
    0x2514, 0x2534, 0x252C, 0x251C, 0x2500, 0x253C, 0x255E, 0x255F, 0x255A, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256C, 0x2567,
    0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256B, 0x256A, 0x2518, 0x250C, 0x2588, 0x2584, 0x258C, 0x2590, 0x2580,
    0x03B1, 0x00DF, 0x0393, 0x03C0, 0x03A3, 0x03C3, 0x00B5, 0x03C4, 0x03A6, 0x0398, 0x03A9, 0x03B4, 0x221E, 0x03C6, 0x03B5, 0x2229,
    0x2261, 0x00B1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00F7, 0x2248, 0x00B0, 0x2219, 0x00B7, 0x221A, 0x207F, 0x00B2, 0x25A0, 0x0020,
};
static const uint16_t cp437_low[32] = {
    0x0020, 0x263A, 0x263B, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25D8, 0x25CB, 0x25D9, 0x2642, 0x2640, 0x266A, 0x266B, 0x263C,
    0x25BA, 0x25C4, 0x2195, 0x203C, 0x00B6, 0x00A7, 0x25AC, 0x21A8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221F, 0x2194, 0x25B2, 0x25BC,
};

static void add_cp437(struct strbuf *b, uint8_t c)
{
    unsigned u = c >= 0x80 ? cp437_high[c - 0x80] : c < 0x20 ? cp437_low[c] : c == 0x7F ? 0x2302 : c;
    char utf8[3];
    size_t n = 0;
    if (u < 0x80) {
        utf8[n++] = (char)u;
    } else if (u < 0x800) {
        utf8[n++] = (char)(0xC0 | u >> 6);
        utf8[n++] = (char)(0x80 | (u & 0x3F));
    } else {
        utf8[n++] = (char)(0xE0 | u >> 12);
        utf8[n++] = (char)(0x80 | (u >> 6 & 0x3F));
        utf8[n++] = (char)(0x80 | (u & 0x3F));
    }
    strbuf_add(b, utf8, n);
}

/* ---- VGA registers, through the monitor's port commands. The guest is stopped meanwhile, and the index registers are put back. ---- */

static int port_out(struct qmp *m, unsigned port, unsigned value, struct err *e)
{
    char line[48];
    snprintf(line, sizeof line, "o /b 0x%x 0x%x", port, value);
    return qmp_hmp(m, line, NULL, e);
}

/* The answer is "portb[0x03cf] = 0x0e". */
static int port_in(struct qmp *m, unsigned port, unsigned *ret, struct err *e)
{
    char line[48];
    AUTO_FREE char *out = NULL;
    snprintf(line, sizeof line, "i /b 0x%x", port);
    int r = qmp_hmp(m, line, &out, e);
    if (r < 0)
        return r;
    const char *value = strchr(out, '=');
    if (!value || sscanf(value + 1, " 0x%2x", ret) != 1)
        return err_set(e, ERR_VM, "QEMU's monitor gave no value for the port 0x%x: %.80s", port, out);
    return 0;
}

static int indexed(struct qmp *m, unsigned port, unsigned index, unsigned *ret, struct err *e)
{
    int r = port_out(m, port, index, e);
    return r < 0 ? r : port_in(m, port + 1, ret, e);
}

struct text_mode {
    unsigned start, pitch, columns, rows;              /* in characters */
};

static int read_crtc(struct qmp *m, struct text_mode *t, struct err *e)
{
    static const uint8_t index[] = {0x01, 0x07, 0x09, 0x0C, 0x0D, 0x12, 0x13};
    unsigned v[ARRAY_LEN(index)];
    for (size_t i = 0; i < ARRAY_LEN(index); i++) {
        int r = indexed(m, 0x3D4, index[i], &v[i], e);
        if (r < 0)
            return r;
    }
    unsigned lines = (v[5] | (v[1] & 0x02) << 7 | (v[1] & 0x40) << 3) + 1, height = (v[2] & 0x1F) + 1;
    *t = (struct text_mode){.start = v[3] << 8 | v[4], .pitch = v[6] * 2, .columns = v[0] + 1, .rows = lines / height};
    return 0;
}

static int not_text(struct err *e)
{
    err_set(e, ERR_UNSUPPORTED, "the screen is in a graphics mode, which has no text to read");
    return err_hint(e, "Ask for the screen as an image.");
}

static int read_text_mode(struct qmp *m, struct text_mode *t, struct err *e)
{
    unsigned misc = 0, index = 0, gr6 = 0;
    int r = port_in(m, 0x3CC, &misc, e);               /* bit 0: the CRTC is at 0x3D4 and the text at 0xB8000 */
    if (r < 0)
        return r;
    if (!(misc & 1))
        return not_text(e);
    r = port_in(m, 0x3CE, &index, e);
    if (r == 0)
        r = indexed(m, 0x3CE, 6, &gr6, e);             /* bit 0: graphics; set in VBE modes too */
    if (r == 0)
        r = port_out(m, 0x3CE, index, e);
    if (r == 0 && gr6 & 1)
        return not_text(e);
    if (r == 0)
        r = port_in(m, 0x3D4, &index, e);
    if (r < 0)
        return r;
    r = read_crtc(m, t, e);
    struct err ignored;
    port_out(m, 0x3D4, index, r < 0 ? &ignored : e);
    if (r == 0 && (t->columns > TEXT_COLUMNS_MAX || t->rows < 1 || t->rows > TEXT_ROWS_MAX || t->pitch < t->columns))
        return not_text(e);                            /* between two modes */
    return r;
}

static char *render(const uint8_t *page, const struct text_mode *t)
{
    struct strbuf b = {0};
    for (unsigned y = 0; y < t->rows; y++) {
        unsigned used = 0;
        uint8_t line[TEXT_COLUMNS_MAX];
        for (unsigned x = 0; x < t->columns; x++) {
            size_t cell = (t->start + (size_t)y * t->pitch + x) % (TEXT_BYTES / 2);
            line[x] = page[cell * 2];
            if (line[x] != ' ' && line[x] != 0 && line[x] != 0xFF)
                used = x + 1;
        }
        for (unsigned x = 0; x < used; x++)
            add_cp437(&b, line[x]);
        strbuf_add(&b, "\n", 1);
    }
    return strbuf_steal(&b);
}

static int read_text(struct qemu_vm *vm, char **ret, struct err *e)
{
    struct text_mode t = {0};
    int r = read_text_mode(vm->qmp, &t, e);
    if (r == 0)
        r = qmp_call(vm->qmp, "pmemsave",
                     json_pack("{s:i, s:i, s:s}", "val", TEXT_MEMORY, "size", TEXT_BYTES, "filename", "screen.txt"), QMP_TIMEOUT_MS, NULL, e);
    AUTO_FREE uint8_t *page = calloc(1, TEXT_BYTES);
    if (r == 0 && !page)
        r = err_oom(e);
    size_t n = 0;
    if (r == 0)
        r = qemu_read_at(vm->dirfd, "screen.txt", 0, page, TEXT_BYTES, &n, NULL, e);
    unlinkat(vm->dirfd, "screen.txt", 0);
    if (r < 0)
        return r;
    *ret = render(page, &t);
    return *ret ? 0 : err_oom(e);
}

int qemu_display(struct hv *hv, const char *id, intptr_t *ret_socket, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_on(vm, "show its screen", e);
    int fd = r == 0 ? qemu_connect(vm->dirfd, "vnc.sock") : -1;
    if (r == 0 && fd == -ENOENT) {
        err_set(e, ERR_WRONG_STATE, "the VM %s was started by a version that gave VMs no display to connect to", id);
        r = err_hint(e, "Stop it and start it again; pictures of its screen and keys work as it is.");
    } else if (r == 0 && fd < 0) {
        r = err_os(e, ERR_VM, -fd, "cannot connect to the display of the VM %s", id);
    }
    qemu_op_end(vm);
    if (r == 0)
        *ret_socket = fd;
    return r;
}

int qemu_screen_text(struct hv *hv, const char *id, char **ret, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_on(vm, "read its screen", e);
    bool was_running = vm->state == HV_RUNNING, stopped = false;
    if (r == 0 && was_running) {
        r = qemu_vm_call(vm, "stop", NULL, NULL, e);
        stopped = r == 0;
    }
    if (r == 0)
        r = read_text(vm, ret, e);
    struct err ignored;
    if (stopped)                                       /* should the connection have broken, hv_open or the next start resumes it */
        qemu_vm_call(vm, "cont", NULL, NULL, &ignored);
    qemu_op_end(vm);
    return r;
}

int qemu_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e)
{
    struct qemu_vm *vm;
    int r = qemu_op_begin((struct qemu *)hv, id, &vm, e);
    if (r < 0)
        return r;
    r = qemu_vm_need_on(vm, "take keys", e);
    if (r == 0 && vm->state != HV_RUNNING) {           /* the keyboard's clock stands still as well */
        err_set(e, ERR_WRONG_STATE, "the VM %s is paused and takes no keys: %s", id, vm->detail);
        err_hint(e, "Start it to go on.");
        r = -(int)ERR_WRONG_STATE;
    }
    json_t *keys = json_array();
    for (size_t i = 0; r == 0 && i < chord->n; i++)
        json_array_append_new(keys, json_pack("{s:s, s:s}", "type", "qcode", "data", hv_key_qcode(chord->codes[i])));
    if (r == 0)
        r = qemu_vm_call(vm, "send-key", json_pack("{s:O, s:i}", "keys", keys, "hold-time", KEY_HOLD_MS), NULL, e);
    json_decref(keys);
    if (r == -ERR_VM && strstr(e->msg, "does not accept value")) {
        err_set(e, ERR_UNSUPPORTED, "this QEMU's keyboard has no key '%s'", chord->codes[0]);
        r = -(int)ERR_UNSUPPORTED;
    }
    if (r == 0)
        clock_sleep_ms(KEY_PACE_MS);
    qemu_op_end(vm);
    return r;
}
