/* The life of a worker: set up by the first frame, then delivery after delivery until WIRE_STOP; see
 * worker.h. Results go out in batches: when the input holds no further frame, when enough of them wait, and
 * at each tick. */
#include "worker/worker.h"

#include "common/board.h"
#include "common/cache.h"
#include "common/clock.h"
#include "common/inherit.h"
#include "common/log.h"
#include "common/shelf.h"
#include "worker/confine.h"
#include "worker/handler.h"
#include "worker/leak_watch.h"
#include "worker/link.h"
#include "worker/message.h"
#include "worker/recycle.h"
#include "worker/result.h"
#include "worker/script.h"
#include "worker/stack.h"
#include "worker/state.h"
#include "worker/tasks.h"
#include "worker/tick.h"
#include "worker/wait.h"
#include "worker/web.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    struct shelf shelf;
    struct assignment assignment;
    struct home home;
    struct state state;
    struct recycle recycle;
    struct leak_watch leaks;
    struct message message; /* the delivery at hand, where there is one at a time */
    struct waits waits;
    struct web web;
    struct buffer hosts; /* the attributes that say which are allowed */
    char *authorities;   /* path of their certificates */
    /* Where several are under way at once */
    struct tasks tasks;
    ev_io input;
    ev_timer rested;         /* there is garbage to be collected then */
    bool woken;              /* input, or that time, has come */
    enum link_fill filled;   /* what the last reading came to, */
    struct error *error;     /* and why, where it failed */
    struct wire_frame frame; /* that came and has to wait, */
    bool frame_waits;        /* where there is one */
};

/* What one step in the worker's life leads to. */
enum step { GO_ON, STOP, HOST_GONE, NO_SCRIPT, BROKEN };

/* PR_SET_PDEATHSIG tells nothing of a host that died before it was set; the socket does. */
static bool host_is_gone(void)
{
    struct pollfd socket = { .fd = WORKER_SOCKET_FD };
    return poll(&socket, 1, 0) > 0 && (socket.revents & POLLHUP);
}

/* Its descriptor has served then. */
static bool map_shelf(struct worker *worker, struct error *error)
{
    if (!shelf_map(&worker->shelf, WORKER_SHELF_FD, error))
        return false;
    (void)close(WORKER_SHELF_FD);
    worker->assignment.shelf = &worker->shelf;
    return true;
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
    worker->assignment.waits = &worker->waits;
    return worker->board && cache_map(&worker->cache, WORKER_CACHE_FD, error) && map_shelf(worker, error);
}

static void worker_close(struct worker *worker)
{
    tasks_clear(&worker->tasks);
    state_close(&worker->state);
    leak_watch_close(&worker->leaks);
    web_close(&worker->web);
    waits_close(&worker->waits);
    buffer_clear(&worker->hosts);
    free(worker->authorities);
    tick_close(&worker->tick);
    link_close(&worker->link);
    board_close(worker->board);
    cache_unmap(&worker->cache);
    shelf_close(&worker->shelf);
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

/* What http.allow names, and the file of authorities: the system's where none is named. */
static bool copy_hosts(struct worker *worker, struct slice rest)
{
    struct wire_attribute attribute;
    if (!copy_text(rest, WIRE_HTTP_CA, &worker->authorities))
        worker->authorities = strdup("/etc/ssl/certs/ca-certificates.crt");
    buffer_init(&worker->hosts, WIRE_ATTRIBUTES_MAX);
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (attribute.id == WIRE_HTTP_ALLOW)
            wire_add(&worker->hosts, WIRE_HTTP_ALLOW, attribute.value);
    }
    return worker->authorities && !worker->hosts.failed;
}

