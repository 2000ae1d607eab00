/* A disk that fails on request and loses what was not synced, and a wall clock that is wrong on request.
 *
 * Loaded before the C library (LD_PRELOAD), it stands between the program and its files NAME.db and NAME.db-wal. For each it
 * keeps NAME….durable with the durable content, which a successful sync updates page by page. As on Linux, pages written
 * before a failed sync count as clean although they are not durable: a later successful sync does not write them. After a
 * power cut, the durable file replaces the real one.
 *
 * The test controls failures through a file that both map (DISK_CONTROL): see struct control.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES_MAX = 1 << 18, FILES_MAX = 16 };

/* Fields of 32 bits in this order; `enum Control` in shim.rs has the same list. */
struct control {
    int32_t sync_errno;    /* errno of a failing sync */
    int32_t sync_permille; /* failures per thousand syncs of NAME.db-wal */
    int32_t write_errno;   /* errno of a failing write, after half of its bytes */
    int32_t write_permille;
    uint32_t random;       /* state of the generator, never 0 */
    uint32_t syncs_done;
    uint32_t syncs_failed;
    uint32_t writes_failed;
    int32_t open_errno;    /* errno of opening for writing; 0: success */
    int32_t database_sync_permille; /* failures per thousand syncs of NAME.db */
    int32_t clock_seconds; /* how far the wall clock is ahead */
};

struct file {
    int used, image, half;
    dev_t device;
    ino_t inode;
    char path[512];
    uint8_t dirty[PAGES_MAX / 8];
};

static struct file files[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct control *control;

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void die(const char *what) {
    perror(what);
    abort();
}

__attribute__((constructor)) static void start(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("DISK_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) die("DISK_CONTROL");
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) die("mmap");
    close(fd);
}

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static int is_database(const char *path) { return ends_with(path, ".db") || ends_with(path, ".db-wal"); }

static void copy_page(int from, struct file *file, uint32_t page) {
    char bytes[PAGE];
    ssize_t n = pread(from, bytes, PAGE, (off_t)page * PAGE);
    if (n > 0 && real_pwrite(file->image, bytes, n, (off_t)page * PAGE) != n) die("durable");
}

/* The durable file starts as a copy of the file, which is empty if new. It is renamed once it is complete, since the
 * process may be killed in between. */
static void open_image(int fd, struct file *file, const struct stat *now) {
    char path[600], unfinished[620];
    snprintf(path, sizeof path, "%s.durable", file->path);
    snprintf(unfinished, sizeof unfinished, "%s.unfinished", path);
    if (file->image > 0) close(file->image);
    file->image = open(unfinished, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->image < 0) die(unfinished);
    memset(file->dirty, 0, sizeof file->dirty);
    for (uint32_t page = 0; (off_t)page * PAGE < now->st_size; page++) copy_page(fd, file, page);
    if (rename(unfinished, path) != 0) die(path);
}

/* The file behind a descriptor, if it is one of the database's. */
static struct file *file_of(int fd) {
    struct stat now;
    if (fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) return NULL;
    struct file *spare = NULL;
    for (int i = 0; i < FILES_MAX; i++) {
        if (files[i].used && files[i].device == now.st_dev && files[i].inode == now.st_ino) return &files[i];
        if (!files[i].used && !spare) spare = &files[i];
    }
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return NULL;
    path[n] = 0;
    if (!is_database(path)) return NULL;
    for (int i = 0; i < FILES_MAX; i++)
        if (files[i].used && strcmp(files[i].path, path) == 0) spare = &files[i];
    if (!spare) die("more files than expected");
    spare->used = 1;
    spare->device = now.st_dev;
    spare->inode = now.st_ino;
    strcpy(spare->path, path);
    open_image(fd, spare, &now);
    return spare;
}

static int falls(int32_t permille) {
    uint32_t x = control->random;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    control->random = x;
    return (int32_t)(x % 1000) < permille;
}

static void written(struct file *file, off_t at, ssize_t n) {
    for (off_t page = at / PAGE; n > 0 && page <= (at + n - 1) / PAGE; page++) {
        if (page >= PAGES_MAX) die("a file larger than expected");
        file->dirty[page / 8] |= 1 << page % 8;
    }
}

static ssize_t write_at(int fd, const void *bytes, size_t n, off_t at, int moves) {
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    ssize_t done;
    if (file && (file->half || (control->write_errno && falls(control->write_permille)))) {
        control->writes_failed++;
        if (!file->half && n > 1) {
            n /= 2;
            file->half = 1;
        } else {
            file->half = 0;
            pthread_mutex_unlock(&lock);
            errno = control->write_errno ? control->write_errno : ENOSPC;
            return -1;
        }
    }
    if (file && moves) at = lseek(fd, 0, SEEK_CUR);
    done = moves ? real_write(fd, bytes, n) : real_pwrite(fd, bytes, n, at);
    if (file) written(file, at, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t n) { return write_at(fd, bytes, n, 0, 1); }
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) { return write_at(fd, bytes, n, at, 0); }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at) { return write_at(fd, bytes, n, at, 0); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    if (control && control->open_errno && (flags & O_ACCMODE) != O_RDONLY && is_database(path)) {
        errno = control->open_errno;
        return -1;
    }
    return real_open(path, flags, mode);
}

static int sync_file(int fd, int (*real)(int)) {
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (!file) {
        pthread_mutex_unlock(&lock);
        return real(fd);
    }
    int fails = control->sync_errno &&
                falls(ends_with(file->path, ".db") ? control->database_sync_permille : control->sync_permille);
    if (fails) {
        control->syncs_failed++;
    } else {
        control->syncs_done++;
        struct stat now;
        if (fstat(fd, &now) != 0) die("fstat");
        for (uint32_t page = 0; (off_t)page * PAGE < now.st_size; page++)
            if (file->dirty[page / 8] & 1 << page % 8) copy_page(fd, file, page);
        if (ftruncate(file->image, now.st_size) != 0) die("durable");
    }
    memset(file->dirty, 0, sizeof file->dirty);
    pthread_mutex_unlock(&lock);
    if (fails) errno = control->sync_errno;
    return fails ? -1 : 0;
}

int fsync(int fd) { return sync_file(fd, real_fsync); }
int fdatasync(int fd) { return sync_file(fd, real_fdatasync); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && control) now->tv_sec += control->clock_seconds;
    return result;
}
