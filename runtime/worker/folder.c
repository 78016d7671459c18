/* Reading scripts out of their folder; see folder.h. */
#include "worker/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* Splits the real path of the script in two, and opens the folder; false with errno. */
static bool open_real_folder(struct folder *folder, const char *script)
{
    char *real = realpath(script, NULL);
    if (!real)
        return false;
    char *slash = strrchr(real, '/');
    folder->script = strdup(slash + 1);
    slash[slash == real] = '\0';
    if (folder->script)
        folder->fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int saved = errno;
    free(real);
    errno = saved;
    return folder->fd >= 0;
}

bool folder_open(struct folder *folder, const char *script, struct error *error)
{
    *folder = (struct folder){ .fd = -1 };
    if (!open_real_folder(folder, script))
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
    free(folder->script);
    *folder = (struct folder){ .fd = -1 };
}

static int open_directory(int fd, const char *name)
{
    struct stat status;
    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode)) {
        errno = ELOOP; /* of a link in this place openat only says that it is no directory */
        return -1;
    }
    return openat(fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
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
    return last ? openat(fd, name, READ_FLAGS | O_NOFOLLOW) : open_directory(fd, name);
}

/* Part by part: openat2 would do it in one call, but hides its flags from the filter of system calls. */
static int open_beneath(const struct folder *folder, const char *path)
{
    int fd = folder->fd;
    for (;;) {
        size_t size = strcspn(path, "/");
        bool last = path[size] == '\0';
        int next = open_part(fd, path, size, last);
        int saved = errno;
        if (fd != folder->fd)
            (void)close(fd);
        errno = saved;
        if (last || next < 0)
            return next;
        fd = next;
        path += size + 1;
    }
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

bool folder_read_script(const struct folder *folder, const char *name, struct buffer *content,
                        struct error *error)
{
    buffer_init(content, CONTENT_BYTES_MAX);
    return read_opened(open_beneath(folder, folder->script), content, error) ||
           error_prefix(error, "%s", name);
}
