/* A temporary folder for a test, removed with all in it. */
#ifndef VMR_TESTS_UNIT_TMP_H
#define VMR_TESTS_UNIT_TMP_H

char *tmp_make(void);                                /* path, on the heap; aborts the test on failure */
void tmp_remove(char *path);                         /* removes and frees */
char *tmp_path(const char *dir, const char *name);   /* heap */

#endif
