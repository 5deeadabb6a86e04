/* The screen, as the thumbnail that Hyper-V makes of any size: asked for in the size of the guest's own picture. Needs no session, works from the
 * firmware's first text on. */
#include <string.h>

#include "hyperv/hyperv.h"

#define SIDE_MAX 4096u                                 /* pixels */
#define WIDTH_DEFAULT 1024u                            /* while the guest has not set a mode */
#define HEIGHT_DEFAULT 768u
#define TRIES 3                                        /* the mode may change between the two questions */

void hyperv_rgb565(const uint8_t *in, size_t pixels, uint8_t *ret)
{
    for (size_t i = 0; i < pixels; i++) {
        unsigned p = in[2 * i] | (unsigned)in[2 * i + 1] << 8, r = p >> 11 & 31, g = p >> 5 & 63, b = p & 31;
        ret[3 * i] = (uint8_t)(r << 3 | r >> 2);       /* 31 is 255, not 248 */
        ret[3 * i + 1] = (uint8_t)(g << 2 | g >> 4);
        ret[3 * i + 2] = (uint8_t)(b << 3 | b >> 2);
    }
}

/* Of several heads the first that shows something. */
static int mode_of(struct hyperv *h, const char *guid, const struct wmi_wait *w, unsigned *ret_width, unsigned *ret_height, struct err *e)
{
    struct wmi_rows rows = {0};
    int r = hyperv_query(h, w, &rows, e,
                         "SELECT CurrentHorizontalResolution,CurrentVerticalResolution FROM Msvm_VideoHead WHERE SystemName='%s'", guid);
    *ret_width = WIDTH_DEFAULT;
    *ret_height = HEIGHT_DEFAULT;
    for (size_t i = 0; i < rows.n; i++) {
        uint64_t x = wmi_uint(rows.at[i], "CurrentHorizontalResolution", 0), y = wmi_uint(rows.at[i], "CurrentVerticalResolution", 0);
        if (!x || !y || x > SIDE_MAX || y > SIDE_MAX)
            continue;
        *ret_width = (unsigned)x;
        *ret_height = (unsigned)y;
        break;
    }
    wmi_rows_clear(&rows);
    return r;
}

static int thumbnail(struct hyperv *h, const struct hyperv_machine *m, unsigned width, unsigned height, const struct wmi_wait *w, struct wmi_value *ret,
                     struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    AUTO(wmi_object_free_ptr) struct wmi_object *out = NULL;
    AUTO_FREE char *what = str_printf("cannot read the screen of the VM %s", m->id);
    struct wmi *wmi;
    int r = hyperv_prepare(h, HYPERV_VMS, "GetVirtualSystemThumbnailImage", what, w, &c, e);
    if (r == 0)
        r = wmi_put_str(c.in, "TargetSystem", m->settings_path, e);
    if (r == 0)
        r = wmi_put_uint(c.in, "WidthPixels", width, e);
    if (r == 0)
        r = wmi_put_uint(c.in, "HeightPixels", height, e);
    if (r == 0)
        r = hyperv_wmi(h, w, &wmi, e);
    if (r == 0)
        r = wmi_exec_read(wmi, c.path, c.method, c.in, w, &out, e);
    if (r < 0)
        return r;
    uint64_t value = out ? wmi_uint(out, "ReturnValue", 2) : 2;
    return value ? hyperv_fail(e, (uint32_t)value, NULL, "%s", what) : wmi_get_value(out, "ImageData", ret, e);
}

static int read_screen(struct hyperv *h, const struct hyperv_machine *m, const struct wmi_wait *w, struct hv_image *ret, struct err *e)
{
    unsigned width = 0, height = 0;
    size_t got = 0;
    for (int i = 0; i < TRIES; i++) {
        AUTO(wmi_value_clear) struct wmi_value data = {0};
        int r = mode_of(h, m->guid, w, &width, &height, e);
        if (r == 0)
            r = thumbnail(h, m, width, height, w, &data, e);
        if (r < 0)
            return r;
        size_t pixels = (size_t)width * height;
        got = data.array && data.type == WMI_UINT8 ? data.n : 0;
        if (got != pixels * 2)
            continue;
        uint8_t *rgb = malloc(pixels * 3);
        if (!rgb)
            return err_oom(e);
        hyperv_rgb565(data.bytes, pixels, rgb);
        *ret = (struct hv_image){.width = width, .height = height, .rgb = rgb};
        return 0;
    }
    err_set(e, ERR_UPSTREAM, "Hyper-V's picture of the VM %s has %zu bytes, %ux%u pixels were asked for", m->id, got, width, height);
    snprintf(e->upstream.service, sizeof e->upstream.service, "hyperv");
    return -ERR_UPSTREAM;
}

int hyperv_screen(struct hv *hv, const char *id, struct hv_image *ret, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm = hyperv_vm_ref(h, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    struct hyperv_state st = {0};
    int r = hyperv_machine_of(vm, &w, &m, e);
    if (r == 0)
        r = hyperv_state_read(h, m.guid, &w, &st, e);
    if (r == 0 && st.state == HV_OFF) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is off and has no screen", id);
        r = err_hint(e, "Start it first.");
    }
    if (r == 0)
        r = read_screen(h, &m, &w, ret, e);
    hyperv_vm_unref(vm);
    return hyperv_answer(r, e);
}
