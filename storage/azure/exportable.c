#include "storage/azure/exportable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/printf.h"

void exportable_free(struct exportable *x)
{
    for (size_t i = 0; i < x->n; i++) {
        free(x->reasons[i].disk);
        free(x->reasons[i].detail);
        free(x->reasons[i].remedy);
    }
    free(x->reasons);
    *x = (struct exportable){0};
}

/* ---- what the disks are ---- */

static bool starts(const char *text, const char *prefix)
{
    return str_istarts(text, prefix);
}

static bool is_new_kind(const struct compute_disk *d)
{
    return starts(d->sku, "UltraSSD") || starts(d->sku, "PremiumV2");
}

bool exportable_can_be_incremental(const struct compute_disk *disk)
{
    return !disk->snapshot;
}

bool exportable_is_vhdx(const struct compute_disk *disk)
{
    return disk->logical_sector_size == 4096;
}

bool exportable_needs_snapshot(const struct compute_vm *vm, const struct compute_disk *disk)
{
    if (disk->snapshot)
        return false;
    bool attached = str_ieq(disk->state, "Attached");            /* "Reserved": its VM is deallocated */
    if (vm && vm->power != POWER_UNKNOWN)
        return vm->power != POWER_DEALLOCATED || (attached && disk->shares > 1);      /* another VM has it */
    return attached;
}

static bool hydrates(const struct compute_disk *d)
{
    return d->completion_percent >= 0 && d->completion_percent < 100;
}

/* Confidential: only what encrypts the disk itself makes it useless elsewhere. */
static bool keeps_secret(const struct compute_disk *d, const struct compute_vm_disk *v)
{
    const char *word = d && *d->security_type ? d->security_type : v ? v->security_encryption : "";
    if (starts(word, "ConfidentialVM_VMGuestState") || starts(word, "ConfidentialVM_NonPersisted") || str_ieq(word, "VMGuestStateOnly") ||
        str_ieq(word, "NonPersistedTPM"))
        return false;
    return starts(word, "ConfidentialVM") || str_ieq(word, "DiskWithVMGuestState");
}

/* ---- the rules ---- */

struct judging {
    const struct exportable_question *q;
    const struct compute_disk *d;                    /* NULL: not readable, or unmanaged */
    const struct compute_vm_disk *v;                 /* NULL: no VM */
    const char *name;                                /* of the disk; NULL: the VM itself */
    struct exportable *ret;
    bool failed;
};

static void PRINTF_LIKE(5, 6) add(struct judging *j, enum exportable_weight weight, const char *code, const char *remedy, const char *fmt, ...)
{
    struct exportable_reason *list = realloc(j->ret->reasons, (j->ret->n + 1) * sizeof *list);
    if (!list) {
        j->failed = true;
        return;
    }
    j->ret->reasons = list;
    va_list ap;
    va_start(ap, fmt);
    struct exportable_reason *x = &list[j->ret->n++];
    *x = (struct exportable_reason){.code = code, .weight = weight, .disk = str_dup(j->name), .detail = str_vprintf(fmt, ap), .remedy = str_dup(remedy)};
    va_end(ap);
    j->failed |= !x->detail || !x->remedy || (j->name && !x->disk);
    if (weight == EXPORTABLE_BLOCKED)
        j->ret->possible = false;
}

static void judge_power(struct judging *j)
{
    const struct compute_vm *vm = j->q->vm;
    switch (vm->power) {
    case POWER_RUNNING:
        add(j, EXPORTABLE_NOTE, "running", "Submit with \"deallocate\": true to stop it first and to have its disks as a clean shutdown leaves them.",
            "the VM runs: its disks are taken by snapshots, as a power cut would leave them");
        break;
    case POWER_STOPPED:
        add(j, EXPORTABLE_NOTE, "stopped_not_deallocated", "Deallocate it in Azure, or submit with \"deallocate\": true, to export the disks directly.",
            "the VM is stopped but not deallocated: its disks are taken by snapshots");
        break;
    case POWER_STARTING:
    case POWER_STOPPING:
    case POWER_DEALLOCATING:
        add(j, EXPORTABLE_WARNING, "power_state_changing", "Wait until it is running or deallocated.", "the VM is %s", compute_power_name(vm->power));
        break;
    case POWER_UNKNOWN:
        add(j, EXPORTABLE_WARNING, "power_state_unknown", "", "Azure does not say whether the VM runs");
        break;
    default:
        break;
    }
}

static void judge_vm(struct judging *j)
{
    const struct compute_vm *vm = j->q->vm;
    if (!vm->n_disks || !vm->disks[0].os)
        add(j, EXPORTABLE_BLOCKED, "no_os_disk", "Recover its data disks one by one, as managed disks.", "the VM has no OS disk");
    judge_power(j);
    if (str_ieq(vm->security_type, "TrustedLaunch"))
        add(j, EXPORTABLE_NOTE, "trusted_launch", "Have the BitLocker recovery key at hand if the disk is protected by it.",
            "the VM has a virtual TPM, whose content stays in Azure: what is sealed to it asks for a recovery key");
}

