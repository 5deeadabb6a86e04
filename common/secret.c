/* The key file, which is the same on every system: raw bytes. */
#include "common/secret.h"

#include "common/os.h"

int secret_key_load(const char *path, uint8_t ret[SECRET_KEY_LEN], struct err *e)
{
    AUTO(os_file_close_ptr) struct os_file *f = NULL;
    uint64_t size;
    int r = os_file_open(path, OS_READ, &f, e);
    if (r < 0 || (r = os_file_size(f, &size, e)) < 0)
        return r;
    if (size != SECRET_KEY_LEN)
        return err_set(e, ERR_SECRET, "the key file %s has %llu bytes instead of %d", path, (unsigned long long)size, SECRET_KEY_LEN);
    return os_file_pread(f, ret, SECRET_KEY_LEN, 0, e);
}

int secret_key_own(const char *data_dir, uint8_t ret[SECRET_KEY_LEN], struct err *e)
{
    AUTO_FREE char *path = os_path_join(data_dir, "secret.key");
    struct os_stat st;
    int r = path ? os_stat(path, &st, e) : err_oom(e);
    if (r < 0)
        return r;
    if (st.exists)
        return secret_key_load(path, ret, e);
    r = os_random(ret, SECRET_KEY_LEN, e);
    return r < 0 ? r : os_write_file(path, ret, SECRET_KEY_LEN, OS_PRIVATE, e);
}
