/* Makes one operation on files fail, or the program die at it: preloaded into egofx by tests/it/stores/durable.rs.
 *
 * FAULTS_BELOW: operations that change files below this folder count. FAULTS_AT: the number of the one that is hit, from 1
 * on. FAULTS_HOW: "kill" dies before it, "torn" after half of a write or all of another operation, "enospc" and "eio"
 * refuse it. FAULTS_HIT: a file that is made when it happens. With "enospc" only operations count that need room.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum how { NEVER, KILL, TORN, REFUSE };
enum { NO_ROOM, ROOM };

static const char *below, *hit;
static long at;
static enum how how;
static int error;
static atomic_long count;

__attribute__((constructor)) static void start(void) {
    const char *word = getenv("FAULTS_HOW"), *number = getenv("FAULTS_AT");
    below = getenv("FAULTS_BELOW"), hit = getenv("FAULTS_HIT");
    if (!word || !number || !below || !hit || strncmp(program_invocation_short_name, "egofx", 5)) return;
    at = atol(number);
    error = strcmp(word, "enospc") ? EIO : ENOSPC;
    how = !strcmp(word, "kill") ? KILL : !strcmp(word, "torn") ? TORN : REFUSE;
}

/* Absolute, in a buffer of this thread; empty where nothing is to happen. */
static const char *of_fd(int fd) {
    static _Thread_local char path[PATH_MAX];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = how == NEVER ? -1 : readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static const char *of_name(int folder, const char *name) {
    static _Thread_local char path[2 * PATH_MAX], here[PATH_MAX];
    if (how == NEVER || !name || *name == '/') return how == NEVER || !name ? "" : name;
    const char *above = folder != AT_FDCWD ? of_fd(folder) : getcwd(here, sizeof here);
    snprintf(path, sizeof path, "%s/%s", above ? above : "", name);
    return path;
}

/* How the operation on `path` is to go wrong. */
static enum how fate(const char *path, int room) {
    if (how == NEVER || (how == REFUSE && error == ENOSPC && room == NO_ROOM)) return NEVER;
    if (strncmp(path, below, strlen(below)) || atomic_fetch_add(&count, 1) + 1 != at) return NEVER;
    syscall(SYS_openat, AT_FDCWD, hit, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (how == KILL) syscall(SYS_kill, getpid(), SIGKILL);
    errno = error;
    return how;
}

static ssize_t torn(enum how fate, ssize_t result) {
    if (fate == TORN) syscall(SYS_kill, getpid(), SIGKILL);
    return result;
}

/* `type name(parameters)`, which changes `path`; `call` is made with the real function, `next`. */
#define WRAPPED(type, name, parameters, path, room, call)              \
    type name parameters {                                              \
        static type(*next) parameters;                                  \
        if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);           \
        enum how fated = fate(path, room);                              \
        return fated == REFUSE ? -1 : torn(fated, call);                \
    }
#define HALF(length) (fated == TORN ? (length) / 2 : (length))

WRAPPED(ssize_t, write, (int fd, const void *from, size_t n), of_fd(fd), ROOM, next(fd, from, HALF(n)))
WRAPPED(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t to), of_fd(fd), ROOM, next(fd, from, HALF(n), to))
WRAPPED(ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t to), of_fd(fd), ROOM, next(fd, from, HALF(n), to))
WRAPPED(ssize_t, writev, (int fd, const struct iovec *from, int n), of_fd(fd), ROOM, next(fd, from, HALF(n)))
WRAPPED(ssize_t, pwritev, (int fd, const struct iovec *from, int n, off_t to), of_fd(fd), ROOM, next(fd, from, HALF(n), to))
WRAPPED(int, fsync, (int fd), of_fd(fd), ROOM, next(fd))
WRAPPED(int, fdatasync, (int fd), of_fd(fd), ROOM, next(fd))
WRAPPED(int, syncfs, (int fd), of_fd(fd), ROOM, next(fd))
WRAPPED(int, ftruncate, (int fd, off_t n), of_fd(fd), ROOM, next(fd, n))
WRAPPED(int, ftruncate64, (int fd, off64_t n), of_fd(fd), ROOM, next(fd, n))
WRAPPED(int, flock, (int fd, int what), of_fd(fd), NO_ROOM, next(fd, what))
WRAPPED(int, rename, (const char *from, const char *to), of_name(AT_FDCWD, to), ROOM, next(from, to))
WRAPPED(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), of_name(b, to), ROOM,
        next(a, from, b, to, flags))
WRAPPED(int, linkat, (int a, const char *from, int b, const char *to, int flags), of_name(b, to), ROOM,
        next(a, from, b, to, flags))
WRAPPED(int, unlink, (const char *name), of_name(AT_FDCWD, name), NO_ROOM, next(name))
WRAPPED(int, unlinkat, (int folder, const char *name, int flags), of_name(folder, name), NO_ROOM,
        next(folder, name, flags))
WRAPPED(int, rmdir, (const char *name), of_name(AT_FDCWD, name), NO_ROOM, next(name))
WRAPPED(int, mkdir, (const char *name, mode_t mode), of_name(AT_FDCWD, name), ROOM, next(name, mode))

/* Opening counts where it may change something. */
#define OPENED(name, parameters, folder, ...)                                           \
    int name parameters {                                                               \
        static int(*next) parameters;                                                   \
        if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                           \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;       \
        va_end(rest);                                                                   \
        int changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;               \
        enum how fated = changes ? fate(of_name(folder, path), ROOM) : NEVER;           \
        return fated == REFUSE ? -1 : (int)torn(fated, next(__VA_ARGS__, flags, mode)); \
    }
OPENED(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPENED(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPENED(openat, (int folder, const char *path, int flags, ...), folder, folder, path)
OPENED(openat64, (int folder, const char *path, int flags, ...), folder, folder, path)

/* A file is closed even where closing it fails; only of one that was written to is that news. */
int close(int fd) {
    static int (*next)(int);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "close");
    int flags = how == NEVER ? O_RDONLY : fcntl(fd, F_GETFL);
    enum how fated = flags != -1 && (flags & O_ACCMODE) != O_RDONLY ? fate(of_fd(fd), ROOM) : NEVER;
    int closed = torn(fated, next(fd));
    if (fated == REFUSE) errno = error;
    return fated == REFUSE ? -1 : closed;
}
