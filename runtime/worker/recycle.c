/* Exchanging states; see recycle.h. */
#include "worker/recycle.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/script.h"

enum {
    CLOSE_LOOKS_MAX = 32, /* buffers are below 2^32 bytes */
    LOOK_SHARE = 100,     /* a look is followed by this many times its own length without one */
    REST_GARBAGE =
        256 * 1024, /* at least as much, and as much as lives, is worth a collection while waiting */
};

/* Collects. Returns before when that is not to be done again for the same reason. */
static int64_t look(struct state *state)
{
    int64_t began_ns = clock_now_ns();
    quota_collect(&state->quota);
    int64_t ended_ns = clock_now_ns();
    return ended_ns + (ended_ns - began_ns) * LOOK_SHARE;
}

/* Until nothing more goes: LuaJIT halves its string buffers at each collection. */
static void look_closely(struct state *state)
{
    uint64_t before;
    int looks = 0;
    do {
        before = state_heap_bytes(state);
        quota_collect(&state->quota);
    } while (state_heap_bytes(state) < before && ++looks < CLOSE_LOOKS_MAX);
}

static void begin(struct recycle *recycle, struct state *state)
{
    recycle->messages = 0;
    recycle->rested = 0;
    recycle->opened_ns = clock_now_ns();
    cycle_await(state);
}

void recycle_start(struct recycle *recycle, struct state *state)
{
    uint64_t most = state->assignment->limits.recycle_memory_bytes;
    begin(recycle, state);
    if (most == 0 || state_heap_bytes(state) <= most)
        return;
    recycle->next_look_ns = look(state);
    recycle->too_low = state->quota.live > most;
}

static enum wire_recycle_reason reason_of_trip(enum trip_kind kind)
{
    switch (kind) {
    case TRIP_MEMORY:
        return WIRE_RECYCLE_OUT_OF_MEMORY;
    case TRIP_TIME:
        return WIRE_RECYCLE_OUT_OF_TIME;
    case TRIP_STACK:
        return WIRE_RECYCLE_OUT_OF_STACK;
    case TRIP_NONE:
    default:
        return WIRE_RECYCLE_NONE;
    }
}

/* Whether a collection may find too much: LuaJIT's last cycle has left too much, which may be what a message
 * needed then; or much has come since. */
static bool may_be_too_large(const struct state *state, uint64_t most)
{
    uint64_t heap = state_heap_bytes(state), left = state->quota.after_cycle;
    return left > most || (heap >= most + most / 8 && heap >= left + most / 4);
}

static bool is_too_large(struct recycle *recycle, struct state *state, int64_t now_ns)
{
    uint64_t most = state->assignment->limits.recycle_memory_bytes;
    uint64_t heap = state_heap_bytes(state);
    if (most == 0 || heap <= most || recycle->too_low)
        return false;
    /* Of a collection that a message near the limit asked for, or one while resting. */
    if (state->quota.live > most)
        return true;
    if (!may_be_too_large(state, most))
        return false;
    if (now_ns < recycle->next_look_ns && heap < state->quota.live + most / 4)
        return false;
    recycle->next_look_ns = look(state);
    return state->quota.live > most;
}

enum wire_recycle_reason recycle_after_message(struct recycle *recycle, struct state *state, int64_t now_ns)
{
    uint64_t most = state->assignment->limits.recycle_messages;
    recycle->messages++;
    if (state->trip.kind != TRIP_NONE)
        return reason_of_trip((enum trip_kind)state->trip.kind);
    if (quota_is_scattered(&state->quota))
        return WIRE_RECYCLE_MEMORY;
    cycle_await(state);
    if (most > 0 && recycle->messages >= most)
        return WIRE_RECYCLE_MESSAGES;
    return is_too_large(recycle, state, now_ns) ? WIRE_RECYCLE_MEMORY : WIRE_RECYCLE_NONE;
}

int64_t recycle_rest(struct recycle *recycle, struct state *state)
{
    /* Not by what a cycle or another collection has left: that may be what messages needed at that moment. */
    if (state_heap_bytes(state) <= 2 * recycle->rested + REST_GARBAGE)
        return INT64_MAX;
    if (clock_now_ns() < recycle->next_rest_ns)
        return recycle->next_rest_ns;
    recycle->next_rest_ns = look(state);
    recycle->rested = state->quota.live;
    return INT64_MAX;
}

bool recycle_run(struct recycle *recycle, struct state *state, enum wire_recycle_reason reason,
                 struct wire_recycled *told, struct error *error)
{
    const struct assignment *assignment = state->assignment;
    struct link *link = state->link;
    int64_t began_ns = clock_now_ns();
    if (reason == WIRE_RECYCLE_ASKED)
        look_closely(state);
    *told = (struct wire_recycled){
        .reason = (uint8_t)reason,
        .messages = recycle->messages,
        .age_ns = began_ns - recycle->opened_ns,
        .heap_bytes = state_heap_bytes(state),
        .peak_bytes = state->quota.peak,
    };
    if (state->trip.kind == TRIP_NONE && !script_teardown(state, error))
        link_log(link, LOG_ERROR, error->text);
    state_close(state);
    if (!state_open(state, assignment, link, error) || !script_load(state, error))
        return false;
    begin(recycle, state);
    told->pause_ns = recycle->opened_ns - began_ns;
    return true;
}
