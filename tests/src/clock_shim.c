/* Moves the wall clock of the process it is loaded into (LD_PRELOAD) by the whole seconds that the file named by
 * MIROIR_CLOCK_SHIFT holds, read anew each time; the monotonic clock is left alone. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        const char *path = getenv("MIROIR_CLOCK_SHIFT");
        FILE *file = path ? fopen(path, "re") : NULL;
        long shift_s = 0;
        if (file) {
            if (fscanf(file, "%ld", &shift_s) == 1) now->tv_sec += shift_s;
            fclose(file);
        }
    }
    return result;
}
