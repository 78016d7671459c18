/* A worker process that does what a test wants: this test program, executed anew by worker_spawn. What it
 * does is named by the script in its WIRE_SETUP; what it shares with the test besides its status page stands
 * in the memory that takes the place of the cache. And the loop to run it in: nothing waits for ever. */
#ifndef SPEC_UNIT_FAKE_WORKER_H
#define SPEC_UNIT_FAKE_WORKER_H

#include "common/board.h"
#include "common/clock.h"
#include "common/inherit.h"
#include "common/log.h"
#include "common/shelf.h"
#include "common/wire.h"
#include "host/config.h"
#include "host/worker_process.h"

#include "tools.h"

#include <dirent.h>
#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ev.h>

enum { PATIENCE_SECONDS = 60, LARGE_FRAME = 16 * 1024 * 1024 };

/* Shared by the test and all its workers. */
struct shared {
    _Atomic unsigned starts;     /* processes begun so far */
    _Atomic unsigned bad_starts; /* so many of them die before they are ready */
    _Atomic bool go;             /* what waits goes on */
};

/* The worker's side */

struct fake {
    struct buffer in;
    struct buffer out;
    struct board *board;
    struct shelf shelf;
    struct shared *shared;
    struct wire_setup setup;
    char script[64];
};

static void fake_flush(struct fake *fake)
{
    for (size_t sent = 0; sent < fake->out.size;) {
        ssize_t size = send(WORKER_SOCKET_FD, fake->out.data + sent, fake->out.size - sent, MSG_NOSIGNAL);
        if (size < 0)
            _exit(99);
        sent += (size_t)size;
    }
    buffer_reset(&fake->out);
}

/* The next frame from the host, which stands in `in` until fake_done; exits where the host has gone. */
static struct wire_frame fake_next(struct fake *fake)
{
    struct wire_frame frame;
    while (wire_next((struct slice){ fake->in.data, fake->in.size }, LARGE_FRAME, &frame) != WIRE_FRAME) {
        if (!buffer_reserve(&fake->in, 65536))
            _exit(98);
        ssize_t size = recv(WORKER_SOCKET_FD, fake->in.data + fake->in.size, 65536, 0);
        if (size <= 0)
            _exit(97);
        fake->in.size += (size_t)size;
    }
    return frame;
}

static void fake_done(struct fake *fake, const struct wire_frame *frame)
{
    buffer_consume(&fake->in, WIRE_HEADER_BYTES + frame->payload.size);
}

static void fake_ready(struct fake *fake)
{
    const struct wire_ready ready = { .heap_bytes = 1 };
    size_t mark = wire_begin(&fake->out, WIRE_READY);
    wire_add_ready(&fake->out, &ready);
    wire_end(&fake->out, mark);
    fake_flush(fake);
}

static void fake_words(struct fake *fake, enum wire_type type, const char *text)
{
    const struct wire_log log = { .level = LOG_INFO };
    size_t mark = wire_begin(&fake->out, type);
    if (type == WIRE_LOG)
        wire_add_log(&fake->out, &log);
    wire_add(&fake->out, WIRE_TEXT, slice_of(text));
    wire_end(&fake->out, mark);
    fake_flush(fake);
}

static void fake_answer(struct fake *fake, const struct wire_result *result, const char *text)
{
    size_t mark = wire_begin(&fake->out, WIRE_RESULT);
    wire_add_result(&fake->out, result);
    wire_add(&fake->out, WIRE_TEXT, slice_of(text));
    wire_end(&fake->out, mark);
    fake_flush(fake);
}

static void fake_wait(const struct fake *fake)
{
    const struct timespec millisecond = { .tv_nsec = 1000000 };
    while (!atomic_load(&fake->shared->go))
        (void)nanosleep(&millisecond, NULL);
}

/* The next delivery, with its attributes and a body that was sent; answers WIRE_STOP with an end in order,
 * and says that it was told to recycle. */
static struct wire_deliver fake_delivery(struct fake *fake, struct slice *ret_rest)
{
    for (;;) {
        struct wire_deliver deliver;
        struct wire_frame frame = fake_next(fake);
        if (frame.type == WIRE_STOP)
            _exit(0);
        if (frame.type == WIRE_DELIVER && wire_take_deliver(&frame.payload, &deliver)) {
            *ret_rest = frame.payload;
            return deliver;
        }
        if (frame.type == WIRE_RECYCLE)
            fake_words(fake, WIRE_LOG, "told to recycle");
        fake_done(fake, &frame);
    }
}

static void fake_drop(struct fake *fake, const struct wire_deliver *deliver)
{
    size_t body_bytes = deliver->laid ? 0 : deliver->body_bytes;
    buffer_consume(&fake->in,
                   WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES + deliver->attributes_bytes + body_bytes);
}

static struct wire_result fake_ack(const struct wire_deliver *deliver)
{
    return (struct wire_result){
        .seq = deliver->seq, .slot = deliver->slot, .verdict = WIRE_ACK, .elapsed_ns = 1000, .delay_ns = -1
    };
}

