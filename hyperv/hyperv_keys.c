/* The keyboard, by scan codes: they mean keys, whatever layout the guest has. Firmware and Linux lose what comes too fast, so they go in small
 * pieces with pauses. */
#include <string.h>

#include "hyperv/hyperv.h"
#include "hyperv/keys.h"

#define PIECE 12u                                      /* bytes at once */
#define PACE_MS 60u                                    /* after each piece */
#define PROOF_MS 10000
#define CHORD_BYTES (2 * HV_SCANCODES_MAX * ARRAY_LEN(((struct hv_chord *)NULL)->codes))

struct codes { uint8_t at[CHORD_BYTES]; size_t n, pieces[2 * CHORD_BYTES], n_pieces; };

/* Never cuts through the bytes of one key. */
static void add_key(struct codes *c, const char *code, bool up)
{
    uint8_t key[HV_SCANCODES_MAX];
    size_t n = hv_key_scancodes(code, up, key);
    if (!c->n_pieces || c->pieces[c->n_pieces - 1] + n > PIECE)
        c->pieces[c->n_pieces++] = 0;
    memcpy(c->at + c->n, key, n);
    c->n += n;
    c->pieces[c->n_pieces - 1] += n;
}

static int type_piece(struct hyperv *h, const char *keyboard, const uint8_t *at, size_t n, const char *what, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_call_clear) struct hyperv_call c = {0};
    int r = hyperv_prepare_at(h, "Msvm_Keyboard", keyboard, "TypeScancodes", what, w, &c, e);
    if (r == 0)
        r = wmi_put_bytes(c.in, "Scancodes", at, n, e);
    c.once = true;
    if (r == 0)
        r = hyperv_invoke(h, &c, w, NULL, e);
    h->p.host->sleep_ms(h->p.host_arg, PACE_MS);
    return r;
}

/* The keyboard of a VM that is proven ours. Texts are many chords in a row: the proof holds for a while. */
static int find_keyboard(struct hyperv_vm *vm, const struct wmi_wait *w, struct err *e)
{
    AUTO(hyperv_machine_clear) struct hyperv_machine m = {0};
    AUTO(wmi_object_free_ptr) struct wmi_object *o = NULL;
    if (vm->keyboard && hyperv_now(vm->h) < vm->keys_proven_until_ms)
        return 0;
    free(vm->keyboard);
    vm->keyboard = NULL;
    int r = hyperv_machine_of(vm, w, &m, e);
    if (r == 0)
        r = hyperv_query_one(vm->h, w, &o, e, "SELECT * FROM Msvm_Keyboard WHERE SystemName='%s'", m.guid);
    if (r == 0)
        r = wmi_path(o, &vm->keyboard, e);
    if (r == 0)
        vm->keys_proven_until_ms = hyperv_now(vm->h) + PROOF_MS;
    return r;
}

static int type(struct hyperv_vm *vm, const struct hv_chord *chord, const struct wmi_wait *w, struct err *e)
{
    struct hyperv *h = vm->h;
    const char *keyboard = vm->keyboard;
    struct codes down = {0}, up = {0};
    AUTO_FREE char *what = str_printf("cannot type on the keyboard of the VM %s", vm->id);
    int r = 0;
    for (size_t i = 0; i < chord->n; i++)
        add_key(&down, chord->codes[i], false);
    for (size_t i = chord->n; i > 0; i--)
        add_key(&up, chord->codes[i - 1], true);
    if (down.n + up.n <= PIECE) {                      /* the usual case: one key, or one with Shift */
        memcpy(down.at + down.n, up.at, up.n);
        return type_piece(h, keyboard, down.at, down.n + up.n, what, w, e);
    }
    const uint8_t *at = down.at;
    for (size_t i = 0; r == 0 && i < down.n_pieces; at += down.pieces[i++])
        r = type_piece(h, keyboard, at, down.pieces[i], what, w, e);
    at = up.at;
    struct err first = {0};
    if (r < 0)
        first = *e;
    for (size_t i = 0; i < up.n_pieces; at += up.pieces[i++]) {          /* no key stays down, whatever happened */
        int up_r = type_piece(h, keyboard, at, up.pieces[i], what, w, e);
        if (r == 0 && up_r < 0) {
            r = up_r;
            first = *e;
        }
    }
    if (r < 0)
        *e = first;
    return r;
}

int hyperv_keys(struct hv *hv, const char *id, const struct hv_chord *chord, struct err *e)
{
    struct hyperv *h = (struct hyperv *)hv;
    struct hyperv_vm *vm = hyperv_vm_ref(h, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    struct wmi_wait w = hyperv_wait(h, HYPERV_GLANCE_MS, true);
    struct hyperv_state st = {0};
    char guid[UUID_LEN];
    hyperv_guid_of(vm, guid);
    pthread_mutex_lock(&vm->keys);
    int r = hyperv_state_read(h, guid, &w, &st, e);
    if (r == 0 && st.state != HV_RUNNING) {
        err_set(e, ERR_WRONG_STATE, "the VM %s is %s%s%s and takes no keys", id, hv_state_name(st.state), st.detail[0] ? ": " : "", st.detail);
        r = err_hint(e, "Start it first.");
    }
    if (r == 0)
        r = find_keyboard(vm, &w, e);
    if (r == 0)
        r = type(vm, chord, &w, e);
    if (r < 0)
        vm->keys_proven_until_ms = 0;
    pthread_mutex_unlock(&vm->keys);
    hyperv_vm_unref(vm);
    return hyperv_answer(r, e);
}
