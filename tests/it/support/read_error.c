/* A disk with a bad place, for one file: reads of $BAD_FILE from byte $BAD_FROM on fail. To be preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t read(int fd, void *bytes, size_t count) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        real = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    const char *file = getenv("BAD_FILE"), *from = getenv("BAD_FROM");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = file && from ? readlink(link, path, sizeof path - 1) : -1;
    if (length > 0) {
        path[length] = 0;
        off_t at = lseek(fd, 0, SEEK_CUR), bad = atol(from);
        if (at >= 0 && !strcmp(path, file)) {
            if (at >= bad) {
                errno = EIO;
                return -1;
            }
            if ((off_t)count > bad - at)
                count = bad - at;
        }
    }
    return real(fd, bytes, count);
}
