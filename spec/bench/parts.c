/* What the parts of a message's way through a worker cost. Tells
 *
 *   {"first_ns":[...],"next_ns":[...],"lone_ns":[...],"batch_ns":[...],"raw_250_ns":[...],"json_250_ns":[...],
 *    "raw_4096_ns":[...],"json_4096_ns":[...]}
 *
 * first_ns: processor time of opening a Lua state, loading a short script and closing it; next_ns: the same
 * of the states after it, for which a worker keeps what every state begins with; lone_ns: a message to a
 * worker process that waits, until its answer is here; batch_ns: one of LOAD_BATCH messages that are sent
 * together, until all answers are here; raw_* and json_*: processor time of a message of so many bytes
 * through a handler that does nothing, in this process, as text and decoded. */
#include "worker_load.h"
#include "worker_subject.h"

enum {
    ROUNDS = 41,
    STATES = 20, /* and in a round so many of each: */
    LONE = 50,
    BATCHES = 40,
    MESSAGES = 2000,
    LARGE_BODY_BYTES = 4096,
};

static const char nothing[] = "return function() end";

static void tell(const char *name, const double figures[ROUNDS], const char *after)
{
    (void)printf("\"%s\":[", name);
    for (int i = 0; i < ROUNDS; i++)
        (void)printf("%s%.1f", i == 0 ? "" : ",", figures[i]);
    (void)printf("]%s", after);
}

static void open_and_close(const struct assignment *assignment, struct state *state)
{
    struct error error;
    if (!state_open(state, assignment, NULL, &error) || !script_load(state, &error))
        fail_msg("%s", error.text);
    state_close(state);
}

static double first_ns(struct assignment assignment)
{
    struct home home;
    struct state state;
    assignment.home = &home;
    int64_t began_ns = cpu_now_ns();
    for (int i = 0; i < STATES; i++) {
        home_init(&home, HOME_BYTES);
        open_and_close(&assignment, &state);
        home_clear(&home);
    }
    return (double)(cpu_now_ns() - began_ns) / STATES;
}

static double next_ns(struct assignment assignment)
{
    struct home home;
    struct state state;
    assignment.home = &home;
    home_init(&home, HOME_BYTES);
    open_and_close(&assignment, &state);
    int64_t began_ns = cpu_now_ns();
    for (int i = 0; i < STATES; i++)
        open_and_close(&assignment, &state);
    int64_t ended_ns = cpu_now_ns();
    home_clear(&home);
    return (double)(ended_ns - began_ns) / STATES;
}

static double message_ns(struct subject *subject)
{
    struct outcome outcome;
    json_memory_use(&subject->state.quota);
    int64_t began_ns = cpu_now_ns();
    for (int i = 0; i < MESSAGES; i++)
        handler_run(&subject->state, &subject->message, began_ns, &outcome);
    assert_int_equal(outcome.verdict, WIRE_ACK);
    return (double)(cpu_now_ns() - began_ns) / MESSAGES;
}

static double lone_ns(struct fixture *fixture, const struct parcel *parcel)
{
    struct answer answer;
    int64_t began_ns = clock_now_ns();
    for (int i = 0; i < LONE; i++)
        fixture_try(fixture, parcel, &answer);
    return (double)(clock_now_ns() - began_ns) / LONE;
}

static double batch_ns(struct load *load)
{
    int64_t began_ns = clock_now_ns();
    for (int i = 0; i < BATCHES; i++)
        load_run(load, 1);
    return (double)(clock_now_ns() - began_ns) / BATCHES / LOAD_BATCH;
}

/* LOAD_ORDER, with so long a list that it has LARGE_BODY_BYTES. */
static void make_large(char text[LARGE_BODY_BYTES + 1])
{
    static const char head[] = "{\"id\":123456,\"items\":[", tail[] = "{}]}",
                      item[] = "{\"goods\":\"carrot\",\"quantity\":3,\"price\":2599},";
    size_t size = sizeof head - 1;
    memcpy(text, head, size);
    for (; size + sizeof item + sizeof tail < LARGE_BODY_BYTES; size += sizeof item - 1)
        memcpy(text + size, item, sizeof item - 1);
    memset(text + size, ' ', LARGE_BODY_BYTES - size);
    memcpy(text + LARGE_BODY_BYTES - (sizeof tail - 1), tail, sizeof tail);
}

static void time_worker(struct fixture *fixture)
{
    static double lone[ROUNDS], batch[ROUNDS];
    const struct parcel text = { .body = LOAD_ORDER, .id = "123456" };
    struct load load = { .fixture = *fixture, .parcel = &text };
    for (int i = 0; i < ROUNDS; i++) {
        lone[i] = lone_ns(&load.fixture, &text);
        batch[i] = batch_ns(&load);
    }
    *fixture = load.fixture;
    tell("lone_ns", lone, ",");
    tell("batch_ns", batch, ",");
}

static void time_subjects(struct fixture *fixture)
{
    static char large[LARGE_BODY_BYTES + 1], script[128];
    static double figures[4][ROUNDS], first[ROUNDS], next[ROUNDS];
    static const char *const names[] = { "raw_250_ns", "json_250_ns", "raw_4096_ns", "json_4096_ns" };
    struct subject subjects[4];
    make_large(large);
    (void)snprintf(script, sizeof script, "%s/handler.lua", fixture->folder);
    for (int i = 0; i < 4; i++) {
        const struct parcel parcel = { .body = i < 2 ? LOAD_ORDER : large,
                                       .content_type = i % 2 ? "application/json" : NULL,
                                       .id = "123456" };
        subject_open(&subjects[i], fixture, script, &parcel);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 4; i++)
            figures[i][round] = message_ns(&subjects[i]);
        first[round] = first_ns(subjects[0].assignment);
        next[round] = next_ns(subjects[0].assignment);
    }
    for (int i = 0; i < 4; i++) {
        tell(names[i], figures[i], ",");
        subject_close(&subjects[i]);
    }
    tell("first_ns", first, ",");
    tell("next_ns", next, "}\n");
}

static void measure(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, nothing);
    (void)printf("\n{");
    time_worker(&fixture);
    time_subjects(&fixture);
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(measure) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
