/* Making and mapping a worker's page of the status board; see board.h. */
#include "common/board.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct board *board_map(int fd, struct error *error)
{
    void *page = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot map the worker's status page");
        return NULL;
    }
    return page;
}

struct board *board_open(int *ret_fd, struct error *error)
{
    int fd = memfd_create("moonrabbit-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(struct board)) < 0) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot make the worker's status page");
        goto failed;
    }
    /* A worker that shrank the page would end the host by SIGBUS. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot seal the worker's status page");
        goto failed;
    }
    struct board *board = board_map(fd, error);
    if (!board)
        goto failed;
    board_allow(board);
    *ret_fd = fd;
    return board;
failed:
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

void board_close(struct board *board)
{
    if (board)
        (void)munmap(board, sizeof *board);
}
