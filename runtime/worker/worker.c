/* The life of a worker: set up by the first frame, then delivery after delivery until WIRE_STOP; see
 * worker.h. Results go out in batches: when the input holds no further frame, when enough of them wait, and
 * at each tick. */
#include "worker/worker.h"

#include "common/board.h"
#include "common/cache.h"
#include "common/clock.h"
#include "common/inherit.h"
#include "common/log.h"
#include "worker/confine.h"
#include "worker/handler.h"
#include "worker/leak_watch.h"
#include "worker/link.h"
#include "worker/message.h"
#include "worker/recycle.h"
#include "worker/script.h"
#include "worker/stack.h"
#include "worker/state.h"
#include "worker/tick.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_NO_SCRIPT = 1, /* WIRE_FAILED has said why */
    EXIT_BROKEN = 70, /* EX_SOFTWARE: what the host sent is no frame, or the system refused; said on stderr */
};

struct worker {
    struct link link;
    struct tick tick;
    struct board *board;
    struct cache cache;
    struct assignment assignment;
    struct home home;
    struct state state;
    struct recycle recycle;
    struct leak_watch leaks;
    struct message message; /* the delivery at hand */
};

/* What one step in the worker's life leads to. */
enum step { GO_ON, STOP, HOST_GONE, NO_SCRIPT, BROKEN };

/* PR_SET_PDEATHSIG tells nothing of a host that died before it was set; the socket does. */
static bool host_is_gone(void)
{
    struct pollfd socket = { .fd = WORKER_SOCKET_FD };
    return poll(&socket, 1, 0) > 0 && (socket.revents & POLLHUP);
}

static bool worker_open(struct worker *worker, struct error *error)
{
    if (!link_open(&worker->link, WORKER_SOCKET_FD, error) ||
        !tick_open(&worker->tick, &worker->link, &worker->state.deadline, error))
        return false;
    worker->board = board_map(WORKER_BOARD_FD, error);
    worker->assignment.board = worker->board;
    worker->assignment.cache = &worker->cache;
    worker->assignment.home = &worker->home;
    home_init(&worker->home, HOME_BYTES);
    return worker->board && cache_map(&worker->cache, WORKER_CACHE_FD, error);
}

static void worker_close(struct worker *worker)
{
    state_close(&worker->state);
    leak_watch_close(&worker->leaks);
    tick_close(&worker->tick);
    link_close(&worker->link);
    board_close(worker->board);
    cache_unmap(&worker->cache);
    home_clear(&worker->home);
    folder_close(&worker->assignment.folder);
    free(worker->assignment.script);
    free(worker->assignment.queue);
}

static bool copy_text(struct slice attributes, enum wire_attribute_id id, char **ret_text)
{
    struct slice text;
    if (!wire_find(attributes, id, &text) || memchr(text.data, '\0', text.size))
        return false;
    *ret_text = strndup(text.data, text.size);
    return *ret_text != NULL;
}

static enum step read_setup(struct worker *worker, const struct wire_frame *frame, struct error *error)
{
    struct assignment *assignment = &worker->assignment;
    struct slice payload = frame->payload;
    if (frame->type != WIRE_SETUP || !wire_take_setup(&payload, &assignment->limits) ||
        !copy_text(payload, WIRE_SCRIPT, &assignment->script) ||
        !copy_text(payload, WIRE_QUEUE, &assignment->queue)) {
        (void)error_set(error, ERROR_FAILED, "the first frame does not set the worker up");
        return BROKEN;
    }
    const size_t rest = WIRE_DELIVER_BYTES + WIRE_ATTRIBUTES_MAX;
    size_t body = assignment->limits.message_bytes;
    link_allow(&worker->link, body < UINT32_MAX - rest ? rest + body : UINT32_MAX);
    return GO_ON;
}

static void send_text(struct worker *worker, enum wire_type type, const char *text)
{
    struct buffer *frame = link_begin(&worker->link, type);
    wire_add(frame, WIRE_TEXT, slice_of(text));
    link_end(&worker->link);
}

