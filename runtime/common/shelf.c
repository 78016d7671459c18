/* Making and mapping a worker's shelf; see shelf.h. */
#include "common/shelf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* as the kernel has it since 5.1 */
#endif

/* Sealed while its only mapping is the host's own: none to write follows, and its size stays. False where the
 * kernel does not know how. */
static bool seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

static bool map(struct shelf *shelf, int fd, size_t bytes, int protection)
{
    void *data = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return false;
    *shelf = (struct shelf){ .data = data, .bytes = bytes };
    return true;
}

bool shelf_open(struct shelf *shelf, int *ret_fd, struct error *error)
{
    *shelf = (struct shelf){ 0 };
    int fd = memfd_create("moonrabbit-shelf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, SHELF_BYTES) < 0 || !map(shelf, fd, SHELF_BYTES, PROT_READ | PROT_WRITE)) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot make the memory for a worker's large messages");
        goto failed;
    }
    if (!seal(fd)) {
        shelf_close(shelf);
        if (ftruncate(fd, 0) < 0) {
            error_set_errno(error, ERROR_FAILED, errno, "cannot empty the memory for a worker's messages");
            goto failed;
        }
    }
    *ret_fd = fd;
    return true;
failed:
    shelf_close(shelf);
    if (fd >= 0)
        (void)close(fd);
    return false;
}

bool shelf_map(struct shelf *shelf, int fd, struct error *error)
{
    struct stat status;
    *shelf = (struct shelf){ 0 };
    if (fstat(fd, &status) < 0 || (status.st_size > 0 && !map(shelf, fd, (size_t)status.st_size, PROT_READ)))
        return error_set_errno(error, ERROR_FAILED, errno, "cannot map the memory for large messages");
    return true;
}

void shelf_close(struct shelf *shelf)
{
    if (shelf->data)
        (void)munmap(shelf->data, shelf->bytes);
    *shelf = (struct shelf){ 0 };
}

bool shelf_find(const struct shelf *shelf, uint32_t at, uint32_t bytes, struct slice *ret_body)
{
    if (at >= shelf->bytes || bytes > shelf->bytes - at)
        return false;
    *ret_body = (struct slice){ .data = shelf->data + at, .size = bytes };
    return true;
}
