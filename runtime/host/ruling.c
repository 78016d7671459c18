/* The verdict table; see ruling.h. */
#include "host/ruling.h"

struct failure {
    const char *reason;
    const char *message; /* there are attempts left */
    const char *last;    /* there are none */
};

static struct ruling try_again(const struct failure *failure, enum ruling_kind kind, uint32_t attempt,
                               unsigned attempts)
{
    if (attempt >= attempts)
        return (struct ruling){ .kind = RULING_GIVE_UP, .reason = failure->reason, .message = failure->last };
    return (struct ruling){ .kind = kind, .message = failure->message };
}

static const struct failure asked_too_often = {
    "gave-up", NULL, "message rejected: the handler asked for one more try than retry.attempts allows"
};
static const struct failure out_of_memory = {
    "out-of-memory", "the handler ran out of memory; the message is tried again",
    "message rejected: the handler ran out of memory and no attempt is left"
};
static const struct failure out_of_time = {
    "out-of-time", "the handler ran out of time; the message is tried again",
    "message rejected: the handler ran out of time and no attempt is left"
};
static const struct failure error = { "error", "the handler failed; the message is tried again",
                                      "message rejected: the handler failed and no attempt is left" };
static const struct failure crash = { "crashed",
                                      "a message was at work when its worker died; it is tried again",
                                      "message rejected: its worker died at it and no attempt is left" };
static const struct failure unpublished = {
    "unpublished", "what the handler published was not taken; the message is tried again",
    "message rejected: what the handler published was not taken and no attempt is left"
};

const char *ruling_verdict_name(enum wire_verdict verdict)
{
    static const char *const names[WIRE_VERDICTS] = {
        [0] = "none",
        [WIRE_ACK] = "ack",
        [WIRE_RETRY] = "retry",
        [WIRE_REQUEUE] = "requeue",
        [WIRE_REJECT] = "reject",
        [WIRE_ERROR] = "error",
        [WIRE_UNDECODABLE] = "undecodable",
        [WIRE_SKIPPED] = "skipped",
        [WIRE_OUT_OF_MEMORY] = "out_of_memory",
        [WIRE_OUT_OF_TIME] = "out_of_time",
        [WIRE_RETURNED] = "returned",
    };
    return names[verdict];
}

struct ruling ruling_for_result(enum wire_verdict verdict, uint32_t attempt, unsigned attempts)
{
    switch (verdict) {
    case WIRE_ACK:
        return (struct ruling){ .kind = RULING_ACK };
    case WIRE_REJECT:
        return (struct ruling){ .kind = RULING_GIVE_UP,
                                .by_choice = true,
                                .reason = "rejected",
                                .message = "message rejected by the handler" };
    case WIRE_UNDECODABLE:
        return (struct ruling){ .kind = RULING_GIVE_UP,
                                .reason = "undecodable",
                                .message = "message rejected: its body cannot be decoded" };
    case WIRE_RETRY:
        return try_again(&asked_too_often, RULING_RETRY, attempt, attempts);
    case WIRE_REQUEUE:
        return try_again(&asked_too_often, RULING_REQUEUE, attempt, attempts);
    case WIRE_OUT_OF_MEMORY:
        return try_again(&out_of_memory, RULING_RETRY, attempt, attempts);
    case WIRE_OUT_OF_TIME:
        return try_again(&out_of_time, RULING_RETRY, attempt, attempts);
    case WIRE_ERROR:
    case WIRE_SKIPPED:
    case WIRE_RETURNED:
    default:
        return try_again(&error, RULING_RETRY, attempt, attempts);
    }
}

struct ruling ruling_for_crash(uint32_t attempt, unsigned attempts)
{
    return try_again(&crash, RULING_RETRY, attempt, attempts);
}

struct ruling ruling_for_unpublished(uint32_t attempt, unsigned attempts)
{
    return try_again(&unpublished, RULING_RETRY, attempt, attempts);
}

struct ruling ruling_for_oversized(void)
{
    return (struct ruling){ .kind = RULING_GIVE_UP,
                            .reason = "too-large",
                            .message = "message rejected: its body is too large" };
}
