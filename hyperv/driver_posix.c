#include "hyperv/hypervisor.h"

int hv_open_host(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    return hv_open(&hv_qemu, cfg, ret, e);
}
