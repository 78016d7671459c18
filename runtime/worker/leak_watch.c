/* When to look for leaks, and telling what was found; see leak_watch.h. */
#include "worker/leak_watch.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/heap_walk.h"
#include "worker/leak_suspects.h"

#include <string.h>

enum {
    FIRST_LOOK_PART = 64, /* the first look is after such a part of a state's life, or */
    LOOK_LEAST = 8,       /* after so many messages, */
    FIRST_LOOK_MESSAGES = 10000 / FIRST_LOOK_PART, /* these where it lives long */
    JUDGED_MESSAGES = 10000,                       /* then it is judged at each look from here on */
    TOLD_MESSAGES = 1000,                          /* one that is over sooner has told nothing about growth */
    MESSAGES_STEP_MAX = 50000, /* between two looks, or a quarter of all, where that is more */
    HEAP_STEPS = 8,            /* looks on the way to recycle.memory */
    HEAP_STEP_LEAST = 64 * 1024,
    PUT_OFF_PART = 16,
    CYCLE_PART = 2, /* of all messages, that have to be handled between two looks */
    FRESH_PART = 8, /* of all messages, that have been handled since a cycle has ended */
    CHEAP_WALK_NS = 2 * CLOCK_NS_PER_MS,
    ENTRIES_MAX = 128, /* looked into of one table */
    OBJECTS_MAX = 512, /* and of one list or tree; from a part of them on what lives in all has to be known */
    OBJECTS_PART = 4,
    FIRST_TIMES = 2, /* what was there before the first message, as much a first walk goes through at most */
    CUT_TIMES = 2,   /* as long as until then, a walk would have taken that was stopped */
    WHOLE_LOOKS = 4, /* that have to be affordable where walks are to leave out nothing */
    FULL_PART = 8,
    CLEAN_STATES = 8,  /* in a row, after which only one in so many is looked at */
    BYTES_NOISE = 512, /* what lives may grow so much by itself, and a byte in four messages */
};

static const int64_t walk_max_ns = CLOCK_NS_PER_SECOND;

/* A walk that is to end goes on for so long. */
static const int64_t stop_ns = CLOCK_NS_PER_MS / 32;

/* Before anything was measured, for each byte of the heap. */
static const double first_walk_ns = 0.7, first_collect_ns = 0.5;

#define COST_MARGIN 1.25 /* looks may take so many times as long as foreseen, */
#define INCOME_PART 0.7  /* and the messages to come as little as this part of the time of those before */

