/* Starting, feeding, hearing and ending a worker process; see worker_process.h. */
#include "host/worker_process.h"

#include "common/clock.h"
#include "common/inherit.h"
#include "common/log.h"
#include "common/units.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    IN_BYTES = 2 * (WIRE_HEADER_BYTES +
                    WIRE_REPORT_MAX), /* one whole report always fits behind the rest of another */
    SOCKET_BYTES = 512 * 1024,        /* on the way to the worker: some large messages at a time */
    SERVICE_SMOOTHING = 8,            /* a new measure counts an eighth */
    ENVELOPE_BYTES = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES,
};

/* A process whose socket is closed has nothing left to do but exit. */
static const double closing_seconds = 2.0;

/* To be started by a busy machine, before the script can be loaded. */
static const int64_t starting_ns = 5 * CLOCK_NS_PER_SECOND;

static bool read_once(struct worker_process *worker);

int worker_program_open(struct error *error)
{
    int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (fd < 0)
        error_set_errno(error, ERROR_FAILED, errno,
                        "cannot open /proc/self/exe, from which workers are started: is /proc mounted?");
    return fd;
}

/* Of the memory that one worker shares with the host. */
struct shared_fds {
    int board;
    int shelf;
};

/* In the child between fork and exec: only async-signal-safe calls. Never returns. */
static void become_worker(const struct worker_origin *origin, int socket_fd, const struct shared_fds *shared,
                          char *name)
{
    /* Lifted over the fixed numbers first, so that neither overwrites the other. */
    int high_socket = fcntl(socket_fd, F_DUPFD_CLOEXEC, INHERITED_END);
    int high_board = fcntl(shared->board, F_DUPFD_CLOEXEC, INHERITED_END);
    int high_shelf = fcntl(shared->shelf, F_DUPFD_CLOEXEC, INHERITED_END);
    int high_program = fcntl(origin->program_fd, F_DUPFD_CLOEXEC, INHERITED_END);
    int high_cache = fcntl(origin->cache_fd, F_DUPFD_CLOEXEC, INHERITED_END);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (high_socket < 0 || high_board < 0 || high_shelf < 0 || high_program < 0 || high_cache < 0 ||
        null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
        dup2(high_socket, WORKER_SOCKET_FD) < 0 || dup2(high_board, WORKER_BOARD_FD) < 0 ||
        dup2(high_cache, WORKER_CACHE_FD) < 0 || dup2(high_shelf, WORKER_SHELF_FD) < 0)
        _exit(EXIT_FAILURE);
    char program[] = "moonrabbit";
    char command[] = "@worker";
    char *const arguments[] = { program, command, name, NULL };
    /* No environment: it may hold secrets, and the worker needs none of it. */
    char *const environment[] = { NULL };
    (void)execveat(high_program, "", arguments, environment, AT_EMPTY_PATH);
    _exit(EXIT_FAILURE);
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static bool start_process(struct worker_process *worker, const struct worker_origin *origin, const char *name,
                          struct error *error)
{
    int sockets[2] = { -1, -1 };
    struct shared_fds shared = { .board = -1, .shelf = -1 };
    bool started = false;
    worker->board = board_open(&shared.board, error);
    if (!worker->board || !shelf_open(&worker->shelf, &shared.shelf, error))
        goto done;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0 ||
        fcntl(sockets[0], F_SETFL, O_NONBLOCK) < 0) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot make a socket for a worker");
        goto done;
    }
    /* Where the system allows less the messages go in more pieces. */
    (void)setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &(int){ SOCKET_BYTES }, sizeof(int));
    char title[128];
    (void)snprintf(title, sizeof title, "%s/%u", name, worker->lane + 1);
    worker->pid = fork();
    if (worker->pid < 0) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot start a worker process");
        goto done;
    }
    if (worker->pid == 0)
        become_worker(origin, sockets[1], &shared, title);
    worker->fd = sockets[0];
    sockets[0] = -1;
    started = true;
done:
    close_if_open(shared.board);
    close_if_open(shared.shelf);
    close_if_open(sockets[0]);
    close_if_open(sockets[1]);
    return started;
}

