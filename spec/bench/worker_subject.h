/* One Lua state in the process of the benchmark itself, with a message at hand: what is measured in it has no
 * socket and no other process in the way. */
#ifndef SPEC_BENCH_WORKER_SUBJECT_H
#define SPEC_BENCH_WORKER_SUBJECT_H

#include "../unit/worker_fixture.h"

#include "common/clock.h"
#include "worker/handler.h"
#include "worker/json_memory.h"
#include "worker/script.h"
#include "worker/state.h"

#include <time.h>

struct subject {
    struct home home;
    struct waits waits; /* without a loop: no handler here waits */
    struct assignment assignment;
    struct state state;
    struct buffer frame;
    struct message message;
};

static inline int64_t cpu_now_ns(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (int64_t)now.tv_sec * CLOCK_NS_PER_SECOND + now.tv_nsec;
}

static inline void subject_open(struct subject *subject, struct fixture *fixture, char *script,
                                const struct parcel *parcel)
{
    struct error error;
    *subject = (struct subject){ .assignment = { .limits = fixture->limits, .script = script } };
    subject->assignment.limits.deadline_ns = 30 * CLOCK_NS_PER_SECOND;
    subject->assignment.stack = stack_reserve();
    subject->assignment.board = fixture->board;
    subject->assignment.cache = &fixture->cache;
    subject->assignment.waits = &subject->waits;
    subject->assignment.home = &subject->home;
    home_init(&subject->home, HOME_BYTES);
    buffer_init(&subject->frame, 1 << 20);
    add_delivery(&subject->frame, fixture, parcel);
    struct slice payload = { .data = subject->frame.data + WIRE_HEADER_BYTES,
                             .size = subject->frame.size - WIRE_HEADER_BYTES };
    assert_true(message_parse(payload, &fixture->shelf, &subject->message));
    if (!folder_open(&subject->assignment.folder, script, &error) ||
        !state_open(&subject->state, &subject->assignment, NULL, &error) ||
        !script_load(&subject->state, &error))
        fail_msg("%s", error.text);
}

static inline void subject_close(struct subject *subject)
{
    json_memory_use(&subject->state.quota);
    state_close(&subject->state);
    folder_close(&subject->assignment.folder);
    home_clear(&subject->home);
    buffer_clear(&subject->frame);
}

#endif
