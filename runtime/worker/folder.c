/* Reading scripts out of their folder; see folder.h. */
#include "worker/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    READ_BYTES = 4096, /* room asked for at a time */
    CONTENT_BYTES_MAX = FOLDER_FILE_BYTES_MAX + READ_BYTES,
    /* Not to wait for a writer where somebody put a pipe. */
    READ_FLAGS = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
};

static char *copy_prefix(const char *script)
{
    const char *slash = strrchr(script, '/');
    return strndup(script, slash ? (size_t)(slash - script) + 1 : 0);
}

/* The folder in which the file that `script` names really lies. */
static int open_real_folder(const char *script)
{
    char *real = realpath(script, NULL);
    if (!real)
        return -1;
    char *slash = strrchr(real, '/');
    slash[slash == real] = '\0';
    int fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int saved = errno;
    free(real);
    errno = saved;
    return fd;
}

bool folder_open(struct folder *folder, const char *script, struct error *error)
{
    *folder = (struct folder){ .fd = open_real_folder(script), .openat2 = true };
    if (folder->fd < 0)
        return error_set_errno(error, ERROR_USAGE, errno, "cannot read the handler %s", script);
    folder->prefix = copy_prefix(script);
    if (!folder->prefix)
        return error_set(error, ERROR_FAILED, "no memory for the path of the handler %s", script);
    return true;
}

void folder_close(struct folder *folder)
{
    if (folder->fd >= 0)
        (void)close(folder->fd);
    free(folder->prefix);
    *folder = (struct folder){ .fd = -1 };
}

static int open_part(int fd, const char *part, size_t size, bool last)
{
    char name[NAME_MAX + 1];
    if (size >= sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name, part, size);
    name[size] = '\0';
    if (strcmp(name, "..") == 0) {
        errno = EXDEV;
        return -1;
    }
    return openat(fd, name, (last ? READ_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC) | O_NOFOLLOW);
}

static int open_part_by_part(int folder_fd, const char *path)
{
    int fd = folder_fd;
    for (;;) {
        size_t size = strcspn(path, "/");
        bool last = path[size] == '\0';
        int next = open_part(fd, path, size, last);
        int saved = errno;
        if (fd != folder_fd)
            (void)close(fd);
        errno = saved;
        if (last || next < 0)
            return next;
        fd = next;
        path += size + 1;
    }
}

static int open_beneath(const struct folder *folder, const char *path)
{
    const struct open_how how = { .flags = READ_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    if (folder->openat2) {
        long fd = syscall(SYS_openat2, folder->fd, path, &how, sizeof how);
        /* Where a container forbids calls that it does not know, that is EPERM. */
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
            return (int)fd;
    }
    return open_part_by_part(folder->fd, path);
}

/* The file may have grown since its size was looked at: the buffer's bound holds. */
static bool read_all(int fd, struct buffer *content)
{
    while (buffer_reserve(content, READ_BYTES)) {
        ssize_t size = read(fd, content->data + content->size, content->capacity - content->size);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return false;
        if (size == 0)
            return true;
        content->size += (size_t)size;
    }
    errno = EFBIG;
    return false;
}

static bool read_regular(int fd, struct buffer *content, struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set_errno(error, ERROR_USAGE, errno, "cannot be read");
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_USAGE, "not a regular file");
    if (status.st_size > FOLDER_FILE_BYTES_MAX)
        return error_set(error, ERROR_USAGE, "larger than a script may be (%d bytes)", FOLDER_FILE_BYTES_MAX);
    if (!read_all(fd, content))
        return error_set_errno(error, ERROR_USAGE, errno, "cannot be read");
    return true;
}

static bool read_opened(int fd, struct buffer *content, struct error *error)
{
    if (fd < 0 && errno == ELOOP)
        return error_set(
            error, ERROR_USAGE,
            "a symbolic link, or behind one: modules are read from the script's own folder only");
    if (fd < 0)
        return error_set_errno(error, ERROR_USAGE, errno, "cannot be read");
    bool read = read_regular(fd, content, error);
    (void)close(fd);
    return read;
}

enum folder_read folder_read(const struct folder *folder, const char *path, struct buffer *content,
                             struct error *error)
{
    buffer_init(content, CONTENT_BYTES_MAX);
    int fd = open_beneath(folder, path);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return FOLDER_MISSING;
    if (read_opened(fd, content, error))
        return FOLDER_READ;
    (void)error_prefix(error, "%s%s", folder->prefix, path);
    return FOLDER_REFUSED;
}

bool folder_read_script(const char *script, struct buffer *content, struct error *error)
{
    buffer_init(content, CONTENT_BYTES_MAX);
    return read_opened(open(script, READ_FLAGS), content, error) || error_prefix(error, "%s", script);
}
