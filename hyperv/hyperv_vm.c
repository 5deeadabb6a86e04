/* The table of VMs, claims on ids, and one operation at a time on a VM. */
#include <string.h>

#include "common/clock.h"
#include "hyperv/hyperv.h"

#define OP_WAIT_MS 60000                               /* for another operation on the same VM; some take longer: ERR_BUSY then */
#define OP_POLL_MS 20

int hyperv_no_vm(const char *id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "there is no virtual machine with the id '%s'", id);
}

void hyperv_guid_of(struct hyperv_vm *vm, char ret[UUID_LEN])
{
    pthread_mutex_lock(&vm->lock);
    memcpy(ret, vm->rec.guid, UUID_LEN);
    pthread_mutex_unlock(&vm->lock);
}

int hyperv_vm_add(struct hyperv *h, const char *id, const char *dir, struct hyperv_record *rec, struct err *e)
{
    struct hyperv_vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_oom(e);
    vm->h = h;
    vm->refs = 1;                                      /* the table's */
    vm->state = HV_OFF;
    snprintf(vm->id, sizeof vm->id, "%s", id);
    pthread_mutex_init(&vm->keys, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    int r = (vm->dir = str_dup(dir)) ? hyperv_serial_new(id, dir, &vm->serial, e) : err_oom(e);
    if (r == 0) {
        pthread_mutex_lock(&h->lock);
        struct hyperv_vm **grown = h->n_vms < HYPERV_VMS_MAX ? realloc(h->vms, (h->n_vms + 1) * sizeof(struct hyperv_vm *)) : NULL;
        if (grown) {
            h->vms = grown;
            h->vms[h->n_vms++] = vm;
            vm->rec = *rec;
            memset(rec, 0, sizeof *rec);
        } else {
            r = h->n_vms < HYPERV_VMS_MAX ? err_oom(e)
                                          : err_set(e, ERR_BUSY, "there are %d virtual machines already, the most that are kept", HYPERV_VMS_MAX);
        }
        pthread_mutex_unlock(&h->lock);
    }
    if (r < 0)
        hyperv_vm_unref(vm);
    return r;
}

void hyperv_vm_remove(struct hyperv_vm *vm)
{
    struct hyperv *h = vm->h;
    pthread_mutex_lock(&vm->lock);
    vm->gone = true;
    pthread_mutex_unlock(&vm->lock);
    pthread_mutex_lock(&h->lock);
    size_t kept = 0;
    for (size_t i = 0; i < h->n_vms; i++)
        if (h->vms[i] != vm)
            h->vms[kept++] = h->vms[i];
    bool was_in = kept < h->n_vms;
    h->n_vms = kept;
    pthread_mutex_unlock(&h->lock);
    if (was_in)
        hyperv_vm_unref(vm);
}

struct hyperv_vm *hyperv_vm_ref(struct hyperv *h, const char *id)
{
    struct hyperv_vm *vm = NULL;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n_vms && !vm; i++)
        if (str_ieq(h->vms[i]->id, id)) {
            vm = h->vms[i];
            vm->refs++;
        }
    pthread_mutex_unlock(&h->lock);
    return vm;
}

void hyperv_vm_unref(struct hyperv_vm *vm)
{
    if (!vm)
        return;
    pthread_mutex_lock(&vm->h->lock);
    bool last = --vm->refs == 0;
    pthread_mutex_unlock(&vm->h->lock);
    if (!last)
        return;
    hyperv_serial_free(vm->serial);
    hyperv_record_clear(&vm->rec);
    pthread_mutex_destroy(&vm->keys);
    pthread_mutex_destroy(&vm->lock);
    free(vm->keyboard);
    free(vm->dir);
    free(vm);
}

struct hyperv_vm **hyperv_vm_all(struct hyperv *h)
{
    pthread_mutex_lock(&h->lock);
    struct hyperv_vm **all = calloc(h->n_vms + 1, sizeof(struct hyperv_vm *));
    for (size_t i = 0; all && i < h->n_vms; i++) {
        all[i] = h->vms[i];
        all[i]->refs++;
    }
    pthread_mutex_unlock(&h->lock);
    return all;
}

void hyperv_claim(struct hyperv *h, struct hyperv_claim *c, const char *id)
{
    c->id = id;
    pthread_mutex_lock(&h->lock);
    for (struct hyperv_claim *other = h->claims; other;) {
        if (!str_ieq(other->id, id)) {
            other = other->next;
        } else {
            pthread_cond_wait(&h->claims_changed, &h->lock);
            other = h->claims;
        }
    }
    c->next = h->claims;
    h->claims = c;
    pthread_mutex_unlock(&h->lock);
}

void hyperv_unclaim(struct hyperv *h, struct hyperv_claim *c)
{
    pthread_mutex_lock(&h->lock);
    for (struct hyperv_claim **p = &h->claims; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    pthread_cond_broadcast(&h->claims_changed);
    pthread_mutex_unlock(&h->lock);
}

int hyperv_op_begin(struct hyperv *h, const char *id, const char *doing, struct hyperv_vm **ret, struct err *e)
{
    struct hyperv_vm *vm = hyperv_vm_ref(h, id);
    if (!vm)
        return hyperv_no_vm(id, e);
    for (int64_t deadline = clock_mono_ms() + OP_WAIT_MS;; clock_sleep_ms(OP_POLL_MS)) {
        pthread_mutex_lock(&vm->lock);
        const char *other = vm->busy_with;
        bool gone = vm->gone;
        if (!gone && !other)
            vm->busy_with = doing;
        pthread_mutex_unlock(&vm->lock);
        int r = 0;
        if (!gone && !other) {
            *ret = vm;
            return 0;
        }
        if (gone) {
            r = hyperv_no_vm(id, e);
        } else if (h->stop && h->stop(h->stop_arg)) {
            r = err_set(e, ERR_CANCELLED, "the operation was given up");
        } else if (clock_mono_ms() > deadline) {
            err_set(e, ERR_BUSY, "the VM %s %s, and that takes longer than expected", id, other);
            r = err_hint(e, "Try again when it is done.");
        }
        if (r < 0) {
            hyperv_vm_unref(vm);
            return r;
        }
    }
}

void hyperv_op_end(struct hyperv_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    vm->busy_with = NULL;
    pthread_mutex_unlock(&vm->lock);
    hyperv_vm_unref(vm);
}

int hyperv_commit(struct hyperv_vm *vm, struct hyperv_record *r, struct err *e)
{
    int status = hyperv_record_save(vm->dir, r, e);
    if (status < 0) {
        hyperv_record_clear(r);
        return status;
    }
    pthread_mutex_lock(&vm->lock);
    struct hyperv_record old = vm->rec;
    vm->rec = *r;
    pthread_mutex_unlock(&vm->lock);
    memset(r, 0, sizeof *r);
    hyperv_record_clear(&old);
    return 0;
}
