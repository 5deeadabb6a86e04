/* What differs between operating systems: files, folders, random bytes, free space, child processes.
 * Paths are UTF-8 with '/' or the system's separator. os_posix.c and os_win32.c implement this. Threads: any; a
 * struct os_file may be used by several threads at once for positional reads and writes. */
#ifndef VMR_COMMON_OS_H
#define VMR_COMMON_OS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"
#include "common/mem.h"

/* ---- errors ---- */
enum err_code os_error_code(long os_code);           /* ENOSPC, EACCES, ENOENT, ENOMEM… as ours; ERR_OK: no row of its own */
void os_error_text(long os_code, char *buf, size_t size);

/* ---- files ---- */
struct os_file;
enum os_open {
    OS_READ = 0,                                     /* existing file, read only */
    OS_WRITE = 1,                                    /* existing file, read and write */
    OS_CREATE = 2,                                   /* with OS_WRITE: made if missing */
    OS_EXCLUSIVE = 4,                                /* with OS_CREATE: error if it is there */
    OS_TRUNCATE = 8,
    OS_PRIVATE = 16,                                 /* with OS_CREATE: only this account (mode 0600; SYSTEM and Administrators) */
};
int os_file_open(const char *path, unsigned flags, struct os_file **ret, struct err *e);
void os_file_close(struct os_file *f);               /* NULL is a no-op */
DEFINE_AUTO(struct os_file, os_file_close)
/* All n bytes or an error; a short read is ERR_IO ("ends at"). */
int os_file_pread(struct os_file *f, void *buf, size_t n, uint64_t offset, struct err *e);
int os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e);
/* Up to n bytes, *ret_n == 0 at the end of the file. */
int os_file_read_some(struct os_file *f, void *buf, size_t n, uint64_t offset, size_t *ret_n, struct err *e);
int os_file_size(struct os_file *f, uint64_t *ret, struct err *e);
int os_file_truncate(struct os_file *f, uint64_t size, struct err *e);   /* grows sparse where the system can */
/* Data (and size) are on stable storage when this returns 0. */
int os_file_sync(struct os_file *f, struct err *e);
/* Starts write-back of a range without waiting, so that a later sync is short; best effort. */
void os_file_write_behind(struct os_file *f, uint64_t offset, uint64_t n);
/* The native handle (file descriptor on POSIX). */
intptr_t os_file_native(struct os_file *f);
/* An exclusive lock until close or the end of the process; ERR_LOCKED if another holds it. */
int os_file_lock(struct os_file *f, struct err *e);

struct os_stat {
    bool exists, is_dir, is_file;
    uint64_t size;
    uint64_t allocated;                              /* bytes that the file takes on its volume */
    int64_t mtime_ms;
};
int os_stat(const char *path, struct os_stat *ret, struct err *e);       /* a missing path is 0 with exists = false */
/* Whole file, at most max bytes (more is ERR_TOO_LARGE); NUL-terminated; caller frees. */
int os_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *e);
/* Atomic: written beside, synced, renamed over. flags: OS_PRIVATE or 0. */
int os_write_file(const char *path, const void *data, size_t n, unsigned flags, struct err *e);
int os_rename(const char *from, const char *to, struct err *e);          /* replaces `to`; durable when it returns */
/* The same, but never replaces: ERR_WRONG_STATE when something is at `to`. Both on one volume. */
int os_publish(const char *from, const char *to, struct err *e);
/* What tells this file from any other that lies or will lie at its path: volume, number, time of birth. Stays through renames; "" when
 * there is nothing at path. */
#define OS_FILE_ID 80
int os_file_id(const char *path, char ret[OS_FILE_ID], struct err *e);
int os_remove(const char *path, struct err *e);                          /* a missing file is 0 */
/* flags: OS_PRIVATE or 0 for the last part; with OS_EXCLUSIVE that one must be new: ERR_WRONG_STATE if something is there. */
int os_mkdirs(const char *path, unsigned flags, struct err *e);
int os_remove_tree(const char *path, struct err *e);                     /* never follows links; missing is 0 */
int os_remove_empty_dir(const char *path, struct err *e);                /* missing, or not empty, is 0 */
/* Calls fn for each entry but . and ..; fn returns non-zero to stop, which is then returned. */
int os_list_dir(const char *path, int (*fn)(void *arg, const char *name), void *arg, struct err *e);
int os_free_space(const char *path, uint64_t *ret_bytes, struct err *e); /* for this account, at the nearest existing parent */
bool os_path_is_absolute(const char *path);
char *os_path_join(const char *a, const char *b);                        /* heap or NULL */
char *os_real_path(const char *path);                                    /* absolute, links resolved; NULL if missing */
const char *os_path_base(const char *path);                              /* points into path */

/* ---- host ---- */
int os_random(void *buf, size_t n, struct err *e);   /* from the system's generator */
void os_host_name(char *buf, size_t size);
uint64_t os_memory_total(void);                      /* bytes */
uint64_t os_memory_available(void);
unsigned os_cpu_count(void);
bool os_is_admin(void);                              /* root, or an elevated administrator or SYSTEM */
const char *os_config_path(void);                    /* where vmrecover.conf usually lies */
const char *os_arc_token_dir(void);                  /* where the Azure Arc agent writes its challenge files */

/* ---- child processes: argv, never a shell ---- */
struct os_exec {
    const char *const *argv;                         /* argv[0] looked up in PATH unless it has a separator; NULL at the end */
    const char *cwd;                                 /* NULL: as the daemon */
    const char *log_path;                            /* stdout and stderr appended there; NULL: thrown away (os_spawn) */
    const char *run_as;                              /* user to become, when root; NULL: stay */
};
/* Runs to the end: at most timeout_ms, then the child is killed (ERR_TIMEOUT). *ret_out gets at most max bytes of
 * stdout with stderr behind it, NUL-terminated (caller frees; may be NULL to ignore). *ret_status is the exit code. `stop` may be
 * NULL; polled some 10 times a second: true kills the child (ERR_CANCELLED). */
int os_run(const struct os_exec *x, unsigned timeout_ms, size_t max, bool (*stop)(void *arg), void *stop_arg,
           char **ret_out, int *ret_status, struct err *e);
/* Starts a program that outlives us: own session and process group, no inherited descriptors. */
int os_spawn(const struct os_exec *x, int64_t *ret_pid, struct err *e);
bool os_process_alive(int64_t pid);
int os_process_kill(int64_t pid, struct err *e);     /* hard; a process that is gone is 0 */

#endif
