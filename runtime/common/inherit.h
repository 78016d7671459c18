/* The descriptors that a worker process is born with, agreed between host/ (which places them) and worker/
 * (which takes them up). Below them are standard input (/dev/null), output and error (both the host's
 * standard error). */
#ifndef COMMON_INHERIT_H
#define COMMON_INHERIT_H

enum inherit_fd {
    WORKER_SOCKET_FD = 3, /* SOCK_STREAM socketpair to the host, blocking; frames of common/wire.h */
    WORKER_BOARD_FD = 4,  /* the worker's page of the status board, for board_map */
    WORKER_CACHE_FD = 5,  /* the cache that all workers share, for cache_map */
    INHERITED_END = 6,    /* nothing is inherited from here on */
};

#endif
