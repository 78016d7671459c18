/* What the tests of a worker's limits share: a message that may end its state, what the worker tells of that,
 * and the message after it, which is handled as if nothing had been. */
#ifndef SPEC_UNIT_LIMITS_H
#define SPEC_UNIT_LIMITS_H

#include "worker_fixture.h"

#define HANDLER(body) "return function(data, message) " body " end"

/* A handler that runs a body for every message but "next", which it acks. */
#define TRIAL(body) HANDLER("if message.id == 'next' then return true end " body)

/* The result of one message: log lines, news of recycling and messages to publish before it are counted. */
struct trial {
    struct answer answer;
    struct wire_recycled recycled; /* the last that was told */
    unsigned recycles;
    unsigned published; /* frames of what it published */
    unsigned leaks;
    unsigned lines;
    char line[WIRE_TEXT_MAX + 1]; /* the last log line */
};

static inline void take_news(struct trial *trial)
{
    struct slice payload = trial->answer.attributes;
    if (trial->answer.type == WIRE_LOG) {
        trial->lines++;
        memcpy(trial->line, trial->answer.text, sizeof trial->line);
        return;
    }
    if (trial->answer.type == WIRE_LEAK) {
        trial->leaks++;
        return;
    }
    if (trial->answer.type == WIRE_PUBLISH || trial->answer.type == WIRE_PIECE) {
        trial->published++;
        return;
    }
    if (trial->answer.type != WIRE_RECYCLED)
        fail_msg("the worker sent a frame of type %d: %s", trial->answer.type, trial->answer.text);
    assert_true(wire_take_recycled(&payload, &trial->recycled));
    trial->recycles++;
}

/* False where the worker ended instead. */
static inline bool trial_deliver(struct fixture *fixture, const struct parcel *parcel, struct trial *trial)
{
    *trial = (struct trial){ .recycles = 0 };
    fixture_deliver(fixture, parcel);
    for (;;) {
        if (!fixture_answer(fixture, &trial->answer))
            return false;
        if (trial->answer.type == WIRE_RESULT)
            break;
        take_news(trial);
    }
    assert_int_equal(trial->answer.result.seq, fixture->seq);
    return true;
}

/* The next message: acked, after the news of a new state where there is one. */
static inline void trial_next(struct fixture *fixture, struct trial *trial, const char *name)
{
    if (!trial_deliver(fixture, &(struct parcel){ .id = "next" }, trial))
        fail_msg("%s: the worker did not survive", name);
    if (trial->answer.result.verdict != WIRE_ACK)
        fail_msg("%s: the next message got verdict %d: %s", name, trial->answer.result.verdict,
                 trial->answer.text);
}

/* Ends the worker in order, whatever it still tells. */
static inline void trial_finish(struct fixture *fixture)
{
    struct trial trial = { .recycles = 0 };
    fixture_send_stop(fixture);
    while (fixture_answer(fixture, &trial.answer))
        take_news(&trial);
    assert_int_equal(fixture_wait(fixture), 0);
    fixture_close(fixture);
}

struct limit_case {
    const char *name;
    const char *script;
    const char *body;
    int verdict;
    const char *text;                /* in the result's text */
    enum wire_recycle_reason reason; /* why the state was exchanged after it; NONE: it was not */
};

static inline void check_limit(const struct wire_setup *limits, const struct limit_case *test)
{
    struct fixture fixture;
    struct trial trial;
    fixture_open(&fixture);
    fixture.limits = *limits;
    fixture_run(&fixture, test->script);
    if (!trial_deliver(&fixture, &(struct parcel){ .id = "m", .body = test->body }, &trial))
        fail_msg("%s: the worker ended", test->name);
    if (trial.answer.result.verdict != test->verdict)
        fail_msg("%s: verdict %d instead of %d: %s", test->name, trial.answer.result.verdict, test->verdict,
                 trial.answer.text);
    if (test->text && !strstr(trial.answer.text, test->text))
        fail_msg("%s: the text is \"%s\"", test->name, trial.answer.text);
    trial_next(&fixture, &trial, test->name);
    if (trial.recycled.reason != test->reason)
        fail_msg("%s: recycled for %d instead of %d", test->name, trial.recycled.reason, test->reason);
    fixture_finish(&fixture);
}

#endif
