/* Writing a file beside its place; see output.h. */
#include "host/capture/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a line's largest part, with what waits before it. */
enum { WAITING_BYTES_MAX = 16 * 1024 * 1024 };

static bool refuse(const struct output *output, enum error_code code, int number, const char *what,
                   struct error *error)
{
    return error_set_errno(error, code, number, "cannot %s %s", what, output->name);
}

/* A file has the mode of the one that it replaces, or what the umask leaves. */
static mode_t mode_of(const struct stat *before)
{
    if (before)
        return before->st_mode & (S_IRWXU | S_IRWXG | S_IRWXO);
    mode_t mask = umask(0);
    (void)umask(mask);
    return (S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH) & ~mask;
}

/* Of a link it is the file that is replaced. */
static bool open_file(struct output *output, const char *path, const struct stat *before, struct error *error)
{
    if (!before || !realpath(path, output->place)) {
        int size = snprintf(output->place, sizeof output->place, "%s", path);
        if (size < 0 || (size_t)size >= sizeof output->place)
            return refuse(output, ERROR_USAGE, ENAMETOOLONG, "write", error);
    }
    int size = snprintf(output->unfinished, sizeof output->unfinished, "%s.XXXXXX", output->place);
    if (size < 0 || (size_t)size >= sizeof output->unfinished)
        return refuse(output, ERROR_USAGE, ENAMETOOLONG, "write", error);
    output->fd = mkostemp(output->unfinished, O_CLOEXEC);
    if (output->fd < 0) {
        output->unfinished[0] = '\0';
        return refuse(output, ERROR_USAGE, errno, "write", error);
    }
    return fchmod(output->fd, mode_of(before)) == 0 ||
           refuse(output, ERROR_USAGE, errno, "set the mode of", error);
}

bool output_open(struct output *output, const char *path, struct error *error)
{
    struct stat before;
    bool is_standard = !path || strcmp(path, "-") == 0;
    *output = (struct output){ .fd = -1, .name = is_standard ? "standard output" : path };
    buffer_init(&output->waiting, WAITING_BYTES_MAX);
    if (is_standard) {
        output->fd = STDOUT_FILENO;
        return true;
    }
    bool is_there = stat(path, &before) == 0;
    if (!is_there || S_ISREG(before.st_mode))
        return open_file(output, path, is_there ? &before : NULL, error);
    output->fd = open(path, O_WRONLY | O_CLOEXEC);
    return output->fd >= 0 || refuse(output, ERROR_USAGE, errno, "write", error);
}

/* Some pipes do not wait by themselves. */
static bool may_write_again(int fd)
{
    struct pollfd ready = { .fd = fd, .events = POLLOUT };
    return errno == EINTR || (errno == EAGAIN && (poll(&ready, 1, -1) > 0 || errno == EINTR));
}

bool output_flush(struct output *output, struct error *error)
{
    struct buffer *waiting = &output->waiting;
    for (size_t done = 0; done < waiting->size;) {
        ssize_t written = write(output->fd, waiting->data + done, waiting->size - done);
        if (written < 0 && !may_write_again(output->fd))
            return refuse(output, ERROR_FAILED, errno, "write", error);
        done += written > 0 ? (size_t)written : 0;
    }
    buffer_reset(waiting);
    return true;
}

bool output_write(struct output *output, struct buffer *text, struct error *error)
{
    if (text->failed || !buffer_append(&output->waiting, text->data, text->size))
        return error_set(error, ERROR_FAILED, "no memory for the text of a message");
    buffer_reset(text);
    return output->waiting.size < OUTPUT_CHUNK_BYTES || output_flush(output, error);
}

bool output_finish(struct output *output, struct error *error)
{
    if (!output_flush(output, error))
        return false;
    if (output->unfinished[0] == '\0')
        return true;
    if (fsync(output->fd) < 0)
        return refuse(output, ERROR_FAILED, errno, "write", error);
    if (rename(output->unfinished, output->place) < 0)
        return refuse(output, ERROR_FAILED, errno, "write", error);
    output->unfinished[0] = '\0';
    return true;
}

void output_close(struct output *output)
{
    if (output->unfinished[0] != '\0')
        (void)unlink(output->unfinished);
    if (output->fd >= 0 && output->fd != STDOUT_FILENO)
        (void)close(output->fd);
    output->fd = -1;
    output->unfinished[0] = '\0';
    buffer_clear(&output->waiting);
}
