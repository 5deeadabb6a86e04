/* IClientSecurity: WMI refuses proxies whose callers do not let it act for them. */
#include "tests/doubles/com/com_double_win32.h"

static HRESULT STDMETHODCALLTYPE query(IClientSecurity *This, REFIID iid, void **ret)
{
    return IUnknown_QueryInterface(((struct com_security *)This)->outer, iid, ret);
}

static ULONG STDMETHODCALLTYPE add_ref(IClientSecurity *This)
{
    return IUnknown_AddRef(((struct com_security *)This)->outer);
}

static ULONG STDMETHODCALLTYPE release(IClientSecurity *This)
{
    return IUnknown_Release(((struct com_security *)This)->outer);
}

static HRESULT STDMETHODCALLTYPE set_blanket(IClientSecurity *This, IUnknown *proxy, DWORD authn, DWORD authz, OLECHAR *principal, DWORD level, DWORD imp,
                                             void *info, DWORD capabilities)
{
    (void)principal;
    (void)info;
    (void)capabilities;
    struct com_security *s = (struct com_security *)This;
    if (proxy != s->outer || authn != RPC_C_AUTHN_WINNT || authz != RPC_C_AUTHZ_NONE || level < RPC_C_AUTHN_LEVEL_CALL || imp != RPC_C_IMP_LEVEL_IMPERSONATE)
        return E_INVALIDARG;
    s->set = true;
    return S_OK;
}

static const IClientSecurityVtbl vtbl = {
    .QueryInterface = query,
    .AddRef = add_ref,
    .Release = release,
    .SetBlanket = set_blanket,
    NOT_IMPL(IClientSecurityVtbl, QueryBlanket),
    NOT_IMPL(IClientSecurityVtbl, CopyProxy),
};

void com_security_init(struct com_security *s, void *outer)
{
    *s = (struct com_security){.vtbl = &vtbl, .outer = outer};
}

HRESULT com_may_call(const struct com_security *s)
{
    APTTYPE type;
    APTTYPEQUALIFIER how;
    if (FAILED(CoGetApartmentType(&type, &how)))
        return CO_E_NOTINITIALIZED;
    if (type != APTTYPE_MTA)
        return RPC_E_WRONG_THREAD;
    return s->set ? S_OK : E_ACCESSDENIED;
}
