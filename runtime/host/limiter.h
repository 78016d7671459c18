/* Lets a bounded number of log lines through each second and counts the others, so that a handler that fails
 * on every message does not drown its own reason. Pure. */
#ifndef HOST_LIMITER_H
#define HOST_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

struct limiter {
    unsigned per_second;
    int64_t window_ns;  /* when the second at hand began */
    unsigned passed;    /* in it */
    uint64_t held_back; /* since limiter_take_held_back */
};

bool limiter_pass(struct limiter *limiter, int64_t now_ns);
uint64_t limiter_take_held_back(struct limiter *limiter);

/* The same, where no line has come for a while that could tell of them: one comes at least in every second
 * while there is something to say. */
uint64_t limiter_take_ended(struct limiter *limiter, int64_t now_ns);

#endif
