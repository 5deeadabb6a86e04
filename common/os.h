/* What differs between operating systems: files, folders, random bytes, free space, child processes. os.c holds what is the same
 * everywhere; os_posix.c and process_posix.c the rest of it on Linux; *_win32.c beside them on Windows. Threads: any; a struct os_file
 * may be used by several threads at once for positional reads and writes.
 *
 * Paths are UTF-8 with '/' or the system's separator, as long as the file system takes them. On Windows every call makes its path
 * absolute, resolves "." and "..", and opens exactly that name (\\?\), so that no path is ever taken for a device; a path that is not
 * valid UTF-8, names a stream ("a:b"), a device ("NUL") or a part that Windows would change ("a." and "a ") is ERR_VALUE. A file that
 * another program holds for a moment (a virus scanner) is tried again for half a second. Files are opened so that others may read,
 * write, rename and delete them meanwhile, as on POSIX. */
#ifndef VMR_COMMON_OS_H
#define VMR_COMMON_OS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"
#include "common/mem.h"

/* ---- the program ---- */
/* To be called first in main(): arguments as UTF-8 (they live as long as the process), and stdin, stdout and stderr as streams of bytes:
 * no program of ours writes \r\n by itself. On POSIX all this is so already. ERR_VALUE: an argument is no Unicode text. */
int os_main_args(int *argc, char ***argv, struct err *e);
char *os_getenv(const char *name);                   /* of the environment, UTF-8; caller frees; NULL: not set */

/* ---- errors ---- */
/* errno, or GetLastError, a socket's error or an HRESULT, as ours (disk full, no access, not there, no memory); ERR_OK: no row of its own. */
enum err_code os_error_code(long os_code);
void os_error_text(long os_code, char *buf, size_t size);                /* in English where the system can; one line */

/* ---- files ---- */
struct os_file;
enum os_open {
    OS_READ = 0,                                     /* existing file, read only */
    OS_WRITE = 1,                                    /* existing file, read and write */
    OS_CREATE = 2,                                   /* with OS_WRITE: made if missing */
    OS_EXCLUSIVE = 4,                                /* with OS_CREATE: error if it is there */
    OS_TRUNCATE = 8,
    /* With OS_CREATE: closed to others from the first moment on. Mode 0600; on Windows SYSTEM and Administrators have full access, and
     * the account of this process when it is neither, nobody else, whatever the folder would have passed on. */
    OS_PRIVATE = 16,
};
int os_file_open(const char *path, unsigned flags, struct os_file **ret, struct err *e);
void os_file_close(struct os_file *f);               /* NULL is a no-op */
DEFINE_AUTO(struct os_file, os_file_close)
const char *os_file_name(const struct os_file *f);   /* the path it was opened by, for messages; the file's */
/* All n bytes or an error; a short read is ERR_IO ("ends at"). */
int os_file_pread(struct os_file *f, void *buf, size_t n, uint64_t offset, struct err *e);
int os_file_pwrite(struct os_file *f, const void *buf, size_t n, uint64_t offset, struct err *e);
/* Up to n bytes, *ret_n == 0 at the end of the file. */
int os_file_read_some(struct os_file *f, void *buf, size_t n, uint64_t offset, size_t *ret_n, struct err *e);
int os_file_size(struct os_file *f, uint64_t *ret, struct err *e);
/* The first bytes from offset on, before limit (at most the file's size), that the file system holds for the file: [*ret_start, *ret_end).
 * None: both are limit. Where it cannot tell, all of them. What lies between reads as zeros. */
int os_file_next_data(struct os_file *f, uint64_t offset, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end, struct err *e);
/* What is added reads as zeros. Where os_files_are_sparse() it takes no space until it is written. Elsewhere (Windows: Hyper-V refuses
 * sparse files) all of it is allocated now, which takes no time, or is ERR_DISK_FULL; NTFS writes the zeros later, up to wherever a write
 * lies, so writes should come in ascending order. */
int os_file_truncate(struct os_file *f, uint64_t size, struct err *e);
bool os_files_are_sparse(void);
/* Data (and size) are on stable storage when this returns 0. */
int os_file_sync(struct os_file *f, struct err *e);
/* Starts write-back of a range without waiting, so that a later sync is short; best effort. */
void os_file_write_behind(struct os_file *f, uint64_t offset, uint64_t n);
/* The file descriptor, or the HANDLE. */
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
/* Removes from a folder what such writes left there that were killed on their way. Only while nobody else writes into it. */
int os_remove_unfinished(const char *dir, struct err *e);
int os_rename(const char *from, const char *to, struct err *e);          /* replaces `to`, open or not; durable when it returns */
/* The same, but never replaces: ERR_WRONG_STATE when something is at `to`. Both on one volume. */
int os_publish(const char *from, const char *to, struct err *e);
/* What tells this file from any other that lies or will lie at its path: volume, number, time of birth. Stays through renames; "" when
 * there is nothing at path. */
#define OS_FILE_ID 80
int os_file_id(const char *path, char ret[OS_FILE_ID], struct err *e);
int os_remove(const char *path, struct err *e);                          /* a missing file is 0 */
/* flags: OS_PRIVATE or 0, for the last part; with OS_EXCLUSIVE that one must be new: ERR_WRONG_STATE if something is there. On Windows:
 * folders that are made here have NTFS compression and encryption off, whatever the folder above says, since Hyper-V refuses such files. With
 * OS_PRIVATE, a folder that was there already must belong to a trusted account (ERR_PERMISSION), and its rights are closed if they are
 * still those of the folder above; rights that were set by hand stay. */
