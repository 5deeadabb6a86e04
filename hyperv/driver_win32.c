/* Windows' hypervisor is Hyper-V. The role need not be there yet: the driver opens all the same, and says what is missing when it is needed. */
#include "common/wmi/wmi_com_win32.h"

#include "hyperv/hyperv_host_win32.h"
#include "hyperv/hypervisor.h"

const struct hyperv_platform *hyperv_platform_here(void)
{
    static const struct hyperv_platform here = {.wmi = &wmi_com_ops, .host = &hyperv_host_win32, .role = &role_dism};
    return &here;
}

int hv_open_host(const struct hv_config *cfg, struct hv **ret, struct err *e)
{
    return hv_open(&hv_hyperv, cfg, ret, e);
}