static void try_recycle_memory(struct worker *worker)
{
    recycle_start(&worker->recycle, &worker->state);
    if (worker->recycle.too_low)
        link_log(&worker->link, LOG_WARNING,
                 "recycle.memory is too low for this script: it holds more when it has just been loaded; its "
                 "state is recycled by messages only");
}

/* Confines itself, opens the state and loads the script, and tells the host what came of it: ready or failed.
 */
static bool load(struct worker *worker)
{
    struct error error;
    struct assignment *assignment = &worker->assignment;
    /* Without memory for it there are no reports; a script that loads is more important. */
    (void)leak_watch_open(&worker->leaks, assignment->limits.on_trial);
    bool loaded = folder_open(&assignment->folder, assignment->script, &error) &&
                  confine_script(&assignment->folder, &assignment->limits, &error) &&
                  state_open(&worker->state, assignment, &worker->link, &error) &&
                  script_load(&worker->state, &error);
    if (loaded) {
        const struct wire_ready ready = { .heap_bytes = state_heap_bytes(&worker->state) };
        wire_add_ready(link_begin(&worker->link, WIRE_READY), &ready);
        link_end(&worker->link);
        try_recycle_memory(worker);
        leak_watch_begin(&worker->leaks, &worker->state);
    } else {
        send_text(worker, WIRE_FAILED, error.text);
    }
    link_flush(&worker->link);
    return loaded;
}

/* A new Lua state for the next message. */
static enum step renew(struct worker *worker, enum wire_recycle_reason reason)
{
    struct error error;
    struct wire_recycled told;
    leak_watch_end(&worker->leaks, &worker->state, reason);
    bool renewed = recycle_run(&worker->recycle, &worker->state, reason, &told, &error);
    if (renewed) {
        wire_add_recycled(link_begin(&worker->link, WIRE_RECYCLED), &told);
        link_end(&worker->link);
        leak_watch_begin(&worker->leaks, &worker->state);
        return GO_ON;
    }
    send_text(worker, WIRE_FAILED, error.text);
    link_flush(&worker->link);
    return NO_SCRIPT;
}

/* The result, behind what a message that succeeded has published. */
static void send_result(struct worker *worker, const struct outcome *outcome, int64_t elapsed_ns)
{
    struct outbox *outbox = &worker->state.outbox;
    const struct wire_result result = {
        .seq = worker->message.deliver.seq,
        .slot = worker->message.deliver.slot,
        .verdict = (uint8_t)outcome->verdict,
        .elapsed_ns = elapsed_ns,
        .delay_ns = outcome->delay_ns,
    };
    if (outcome->verdict == WIRE_ACK)
        outbox_send(outbox, &worker->link, result.seq);
    outbox_reset(outbox);
    struct buffer *frame = link_begin(&worker->link, WIRE_RESULT);
    wire_add_result(frame, &result);
    if (outcome->text.size > 0)
        wire_add(frame, WIRE_TEXT, outcome->text);
    link_end(&worker->link);
}

static enum step deliver(struct worker *worker, struct slice payload)
{
    struct outcome outcome = { .verdict = WIRE_SKIPPED, .delay_ns = -1 };
    enum wire_recycle_reason reason = WIRE_RECYCLE_NONE;
    if (!message_parse(payload, &worker->message))
        return BROKEN;
    int64_t began_ns = clock_now_ns();
    bool claimed = board_claim(worker->board, worker->message.deliver.seq, began_ns);
    if (claimed)
        handler_run(&worker->state, &worker->message, began_ns, &outcome);
    int64_t ended_ns = clock_now_ns();
    send_result(worker, &outcome, ended_ns - began_ns);
    if (claimed)
        reason = recycle_after_message(&worker->recycle, &worker->state, ended_ns);
    if (claimed && reason == WIRE_RECYCLE_NONE)
        leak_watch_message(&worker->leaks, &worker->state, ended_ns);
    return reason == WIRE_RECYCLE_NONE ? GO_ON : renew(worker, reason);
}

