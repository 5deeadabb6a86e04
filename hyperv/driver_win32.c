#include "hyperv/hypervisor.h"

int hv_open_host(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    (void)cfg;
    (void)ret;
    err_set(e, ERR_HYPERVISOR, "this version of vmrecover cannot make virtual machines on Windows yet: it has no driver for Hyper-V");
    return err_hint(e, "Submit jobs with \"until\": \"download\": the disk is fetched and verified, and a VM can be made around it in Hyper-V Manager.");
}
