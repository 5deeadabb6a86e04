/* Temporary folders for tests, and what differs between systems in them (tmp_posix.c, tmp_win32.c). Every function asserts. */
#ifndef VMR_TESTS_UNIT_TMP_H
#define VMR_TESTS_UNIT_TMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

char *tmp_make(void);                                /* the path; caller removes it with tmp_remove */
void tmp_remove(char *path);                         /* with all that is in it; frees path */
char *tmp_path(const char *dir, const char *name);   /* dir/name on the heap */
bool tmp_exists(const char *path);
bool tmp_contains(const void *data, size_t n, const char *text);
/* Starts this program with these arguments (NULL at the end); what it says goes to `log`. */
int64_t tmp_start(const char *log, const char *const *args);
void tmp_kill(int64_t pid);                          /* hard, and waits until it is gone */

/* ---- by platform ---- */
char *tmp_base(void);                                /* where temporary folders are made; heap */
char *tmp_cwd(void);                                 /* the current folder; heap */
void tmp_chdir(const char *path);
char *tmp_self(void);                                /* this program, to be started once more by another part of it; heap */
extern const char tmp_root[];                        /* what stands before "/a" in an absolute path: "", "C:" */
/* Closed to all but administrators and this account, as OS_PRIVATE says; on Windows what was asked for, as far as it can be read back. */
void tmp_assert_private(const char *path);
/* false: no link that the program would see as one can be made here (Wine shows a link of the system below as what it leads to). */
bool tmp_symlink(const char *target, const char *link);
extern const long tmp_disk_full;                     /* the system's number for it: ENOSPC, ERROR_DISK_FULL */
extern const char tmp_device[];                      /* an absolute path that is no file: /dev/null, C:/NUL */
/* A command line for a POSIX shell, in the folder; its exit status. On Windows it runs on the machine that Wine runs on (tests/windows/unit.sh). */
int tmp_shell(const char *folder, const char *line);
char *tmp_outside(const char *path);                 /* the path as that shell and the doubles know it; heap */
void tmp_setenv(const char *name, const char *value);                    /* NULL removes it */
bool tmp_is_wine(void);
/* What follows cannot be tested here, because Wine lacks it; says so, for the list that the runner makes. Elsewhere false. */
bool tmp_wine_lacks(const char *what);
struct os_file *tmp_unsyncable(const char *dir);     /* an open file that can be written, or so it seems, and not flushed */
/* A new empty volume of so many MiB as a folder; heap. NULL: there is no way to make one here. */
char *tmp_volume(const char *dir, unsigned mib);
void tmp_volume_drop(const char *volume);

#endif