static enum step take(struct worker *worker, const struct wire_frame *frame)
{
    switch (frame->type) {
    case WIRE_DELIVER:
        return deliver(worker, frame->payload);
    case WIRE_RECYCLE:
        return renew(worker, WIRE_RECYCLE_ASKED);
    case WIRE_LOOK:
        leak_watch_answer(&worker->leaks, &worker->state);
        return GO_ON;
    case WIRE_STOP:
        return STOP;
    default:
        return BROKEN;
    }
}

/* Answers every delivery that has come whole. */
static enum step answer_all(struct worker *worker)
{
    struct wire_frame frame;
    enum wire_next next;
    while ((next = link_next(&worker->link, &frame)) == WIRE_FRAME) {
        enum step step = take(worker, &frame);
        if (step != GO_ON)
            return step;
    }
    return next == WIRE_MORE ? GO_ON : BROKEN;
}

/* Sends what waits, and waits for more. */
static enum step refill(struct worker *worker, struct error *error)
{
    link_flush(&worker->link);
    tick_rest(&worker->tick);
    enum link_fill fill = link_fill(&worker->link, error);
    tick_work(&worker->tick);
    if (fill == LINK_FILLED)
        return GO_ON;
    return fill == LINK_ENDED ? HOST_GONE : BROKEN;
}

static enum step await_setup(struct worker *worker, struct error *error)
{
    struct wire_frame frame;
    enum wire_next next;
    while ((next = link_next(&worker->link, &frame)) == WIRE_MORE) {
        enum step filled = refill(worker, error);
        if (filled != GO_ON)
            return filled;
    }
    if (next == WIRE_FRAME)
        return read_setup(worker, &frame, error);
    (void)error_set(error, ERROR_FAILED, "what the host sent is no frame");
    return BROKEN;
}

static void show_heap(struct worker *worker)
{
    atomic_store_explicit(&worker->board->heap_bytes, state_heap_bytes(&worker->state), memory_order_relaxed);
    atomic_store_explicit(&worker->board->heap_peak_bytes, worker->state.quota.peak, memory_order_relaxed);
}

static enum step serve(struct worker *worker, struct error *error)
{
    for (;;) {
        enum step step = answer_all(worker);
        if (step == BROKEN)
            (void)error_set(error, ERROR_FAILED, "what the host sent is no delivery");
        if (step != GO_ON)
            return step;
        show_heap(worker);
        link_flush(&worker->link);
        recycle_rest(&worker->recycle, &worker->state);
        step = refill(worker, error);
        if (step != GO_ON)
            return step;
    }
}

static void stop(struct worker *worker)
{
    struct error error;
    link_flush(&worker->link);
    if (!script_teardown(&worker->state, &error))
        link_log(&worker->link, LOG_ERROR, error.text);
    link_flush(&worker->link);
}

static enum exit_code live(struct worker *worker, struct error *error)
{
    enum step step = await_setup(worker, error);
    if (step == GO_ON && !load(worker))
        return EXIT_NO_SCRIPT;
    if (step == GO_ON)
        step = serve(worker, error);
    if (step == STOP)
        stop(worker);
    if (step == NO_SCRIPT)
        return EXIT_NO_SCRIPT;
    return step == BROKEN ? EXIT_BROKEN : EXIT_DONE;
}

int worker_main(void)
{
    struct worker worker = { .assignment.folder.fd = -1 };
    struct error error = { .code = ERROR_NONE };
    enum exit_code code = EXIT_BROKEN;
    if (!confine_process(&error))
        goto out;
    if (host_is_gone())
        return EXIT_DONE;
    worker.assignment.stack = stack_reserve();
    if (worker_open(&worker, &error))
        code = live(&worker, &error);
    worker_close(&worker);
out:
    if (code == EXIT_BROKEN)
        (void)fprintf(stderr, "moonrabbit: a worker ended: %s\n", error.text);
    return code;
}
