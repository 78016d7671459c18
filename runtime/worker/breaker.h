/* A circuit breaker for each host that handlers call: who fails again and again is left alone for a while,
 * and then asked once, before all may ask again. Without it every message would wait for a host that is down.
 * Pure: time is an argument. */
#ifndef WORKER_BREAKER_H
#define WORKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker {
    unsigned failures;     /* in a row */
    int64_t open_until_ns; /* valid from `most` failures on: nobody asks before */
    bool probing;          /* one asks now, and the others wait for what comes of it */
};

/* Whether the host may be asked, where `most` failures in a row are too many (0: no number is). Where it may,
 * breaker_succeed, breaker_fail or breaker_leave has to follow. */
bool breaker_admit(struct breaker *breaker, unsigned most, int64_t now_ns);

void breaker_succeed(struct breaker *breaker);
void breaker_fail(struct breaker *breaker, int64_t now_ns, int64_t pause_ns);
void breaker_leave(struct breaker *breaker); /* nothing is known: who asked did not wait for the answer */

#endif
