/* Recycled states; see recycles.h. */
#include "host/recycles.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"

enum { LINES_PER_SECOND = 1 };

const char *recycles_reason(enum wire_recycle_reason reason)
{
    static const char *const names[WIRE_RECYCLE_REASONS] = {
        [WIRE_RECYCLE_NONE] = "none",
        [WIRE_RECYCLE_MESSAGES] = "messages",
        [WIRE_RECYCLE_MEMORY] = "memory",
        [WIRE_RECYCLE_ASKED] = "asked",
        [WIRE_RECYCLE_OUT_OF_MEMORY] = "out_of_memory",
        [WIRE_RECYCLE_OUT_OF_TIME] = "out_of_time",
        [WIRE_RECYCLE_OUT_OF_STACK] = "out_of_stack",
    };
    return names[reason];
}

void recycles_init(struct recycles *recycles)
{
    *recycles = (struct recycles){ .lines.per_second = LINES_PER_SECOND };
}

void recycles_add(struct recycles *recycles, const struct consumer_config *config, unsigned lane,
                  const struct wire_recycled *recycled)
{
    char heap[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX];
    int64_t now_ns = clock_now_ns();
    recycles->counts[recycled->reason]++;
    recycles->recent[recycles->total++ % RECYCLES_KEPT] =
        (struct recycle_event){ .time_ns = now_ns, .lane = lane, .told = *recycled };
    histogram_add(&recycles->pauses, recycled->pause_ns);
    if (!limiter_pass(&recycles->lines, now_ns))
        return;
    uint64_t held_back = limiter_take_held_back(&recycles->lines);
    log_info(log_message("Lua state recycled"), log_text("consumer", config->name),
             log_unsigned("worker", lane + 1),
             log_text("reason", recycles_reason((enum wire_recycle_reason)recycled->reason)),
             log_unsigned("messages", recycled->messages), log_duration("age", recycled->age_ns),
             log_text("heap", units_format_size((int64_t)recycled->heap_bytes, heap)),
             log_text("peak", units_format_size((int64_t)recycled->peak_bytes, peak)),
             log_duration("pause", recycled->pause_ns), log_suppressed(held_back));
}

const struct recycle_event *recycles_recent(const struct recycles *recycles, unsigned before)
{
    if (before >= RECYCLES_KEPT || before >= recycles->total)
        return NULL;
    return &recycles->recent[(recycles->total - 1 - before) % RECYCLES_KEPT];
}