/* Acks what comes until it is told to stop. */
static void fake_serve(struct fake *fake)
{
    for (;;) {
        struct slice rest;
        struct wire_deliver deliver = fake_delivery(fake, &rest);
        struct wire_result result = fake_ack(&deliver);
        if (!board_claim(fake->board, deliver.seq, clock_now_ns()))
            result.verdict = WIRE_SKIPPED;
        fake_answer(fake, &result, "done");
        fake_drop(fake, &deliver);
    }
}

/* One thing that a worker may do, by the name of its script; defined by the test, ends with { 0 }. */
struct behaviour {
    const char *script;
    void (*behave)(struct fake *fake);
};

static void fake_main(const struct behaviour *behaviours)
{
    static struct fake fake;
    struct error error;
    struct slice script;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    buffer_init(&fake.in, 2 * LARGE_FRAME);
    buffer_init(&fake.out, LARGE_FRAME);
    fake.board = board_map(WORKER_BOARD_FD, &error);
    fake.shared = mmap(NULL, sizeof *fake.shared, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_CACHE_FD, 0);
    if (!fake.board || fake.shared == MAP_FAILED || !shelf_map(&fake.shelf, WORKER_SHELF_FD, &error))
        _exit(96);
    unsigned start = atomic_fetch_add(&fake.shared->starts, 1);
    struct wire_frame frame = fake_next(&fake);
    if (frame.type != WIRE_SETUP || !wire_take_setup(&frame.payload, &fake.setup) ||
        !wire_find(frame.payload, WIRE_SCRIPT, &script) || start < atomic_load(&fake.shared->bad_starts))
        _exit(95);
    (void)snprintf(fake.script, sizeof fake.script, "%.*s", (int)script.size, script.data);
    for (const struct behaviour *behaviour = behaviours; behaviour->script; behaviour++) {
        if (strcmp(behaviour->script, fake.script) == 0) {
            behaviour->behave(&fake);
            _exit(94);
        }
    }
    _exit(93);
}

/* The test's side */

static struct shared *shared;
static struct worker_origin origin;
static struct ev_loop *loop;
static bool late;

static void on_late(struct ev_loop *of_loop, ev_timer *watcher, int events)
{
    (void)of_loop;
    (void)watcher;
    (void)events;
    late = true;
}

static void run_loop_once(void)
{
    ev_timer patience;
    ev_timer_init(&patience, on_late, PATIENCE_SECONDS, 0);
    late = false;
    ev_now_update(loop);
    ev_timer_start(loop, &patience);
    (void)ev_run(loop, EVRUN_ONCE);
    ev_timer_stop(loop, &patience);
    if (late)
        fail_msg("nothing happened for %d seconds", PATIENCE_SECONDS);
}

#define RUN_UNTIL(condition)                                                                                 \
    do {                                                                                                     \
        while (!(condition))                                                                                 \
            run_loop_once();                                                                                 \
    } while (0)

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    (void)closedir(folder);
    return count;
}

/* What a shell or a make may have left open in this program is not for its workers; the real ones close it
 * themselves. */
static void keep_descriptors_to_itself(void)
{
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

/* For the group: the loop, the program's own file, and the shared memory. */
static int open_origin(void **state)
{
    (void)state;
    struct error error;
    loop = ev_default_loop(0);
    origin.program_fd = worker_program_open(&error);
    origin.cache_fd = memfd_create("shared", MFD_CLOEXEC);
    origin.seccomp = true;
    if (!loop || origin.program_fd < 0 || origin.cache_fd < 0 ||
        ftruncate(origin.cache_fd, sizeof *shared) < 0)
        return -1;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, origin.cache_fd, 0);
    log_open(STDERR_FILENO, LOG_FORMAT_LOGFMT, LOG_ERROR + 1);
    return shared == MAP_FAILED ? -1 : 0;
}

static int close_origin(void **state)
{
    (void)state;
    (void)munmap(shared, sizeof *shared);
    (void)close(origin.program_fd);
    (void)close(origin.cache_fd);
    ev_loop_destroy(loop);
    return 0;
}

/* For each test: what it leaves behind is nothing. */
static unsigned descriptors_before;

static int begin_test(void **state)
{
    (void)state;
    atomic_store(&shared->starts, 0);
    atomic_store(&shared->bad_starts, 0);
    atomic_store(&shared->go, false);
    descriptors_before = count_descriptors();
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    bool clean =
        count_descriptors() == descriptors_before && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
    if (!clean)
        print_error("descriptors or processes were left behind\n");
    return clean ? 0 : -1;
}

static struct consumer_config config_for(const char *script)
{
    return (struct consumer_config){
        .name = (char *)(uintptr_t) "orders",
        .queue = (char *)(uintptr_t) "shop.orders",
        .handler = (char *)(uintptr_t)script,
        .workers = 1,
        .prefetch = 10,
        .limits = { .memory_bytes = 1 << 20,
                    .deadline_ns = PATIENCE_SECONDS * CLOCK_NS_PER_SECOND,
                    .grace_ns = CLOCK_NS_PER_SECOND,
                    .message_bytes = LARGE_FRAME },
        .recycle = { .messages = 100, .memory_bytes = 1 << 19, .process_memory_bytes = 1 << 21 },
        .retry = { .attempts = 5 },
    };
}

#endif