int os_mkdirs(const char *path, unsigned flags, struct err *e);
int os_remove_tree(const char *path, struct err *e);                     /* never follows links; missing is 0 */
int os_remove_empty_dir(const char *path, struct err *e);                /* missing, or not empty, is 0 */
/* Can a file be made in this folder? Tried, since rights, sandboxes and media that only read all have a say. */
int os_dir_writable(const char *path, struct err *e);
/* Calls fn for each entry but . and ..; fn returns non-zero to stop, which is then returned. */
int os_list_dir(const char *path, int (*fn)(void *arg, const char *name), void *arg, struct err *e);
int os_free_space(const char *path, uint64_t *ret_bytes, struct err *e); /* for this account, at the nearest existing parent */
/* The file or folder belongs to an account that may rule this program: root or our own; SYSTEM, Administrators, TrustedInstaller or
 * our own on Windows, where others may make folders in %ProgramData% before we do. Else ERR_PERMISSION. Missing is ERR_NOT_FOUND. */
int os_check_owner(const char *path, struct err *e);

/* ---- paths ---- */
bool os_path_is_absolute(const char *path);          /* /a; C:\a and \\server\share\a, not \a and C:a */
char *os_path_join(const char *a, const char *b);                        /* heap or NULL */
char *os_real_path(const char *path);                                    /* absolute, links resolved; heap; NULL if missing */
const char *os_path_base(const char *path);                              /* the last part; points into path */
/* Are both the same, or does `path` lie inside of `folder`? Both as os_real_path gives them. */
bool os_path_within(const char *path, const char *folder);
/* Why a path from outside cannot be the name of a file or folder of this host, to be put behind "the path": "must be absolute", "must not
 * have '..' in it", and on Windows what the head of this file lists. NULL: nothing to say against it. Looks at the words alone. */
const char *os_path_refuse(const char *path);
const char *os_path_refuse_name(const char *path);   /* the system's own part of it */
/* As libraries must be given it that open files by themselves (on Windows with \\?\ when it is long); heap or NULL. */
char *os_native_path(const char *path);

/* ---- host ---- */
int os_random(void *buf, size_t n, struct err *e);   /* from the system's generator */
void os_host_name(char *buf, size_t size);
uint64_t os_memory_total(void);                      /* bytes */
uint64_t os_memory_available(void);
unsigned os_cpu_count(void);
bool os_is_admin(void);                              /* root, or an elevated administrator or SYSTEM */
/* What lets the daemon write to a further folder, for messages. */
const char *os_write_hint(void);
/* The command that shows whether the service runs. */
const char *os_status_command(void);
/* How an administrator runs a command as the daemon's account, with a variable set (value NULL: none), for messages. Caller frees. */
char *os_as_daemon(const char *command, const char *variable, const char *value);
/* Where vmrecover.conf and the daemon's data usually are: /etc/vmrecover/vmrecover.conf and /var/lib/vmrecover;
 * vmrecover\vmrecover.conf and vmrecover in %ProgramData%. */
const char *os_config_path(void);
const char *os_data_path(void);
const char *os_arc_token_dir(void);                  /* where the Azure Arc agent writes its challenge files */

/* ---- child processes: argv, never a shell ---- */
struct os_exec {
    const char *const *argv;                         /* argv[0] looked up in PATH unless it has a separator; NULL at the end */
    const char *cwd;                                 /* NULL: as the daemon */
    const char *log_path;                            /* stdout and stderr appended there; NULL: thrown away (os_spawn) */
    const char *run_as;                              /* user to become, when root; NULL: stay. ERR_UNSUPPORTED on Windows */
    bool maybe_batch;                                /* on Windows argv[0], a bare name, may be a batch file in PATH (name.cmd) */
    const char *input;                               /* what it reads from stdin, at most OS_INPUT_MAX bytes; NULL: nothing (os_run) */
};
#define OS_INPUT_MAX 4096                            /* fits into any pipe, so that writing it never waits for the reader */
/* On Windows: ".exe" may be left out; other files than programs (.bat, .cmd) are ERR_UNSUPPORTED, since no quoting of their arguments is
 * safe; the program gets its arguments unchanged if it reads its command line as Microsoft's C runtime does. With maybe_batch a batch file is run
 * where no program of that name is, and each argument must need no quoting (letters, digits, "-_./:"): ERR_UNSUPPORTED otherwise. */
/* Runs to the end: at most timeout_ms, then the child is killed (ERR_TIMEOUT). *ret_out gets at most max bytes of
 * stdout with stderr behind it, NUL-terminated (caller frees; may be NULL to ignore). *ret_status is the exit code. `stop` may be
 * NULL; polled some 10 times a second: true kills the child (ERR_CANCELLED). The child ends with us; on Windows all
 * that it started ends with us and with it. */
int os_run(const struct os_exec *x, unsigned timeout_ms, size_t max, bool (*stop)(void *arg), void *stop_arg,
           char **ret_out, int *ret_status, struct err *e);
/* Starts a program that outlives us: own session and process group (Windows: no console, outside of our job where that lets go), no
 * inherited descriptors but stdio. */
int os_spawn(const struct os_exec *x, int64_t *ret_pid, struct err *e);
bool os_process_alive(int64_t pid);
int os_process_kill(int64_t pid, struct err *e);     /* hard; a process that is gone is 0 */

#endif
