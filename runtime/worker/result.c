/* Results; see result.h. */
#include "worker/result.h"

void result_send(struct state *state, const struct wire_deliver *deliver, const struct outcome *outcome,
                 int64_t elapsed_ns)
{
    const struct wire_result result = {
        .seq = deliver->seq,
        .slot = deliver->slot,
        .verdict = (uint8_t)outcome->verdict,
        .elapsed_ns = elapsed_ns,
        .delay_ns = outcome->delay_ns,
    };
    if (outcome->verdict == WIRE_ACK)
        outbox_send(&state->outbox, state->link, result.seq);
    outbox_reset(&state->outbox);
    struct buffer *frame = link_begin(state->link, WIRE_RESULT);
    wire_add_result(frame, &result);
    if (outcome->text.size > 0)
        wire_add(frame, WIRE_TEXT, outcome->text);
    link_end(state->link);
}