bool leak_watch_open(struct leak_watch *watch, bool on_trial)
{
    *watch = (struct leak_watch){ .on_trial = on_trial, .collect_ns = first_collect_ns };
    leak_budget_open(&watch->budget, clock_now_ns());
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

/* What a look may cost. */

/* Whether what lives in all has to be known: of what is in lists and trees something is left out, and in weak
 * tables may be garbage. */
static bool needs_live(const struct leak_watch *watch)
{
    return watch->weak || (!watch->on_trial && !watch->whole &&
                           places_most_held(&watch->places) >= OBJECTS_MAX / OBJECTS_PART);
}

/* A look now would tell nothing: no cycle has ended since the last, or too long ago for what is in weak
 * tables. */
static bool waits_for_cycle(const struct leak_watch *watch)
{
    uint64_t ended = watch->cycle.messages;
    return !watch->on_trial && needs_live(watch) &&
           (ended <= watch->last_walk.messages ||
            (watch->weak && ended < watch->messages - watch->messages / FRESH_PART));
}

/* A walk that takes longer than what can be saved is stopped then, and told as one that did not get through:
 * it is not put off for ever. */
static double at_most_saved(double ns)
{
    static const double most_ns = (double)LEAK_BUDGET_SAVINGS_NS / 2;
    return ns < most_ns ? ns : most_ns;
}

/* What a script loads is known by its size; of what grows a walk leaves out the most, however late it is. */
static double first_cost_ns(const struct leak_watch *watch, const struct state *state)
{
    uint64_t bytes = state_heap_bytes(state), most = FIRST_TIMES * watch->begin_bytes;
    return (double)(bytes < most ? bytes : most) * first_walk_ns;
}

/* Of a look after so many messages, about, by what the first and the last have taken at this state: there is
 * a part that stays and one that grows, which ends where tables and lists are no longer looked into. */
static double cost_ns(const struct leak_watch *watch, const struct state *state, uint64_t messages)
{
    if (watch->last_walk.ns == 0)
        return at_most_saved(first_cost_ns(watch, state));
    double last_ns = (double)watch->last_walk.ns, more = (double)messages - (double)watch->last_walk.messages;
    double grown_ns = last_ns - (double)watch->first_walk.ns;
    double since = (double)watch->last_walk.messages - (double)watch->first_walk.messages;
    double ns = since > 2 * ENTRIES_MAX ? last_ns + grown_ns / since * more : last_ns * 1.5;
    if (ns > last_ns * 3 && !watch->whole)
        ns = last_ns * 3;
    if (places_most_held(&watch->places) >= OBJECTS_MAX && !watch->whole)
        ns = last_ns;
    return at_most_saved((ns > last_ns ? ns : last_ns) * COST_MARGIN);
}

/* Of the last at this state, after so many messages. */
static double last_cost_ns(const struct leak_watch *watch, const struct state *state, uint64_t messages)
{
    double ns = cost_ns(watch, state, messages);
    double whole_ns = at_most_saved((double)watch->whole_ns * COST_MARGIN);
    return watch->whole && ns < whole_ns ? whole_ns : ns;
}

static double collect_cost_ns(const struct leak_watch *watch, const struct state *state)
{
    return (double)state_heap_bytes(state) * watch->collect_ns * 2;
}

/* How many messages a state has seen when it is judged. */
static uint64_t judged_messages(const struct state *state)
{
    uint64_t most = state->assignment->limits.recycle_messages;
    return most > 0 && most < JUDGED_MESSAGES ? most : JUDGED_MESSAGES;
}

/* Whether there would be enough left then for the look that all others are for. */
static bool leaves_enough(const struct leak_watch *watch, const struct state *state, int64_t now_ns,
                          double room_ns)
{
    uint64_t end = judged_messages(state);
    if (watch->messages >= end || watch->messages == 0)
        return true;
    double messages = (double)watch->messages, more = (double)end - messages;
    double income_ns =
        (double)(now_ns - watch->state_began_ns) / messages * more / LEAK_BUDGET_SHARE * INCOME_PART;
    return room_ns + income_ns >= last_cost_ns(watch, state, end);
}

static bool may_look(struct leak_watch *watch, const struct state *state, int64_t now_ns, bool judged)
{
    double room_ns = (double)leak_budget_room_ns(&watch->budget, now_ns);
    double next_ns = cost_ns(watch, state, watch->messages);
    if (watch->on_trial)
        return true;
    /* It is stopped in time. */
    if (judged)
        return next_ns <= room_ns * COST_MARGIN;
    return next_ns + (double)stop_ns <= room_ns && leaves_enough(watch, state, now_ns, room_ns - next_ns);
}

static bool may_collect(const struct leak_watch *watch, const struct state *state)
{
    double room_ns = (double)watch->budget.saved_ns - cost_ns(watch, state, watch->messages);
    return watch->on_trial || collect_cost_ns(watch, state) <= room_ns;
}

/* Looking. */

static uint64_t heap_step(const struct state *state)
{
    const struct wire_setup *limits = &state->assignment->limits;
    uint64_t most = limits->recycle_memory_bytes > 0 ? limits->recycle_memory_bytes : limits->memory_bytes;
    return most / HEAP_STEPS > HEAP_STEP_LEAST ? most / HEAP_STEPS : HEAP_STEP_LEAST;
}

uint64_t leak_watch_step(uint64_t messages, bool on_trial)
{
    uint64_t part = on_trial ? messages / 2 : messages;
    uint64_t step = part < MESSAGES_STEP_MAX ? part : MESSAGES_STEP_MAX;
    if (step < growth_apart(messages))
        step = growth_apart(messages);
    uint64_t chance = (messages * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    return step + chance % (step / 4 + 1) + 1;
}

static void set_next(struct leak_watch *watch, const struct state *state, uint64_t step)
{
    uint64_t most = state->assignment->limits.recycle_messages;
    watch->next_messages = watch->messages + step;
    /* The look at its end will do. */
    if (most > 0 && watch->next_messages > most - most / 5 && !needs_live(watch))
        watch->next_messages = UINT64_MAX;
    watch->next_bytes = state_heap_bytes(state) + heap_step(state);
}

static void collect(struct leak_watch *watch, struct state *state)
{
    uint64_t heap_bytes = state_heap_bytes(state);
    int64_t began_ns = clock_cpu_ns();
    quota_collect(&state->quota);
    watch->live = state->quota.live;
    watch->collect_ns = (double)(clock_cpu_ns() - began_ns) / (double)(heap_bytes + 1);
}

/* A walk may take a second, and no more than a quarter of what the host waits for a message. */
static int64_t walk_limit_ns(const struct state *state)
{
    const struct wire_setup *limits = &state->assignment->limits;
    int64_t quarter_ns = (limits->deadline_ns + limits->grace_ns) / 4;
    return limits->deadline_ns > 0 && quarter_ns < walk_max_ns ? quarter_ns : walk_max_ns;
}

/* False where it took more than may be spent: then it was for nothing, but for what is known now of its
 * length. */
static bool walk(struct leak_watch *watch, struct state *state, int64_t until_cpu_ns)
{
    int64_t began_ns = clock_cpu_ns();
    const struct heap_walk_limits limits = {
        .until_ns = clock_now_ns() + walk_limit_ns(state),
        .until_cpu_ns = until_cpu_ns,
        .entries_max = watch->on_trial ? UINT64_MAX : ENTRIES_MAX,
        .script_only = !watch->on_trial,
        .objects_max = watch->on_trial || watch->whole ? UINT64_MAX : OBJECTS_MAX,
    };
    places_begin(&watch->places);
    bool done = heap_walk(state, &watch->places, &watch->seen, &limits, &watch->weak);
    watch->objects = watch->seen.count;
    heap_seen_reset(&watch->seen);
    watch->last_walk = (struct leak_walk){ .ns = clock_cpu_ns() - began_ns, .messages = watch->messages };
    if (watch->first_walk.ns == 0)
        watch->first_walk = watch->last_walk;
    /* What takes nearly all that can ever be saved will not be tried again. */
    if (!done && clock_cpu_ns() >= until_cpu_ns && watch->last_walk.ns < LEAK_BUDGET_SAVINGS_NS / 2) {
        watch->last_walk.ns *= CUT_TIMES;
        return false;
    }
    watch->incomplete = !done;
    return true;
}

/* What the walk has left out: what lives beyond what it saw and what no walk sees. That is known from the
 * first look, when there is next to nothing in the state. */
static void add_rest(struct leak_watch *watch, const struct living *living)
{
    int64_t unseen_bytes = (int64_t)living->bytes - (int64_t)places_bytes(&watch->places);
    if (unseen_bytes < watch->unseen_bytes && !places_are_cut(&watch->places))
        watch->unseen_bytes = unseen_bytes;
    int64_t rest_bytes = unseen_bytes - watch->unseen_bytes;
    const struct places_rest rest = {
        .bytes = rest_bytes > 0 ? (uint64_t)rest_bytes : 0,
        .grown_bytes = living->bytes > watch->begin_bytes ? living->bytes - watch->begin_bytes : 0,
        .messages = living->messages,
    };
    places_add_rest(&watch->places, &rest);
}

/* What a walk that leaves out nothing takes at the end of such a state, and whether there is reason for one.
 * Called before the rest is added. */
static void estimate_whole(struct leak_watch *watch, bool judged)
{
    bool lists = places_are_cut(&watch->places) || places_most_held(&watch->places) >= OBJECTS_MAX;
    uint64_t live_bytes = watch->cycle.bytes > watch->live ? watch->cycle.bytes : watch->live;
    double times = watch->whole ? 1 : (double)live_bytes / (double)(places_bytes(&watch->places) + 1);
    double whole_ns = (double)watch->last_walk.ns * (times > 1 ? times : 1);
    if (judged || whole_ns > (double)watch->whole_ns)
        watch->whole_ns = (int64_t)whole_ns;
    watch->lists = lists || (watch->lists && !judged);
}

static void tell_incomplete(struct leak_watch *watch, struct state *state)
{
    if (watch->incomplete && !watch->said_incomplete)
        link_log(state->link, LOG_WARNING,
                 "the heap holds more objects than can be looked through for leaks: what grew since is not "
                 "known");
    watch->said_incomplete = watch->said_incomplete || watch->incomplete;
}

static bool has_grown(const struct leak_watch *watch, uint64_t live_before, uint64_t messages_before)
{
    return watch->live > live_before + BYTES_NOISE + (watch->messages - messages_before) / 4;
}

static uint64_t last_look_messages(const struct leak_watch *watch)
{
    const struct growth_series *root = &watch->places.list[0].series;
    return root->count > 0 ? root->points[root->count - 1].messages : 0;
}

/* Whether there is something to walk for: where a walk takes long, a collection tells before. */
static bool is_worth_a_walk(const struct leak_watch *watch, uint64_t live_before)
{
    return watch->last_walk.ns < CHEAP_WALK_NS || live_before == 0 || watch->live == live_before ||
           has_grown(watch, live_before, last_look_messages(watch));
}

/* By the last cycle; or by a collection where that can be paid, and is needed: for weak tables, and where no
 * cycle has ended lately. (After a cycle there is some garbage, so that the two are not compared without
 * need.) */
static struct living find_living(struct leak_watch *watch, struct state *state, bool judged)
{
    bool dear = watch->last_walk.ns >= CHEAP_WALK_NS;
    bool late = watch->weak || watch->cycle.messages < watch->messages / 2;
    bool wanted = dear || (needs_live(watch) && late && (judged || watch->on_trial));
    if (!wanted || !may_collect(watch, state))
        return watch->cycle;
    if (state_heap_bytes(state) > state->quota.live + state->quota.live / 16)
        collect(watch, state);
    return (struct living){ .bytes = state->quota.live, .messages = watch->messages };
}

static bool is_fresh(const struct leak_watch *watch, const struct living *living)
{
    return living->bytes > 0 && living->messages >= watch->messages - watch->messages / FRESH_PART;
}

/* The walk has come to its end: what it tells. */
static void conclude(struct leak_watch *watch, const struct living *living, bool judged)
{
    estimate_whole(watch, judged);
    if (last_look_messages(watch) == 0)
        watch->unseen_bytes = (int64_t)watch->begin_bytes - (int64_t)places_bytes(&watch->places);
    bool fresh = is_fresh(watch, living);
    if (fresh || (living->bytes > 0 && places_are_cut(&watch->places)))
        add_rest(watch, living);
    places_end(&watch->places, watch->messages, fresh);
}

/* False where it cost too much. */
static bool find(struct leak_watch *watch, struct state *state, bool judged, int64_t until_cpu_ns)
{
    bool weak_before = watch->weak;
    uint64_t live_before = watch->live;
    struct living living = find_living(watch, state, judged);
    if (!is_worth_a_walk(watch, live_before)) {
        places_stay(&watch->places, watch->messages);
        return true;
    }
    if (!walk(watch, state, until_cpu_ns))
        return false;
    if (watch->on_trial && watch->weak && !weak_before) {
        living = find_living(watch, state, judged);
        (void)walk(watch, state, until_cpu_ns);
    }
    if (!watch->incomplete)
        conclude(watch, &living, judged);
    return true;
}

/* Whether it is known now what there is. */
static bool look(struct leak_watch *watch, struct state *state, bool judged)
{
    int64_t began_ns = clock_cpu_ns();
    int64_t until_cpu_ns = watch->on_trial ? INT64_MAX : began_ns + watch->budget.saved_ns - stop_ns;
    bool found = find(watch, state, judged, until_cpu_ns);
    watch->looks += found;
    leak_budget_spend(&watch->budget, clock_cpu_ns() - began_ns);
    set_next(watch, state, leak_watch_step(watch->messages, watch->on_trial));
    tell_incomplete(watch, state);
    if (watch->incomplete)
        watch->next_messages = watch->next_bytes = UINT64_MAX;
    return found && !watch->incomplete;
}

/* Telling. */

static void tell_suspect(struct leak_watch *watch, struct state *state, const struct suspect *suspect)
{
    struct note path = { .size = 0 };
    const struct place *place = &watch->places.list[suspect->place];
    const struct wire_leak leak = {
        .entries = suspect->entries,
        .entries_per_message = suspect->entries_per_message,
        .bytes = suspect->bytes,
        .bytes_per_message = suspect->bytes_per_message,
        .share = leak_budget_share(&watch->budget, clock_now_ns()),
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

/* How many there are. */
static unsigned tell(struct leak_watch *watch, struct state *state, enum growth_proof proof)
{
    struct suspect suspects[SUSPECTS_MAX];
    unsigned count = suspects_find(&watch->places, proof, watch->messages, suspects);
    for (unsigned i = 0; i < count; i++) {
        /* What filled the state is a good part of it. */
        if (proof == GROWTH_STEADY || suspects[i].bytes >= state->quota.live / FULL_PART)
            tell_suspect(watch, state, &suspects[i]);
    }
    return count;
}

/* After a look at a state that has lived long enough. */
static void judge(struct leak_watch *watch, struct state *state)
{
    watch->clean = tell(watch, state, GROWTH_STEADY) == 0 ? watch->clean + 1 : 0;
    suspects_acquit(&watch->places, watch->messages);
}

/* The life of a state. */

static uint64_t first_look(const struct leak_watch *watch, const struct state *state)
{
    uint64_t most = state->assignment->limits.recycle_messages;
    uint64_t first = most > 0 && most < JUDGED_MESSAGES ? most / FIRST_LOOK_PART : FIRST_LOOK_MESSAGES;
    return watch->on_trial || first < LOOK_LEAST ? LOOK_LEAST : first;
}

static unsigned at_once(const struct state *state)
{
    uint32_t concurrency = state->assignment->limits.concurrency;
    return concurrency > 1 ? concurrency : 0;
}

/* What does not leak in so many states will hardly do so in the next; and where states are short, to look at
 * each is a good part of what they cost. */
static bool may_rest(struct leak_watch *watch)
{
    if (watch->on_trial || watch->lists || watch->clean < CLEAN_STATES)
        return false;
    watch->rested = (watch->rested + 1) % CLEAN_STATES;
    return watch->rested != 0;
}

void leak_watch_begin(struct leak_watch *watch, const struct state *state)
{
    watch->messages = watch->live = 0;
    watch->cycle = (struct living){ .bytes = 0 };
    watch->cycles = state->cycle.ended;
    watch->begin_bytes = state_heap_bytes(state);
    watch->first_walk = watch->last_walk = (struct leak_walk){ .ns = 0 };
    watch->incomplete = watch->weak = false;
    watch->next_messages = watch->next_bytes = UINT64_MAX;
    if (!watch->open)
        return;
    places_forget(&watch->places);
    places_begin(&watch->places);
    watch->places.at_once = at_once(state);
    watch->state_began_ns = clock_now_ns();
    int64_t room_ns = leak_budget_room_ns(&watch->budget, watch->state_began_ns);
    watch->whole = watch->lists && room_ns >= WHOLE_LOOKS * watch->whole_ns;
    watch->rests = may_rest(watch);
    if (watch->rests)
        return;
    watch->next_messages = first_look(watch, state);
    watch->next_bytes = state_heap_bytes(state) + heap_step(state);
}

void leak_watch_cycle(struct leak_watch *watch, const struct state *state)
{
    watch->cycles = state->cycle.ended;
    watch->cycle = (struct living){ .bytes = state->quota.after_cycle, .messages = watch->messages };
    if (watch->open && !watch->rests && !watch->incomplete && needs_live(watch) &&
        watch->messages >= watch->last_walk.messages + watch->last_walk.messages / CYCLE_PART &&
        watch->next_messages > watch->messages)
        watch->next_messages = watch->messages;
}

void leak_watch_look(struct leak_watch *watch, struct state *state, int64_t now_ns)
{
    bool judged = watch->messages >= JUDGED_MESSAGES;
    if ((!judged && waits_for_cycle(watch)) || !may_look(watch, state, now_ns, judged))
        set_next(watch, state, watch->messages / PUT_OFF_PART + 1);
    else if (look(watch, state, judged) && judged)
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
    if (is_full(state, reason))
        watch->clean = 0;
    if (!watch->open || watch->rests)
        return;
    if (state->trip.kind == TRIP_NONE && !watch->incomplete && may_look(watch, state, clock_now_ns(), true))
        (void)look(watch, state, true);
    int64_t began_ns = clock_cpu_ns();
    bool at_end = last_look_messages(watch) >= watch->messages - watch->messages / 5;
    if (is_full(state, reason))
        (void)tell(watch, state, GROWTH_PRESSED);
    else if (watch->messages >= TOLD_MESSAGES && at_end && !watch->incomplete)
        judge(watch, state);
    leak_budget_spend(&watch->budget, clock_cpu_ns() - began_ns);
}

void leak_watch_answer(struct leak_watch *watch, struct state *state)
{
    if (watch->open && !watch->incomplete) {
        (void)look(watch, state, true);
        (void)tell(watch, state, GROWTH_STEADY);
    }
    const struct wire_looked looked = {
        .looks = watch->looks,
        .objects = watch->objects,
        .spent_ns = watch->budget.spent_ns,
        .alive_ns = clock_now_ns() - watch->budget.began_ns,
        .complete = !watch->incomplete,
    };
    wire_add_looked(link_begin(state->link, WIRE_LOOKED), &looked);
    link_end(state->link);
}
