/* Tests under Wine that need something of the machine around it: a shell, the Node.js servers of the doubles. tests/windows/helper.mjs does
 * it on request; VMR_TEST_HELPER is its address. */
#ifndef VMR_TESTS_UNIT_HELPER_WIN32_H
#define VMR_TESTS_UNIT_HELPER_WIN32_H

/* Posts the words and returns the answer; caller frees. A word that is a path (C:\x\y) is
 * given to the other side as the path that it has there. Fails the test on any error. */
char *helper_call(const char *what, const char *const *words);

#endif
