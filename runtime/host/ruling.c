/* The verdict table; see ruling.h. */
#include "host/ruling.h"

static struct ruling try_again(const char *message, const char *last, uint32_t attempt, unsigned attempts)
{
    if (attempt >= attempts)
        return (struct ruling){ .settlement = SETTLE_REJECT, .exhausted = true, .message = last };
    return (struct ruling){ .settlement = SETTLE_REQUEUE, .message = message };
}

struct ruling ruling_for_result(enum wire_verdict verdict, uint32_t attempt, unsigned attempts)
{
    switch (verdict) {
    case WIRE_ACK:
        return (struct ruling){ .settlement = SETTLE_ACK };
    case WIRE_REJECT:
        return (struct ruling){ .settlement = SETTLE_REJECT,
                                .by_choice = true,
                                .message = "message rejected by the handler" };
    case WIRE_UNDECODABLE:
        return (struct ruling){ .settlement = SETTLE_REJECT,
                                .message = "message rejected: its body cannot be decoded" };
    case WIRE_RETRY:
    case WIRE_REQUEUE:
        return try_again(NULL,
                         "message rejected: the handler asked for one more try than retry.attempts allows",
                         attempt, attempts);
    case WIRE_OUT_OF_MEMORY:
        return try_again("the handler ran out of memory; the message is tried again",
                         "message rejected: the handler ran out of memory and no attempt is left", attempt,
                         attempts);
    case WIRE_OUT_OF_TIME:
        return try_again("the handler ran out of time; the message is tried again",
                         "message rejected: the handler ran out of time and no attempt is left", attempt,
                         attempts);
    case WIRE_ERROR:
    case WIRE_SKIPPED:
    default:
        return try_again("the handler failed; the message is tried again",
                         "message rejected: the handler failed and no attempt is left", attempt, attempts);
    }
}

struct ruling ruling_for_crash(uint32_t attempt, unsigned attempts)
{
    return try_again("a message was at work when its worker died; it is tried again",
                     "message rejected: its worker died at it and no attempt is left", attempt, attempts);
}
