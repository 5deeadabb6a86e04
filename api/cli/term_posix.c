#include "api/cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { SECRET_MAX = 16 << 10 };

void term_init(void)
{
}

bool term_is_tty(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

bool term_draws(void)
{
    return term_is_tty(stdout);
}

unsigned term_columns(void)
{
    struct winsize w;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

int term_read_secret(const char *prompt, char **ret, struct err *e)
{
    struct termios was;
    if (!term_is_tty(stdin) || tcgetattr(STDIN_FILENO, &was) != 0)
        return err_set(e, ERR_VALUE, "standard input is no terminal");
    char *buf = calloc(1, SECRET_MAX);
    if (!buf)
        return err_oom(e);
    fprintf(stderr, "%s: ", prompt);
    struct termios silent = was;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    bool ok = fgets(buf, SECRET_MAX, stdin) != NULL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
    fputc('\n', stderr);
    if (!ok) {
        free(buf);
        return err_set(e, ERR_VALUE, "nothing was entered");
    }
    buf[strcspn(buf, "\r\n")] = '\0';
    *ret = buf;
    return 0;
}
