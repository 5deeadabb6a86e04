/* Runs a program and says what it took: measure PROGRAM ARG ... The program's output goes to standard error, one line of JSON
 * to standard output: wall and CPU seconds, peak memory in MiB, exit status. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(2, 1);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    int status = -1;
    struct rusage u = {0};
    if (pid < 0 || wait4(pid, &status, 0, &u) < 0)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("{\"wall\":%.3f,\"user\":%.3f,\"system\":%.3f,\"peak_mib\":%.1f,\"status\":%d}\n",
           (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9, seconds(u.ru_utime), seconds(u.ru_stime), (double)u.ru_maxrss / 1024,
           WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