static void judge_kind(struct judging *j)
{
    const struct compute_vm *vm = j->q->vm;
    bool confidential = vm && str_ieq(vm->security_type, "ConfidentialVM");
    if (keeps_secret(j->d, j->v)) {
        add(j, EXPORTABLE_BLOCKED, "confidential_vm", "Repair it in Azure, with a VM of the same kind.",
            "the disk belongs to a confidential VM and is encrypted with a key that only Azure's hardware gives out: it boots nowhere else");
    } else if (confidential && j->v && j->v->os) {
        bool told = (j->d && *j->d->security_type) || *j->v->security_encryption;
        if (told)
            add(j, EXPORTABLE_WARNING, "confidential_guest_state", "", "the VM is confidential: its guest state (virtual TPM) stays in Azure");
        else
            add(j, EXPORTABLE_BLOCKED, "confidential_vm", "Repair it in Azure, with a VM of the same kind.",
                "the VM is confidential, and Azure does not say that its disk is not encrypted");
    }
    if ((j->d && j->d->ade) || (j->v && j->v->ade))
        add(j, EXPORTABLE_WARNING, "azure_disk_encryption", "Have the key from the key vault at hand (BitLocker recovery key, or the LUKS passphrase).",
            "Azure Disk Encryption: the disk stays encrypted after the export");
    if (j->d && exportable_is_vhdx(j->d))
        add(j, EXPORTABLE_NOTE, "sector_size_4096", "", "the disk has sectors of 4096 bytes and is exported as VHDX");
}

static void judge_network(struct judging *j)
{
    const struct compute_disk *d = j->d;
    const char *open = "Allow access from all networks for the time of the recovery (az disk update --network-access-policy AllowAll "
                       "--public-network-access Enabled).";
    bool private_only = str_ieq(d->network_access_policy, "AllowPrivate") || str_ieq(d->public_network_access, "Disabled");
    if (str_ieq(d->network_access_policy, "DenyAll"))
        add(j, EXPORTABLE_BLOCKED, "network_access_denied", open, "the disk's network access policy denies every export");
    else if (private_only && !j->q->inside_azure)
        add(j, EXPORTABLE_BLOCKED, "private_network_only", open, "the disk can be exported within a private network only, and this host is not in Azure");
    else if (private_only)
        add(j, EXPORTABLE_WARNING, "private_network_only", open,
            "the disk can be exported within its private network only: this host must be part of it");
    if (str_ieq(d->data_access_auth_mode, "AzureActiveDirectory"))
        add(j, EXPORTABLE_WARNING, "entra_data_access", "Give the identity the role Data Operator for Managed Disks.",
            "reading the disk's data needs a Microsoft Entra token and the right Microsoft.Compute/%s/download/action",
            d->snapshot ? "snapshots" : "disks");
}

static void judge_state(struct judging *j)
{
    const struct compute_disk *d = j->d;
    if (hydrates(d))
        add(j, EXPORTABLE_BLOCKED, "still_hydrating", "Wait until its completionPercent is 100.",
            "Azure still fills the %s in the background (%.0f %%)", d->snapshot ? "snapshot" : "disk", d->completion_percent);
    if (str_ieq(d->state, "ReadyToUpload") || str_ieq(d->state, "ActiveUpload"))
        add(j, EXPORTABLE_BLOCKED, "being_uploaded", "Finish the upload first.", "the disk is being uploaded to (%s)", d->state);
    else if (starts(d->state, "ActiveSAS"))
        add(j, EXPORTABLE_WARNING, "access_already_granted", "If nobody else exports it, revoke the access (az disk revoke-access).",
            "access to the disk is granted already; as long as it is, its VM cannot start");
    if (is_new_kind(d) && exportable_needs_snapshot(j->q->vm, d))
        add(j, EXPORTABLE_NOTE, "slow_snapshot", "", "snapshots of %s disks are filled in the background: the export begins when that is done", d->sku);
}

static void judge_disk(struct judging *j)
{
    if (j->v && j->v->ephemeral) {
        add(j, EXPORTABLE_BLOCKED, "ephemeral_os_disk", "Redeploy the VM: an ephemeral disk holds nothing that lasts.",
            "the OS disk lies on the Azure host (ephemeral) and cannot be exported");
        return;
    }
    if (j->v && !j->v->id && j->v->vhd_url)
        add(j, EXPORTABLE_NOTE, "unmanaged_disk", "Have a credential that may read the storage account, and take snapshots of its blobs.",
            "the disk is a page blob in a storage account: it is read there, from a snapshot of the blob");
    else if (!j->d)
        add(j, EXPORTABLE_BLOCKED, "disk_not_readable", "Give the identity the role Reader on the disk's resource group.",
            "the disk could not be read: it is gone, or the identity may not see it");
    judge_kind(j);
    if (j->d) {
        judge_network(j);
        judge_state(j);
    }
}

static const struct compute_disk *find(const struct exportable_question *q, const char *id)
{
    for (size_t i = 0; id && i < q->n; i++)
        if (arm_id_equal(q->disks[i]->id, id))
            return q->disks[i];
    return NULL;
}

int exportable_judge(const struct exportable_question *q, struct exportable *ret, struct err *e)
{
    *ret = (struct exportable){.possible = true};
    struct judging j = {.q = q, .ret = ret};
    if (q->vm) {
        judge_vm(&j);
        for (size_t i = 0; i < q->vm->n_disks; i++) {
            j.v = &q->vm->disks[i];
            if (!j.v->os && !q->data_disks)
                continue;
            j.d = find(q, j.v->id);
            j.name = j.v->name ? j.v->name : j.d ? j.d->name : "";
            judge_disk(&j);
        }
    } else {
        for (size_t i = 0; i < q->n; i++) {
            j.d = q->disks[i];
            j.name = j.d->name;
            judge_disk(&j);
        }
    }
    if (!j.failed)
        return 0;
    exportable_free(ret);
    return err_oom(e);
}