static void stop_watchers(struct worker_process *worker)
{
    ev_io_stop(worker->loop, &worker->readable);
    ev_io_stop(worker->loop, &worker->writable);
    ev_timer_stop(worker->loop, &worker->closing);
    ev_timer_stop(worker->loop, &worker->overdue);
}

static void close_socket(struct worker_process *worker)
{
    stop_watchers(worker);
    close_if_open(worker->fd);
    worker->fd = -1;
}

void worker_free(struct worker_process *worker)
{
    if (!worker)
        return;
    close_socket(worker);
    ev_child_stop(worker->loop, &worker->child);
    if (worker->pid > 0 && worker->state != WORKER_GONE) {
        (void)kill(worker->pid, SIGKILL);
        while (waitpid(worker->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    board_close(worker->board);
    shelf_close(&worker->shelf);
    buffer_clear(&worker->in);
    buffer_clear(&worker->out);
    buffer_clear(&worker->messages);
    buffer_clear(&worker->open);
    free(worker);
}

void worker_kill(struct worker_process *worker)
{
    if (worker->pid > 0 && worker->state != WORKER_GONE)
        (void)kill(worker->pid, SIGKILL);
}

static void distrust(struct worker_process *worker, const char *why)
{
    (void)snprintf(worker->last_words, sizeof worker->last_words, "%s", why);
    worker_kill(worker);
    /* Nothing that it may still say is heard; its death is told by the child watcher. */
    close_socket(worker);
}

/* Since when the worker has been at what it is at now: a message, loading its script, or its end. Its page is
 * believed as far as it can be true: what lies between two messages takes no longer than one. So one that
 * lies there gains `patience_ns` for each answer, and no more. */
static int64_t busy_since_ns(const struct worker_process *worker)
{
    int64_t started_ns = atomic_load(&worker->board->started_ns);
    int64_t latest_ns = worker->progress_ns + worker->patience_ns;
    return started_ns > worker->progress_ns && started_ns <= latest_ns ? started_ns : worker->progress_ns;
}

static bool is_idle(const struct worker_process *worker)
{
    return worker->state == WORKER_GONE || (worker->state == WORKER_READY && worker->unanswered == 0);
}

/* One timer for each worker, looked at only when it is due: no message costs a timer. */
static void watch_overdue(struct worker_process *worker, int64_t wait_ns)
{
    if (ev_is_active(&worker->overdue))
        return;
    ev_timer_set(&worker->overdue, (double)wait_ns / 1e9, 0);
    ev_timer_start(worker->loop, &worker->overdue);
}

/* How long it may be at one thing: where it starts, all that is not the script's comes on top. */
static int64_t patience_now_ns(const struct worker_process *worker)
{
    return worker->patience_ns + (worker->state == WORKER_STARTING ? starting_ns : 0);
}

static void describe_overdue(struct worker_process *worker)
{
    char patience[UNITS_TEXT_MAX];
    bool loading = worker->state == WORKER_STARTING;
    (void)snprintf(worker->last_words, sizeof worker->last_words,
                   "%s%s ran past limits.deadline and limits.grace (%s together) and was ended",
                   loading ? "loading " : "", loading ? worker->script : "the handler",
                   units_format_duration(worker->patience_ns, patience));
}

static void on_overdue(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct worker_process *worker = watcher->data;
    (void)read_once(worker); /* this process may have slept, and the answer lie there */
    if (is_idle(worker) || worker->fd < 0)
        return;
    int64_t left_ns = busy_since_ns(worker) + patience_now_ns(worker) - clock_now_ns();
    if (left_ns > 0) {
        watch_overdue(worker, left_ns);
        return;
    }
    worker->ran_over = true;
    describe_overdue(worker);
    worker_kill(worker);
}

/* From now on the worker has something to do. */
static void begin_work(struct worker_process *worker)
{
    worker->progress_ns = clock_now_ns();
    watch_overdue(worker, patience_now_ns(worker));
}

static void smooth_service(struct worker_process *worker, int64_t elapsed_ns)
{
    int64_t measure = elapsed_ns < 1 ? 1 : elapsed_ns;
    if (worker->service_ns == 0)
        worker->service_ns = measure;
    else
        worker->service_ns += (measure - worker->service_ns) / SERVICE_SMOOTHING;
}

static void forget_messages(struct worker_process *worker)
{
    buffer_reset(&worker->messages);
    buffer_shrink(&worker->messages, LEDGER_KEEP_BYTES);
    worker->message_count = 0;
}

/* What belongs to no delivery does not wait for a result. */
static void message_is_whole(struct worker_process *worker)
{
    if (worker->message_seq != 0)
        return;
    worker->events->published(worker->owner, worker,
                              (struct slice){ worker->messages.data, worker->messages.size });
    forget_messages(worker);
}

static void take_piece(struct worker_process *worker, struct slice piece)
{
    if (piece.size > worker->piece_missing || !buffer_append(&worker->messages, piece.data, piece.size)) {
        distrust(worker, "it published more of a body than it had said");
        return;
    }
    worker->piece_missing -= (uint32_t)piece.size;
    if (worker->piece_missing == 0)
        message_is_whole(worker);
}

/* Whether the message fits what one delivery may publish, and those before it. */
static bool may_publish(const struct worker_process *worker, const struct wire_publish *publish)
{
    uint64_t size = (uint64_t)publish->attributes_bytes + publish->body_bytes;
    uint64_t before = worker->messages.size - worker->message_count * (uint64_t)WIRE_PUBLISH_BYTES;
    return worker->message_count < WIRE_PUBLISHES_MAX && size <= worker->messages_bytes_max &&
           before <= worker->messages_bytes_max - size &&
           (worker->message_count == 0 || publish->seq == worker->message_seq);
}

static void take_publish(struct worker_process *worker, struct slice payload)
{
    struct wire_publish publish;
    struct slice attributes;
    if (!wire_take_publish(&payload, &publish) || !may_publish(worker, &publish)) {
        distrust(worker, "it published more than it may, or in a way that cannot be read");
        return;
    }
    attributes = (struct slice){ .data = payload.data, .size = publish.attributes_bytes };
    if (!parcel_attributes_are_sound(attributes)) {
        distrust(worker, "it published a message whose properties cannot be read");
        return;
    }
    parcel_add_head(&worker->messages, 0, attributes, publish.body_bytes);
    worker->message_count++;
    worker->message_seq = publish.seq;
    worker->piece_missing = publish.body_bytes;
    payload.data += attributes.size;
    payload.size -= attributes.size;
    take_piece(worker, payload);
}

/* `seq` is answered. When all that was taken back is, the worker may be given messages again. */
static void end_revocation(struct worker_process *worker, uint64_t seq)
{
    if (!worker->revoked)
        return;
    if (seq >= worker->revoked_from && worker->revoked_left > 0)
        worker->revoked_left--;
    if (worker->revoked_left > 0 && worker->unanswered > 0)
        return;
    board_allow(worker->board);
    worker->revoked = false;
}

/* Where `seq` stands among those that it has not answered; NULL where it does not. */
static uint64_t *find_open(const struct worker_process *worker, uint64_t seq)
{
    uint64_t *open = (uint64_t *)(void *)worker->open.data;
    size_t count = worker->open.size / sizeof *open;
    for (size_t i = 0; i < count; i++) {
        if (open[i] == seq)
            return &open[i];
    }
    return NULL;
}

/* Whether this is a message that it has, and has not answered: the next one, or where it runs several at once
 * any of those, which are no more than it is handed ahead. */
static bool take_turn(struct worker_process *worker, uint64_t seq)
{
    if (worker->concurrency <= 1)
        return seq == worker->answered_seq + 1;
    uint64_t *open = find_open(worker, seq);
    if (!open)
        return false;
    worker->open.size -= sizeof *open;
    memcpy(open, worker->open.data + worker->open.size, sizeof *open);
    return true;
}

static bool is_failure(uint8_t verdict)
{
    return verdict == WIRE_ERROR || verdict == WIRE_OUT_OF_MEMORY || verdict == WIRE_OUT_OF_TIME;
}

/* A message that ends its Lua state fails, and right behind it come the others of that state. So who returns
 * messages has charged one for them, and nobody returns the same for ever. */
static bool may_return(struct worker_process *worker, uint8_t verdict)
{
    if (verdict == WIRE_RETURNED)
        return worker->returnable > 0 && worker->returnable--;
    worker->returnable = is_failure(verdict) && worker->concurrency > 1 ? worker->concurrency - 1 : 0;
    return true;
}

static void take_result(struct worker_process *worker, struct slice payload)
{
    struct wire_result result;
    struct slice text = { 0 };
    if (!wire_take_result(&payload, &result) || worker->unanswered == 0 || !take_turn(worker, result.seq) ||
        (result.verdict == WIRE_SKIPPED && !worker->revoked)) {
        distrust(worker, "it answered a message that it was never given, or had answered, or that was not "
                         "its next, or skipped one that was not taken back");
        return;
    }
    if (!may_return(worker, result.verdict)) {
        distrust(worker, "it returned a message that no other had spoiled");
        return;
    }
    if (worker->message_count > 0 && (result.seq != worker->message_seq || result.verdict != WIRE_ACK)) {
        distrust(worker, "it published for a message that has failed, or that is another's");
        return;
    }
    (void)wire_find(payload, WIRE_TEXT, &text);
    worker->unanswered--;
    shelf_places_free(&worker->places, result.seq);
    if (result.seq > worker->answered_seq)
        worker->answered_seq = result.seq;
    worker->progress_ns = clock_now_ns();
    end_revocation(worker, result.seq);
    if (result.verdict != WIRE_SKIPPED && result.verdict != WIRE_RETURNED) {
        worker->answered++;
        smooth_service(worker, result.elapsed_ns);
    }
    worker->events->result(worker->owner, worker, &result, text, &worker->messages);
    forget_messages(worker);
}

static void take_failed(struct worker_process *worker, struct slice payload)
{
    struct slice text = { 0 };
    (void)wire_find(payload, WIRE_TEXT, &text);
    (void)snprintf(worker->last_words, sizeof worker->last_words, "%.*s", (int)text.size, text.data);
}

static void take_log(struct worker_process *worker, struct slice payload)
{
    struct wire_log log;
    if (wire_take_log(&payload, &log) && log.level <= LOG_ERROR)
        worker->events->log(worker->owner, worker, (enum log_level)log.level, payload);
    else
        distrust(worker, "it sent a log line that cannot be read");
}

static void take_recycled(struct worker_process *worker, struct slice payload)
{
    struct wire_recycled recycled;
    if (!worker->was_ready || !wire_take_recycled(&payload, &recycled)) {
        distrust(worker, "it told of a new state in a way that cannot be read");
        return;
    }
    worker->recycles++;
    worker->events->recycled(worker->owner, worker, &recycled);
}

/* An attribute that may have so many bytes; left out it is empty. */
static bool take_name(struct slice attributes, enum wire_attribute_id id, size_t most, struct slice *ret_name)
{
    *ret_name = slice_of("");
    (void)wire_find(attributes, id, ret_name);
    return ret_name->size <= most;
}

static void take_leak(struct worker_process *worker, struct slice payload)
{
    struct wire_leak leak;
    struct leak_names names;
    if (worker->was_ready && wire_take_leak(&payload, &leak) &&
        take_name(payload, WIRE_TEXT, WIRE_LEAK_PATH_MAX, &names.path) &&
        take_name(payload, WIRE_KEY, WIRE_LEAK_KIND_MAX, &names.kind) &&
        take_name(payload, WIRE_STRING, WIRE_LEAK_SAMPLE_MAX, &names.sample) && names.path.size > 0)
        worker->events->leak(worker->owner, worker, &leak, &names);
    else
        distrust(worker, "it told of a leak in a way that cannot be read");
}

static void take_looked(struct worker_process *worker, struct slice payload)
{
    struct wire_looked looked;
    if (worker->looking == 0 || !wire_take_looked(&payload, &looked)) {
        distrust(worker, "it answered a question about leaks that it was never asked");
        return;
    }
    worker->looking--;
    worker->events->looked(worker->owner, worker, &looked);
}

static void take_frame(struct worker_process *worker, const struct wire_frame *frame)
{
    struct slice payload = frame->payload;
    struct wire_ready ready;
    if (worker->piece_missing > 0
            ? frame->type != WIRE_PIECE
            : worker->message_count > 0 && frame->type != WIRE_PUBLISH && frame->type != WIRE_RESULT) {
        distrust(worker, "it broke off in the middle of what it published");
        return;
    }
    switch (frame->type) {
    case WIRE_PUBLISH:
        take_publish(worker, payload);
        break;
    case WIRE_PIECE:
        take_piece(worker, payload);
        break;
    case WIRE_RESULT:
        take_result(worker, payload);
        break;
    case WIRE_LOG:
        take_log(worker, payload);
        break;
    case WIRE_RECYCLED:
        take_recycled(worker, payload);
        break;
    case WIRE_LEAK:
        take_leak(worker, payload);
        break;
    case WIRE_LOOKED:
        take_looked(worker, payload);
        break;
    case WIRE_FAILED:
        take_failed(worker, payload);
        break;
    case WIRE_READY:
        if (worker->state == WORKER_STARTING && wire_take_ready(&payload, &ready)) {
            worker->state = WORKER_READY;
            worker->was_ready = true;
            /* The next message starts it anew, with less patience. */
            ev_timer_stop(worker->loop, &worker->overdue);
            worker->events->ready(worker->owner, worker);
        }
        break;
    default:
        distrust(worker, "it sent a frame of an unknown type");
        break;
    }
}

/* Events may make the owner kill the worker, which closes the socket: nothing is read further then. */
static void take_frames(struct worker_process *worker)
{
    size_t used = 0;
    enum wire_next next = WIRE_FRAME;
    while (worker->fd >= 0 && next == WIRE_FRAME) {
        struct slice rest = { .data = worker->in.data + used, .size = worker->in.size - used };
        struct wire_frame frame;
        next = wire_next(rest, WIRE_REPORT_MAX, &frame);
        if (next == WIRE_FRAME) {
            used += WIRE_HEADER_BYTES + frame.payload.size;
            take_frame(worker, &frame);
        }
    }
    buffer_consume(&worker->in, used);
    if (next == WIRE_BROKEN)
        distrust(worker, "what it sent is no frame");
}

/* False at the end of what can be read now. */
static bool read_once(struct worker_process *worker)
{
    if (worker->fd < 0 || !buffer_reserve(&worker->in, IN_BYTES - worker->in.size))
        return false;
    ssize_t size = recv(worker->fd, worker->in.data + worker->in.size, IN_BYTES - worker->in.size, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (size <= 0) {
        close_socket(worker);
        if (worker->state != WORKER_GONE)
            ev_timer_start(worker->loop, &worker->closing);
        return false;
    }
    worker->in.size += (size_t)size;
    take_frames(worker);
    return true;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    (void)read_once(watcher->data);
}

static void on_closing(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    worker_kill(watcher->data);
}

static void describe_end(struct worker_process *worker, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        (void)snprintf(worker->reason, sizeof worker->reason,
                       "killed by seccomp (SIGSYS): it asked for a system call that no worker makes, so "
                       "something in it broke out of Lua");
    else if (WIFSIGNALED(status))
        (void)snprintf(worker->reason, sizeof worker->reason, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == WORKER_EXIT_OVERDUE)
        (void)snprintf(
            worker->reason, sizeof worker->reason,
            "it ended itself: what it did beside messages, as in teardown, ran past limits.deadline and "
            "limits.grace");
    else
        (void)snprintf(worker->reason, sizeof worker->reason, "exit status %d", WEXITSTATUS(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_OVERDUE && worker->state == WORKER_STARTING)
        describe_overdue(worker);
}

static void on_child(struct ev_loop *loop, ev_child *watcher, int events)
{
    (void)events;
    struct worker_process *worker = watcher->data;
    ev_child_stop(loop, watcher);
    /* What it said before its end still counts. */
    while (read_once(worker))
        ;
    describe_end(worker, watcher->rstatus);
    worker->state = WORKER_GONE;
    close_socket(worker);
    worker->events->gone(worker->owner, worker);
}

static void flush_out(struct worker_process *worker)
{
    while (worker->fd >= 0 && worker->out.size > 0) {
        ssize_t size = send(worker->fd, worker->out.data, worker->out.size, MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            break; /* full: the watcher goes on; broken: the reading side and the child watcher tell */
        buffer_consume(&worker->out, (size_t)size);
    }
    if (worker->fd >= 0 && worker->out.size > 0) {
        ev_io_start(worker->loop, &worker->writable);
    } else {
        ev_io_stop(worker->loop, &worker->writable);
        buffer_shrink(&worker->out, LEDGER_KEEP_BYTES);
    }
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    flush_out(watcher->data);
}

static void send_setup(struct worker_process *worker, const struct worker_origin *origin,
                       const struct consumer_config *config)
{
    const struct wire_setup setup = {
        .memory_bytes = (uint64_t)config->limits.memory_bytes,
        .deadline_ns = config->limits.deadline_ns,
        .grace_ns = config->limits.grace_ns,
        .message_bytes = (uint64_t)config->limits.message_bytes,
        .recycle_messages = (uint64_t)config->recycle.messages,
        .recycle_memory_bytes = (uint64_t)config->recycle.memory_bytes,
        .concurrency = config->concurrency,
        .http_timeout_ns = config->http.timeout_ns,
        .http_response_bytes = (uint64_t)config->http.response_bytes,
        .http_per_host = config->http.per_host,
        .http_failures = config->http.failures,
        .http_pause_ns = config->http.pause_ns,
        .decode = (uint8_t)config->decode,
        .log_level = (uint8_t)log_get_level(),
        .seccomp = origin->seccomp,
        .on_trial = origin->on_trial,
    };
    size_t mark = wire_begin(&worker->out, WIRE_SETUP);
    wire_add_setup(&worker->out, &setup);
    wire_add(&worker->out, WIRE_SCRIPT, slice_of(config->handler));
    wire_add(&worker->out, WIRE_CONSUMER, slice_of(config->name));
    wire_add(&worker->out, WIRE_QUEUE, slice_of(config->queue));
    for (size_t i = 0; i < config->http_allow_count; i++)
        wire_add(&worker->out, WIRE_HTTP_ALLOW, slice_of(config->http_allow[i]));
    if (config->http.ca)
        wire_add(&worker->out, WIRE_HTTP_CA, slice_of(config->http.ca));
    wire_end(&worker->out, mark);
    flush_out(worker);
}

static void init_watchers(struct worker_process *worker)
{
    ev_io_init(&worker->readable, on_readable, worker->fd, EV_READ);
    ev_io_init(&worker->writable, on_writable, worker->fd, EV_WRITE);
    ev_child_init(&worker->child, on_child, worker->pid, 0);
    ev_timer_init(&worker->closing, on_closing, closing_seconds, 0);
    ev_init(&worker->overdue, on_overdue);
    worker->readable.data = worker->writable.data = worker->child.data = worker->closing.data =
        worker->overdue.data = worker;
}

struct worker_process *worker_spawn(struct ev_loop *loop, const struct worker_origin *origin,
                                    const struct consumer_config *config, unsigned lane,
                                    const struct worker_events *events, void *owner, struct error *error)
{
    struct worker_process *worker = calloc(1, sizeof *worker);
    if (!worker) {
        error_set(error, ERROR_FAILED, "no memory for a worker");
        return NULL;
    }
    worker->loop = loop;
    worker->fd = -1;
    worker->lane = lane;
    worker->events = events;
    worker->owner = owner;
    worker->next_seq = 1;
    worker->concurrency = config->concurrency;
    worker->started_ns = clock_now_ns();
    worker->patience_ns = config->limits.deadline_ns + config->limits.grace_ns;
    (void)snprintf(worker->script, sizeof worker->script, "%s", config->handler);
    buffer_init(&worker->in, IN_BYTES);
    /* The rest of one frame of the ledger, whose size the ledger bounds, and control frames behind it. */
    buffer_init(&worker->out, SIZE_MAX / 2);
    buffer_init(&worker->open, SIZE_MAX / 2); /* by what it is handed ahead */
    worker->messages_bytes_max = wire_publishes_bytes_max((uint64_t)config->limits.message_bytes);
    buffer_init(&worker->messages,
                (size_t)worker->messages_bytes_max + (size_t)WIRE_PUBLISHES_MAX * WIRE_PUBLISH_BYTES);
    init_watchers(worker);
    if (!start_process(worker, origin, config->name, error)) {
        worker_free(worker);
        return NULL;
    }
    init_watchers(worker);
    ev_io_start(loop, &worker->readable);
    ev_child_start(loop, &worker->child);
    begin_work(worker);
    send_setup(worker, origin, config);
    return worker;
}

int64_t worker_shelf_bytes(const struct worker_process *worker)
{
    return (int64_t)worker->places.touched * SHELF_UNIT_BYTES;
}

bool worker_accepts(const struct worker_process *worker)
{
    return worker->state == WORKER_READY && worker->fd >= 0 && worker->out.size == 0 && !worker->revoked;
}

/* What of a delivery is behind its frame's head: the body, which goes through the socket or is laid. */
static size_t before_body(const struct delivery *delivery)
{
    return ENVELOPE_BYTES + (size_t)delivery->attributes_bytes;
}

/* Copies a large body to the shelf. False where it has no room there now. */
static bool lay(struct worker_process *worker, const struct delivery *delivery, struct wire_deliver *deliver)
{
    if (!shelf_places_take(&worker->places, deliver->body_bytes, deliver->seq, &deliver->laid_at))
        return false;
    memcpy(worker->shelf.data + deliver->laid_at, delivery->frame + before_body(delivery),
           deliver->body_bytes);
    deliver->laid = true;
    return true;
}

static bool may_be_laid(const struct worker_process *worker, size_t body_bytes)
{
    return body_bytes >= WORKER_LAID_LEAST && body_bytes <= worker->shelf.bytes;
}

/* Stamps the frame, and tells which part of it goes through the socket. False where the delivery has to wait:
 * it is the one after `ahead` others that the worker has then. */
static bool prepare(struct worker_process *worker, const struct delivery *delivery, unsigned ahead,
                    uint64_t seq, struct iovec *ret_piece)
{
    struct wire_deliver deliver = {
        .seq = seq,
        .slot = delivery->slot,
        .attempt = delivery->attempt,
        .attributes_bytes = delivery->attributes_bytes,
        .body_bytes = (uint32_t)(delivery->frame_bytes - before_body(delivery)),
        .redelivered = delivery->redelivered,
    };
    if (may_be_laid(worker, deliver.body_bytes) && !lay(worker, delivery, &deliver) &&
        ahead > worker->concurrency)
        return false;
    wire_stamp_deliver(delivery->frame, &deliver);
    *ret_piece = (struct iovec){ .iov_base = delivery->frame,
                                 .iov_len = deliver.laid ? before_body(delivery) : delivery->frame_bytes };
    return true;
}

/* How many bytes went. */
static size_t write_pieces(const struct worker_process *worker, struct iovec *pieces, unsigned count)
{
    const struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count };
    ssize_t size;
    do {
        size = sendmsg(worker->fd, &message, MSG_NOSIGNAL);
    } while (size < 0 && errno == EINTR);
    return size < 0 ? 0 : (size_t)size;
}

/* The delivery's frame has gone, if only in part: the rest is copied aside. False where memory is short. */
static bool keep_rest(struct worker_process *worker, const struct iovec *piece, size_t sent)
{
    bool kept = sent >= piece->iov_len ||
                buffer_append(&worker->out, (const char *)piece->iov_base + sent, piece->iov_len - sent);
    if (!kept)
        distrust(worker, "there is no memory for what it does not read");
    return kept;
}

static bool note_open(struct worker_process *worker, uint64_t seq)
{
    bool noted = worker->concurrency <= 1 || buffer_append(&worker->open, &seq, sizeof seq);
    if (!noted)
        distrust(worker, "there is no memory for what it is at");
    return noted;
}

unsigned worker_send(struct worker_process *worker, struct ledger *ledger, struct delivery *const *batch,
                     unsigned count)
{
    struct iovec pieces[WORKER_BATCH_MAX];
    unsigned ready = 0, taken = 0;
    const uint64_t first_seq = worker->next_seq;
    if (!worker_accepts(worker))
        return 0;
    while (ready < count && ready < WORKER_BATCH_MAX &&
           prepare(worker, batch[ready], worker->unanswered + ready, first_seq + ready, &pieces[ready]))
        ready++;
    size_t sent = ready > 0 ? write_pieces(worker, pieces, ready) : 0;
    while (taken < ready && sent > 0) {
        size_t size = pieces[taken].iov_len;
        if (!keep_rest(worker, &pieces[taken], sent) || !note_open(worker, worker->next_seq))
            break;
        sent -= sent < size ? sent : size;
        ledger_dispatch(ledger, batch[taken++], worker, worker->next_seq++);
    }
    for (unsigned i = taken; i < ready; i++)
        shelf_places_free(&worker->places, first_seq + i);
    if (taken > 0 && worker->unanswered == 0)
        begin_work(worker);
    worker->unanswered += taken;
    if (worker->fd >= 0 && worker->out.size > 0)
        ev_io_start(worker->loop, &worker->writable);
    return taken;
}

/* The mark on the board only ever goes down until all is answered: the worker may be between storing what it
 * begins and looking at the mark, and what an earlier call took back must not be begun then. */
uint64_t worker_revoke(struct worker_process *worker, uint64_t seq)
{
    if (worker->unanswered == 0 || seq >= worker->next_seq)
        return seq;
    if (!worker->revoked) {
        worker->revoked_from = worker->next_seq;
        worker->revoked_left = 0;
    }
    if (seq < worker->revoked_from) {
        worker->revoked_left += worker->revoked_from - seq;
        worker->revoked_from = seq;
    }
    worker->revoked = true;
    return board_revoke(worker->board, worker->revoked_from);
}

static void send_empty(struct worker_process *worker, enum wire_type type)
{
    size_t mark = wire_begin(&worker->out, type);
    wire_end(&worker->out, mark);
    flush_out(worker);
}

void worker_recycle(struct worker_process *worker)
{
    if (worker->state == WORKER_READY && worker->fd >= 0)
        send_empty(worker, WIRE_RECYCLE);
}

void worker_look(struct worker_process *worker)
{
    if (worker->state != WORKER_READY || worker->fd < 0)
        return;
    worker->looking++;
    send_empty(worker, WIRE_LOOK);
}

void worker_stop(struct worker_process *worker)
{
    if (worker->state != WORKER_STARTING && worker->state != WORKER_READY)
        return;
    worker->state = WORKER_STOPPING;
    worker->dismissed = true;
    begin_work(worker);
    send_empty(worker, WIRE_STOP);
}

bool worker_begun(const struct worker_process *worker, uint64_t *ret_seq, int64_t *ret_since_ns)
{
    if (worker->unanswered == 0)
        return false;
    uint64_t begun = atomic_load(&worker->board->started);
    int64_t since_ns = atomic_load(&worker->board->started_ns);
    /* What it was not given is a lie; what it has answered is over, although its page still speaks of it. */
    if (begun >= worker->next_seq || worker->next_seq - 1 - begun >= worker->unanswered)
        return false;
    *ret_seq = begun;
    *ret_since_ns = since_ns < worker->started_ns ? worker->started_ns : since_ns;
    return true;
}

bool worker_has_begun(const struct worker_process *worker, uint64_t seq)
{
    return seq <= atomic_load(&worker->board->started);
}

bool worker_running(const struct worker_process *worker, uint64_t *ret_seq)
{
    int64_t since_ns;
    if (worker->concurrency <= 1)
        return worker_begun(worker, ret_seq, &since_ns);
    *ret_seq = atomic_load(&worker->board->running);
    return find_open(worker, *ret_seq) != NULL; /* what it was not given is a lie */
}
