/* What host/ and worker/ agree on about a worker process: the descriptors that it is born with (below them
 * are standard input, /dev/null, and output and error, both the host's standard error), and an exit status
 * that the host has words for. */
#ifndef COMMON_INHERIT_H
#define COMMON_INHERIT_H

enum inherit_fd {
    WORKER_SOCKET_FD = 3, /* SOCK_STREAM socketpair to the host, blocking; frames of common/wire.h */
    WORKER_BOARD_FD = 4,  /* the worker's page of the status board, for board_map */
    WORKER_CACHE_FD = 5,  /* the cache that all workers share, for cache_map */
    WORKER_SHELF_FD = 6,  /* where the host lays its large messages, for shelf_map */
    INHERITED_END = 7,    /* nothing is inherited from here on */
};

/* It ended itself: what it was at ran far past its deadline, and the host did not wait for it. */
enum { WORKER_EXIT_OVERDUE = 75 };

#endif
