/* When to look for leaks, and telling what was found; see leak_watch.h. */
#include "worker/leak_watch.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/heap_walk.h"
#include "worker/leak_suspects.h"

#include <string.h>
#include <time.h>

enum {
    SHARE = 100,               /* one part of the worker's time in so many */
    FIRST_LOOK_MESSAGES = 625, /* doubled four times: recycle.messages as it is by default */
    TRIAL_LOOK_MESSAGES = 8,
    LOOKS_BEFORE_END =
        16, /* of a state that lives shorter, the first look is after such a part of its life */
    JUDGED_MESSAGES = 10000,   /* a state that lives longer is judged at each look from here on */
    TOLD_MESSAGES = 1000,      /* one that is over sooner has told nothing about growth */
    MESSAGES_STEP_MAX = 50000, /* between two looks */
    HEAP_STEPS = 8,            /* looks on the way to recycle.memory */
    HEAP_STEP_LEAST = 64 * 1024,
    CHEAP_WALK_NS = 2 * CLOCK_NS_PER_MS,
    ENTRIES_MAX = 256, /* looked into of one table */
    FULL_PART = 8,
    BYTES_NOISE = 512, /* what lives may grow so much by itself, and a byte in four messages */
};

/* What may be taken and paid for later: by any look, and by the last of a series, without which the others
 * were for nothing. */
static const int64_t advance_ns = 2 * CLOCK_NS_PER_MS;
static const int64_t last_advance_ns = 10 * CLOCK_NS_PER_MS;
static const int64_t savings_ns = 100 * CLOCK_NS_PER_MS; /* no more is saved */
static const int64_t walk_max_ns = CLOCK_NS_PER_SECOND;

bool leak_watch_open(struct leak_watch *watch, bool on_trial)
{
    *watch = (struct leak_watch){ .on_trial = on_trial, .began_ns = clock_now_ns() };
    watch->counted_ns = watch->began_ns;
    watch->next_messages = watch->next_bytes = UINT64_MAX;
    heap_seen_init(&watch->seen, HEAP_OBJECTS_MAX);
    watch->open = places_init(&watch->places);
    return watch->open;
}

void leak_watch_close(struct leak_watch *watch)
{
    places_clear(&watch->places);
    heap_seen_clear(&watch->seen);
    watch->open = false;
}

/* What it may take. */

static int64_t save(struct leak_watch *watch, int64_t now_ns)
{
    watch->saved_ns += (now_ns - watch->counted_ns) / SHARE;
    watch->counted_ns = now_ns;
    if (watch->saved_ns > savings_ns)
        watch->saved_ns = savings_ns;
    return watch->saved_ns;
}

static bool may_look(struct leak_watch *watch, int64_t now_ns, int64_t in_advance_ns)
{
    return watch->on_trial || save(watch, now_ns) > -in_advance_ns;
}

/* Processor time of this thread: other processes that the machine is busy with are not its doing. */
static int64_t cpu_now_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) < 0)
        return 0;
    return (int64_t)now.tv_sec * CLOCK_NS_PER_SECOND + now.tv_nsec;
}

static void spend(struct leak_watch *watch, int64_t from_cpu_ns)
{
    int64_t took_ns = cpu_now_ns() - from_cpu_ns;
    watch->spent_ns += took_ns;
    watch->saved_ns -= took_ns;
}

/* Looking. */

static uint64_t heap_step(const struct state *state)
{
    const struct wire_setup *limits = &state->assignment->limits;
    uint64_t most = limits->recycle_memory_bytes > 0 ? limits->recycle_memory_bytes : limits->memory_bytes;
    return most / HEAP_STEPS > HEAP_STEP_LEAST ? most / HEAP_STEPS : HEAP_STEP_LEAST;
}

/* Half as many messages again (three times that where looks are dear), and some more: where looks came at
 * regular multiples, what is emptied at every so many messages would be met further and further on in its
 * round. */
