/* Another clock, and locks that lock nothing: preloaded into egofx by tests/it/extract/sharing.rs.
 *
 * CLOCK_AHEAD: seconds by which this process's idea of the time is ahead. FLOCK: "nothing" makes every flock succeed at once, "refused"
 * fail with ENOLCK, as NFS says without its lock daemon.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>
#include <time.h>

static long ahead(void) {
    const char *seconds = getenv("CLOCK_AHEAD");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    int told = next(clock, now);
    if (!told && clock == CLOCK_REALTIME) now->tv_sec += ahead();
    return told;
}

int gettimeofday(struct timeval *now, void *zone) {
    static int (*next)(struct timeval *, void *);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "gettimeofday");
    int told = next(now, zone);
    if (!told) now->tv_sec += ahead();
    return told;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int flock(int fd, int operation) {
    static int (*next)(int, int);
    const char *how = getenv("FLOCK");
    if (how && !strcmp(how, "nothing")) return 0;
    if (how && !strcmp(how, "refused")) {
        errno = ENOLCK;
        return -1;
    }
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "flock");
    return next(fd, operation);
}