static enum step read_setup(struct worker *worker, const struct wire_frame *frame, struct error *error)
{
    struct assignment *assignment = &worker->assignment;
    struct slice payload = frame->payload;
    if (frame->type != WIRE_SETUP || !wire_take_setup(&payload, &assignment->limits) ||
        !copy_text(payload, WIRE_SCRIPT, &assignment->script) ||
        !copy_text(payload, WIRE_QUEUE, &assignment->queue) || !copy_hosts(worker, payload)) {
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

/* Where hosts are allowed: before the process is confined, since libraries and their files are opened. */
static bool open_http(struct worker *worker, struct error *error)
{
    const struct wire_setup *limits = &worker->assignment.limits;
    const struct web_config config = {
        .attributes = { .data = worker->hosts.data, .size = worker->hosts.size },
        .authorities = worker->authorities,
        .timeout_ns = limits->http_timeout_ns,
        .response_bytes = limits->http_response_bytes,
        .per_host = limits->http_per_host,
        .failures = limits->http_failures,
        .pause_ns = limits->http_pause_ns,
        .concurrency = limits->concurrency > 0 ? limits->concurrency : 1,
        .held_bytes = limits->memory_bytes,
    };
    if (worker->hosts.size == 0)
        return true;
    struct ev_loop *loop = waits_loop(&worker->waits);
    if (!loop)
        return error_set(error, ERROR_FAILED, "no memory for an event loop");
    worker->assignment.web = &worker->web;
    return web_open(&worker->web, &config, loop, error);
}

/* Confines itself, opens the state and loads the script, and tells the host what came of it: ready or failed.
 */
static bool load(struct worker *worker)
{
    struct error error;
    struct assignment *assignment = &worker->assignment;
    /* Without memory for it there are no reports; a script that loads is more important. */
    (void)leak_watch_open(&worker->leaks, assignment->limits.on_trial);
    bool loaded = folder_open(&assignment->folder, assignment->script, &error) && open_http(worker, &error) &&
                  confine_script(&assignment->folder, &assignment->limits,
                                 assignment->web ? worker->authorities : NULL, &error) &&
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

static enum step deliver(struct worker *worker, struct slice payload)
{
    struct outcome outcome = { .verdict = WIRE_SKIPPED, .delay_ns = -1 };
    enum wire_recycle_reason reason = WIRE_RECYCLE_NONE;
    if (!message_parse(payload, &worker->shelf, &worker->message))
        return BROKEN;
    int64_t began_ns = clock_now_ns();
    bool claimed = board_claim(worker->board, worker->message.deliver.seq, began_ns);
    if (claimed)
        handler_run(&worker->state, &worker->message, began_ns, &outcome);
    int64_t ended_ns = clock_now_ns();
    result_send(&worker->state, &worker->message.deliver, &outcome, ended_ns - began_ns);
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

static void show_heap(struct worker *worker)
{
    atomic_store_explicit(&worker->board->heap_bytes, state_heap_bytes(&worker->state), memory_order_relaxed);
    atomic_store_explicit(&worker->board->heap_peak_bytes, worker->state.quota.peak, memory_order_relaxed);
}

/* The worker is about to wait, with no message under way; until when, at most (INT64_MAX: for ever). */
static int64_t rest(struct worker *worker)
{
    if (!worker->state.lua)
        return INT64_MAX;
    int64_t until_ns = recycle_rest(&worker->recycle, &worker->state);
    show_heap(worker);
    return until_ns;
}

/* With the results goes what the heap is after them, its garbage included. */
static void send_results(struct worker *worker)
{
    if (worker->state.lua)
        show_heap(worker);
    link_flush(&worker->link);
}

/* Sends what waits, and waits for more. */
static enum step refill(struct worker *worker, struct error *error)
{
    send_results(worker);
    tick_rest(&worker->tick);
    while (!link_await(&worker->link, rest(worker)))
        ;
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

static enum step serve(struct worker *worker, struct error *error)
{
    for (;;) {
        enum step step = answer_all(worker);
        if (step == BROKEN)
            (void)error_set(error, ERROR_FAILED, "what the host sent is no delivery");
        if (step != GO_ON)
            return step;
        step = refill(worker, error);
        if (step != GO_ON)
            return step;
    }
}

/* Several at once */

static enum step renew_all(struct worker *worker, enum wire_recycle_reason reason)
{
    tasks_forget_state(&worker->tasks);
    ev_io_stop(worker->waits.loop, &worker->input); /* setup and teardown may wait */
    return renew(worker, reason);
}

/* What has been taken back by the host needs no room. Whether it was one of those is in `ret_skipped`. */
static enum step skip(struct worker *worker, struct slice payload, bool *ret_skipped)
{
    const struct outcome outcome = { .verdict = WIRE_SKIPPED, .delay_ns = -1 };
    struct wire_deliver deliver;
    int64_t now_ns = clock_now_ns();
    *ret_skipped = false;
    if (!wire_take_deliver(&payload, &deliver))
        return BROKEN;
    bool room = tasks_have_room(&worker->tasks);
    *ret_skipped = room ? !board_claim(worker->board, deliver.seq, now_ns)
                        : board_is_revoked(worker->board, deliver.seq);
    if (*ret_skipped)
        result_send(&worker->state, &deliver, &outcome, 0);
    return GO_ON;
}

/* The frame that waits; where it has to wait on, it still does after this. */
static enum step take_one(struct worker *worker)
{
    const struct wire_frame *frame = &worker->frame;
    bool idle = worker->tasks.under_way == 0;
    if (frame->type == WIRE_LOOK) {
        worker->frame_waits = false;
        return take(worker, frame);
    }
    if (frame->type != WIRE_DELIVER) {
        worker->frame_waits = !idle;
        if (!idle)
            return GO_ON;
        return frame->type == WIRE_RECYCLE ? renew_all(worker, WIRE_RECYCLE_ASKED) : take(worker, frame);
    }
    bool skipped;
    enum step step = skip(worker, frame->payload, &skipped);
    worker->frame_waits = !skipped && !tasks_have_room(&worker->tasks);
    if (step != GO_ON || skipped || worker->frame_waits)
        return step;
    return tasks_begin(&worker->tasks, frame->payload, clock_now_ns()) ? GO_ON : BROKEN;
}

/* Begins what has come, as far as there is room; a state that is over goes when nothing is under way in it.
 */
static enum step take_all(struct worker *worker)
{
    enum step step = GO_ON;
    while (step == GO_ON) {
        bool idle = worker->tasks.under_way == 0;
        if (idle && worker->tasks.reason != WIRE_RECYCLE_NONE)
            step = renew_all(worker, worker->tasks.reason);
        if (step != GO_ON)
            return step;
        if (!worker->frame_waits) {
            enum wire_next next = link_next(&worker->link, &worker->frame);
            if (next != WIRE_FRAME)
                return next == WIRE_MORE ? GO_ON : BROKEN;
            worker->frame_waits = true;
        }
        step = take_one(worker);
        if (worker->frame_waits && worker->tasks.under_way > 0)
            return step;
    }
    return step;
}

static void on_input(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->filled = link_fill(&worker->link, worker->error);
    worker->woken = true;
}

static void on_rested(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct worker *worker = watcher->data;
    (void)loop;
    (void)events;
    worker->woken = true;
}

static void wait_at_most_until(struct worker *worker, int64_t until_ns)
{
    struct ev_loop *loop = worker->waits.loop;
    ev_timer_stop(loop, &worker->rested);
    if (until_ns == INT64_MAX)
        return;
    ev_now_update(loop);
    int64_t left_ns = until_ns - clock_now_ns();
    ev_timer_set(&worker->rested, left_ns > 0 ? (double)left_ns / 1e9 : 0, 0);
    ev_timer_start(loop, &worker->rested);
}

/* Sends what waits, and waits: for the host, where its frames can be taken, and for what handlers wait for.
 */
static enum step wait_for_any(struct worker *worker)
{
    struct ev_loop *loop = worker->waits.loop;
    send_results(worker);
    wait_at_most_until(worker, worker->tasks.under_way == 0 ? rest(worker) : INT64_MAX);
    if (worker->frame_waits)
        ev_io_stop(loop, &worker->input);
    else
        ev_io_start(loop, &worker->input);
    worker->filled = LINK_FILLED;
    worker->woken = false;
    tick_rest(&worker->tick);
    do /* each tick ends it, too: they would never cease if that were work */
        (void)ev_run(loop, EVRUN_ONCE);
    while (!worker->woken && !worker->tasks.ready);
    tick_work(&worker->tick);
    if (worker->filled == LINK_FILLED)
        return GO_ON;
    return worker->filled == LINK_ENDED ? HOST_GONE : BROKEN;
}

static enum step serve_many(struct worker *worker, struct error *error)
{
    struct ev_loop *loop = waits_loop(&worker->waits);
    enum step step = GO_ON;
    if (!loop || !tasks_init(&worker->tasks, &worker->state, worker->board, &worker->recycle, &worker->leaks,
                             worker->assignment.limits.concurrency)) {
        (void)error_set(error, ERROR_FAILED, "no memory for the messages under way");
        return BROKEN;
    }
    worker->error = error;
    ev_io_init(&worker->input, on_input, worker->link.fd, EV_READ);
    worker->input.data = worker;
    ev_init(&worker->rested, on_rested);
    worker->rested.data = worker;
    while (step == GO_ON) {
        tasks_turn(&worker->tasks);
        step = take_all(worker);
        if (step == BROKEN)
            (void)error_set(error, ERROR_FAILED, "what the host sent is no delivery");
        if (step == GO_ON)
            step = wait_for_any(worker);
    }
    ev_io_stop(loop, &worker->input);
    ev_timer_stop(loop, &worker->rested);
    return step;
}

static void stop(struct worker *worker)
{
    struct error error;
    link_flush(&worker->link);
    leak_watch_end(&worker->leaks, &worker->state, WIRE_RECYCLE_ASKED);
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
        step = worker->assignment.limits.concurrency > 1 ? serve_many(worker, error) : serve(worker, error);
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