static uint64_t step_after(uint64_t messages, bool dear)
{
    uint64_t part = dear ? messages + messages / 2 : messages / 2;
    uint64_t step = part < MESSAGES_STEP_MAX ? part : MESSAGES_STEP_MAX;
    uint64_t chance = (messages * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    return step + chance % (step / 4 + 1) + 1;
}

static void set_next(struct leak_watch *watch, const struct state *state, uint64_t heap_bytes)
{
    bool dear = !watch->on_trial && watch->saved_ns < 0;
    uint64_t most = state->assignment->limits.recycle_messages;
    watch->next_messages = watch->messages + step_after(watch->messages, dear);
    /* The look at its end will do. */
    if (most > 0 && watch->next_messages > most - most / 5)
        watch->next_messages = UINT64_MAX;
    watch->next_bytes = heap_bytes + heap_step(state);
}

/* A walk may take a second, and no more than a quarter of what the host waits for a message. */
static int64_t walk_limit_ns(const struct state *state)
{
    const struct wire_setup *limits = &state->assignment->limits;
    int64_t quarter_ns = (limits->deadline_ns + limits->grace_ns) / 4;
    return limits->deadline_ns > 0 && quarter_ns < walk_max_ns ? quarter_ns : walk_max_ns;
}

static void walk(struct leak_watch *watch, struct state *state)
{
    int64_t began_ns = cpu_now_ns();
    const struct heap_walk_limits limits = {
        .until_ns = clock_now_ns() + walk_limit_ns(state),
        .entries_max = watch->on_trial ? UINT64_MAX : ENTRIES_MAX,
    };
    places_begin(&watch->places);
    watch->incomplete = !heap_walk(state, &watch->places, &watch->seen, &limits, &watch->weak);
    watch->objects = watch->seen.count;
    heap_seen_reset(&watch->seen);
    watch->walk_ns = cpu_now_ns() - began_ns;
}

static void tell_incomplete(struct leak_watch *watch, struct state *state)
{
    if (watch->incomplete && !watch->said_incomplete)
        link_log(state->link, LOG_WARNING,
                 "the heap holds more objects than can be looked through for leaks: what grew since is not "
                 "known");
    watch->said_incomplete = watch->said_incomplete || watch->incomplete;
}

static bool has_grown(const struct leak_watch *watch, uint64_t live, uint64_t messages_before)
{
    return live > watch->live + BYTES_NOISE + (watch->messages - messages_before) / 4;
}

static uint64_t last_look_messages(const struct leak_watch *watch)
{
    const struct growth_series *root = &watch->places.list[0].series;
    return root->count > 0 ? root->points[root->count - 1].messages : 0;
}

/* Whether there is something to walk for. A collection tells, but it takes as long as a small walk, which
 * does without: only weak tables look different before. */
static bool is_worth_a_walk(struct leak_watch *watch, struct state *state)
{
    bool cheap = watch->walk_ns < CHEAP_WALK_NS;
    if (cheap && !watch->weak)
        return true;
    if (state_heap_bytes(state) > state->quota.live + state->quota.live / 16)
        quota_collect(&state->quota);
    bool grown = watch->live == 0 || has_grown(watch, state->quota.live, last_look_messages(watch));
    watch->live = state->quota.live;
    return cheap || grown;
}

static void look(struct leak_watch *watch, struct state *state)
{
    int64_t began_ns = cpu_now_ns();
    uint64_t heap_bytes = state_heap_bytes(state);
    bool weak_before = watch->weak;
    if (is_worth_a_walk(watch, state)) {
        walk(watch, state);
        if (watch->weak && !weak_before && is_worth_a_walk(watch, state))
            walk(watch, state);
        if (!watch->incomplete)
            places_end(&watch->places, watch->messages);
    } else {
        places_stay(&watch->places, watch->messages);
    }
    watch->looks++;
    spend(watch, began_ns);
    set_next(watch, state, heap_bytes);
    tell_incomplete(watch, state);
    if (watch->incomplete)
        watch->next_messages = watch->next_bytes = UINT64_MAX;
}

/* Telling. */

static void tell_suspect(struct leak_watch *watch, struct state *state, const struct suspect *suspect)
{
    struct note path = { .size = 0 };
    const struct place *place = &watch->places.list[suspect->place];
    int64_t alive_ns = clock_now_ns() - watch->began_ns;
    const struct wire_leak leak = {
        .entries = suspect->entries,
        .entries_per_message = suspect->entries_per_message,
        .bytes = suspect->bytes,
        .bytes_per_message = suspect->bytes_per_message,
        .share = alive_ns > 0 ? (double)watch->spent_ns / (double)alive_ns : 0,
    };
    const char *prefix = state->assignment->folder.prefix;
    places_describe(&watch->places, suspect->place, slice_of(prefix ? prefix : ""), &path);
    if (path.size > WIRE_LEAK_PATH_MAX)
        path.size = WIRE_LEAK_PATH_MAX;
    struct buffer *frame = link_begin(state->link, WIRE_LEAK);
    wire_add_leak(frame, &leak);
    wire_add(frame, WIRE_TEXT, note_slice(&path));
    wire_add(frame, WIRE_KEY, slice_of(suspect->kind));
    wire_add(frame, WIRE_STRING, (struct slice){ .data = place->sample, .size = place->sample_bytes });
    link_end(state->link);
}

static void tell(struct leak_watch *watch, struct state *state, enum growth_proof proof)
{
    struct suspect suspects[SUSPECTS_MAX];
    unsigned count = suspects_find(&watch->places, proof, watch->messages, suspects);
    for (unsigned i = 0; i < count; i++) {
        /* What filled the state is a good part of it. */
        if (proof == GROWTH_STEADY || suspects[i].bytes >= state->quota.live / FULL_PART)
            tell_suspect(watch, state, &suspects[i]);
    }
}

/* After a look at a state that has lived long enough. */
static void judge(struct leak_watch *watch, struct state *state)
{
    tell(watch, state, GROWTH_STEADY);
    suspects_acquit(&watch->places, watch->messages);
}

/* The life of a state. */

static uint64_t first_look(const struct leak_watch *watch, const struct state *state)
{
    uint64_t most = state->assignment->limits.recycle_messages;
    if (watch->on_trial)
        return TRIAL_LOOK_MESSAGES;
    if (most == 0 || most > JUDGED_MESSAGES)
        return FIRST_LOOK_MESSAGES;
    return most / LOOKS_BEFORE_END > TRIAL_LOOK_MESSAGES ? most / LOOKS_BEFORE_END : TRIAL_LOOK_MESSAGES;
}

static unsigned at_once(const struct state *state)
{
    uint32_t concurrency = state->assignment->limits.concurrency;
    return concurrency > 1 ? concurrency : 0;
}

void leak_watch_begin(struct leak_watch *watch, const struct state *state)
{
    watch->messages = 0;
    watch->live = 0;
    watch->incomplete = false;
    watch->next_messages = watch->next_bytes = UINT64_MAX;
    if (!watch->open)
        return;
    places_forget(&watch->places);
    watch->places.at_once = at_once(state);
    watch->at_work = watch->on_trial || save(watch, clock_now_ns()) >= 0;
    if (!watch->at_work)
        return;
    watch->next_messages = first_look(watch, state);
    watch->next_bytes = state_heap_bytes(state) + heap_step(state);
}

void leak_watch_look(struct leak_watch *watch, struct state *state, int64_t now_ns)
{
    if (!may_look(watch, now_ns, advance_ns))
        return;
    look(watch, state);
    if (watch->messages >= JUDGED_MESSAGES && !watch->incomplete)
        judge(watch, state);
}

/* One message may use up any quota by itself: then the state was not full before it. */
static bool is_full(const struct state *state, enum wire_recycle_reason reason)
{
    return reason == WIRE_RECYCLE_MEMORY || (reason == WIRE_RECYCLE_OUT_OF_MEMORY &&
                                             state->quota.live > state->assignment->limits.memory_bytes / 4);
}

/* After a trip the heap is left alone: the looks before it have to do. */
void leak_watch_end(struct leak_watch *watch, struct state *state, enum wire_recycle_reason reason)
{
    watch->messages += reason != WIRE_RECYCLE_ASKED; /* it ends with one that is not counted yet */
    if (!watch->at_work)
        return;
    if (state->trip.kind == TRIP_NONE && !watch->incomplete &&
        may_look(watch, clock_now_ns(), last_advance_ns))
        look(watch, state);
    int64_t began_ns = cpu_now_ns();
    bool at_end = last_look_messages(watch) >= watch->messages - watch->messages / 5;
    if (is_full(state, reason))
        tell(watch, state, GROWTH_PRESSED);
    else if (watch->messages >= TOLD_MESSAGES && at_end && !watch->incomplete)
        judge(watch, state);
    spend(watch, began_ns);
}

void leak_watch_answer(struct leak_watch *watch, struct state *state)
{
    if (watch->at_work && !watch->incomplete) {
        look(watch, state);
        tell(watch, state, GROWTH_STEADY);
    }
    const struct wire_looked looked = {
        .looks = watch->looks,
        .objects = watch->objects,
        .spent_ns = watch->spent_ns,
        .alive_ns = clock_now_ns() - watch->began_ns,
        .complete = !watch->incomplete,
    };
    wire_add_looked(link_begin(state->link, WIRE_LOOKED), &looked);
    link_end(state->link);
}
