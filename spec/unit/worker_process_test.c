/* A worker process as the host sees it: fed and heard whatever its pace, and ended where it lies, hangs or
 * dies, with the right reason told. The workers are fakes; see fake_worker.h. */
#include "host/worker_process.h"

#include "fake_worker.h"
#include "worker/syscalls.h"

#include <sched.h>
#include <sys/socket.h>

enum { RESULTS_MAX = 1000, ENVELOPE = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES };

/* What the fakes do. */

static void do_ack(struct fake *fake)
{
    fake_ready(fake);
    fake_serve(fake);
}

/* Ready only where the set-up is what config_for says. */
static void do_setup(struct fake *fake)
{
    struct consumer_config config = config_for("setup");
    const struct wire_setup *setup = &fake->setup;
    struct wire_frame frame = { 0 };
    struct slice consumer, queue;
    struct slice bytes = { fake->in.data, fake->in.size };
    bool right = setup->memory_bytes == (uint64_t)config.limits.memory_bytes &&
                 setup->deadline_ns == config.limits.deadline_ns &&
                 setup->grace_ns == config.limits.grace_ns &&
                 setup->message_bytes == (uint64_t)config.limits.message_bytes &&
                 setup->recycle_messages == (uint64_t)config.recycle.messages &&
                 setup->recycle_memory_bytes == (uint64_t)config.recycle.memory_bytes &&
                 setup->concurrency == config.concurrency && setup->decode == WIRE_DECODE_AUTO &&
                 setup->log_level == (uint8_t)(LOG_ERROR + 1) && setup->seccomp == 1;
    right = right && wire_next(bytes, LARGE_FRAME, &frame) == WIRE_FRAME;
    frame.payload.data += WIRE_SETUP_BYTES;
    frame.payload.size -= WIRE_SETUP_BYTES;
    if (right && wire_find(frame.payload, WIRE_CONSUMER, &consumer) && slice_equals(consumer, "orders") &&
        wire_find(frame.payload, WIRE_QUEUE, &queue) && slice_equals(queue, "shop.orders"))
        do_ack(fake);
}

static bool is_null_device(int fd)
{
    struct stat status, null_status;
    return fstat(fd, &status) == 0 && stat("/dev/null", &null_status) == 0 &&
           status.st_rdev == null_status.st_rdev;
}

/* Ready only where it was born with nothing but what common/inherit.h says. */
static void do_bare(struct fake *fake)
{
    char name[64] = "";
    unsigned descriptors = count_descriptors() - 3; /* ".", ".." and the folder itself */
    if (environ[0])
        fake_words(fake, WIRE_FAILED, "it has an environment");
    else if (descriptors != INHERITED_END)
        fake_words(fake, WIRE_FAILED, "it has other descriptors than it should");
    else if (!is_null_device(STDIN_FILENO))
        fake_words(fake, WIRE_FAILED, "its standard input is not /dev/null");
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t size = file ? fread(name, 1, sizeof name - 1, file) : 0;
    static const char wanted[] = "moonrabbit\0@worker\0orders/3";
    if (size != sizeof wanted || memcmp(name, wanted, size) != 0)
        fake_words(fake, WIRE_FAILED, "its arguments are others");
    do_ack(fake);
}

static struct slice body_of(const struct fake *fake, const struct wire_deliver *deliver, struct slice rest)
{
    if (deliver->laid && !shelf_find(&fake->shelf, deliver->laid_at, deliver->body_bytes, &rest))
        _exit(92);
    return rest;
}

static bool is_run_of(struct slice bytes, char byte)
{
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != byte)
            return false;
    }
    return true;
}

/* Checks that each body is a run of one byte, after it has kept the host waiting. */
static void do_read_late(struct fake *fake)
{
    fake_ready(fake);
    fake_wait(fake);
    for (;;) {
        struct slice rest;
        struct wire_deliver deliver = fake_delivery(fake, &rest);
        struct wire_result result = fake_ack(&deliver);
        if (!is_run_of(body_of(fake, &deliver, rest), (char)deliver.seq))
            result.verdict = WIRE_ERROR;
        fake_answer(fake, &result, deliver.laid ? "laid" : "sent");
        fake_drop(fake, &deliver);
    }
}

/* Begins the first message and goes on only when it is told to. */
static void do_wait_at_first(struct fake *fake)
{
    struct slice rest;
    fake_ready(fake);
    struct wire_deliver deliver = fake_delivery(fake, &rest);
    struct wire_result result = fake_ack(&deliver);
    (void)board_claim(fake->board, deliver.seq, clock_now_ns());
    fake_wait(fake);
    fake_answer(fake, &result, "");
    fake_drop(fake, &deliver);
    fake_serve(fake);
}

static void do_answer_and_die(struct fake *fake)
{
    fake_ready(fake);
    for (unsigned i = 0; i < 10; i++) {
        struct slice rest;
        struct wire_deliver deliver = fake_delivery(fake, &rest);
        struct wire_result result = fake_ack(&deliver);
        fake_answer(fake, &result, "");
        fake_drop(fake, &deliver);
    }
    (void)raise(SIGTERM);
}

static void do_log(struct fake *fake)
{
    fake_words(fake, WIRE_LOG, "before it is ready");
    fake_ready(fake);
    fake_words(fake, WIRE_LOG, "after");
    fake_serve(fake);
}

static void do_fail(struct fake *fake)
{
    fake_words(fake, WIRE_FAILED, "handler.lua:1: '=' expected");
    _exit(1);
}

static void do_exit(struct fake *fake)
{
    (void)fake;
    _exit(3);
}

static void do_hang(struct fake *fake)
{
    fake_ready(fake);
    for (;;)
        (void)pause();
}

static void do_hang_at_start(struct fake *fake)
{
    (void)fake;
    for (;;)
        (void)pause();
}

static void do_close(struct fake *fake)
{
    (void)close(WORKER_SOCKET_FD);
    do_hang_at_start(fake);
}

/* Lies, after one true answer where the lie is about a delivery. */

static void lie(struct fake *fake, const void *bytes, size_t size)
{
    fake_ready(fake);
    (void)buffer_append(&fake->out, bytes, size);
    fake_flush(fake);
    do_hang_at_start(fake);
}

static void do_garbage(struct fake *fake)
{
    static const char garbage[] = "HTTP/1.1 200 OK\r\n\r\n";
    lie(fake, garbage, sizeof garbage);
}

static void do_oversize(struct fake *fake)
{
    uint32_t size = WIRE_REPORT_MAX + 1;
    char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, WIRE_LOG };
    memcpy(header, &size, sizeof size);
    lie(fake, header, sizeof header);
}

static void do_unknown_type(struct fake *fake)
{
    static const char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, 99 };
    lie(fake, header, sizeof header);
}

static void do_host_type(struct fake *fake)
{
    static const char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, WIRE_STOP };
    lie(fake, header, sizeof header);
}

static void do_short_result(struct fake *fake)
{
    static const char frame[WIRE_HEADER_BYTES + 1] = { 1, 0, 0, 0, WIRE_RESULT };
    lie(fake, frame, sizeof frame);
}

static void do_short_log(struct fake *fake)
{
    static const char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, WIRE_LOG };
    lie(fake, header, sizeof header);
}

static void do_bad_level(struct fake *fake)
{
    static const char frame[WIRE_HEADER_BYTES + 1] = { 1, 0, 0, 0, WIRE_LOG, 0, 0, 0, LOG_ERROR + 1 };
    lie(fake, frame, sizeof frame);
}

/* A leak with names of these lengths, and perhaps the end of an answer. */
static void tell_leak(struct fake *fake, size_t path_bytes, size_t kind_bytes, bool looked)
{
    static const struct wire_leak leak = { .entries = 1 };
    static char name[2 * WIRE_LEAK_PATH_MAX];
    memset(name, 'x', sizeof name);
    size_t mark = wire_begin(&fake->out, WIRE_LEAK);
    wire_add_leak(&fake->out, &leak);
    if (path_bytes > 0)
        wire_add(&fake->out, WIRE_TEXT, (struct slice){ name, path_bytes });
    wire_add(&fake->out, WIRE_KEY, (struct slice){ name, kind_bytes });
    wire_end(&fake->out, mark);
    if (looked) {
        mark = wire_begin(&fake->out, WIRE_LOOKED);
        wire_add_looked(&fake->out, &(struct wire_looked){ .looks = 1 });
        wire_end(&fake->out, mark);
    }
    fake_flush(fake);
}

static void lie_of_leak(struct fake *fake, size_t path_bytes, size_t kind_bytes, bool looked)
{
    fake_ready(fake);
    tell_leak(fake, path_bytes, kind_bytes, looked);
    do_hang_at_start(fake);
}

static void do_look(struct fake *fake)
{
    fake_ready(fake);
    struct wire_frame frame;
    do {
        frame = fake_next(fake);
        fake_done(fake, &frame);
    } while (frame.type != WIRE_LOOK);
    tell_leak(fake, WIRE_LEAK_PATH_MAX, WIRE_LEAK_KIND_MAX, true);
    fake_serve(fake);
}

static void do_leak(struct fake *fake)
{
    lie_of_leak(fake, WIRE_LEAK_PATH_MAX, WIRE_LEAK_KIND_MAX, true);
}

static void do_leak_of_nothing(struct fake *fake)
{
    lie_of_leak(fake, 0, 5, false);
}

static void do_long_leak(struct fake *fake)
{
    lie_of_leak(fake, WIRE_LEAK_PATH_MAX + 1, 5, false);
}

static void do_long_kind(struct fake *fake)
{
    lie_of_leak(fake, 5, WIRE_LEAK_KIND_MAX + 1, false);
}

static void do_short_leak(struct fake *fake)
{
    static const char header[WIRE_HEADER_BYTES] = { 0, 0, 0, 0, WIRE_LEAK };
    lie(fake, header, sizeof header);
}

static void lie_about(struct fake *fake, uint64_t more, uint8_t verdict, unsigned answers)
{
    struct slice rest;
    fake_ready(fake);
    struct wire_deliver deliver = fake_delivery(fake, &rest);
    struct wire_result result = fake_ack(&deliver);
    result.seq += more;
    result.verdict = verdict;
    for (unsigned i = 0; i < answers; i++)
        fake_answer(fake, &result, "");
    do_hang_at_start(fake);
}

static void do_future_seq(struct fake *fake)
{
    lie_about(fake, 1, WIRE_ACK, 1);
}

static void do_skip_unasked(struct fake *fake)
{
    lie_about(fake, 0, WIRE_SKIPPED, 1);
}

static void do_answer_twice(struct fake *fake)
{
    lie_about(fake, 0, WIRE_ACK, 2);
}

/* Of three messages: this one, as if it were the first and the second. */
static void answer_another(struct fake *fake, uint64_t first, uint64_t second)
{
    struct slice rest;
    fake_ready(fake);
    struct wire_deliver deliver = fake_delivery(fake, &rest);
    struct wire_result result = fake_ack(&deliver);
    result.seq = first;
    fake_answer(fake, &result, "");
    result.seq = second;
    fake_answer(fake, &result, "");
    do_hang_at_start(fake);
}

static void do_answer_first_twice(struct fake *fake)
{
    answer_another(fake, 1, 1);
}

static void do_answer_out_of_turn(struct fake *fake)
{
    answer_another(fake, 1, 3);
}

/* Answers the messages from 1 on, each with its verdict. */
static void answer_by(struct fake *fake, const uint8_t *verdicts, uint64_t count)
{
    struct slice rest;
    fake_ready(fake);
    struct wire_deliver deliver = fake_delivery(fake, &rest);
    struct wire_result result = fake_ack(&deliver);
    for (result.seq = 1; result.seq <= count; result.seq++) {
        result.slot = deliver.slot + (uint32_t)(result.seq - deliver.seq);
        result.verdict = verdicts[result.seq - 1];
        fake_answer(fake, &result, "");
    }
    do_hang_at_start(fake);
}

static void do_return_unasked(struct fake *fake)
{
    static const uint8_t verdicts[] = { WIRE_RETURNED };
    answer_by(fake, verdicts, COUNT_OF(verdicts));
}

static void do_return_others(struct fake *fake)
{
    static const uint8_t verdicts[] = { WIRE_OUT_OF_TIME, WIRE_RETURNED, WIRE_RETURNED };
    answer_by(fake, verdicts, COUNT_OF(verdicts));
}

static void do_return_after_an_answer(struct fake *fake)
{
    static const uint8_t verdicts[] = { WIRE_ERROR, WIRE_ACK, WIRE_RETURNED };
    answer_by(fake, verdicts, COUNT_OF(verdicts));
}

/* Names a message that it was never given, and dies. */
static void do_lie_about_running(struct fake *fake)
{
    struct slice rest;
    fake_ready(fake);
    (void)fake_delivery(fake, &rest);
    atomic_store(&fake->board->started, 2);
    atomic_store(&fake->board->running, 77);
    _exit(3);
}

/* Says on its page that what it is at has only just begun, or will. */

static void do_begin_in_the_future(struct fake *fake)
{
    fake_ready(fake);
    atomic_store(&fake->board->started, 1);
    atomic_store(&fake->board->started_ns, INT64_MAX);
    do_hang_at_start(fake);
}

static void do_begin_for_ever(struct fake *fake)
{
    const struct timespec millisecond = { .tv_nsec = 1000000 };
    fake_ready(fake);
    atomic_store(&fake->board->started, 1);
    for (;;) {
        atomic_store(&fake->board->started_ns, clock_now_ns());
        (void)nanosleep(&millisecond, NULL);
    }
}

static void do_answer_unasked(struct fake *fake)
{
    const struct wire_result result = { .seq = 1, .verdict = WIRE_ACK };
    fake_ready(fake);
    fake_answer(fake, &result, "");
    do_hang_at_start(fake);
}

/* The real filter, and what it does not forgive. */
static void do_break_out(struct fake *fake)
{
    struct error error;
    if (syscalls_filter(false, &error))
        (void)socket(AF_INET, SOCK_STREAM, 0);
    fake_words(fake, WIRE_FAILED, "it lived on");
}

static const struct behaviour behaviours[] = {
    { "ack", do_ack },
    { "setup", do_setup },
    { "bare", do_bare },
    { "read late", do_read_late },
    { "wait at first", do_wait_at_first },
    { "answer and die", do_answer_and_die },
    { "log", do_log },
    { "fail", do_fail },
    { "exit", do_exit },
    { "break out", do_break_out },
    { "hang", do_hang },
    { "hang at start", do_hang_at_start },
    { "close", do_close },
    { "garbage", do_garbage },
    { "oversize", do_oversize },
    { "unknown type", do_unknown_type },
    { "host type", do_host_type },
    { "short result", do_short_result },
    { "short log", do_short_log },
    { "look", do_look },
    { "leak", do_leak },
    { "leak of nothing", do_leak_of_nothing },
    { "long leak", do_long_leak },
    { "long kind", do_long_kind },
    { "short leak", do_short_leak },
    { "bad level", do_bad_level },
    { "future seq", do_future_seq },
    { "skip unasked", do_skip_unasked },
    { "answer twice", do_answer_twice },
    { "answer unasked", do_answer_unasked },
    { "answer first twice", do_answer_first_twice },
    { "answer out of turn", do_answer_out_of_turn },
    { "return unasked", do_return_unasked },
    { "return others", do_return_others },
    { "return after an answer", do_return_after_an_answer },
    { "lie about running", do_lie_about_running },
    { "begin in the future", do_begin_in_the_future },
    { "begin for ever", do_begin_for_ever },
    { NULL, NULL },
};

/* What the host is told. */

struct told {
    unsigned ready;
    unsigned gone;
    unsigned logs;
    unsigned leaks;
    unsigned looked;
    unsigned published;
    size_t messages_bytes;
    char log[128]; /* their texts, one after the other */
    unsigned count;
    struct wire_result results[RESULTS_MAX];
    char text[64];
};

static struct told told;
static struct ledger ledger;
static struct worker_process *worker;

static void on_ready(void *owner, struct worker_process *process)
{
    (void)process;
    told.ready += owner == &told;
}

static void on_result(void *owner, struct worker_process *process, const struct wire_result *result,
                      struct slice text, struct buffer *messages)
{
    (void)owner;
    struct delivery *delivery = ledger_find(&ledger, result->slot, process, result->seq);
    told.results[told.count++] = *result;
    told.messages_bytes += messages->size;
    (void)snprintf(told.text, sizeof told.text, "%.*s", (int)text.size, text.data);
    if (delivery && result->verdict == WIRE_SKIPPED)
        ledger_return(&ledger, delivery);
    else if (delivery)
        ledger_settle(&ledger, delivery, SETTLE_ACK, 0);
}

static void on_published(void *owner, struct worker_process *process, struct slice message)
{
    (void)owner;
    (void)process;
    told.published++;
    told.messages_bytes += message.size;
}

static void on_log(void *owner, struct worker_process *process, enum log_level level, struct slice attributes)
{
    (void)owner;
    (void)process;
    struct slice text;
    if (level != LOG_INFO || !wire_find(attributes, WIRE_TEXT, &text))
        return;
    told.logs++;
    size_t size = strlen(told.log);
    (void)snprintf(told.log + size, sizeof told.log - size, "%.*s. ", (int)text.size, text.data);
}

static void on_leak(void *owner, struct worker_process *process, const struct wire_leak *leak,
                    const struct leak_names *names)
{
    (void)owner;
    (void)process;
    (void)leak;
    assert_true(names->path.size > 0);
    told.leaks++;
}

static void on_looked(void *owner, struct worker_process *process, const struct wire_looked *looked)
{
    (void)owner;
    (void)process;
    assert_int_equal(looked->looks, 1);
    told.looked++;
}

static void on_gone(void *owner, struct worker_process *process)
{
    (void)owner;
    (void)process;
    told.gone++;
}

static const struct worker_events events = {
    .ready = on_ready,
    .result = on_result,
    .published = on_published,
    .log = on_log,
    .leak = on_leak,
    .looked = on_looked,
    .gone = on_gone,
};

static void spawn_with(const struct consumer_config *config)
{
    struct error error;
    memset(&told, 0, sizeof told);
    assert_true(ledger_init(&ledger, 300, &error));
    worker = worker_spawn(loop, &origin, config, 2, &events, &told, &error);
    assert_non_null(worker);
    assert_int_equal(worker->state, WORKER_STARTING);
    assert_false(worker_accepts(worker));
}

static void spawn(const char *script)
{
    struct consumer_config config = config_for(script);
    spawn_with(&config);
}

static void spawn_ready(const char *script)
{
    spawn(script);
    RUN_UNTIL(told.ready || told.gone);
    if (told.gone)
        fail_msg("the worker ended: %s (%s)", worker->reason, worker->last_words);
    assert_int_equal(worker->state, WORKER_READY);
    assert_true(worker_accepts(worker));
}

static void run_until_gone(void)
{
    RUN_UNTIL(told.gone);
    assert_int_equal(worker->state, WORKER_GONE);
    assert_false(worker_accepts(worker));
}

static void end(void)
{
    worker_free(worker);
    worker = NULL;
    ledger_clear(&ledger);
}

static int tear_down(void **state)
{
    if (worker)
        end();
    return end_test(state);
}

/* One whose body is a run of the byte that will be its seq. */
static struct delivery *arrive(size_t body_bytes, uint64_t seq)
{
    static uint64_t tag;
    struct delivery *delivery = ledger_arrive(&ledger, ++tag);
    assert_non_null(delivery);
    assert_true(delivery_reserve(delivery, ENVELOPE + body_bytes));
    delivery->frame_bytes = ENVELOPE + body_bytes;
    delivery->attributes_bytes = 0;
    memset(delivery->frame + ENVELOPE, (char)seq, body_bytes);
    ledger_hold(&ledger, delivery);
    return delivery;
}

/* Sends so many of them; how many were taken. */
static unsigned deliver(unsigned count, size_t body_bytes)
{
    struct delivery *batch[RESULTS_MAX];
    for (unsigned i = 0; i < count; i++)
        batch[i] = arrive(body_bytes, worker->next_seq + i);
    return worker_send(worker, &ledger, batch, count);
}

static void test_set_up(void **state)
{
    (void)state;
    spawn_ready("setup");
    assert_true(worker->was_ready);
    end();
}

static void test_is_born_with_nothing(void **state)
{
    (void)state;
    spawn_ready("bare");
    assert_string_equal(worker->last_words, "");
    end();
}

static void test_deliveries_are_answered(void **state)
{
    (void)state;
    spawn_ready("ack");
    for (unsigned round = 1; round <= 5; round++) {
        assert_int_equal(deliver(50, 100), 50);
        assert_int_equal(worker->unanswered, 50);
        RUN_UNTIL(worker->unanswered == 0);
        assert_int_equal(told.count, 50 * round);
        assert_int_equal(ledger_unsettled(&ledger), 0);
        ledger_drop(&ledger);
    }
    for (unsigned i = 0; i < told.count; i++)
        assert_true(told.results[i].seq == i + 1 && told.results[i].verdict == WIRE_ACK);
    assert_string_equal(told.text, "done");
    assert_int_equal(worker->answered, 250);
    assert_int_equal(worker->service_ns, 1000);
    end();
}

static void test_a_batch_is_bounded(void **state)
{
    (void)state;
    spawn_ready("ack");
    assert_int_equal(worker_send(worker, &ledger, NULL, 0), 0);
    assert_int_equal(deliver(WORKER_BATCH_MAX + 10, 10), WORKER_BATCH_MAX);
    assert_int_equal(ledger.held.count, 10);
    RUN_UNTIL(told.count == WORKER_BATCH_MAX);
    end();
}

/* Frames far larger than the socket's buffer go in pieces; the ledger's memory is free for others at once. */
static void test_a_slow_reader_pins_no_memory(void **state)
{
    (void)state;
    enum { BODY = SHELF_BYTES + 1, COUNT = 10 };
    unsigned taken = 0;
    spawn_ready("read late");
    taken = deliver(COUNT, BODY);
    assert_true(taken > 0 && taken < COUNT);
    assert_true(worker->out.size > 0 && worker->out.size < BODY + ENVELOPE);
    assert_false(worker_accepts(worker));
    for (struct delivery *delivery = ledger.order.first; delivery; delivery = delivery->order.next) {
        if (delivery->state == DELIVERY_DISPATCHED)
            memset(delivery->frame, 0xee, delivery->frame_bytes);
    }
    atomic_store(&shared->go, true);
    RUN_UNTIL(told.count == taken);
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(told.results[i].verdict, WIRE_ACK);
    assert_true(worker_accepts(worker));
    assert_true(worker->out.capacity <= LEDGER_KEEP_BYTES);
    assert_int_equal(ledger.held.count, COUNT - taken);
    end();
}

static unsigned laid(void)
{
    return (unsigned)__builtin_popcountll(worker->places.firsts);
}

static void test_large_bodies_are_laid(void **state)
{
    (void)state;
    spawn_ready("read late");
    assert_int_equal(deliver(3, WORKER_LAID_LEAST - 1), 3);
    assert_int_equal(laid(), 0);
    assert_int_equal(deliver(3, WORKER_LAID_LEAST), 3);
    assert_int_equal(laid(), 3);
    assert_int_equal(worker_shelf_bytes(worker), 3 * SHELF_UNIT_BYTES);
    atomic_store(&shared->go, true);
    RUN_UNTIL(told.count == 6);
    assert_string_equal(told.text, "laid");
    assert_int_equal(laid(), 0);
    assert_int_equal(deliver(1, SHELF_BYTES), 1);
    RUN_UNTIL(told.count == 7);
    assert_string_equal(told.text, "laid");
    assert_int_equal(deliver(1, SHELF_BYTES + 1), 1);
    RUN_UNTIL(told.count == 8);
    assert_string_equal(told.text, "sent");
    for (unsigned i = 0; i < told.count; i++)
        assert_int_equal(told.results[i].verdict, WIRE_ACK);
    end();
}

/* What finds no room waits as long as the worker has something to do. */
static void test_a_full_shelf_makes_wait(void **state)
{
    (void)state;
    enum { BODY = 100000, FIT = SHELF_UNITS / 7, COUNT = 300 };
    unsigned sent = 0;
    spawn_ready("read late");
    for (unsigned i = 0; i < COUNT; i++)
        (void)arrive(BODY, i + 1);
    while (sent < COUNT) {
        struct delivery *batch[COUNT];
        unsigned held = 0;
        for (struct delivery *delivery = ledger.held.first; delivery; delivery = delivery->queue.next)
            batch[held++] = delivery;
        sent += worker_send(worker, &ledger, batch, held);
        assert_true(laid() <= FIT && worker->unanswered == laid());
        assert_true(sent >= FIT);
        atomic_store(&shared->go, true);
        unsigned before = told.count;
        RUN_UNTIL(told.count > before);
    }
    RUN_UNTIL(told.count == COUNT);
    for (unsigned i = 0; i < told.count; i++)
        assert_true(told.results[i].seq == i + 1 && told.results[i].verdict == WIRE_ACK);
    assert_true(worker->places.taken == 0);
    end();
}

/* ... but a worker that could begin it gets it through the socket. */
static void test_a_full_shelf_keeps_nobody_idle(void **state)
{
    (void)state;
    enum { BODY = 100000, FIT = SHELF_UNITS / 7 };
    struct consumer_config config = config_for("read late");
    config.concurrency = FIT + 2;
    spawn_with(&config);
    RUN_UNTIL(told.ready);
    unsigned taken = deliver(FIT + 1, BODY);
    assert_int_equal(taken, FIT + 1);
    assert_int_equal(laid(), FIT);
    atomic_store(&shared->go, true);
    RUN_UNTIL(told.count == taken);
    assert_string_equal(told.text, "sent");
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(told.results[i].verdict, WIRE_ACK);
    assert_true(worker->places.taken == 0);
    end();
}

/* What the socket did not take has no place. */
static void test_what_is_not_taken_is_not_laid(void **state)
{
    (void)state;
    struct delivery *batch[3];
    spawn_ready("read late");
    batch[0] = arrive(4 * SHELF_BYTES, 1);
    batch[1] = arrive(WORKER_LAID_LEAST, 2);
    batch[2] = arrive(WORKER_LAID_LEAST, 3);
    assert_int_equal(worker_send(worker, &ledger, batch, 3), 1);
    assert_true(worker->out.size > 0);
    assert_true(worker->places.taken == 0);
    atomic_store(&shared->go, true);
    RUN_UNTIL(told.count == 1);
    assert_int_equal(worker_send(worker, &ledger, batch + 1, 2), 2);
    assert_int_equal(laid(), 2);
    RUN_UNTIL(told.count == 3);
    for (unsigned i = 0; i < told.count; i++)
        assert_int_equal(told.results[i].verdict, WIRE_ACK);
    end();
}

static void test_taking_back(void **state)
{
    (void)state;
    uint64_t seq;
    int64_t since_ns;
    spawn_ready("wait at first");
    assert_int_equal(worker_revoke(worker, 1), 1);
    assert_true(worker_accepts(worker)); /* there was nothing to take back */
    assert_false(worker_begun(worker, &seq, &since_ns));
    assert_int_equal(deliver(5, 10), 5);
    while (!worker_begun(worker, &seq, &since_ns))
        (void)sched_yield();
    assert_int_equal(seq, 1);
    assert_true(since_ns > 0 && since_ns <= clock_now_ns());
    assert_int_equal(worker_revoke(worker, 3), 3);
    assert_int_equal(worker_revoke(worker, 2), 2);
    assert_int_equal(worker_revoke(worker, 5), 2);
    assert_false(worker_accepts(worker));
    atomic_store(&shared->go, true);
    RUN_UNTIL(worker->unanswered == 0);
    assert_int_equal(told.results[0].verdict, WIRE_ACK);
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(told.results[i].verdict, WIRE_SKIPPED);
    assert_false(worker_begun(worker, &seq, &since_ns));
    assert_true(worker_accepts(worker));
    assert_int_equal(deliver(1, 10), 1);
    RUN_UNTIL(worker->unanswered == 0);
    assert_int_equal(told.results[5].verdict, WIRE_ACK);
    end();
}

static void test_last_answers_count(void **state)
{
    (void)state;
    spawn_ready("answer and die");
    assert_int_equal(deliver(15, 10), 15);
    run_until_gone();
    assert_int_equal(told.count, 10);
    assert_int_equal(worker->unanswered, 5);
    assert_contains(worker->reason, "killed by signal 15");
    end();
}

static void test_logs_are_passed_on(void **state)
{
    (void)state;
    spawn("log");
    RUN_UNTIL(told.logs == 2 && told.ready);
    worker_recycle(worker);
    RUN_UNTIL(told.logs == 3);
    assert_string_equal(told.log, "before it is ready. after. told to recycle. ");
    end();
}

static const struct {
    const char *script;
    const char *reason;
    const char *last_words;
    unsigned deliveries; /* that it needs */
} ends[] = {
    { "fail", "exit status 1", "handler.lua:1: '=' expected", 0 },
    { "exit", "exit status 3", "", 0 },
    { "break out", "killed by seccomp (SIGSYS)", "", 0 },
    { "garbage", "killed by signal 9", "no frame", 0 },
    { "oversize", "killed by signal 9", "no frame", 0 },
    { "unknown type", "killed by signal 9", "unknown type", 0 },
    { "host type", "killed by signal 9", "unknown type", 0 },
    { "short result", "killed by signal 9", "never given", 0 },
    { "short log", "killed by signal 9", "log line", 0 },
    { "bad level", "killed by signal 9", "log line", 0 },
    { "leak", "killed by signal 9", "never asked", 0 },
    { "leak of nothing", "killed by signal 9", "told of a leak", 0 },
    { "long leak", "killed by signal 9", "told of a leak", 0 },
    { "long kind", "killed by signal 9", "told of a leak", 0 },
    { "short leak", "killed by signal 9", "told of a leak", 0 },
    { "answer unasked", "killed by signal 9", "never given", 0 },
    { "future seq", "killed by signal 9", "never given", 1 },
    { "skip unasked", "killed by signal 9", "not taken back", 1 },
    { "answer twice", "killed by signal 9", "never given", 1 },
    { "answer first twice", "killed by signal 9", "had answered", 3 },
    { "answer out of turn", "killed by signal 9", "not its next", 3 },
    { "close", "killed by signal 9", "", 0 },
};

static void test_ends_of_all_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        spawn(ends[i].script);
        if (ends[i].deliveries > 0) {
            RUN_UNTIL(told.ready);
            assert_int_equal(deliver(ends[i].deliveries, 10), ends[i].deliveries);
        }
        run_until_gone();
        assert_int_equal(told.gone, 1);
        assert_contains(worker->reason, ends[i].reason);
        assert_contains(worker->last_words, ends[i].last_words);
        assert_true(told.count <= 1);
        end();
    }
}

/* One that runs several at once answers in any order, each once. */
static void test_answers_in_any_order(void **state)
{
    (void)state;
    struct consumer_config config = config_for("answer out of turn");
    config.concurrency = 3;
    spawn_with(&config);
    RUN_UNTIL(told.ready);
    assert_int_equal(deliver(3, 10), 3);
    RUN_UNTIL(told.count == 2);
    assert_int_equal(worker->unanswered, 1);
    assert_int_equal(told.gone, 0);
    end();
    config.handler = (char *)(uintptr_t) "answer first twice";
    spawn_with(&config);
    RUN_UNTIL(told.ready);
    assert_int_equal(deliver(3, 10), 3);
    run_until_gone();
    assert_contains(worker->last_words, "had answered");
    assert_int_equal(told.count, 1);
    end();
}

static void spawn_with_three(const char *script)
{
    struct consumer_config config = config_for(script);
    config.concurrency = 3;
    spawn_with(&config);
    RUN_UNTIL(told.ready);
    assert_int_equal(deliver(3, 10), 3);
}

/* Messages come back uncharged only right behind one that has failed, and so ended the state of all. */
static void test_messages_are_returned_behind_a_failure_only(void **state)
{
    (void)state;
    spawn_with_three("return others");
    RUN_UNTIL(told.count == 3);
    assert_int_equal(told.gone, 0);
    end();
    spawn_with_three("return unasked");
    run_until_gone();
    assert_contains(worker->last_words, "no other had spoiled");
    assert_int_equal(told.count, 0);
    end();
    spawn_with_three("return after an answer");
    run_until_gone();
    assert_contains(worker->last_words, "no other had spoiled");
    assert_int_equal(told.count, 2);
    end();
}

static void test_what_it_was_at_when_it_died(void **state)
{
    (void)state;
    uint64_t seq;
    spawn_with_three("lie about running");
    run_until_gone();
    assert_false(worker_running(worker, &seq));
    assert_true(worker_has_begun(worker, 2));
    assert_false(worker_has_begun(worker, 3));
    atomic_store(&worker->board->running, 2);
    assert_true(worker_running(worker, &seq));
    assert_int_equal(seq, 2);
    end();
}

static void test_leaks_are_told_when_asked(void **state)
{
    (void)state;
    spawn("look");
    RUN_UNTIL(told.ready);
    worker_look(worker);
    RUN_UNTIL(told.looked == 1);
    assert_int_equal(told.leaks, 1);
    end();
}

static void test_stop_lets_it_answer_first(void **state)
{
    (void)state;
    spawn_ready("ack");
    assert_int_equal(deliver(60, 1000), 60);
    worker_stop(worker);
    assert_int_equal(worker->state, WORKER_STOPPING);
    assert_true(worker->dismissed);
    worker_stop(worker);
    run_until_gone();
    assert_int_equal(told.count, 60);
    assert_string_equal(worker->reason, "exit status 0");
    end();
}

static void test_stop_reaches_a_slow_reader(void **state)
{
    (void)state;
    spawn_ready("read late");
    unsigned taken = deliver(10, 400000);
    worker_stop(worker);
    atomic_store(&shared->go, true);
    run_until_gone();
    assert_int_equal(told.count, taken);
    assert_string_equal(worker->reason, "exit status 0");
    end();
}

static void test_kill(void **state)
{
    (void)state;
    spawn_ready("hang");
    worker_kill(worker);
    run_until_gone();
    assert_contains(worker->reason, "killed by signal 9");
    worker_kill(worker); /* its pid may be another's now */
    end();
}

/* Freed in the middle of anything, it leaves neither process nor descriptor; end_test looks. */
static void test_free_at_any_time(void **state)
{
    (void)state;
    static const char *const scripts[] = { "ack", "hang", "hang at start", "exit", "garbage" };
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        spawn(scripts[i]);
        end();
        spawn(scripts[i]);
        run_loop_once();
        end();
    }
    worker_free(NULL);
}

static void test_no_progress(void **state)
{
    (void)state;
    struct consumer_config config = config_for("hang");
    config.limits.deadline_ns = config.limits.grace_ns = 50 * CLOCK_NS_PER_MS;
    spawn_with(&config);
    RUN_UNTIL(told.ready || told.gone);
    if (told.ready) {
        assert_int_equal(deliver(1, 10), 1);
        assert_true(ev_timer_remaining(worker->loop, &worker->overdue) < 0.2);
        run_until_gone();
        assert_contains(worker->last_words, "limits.deadline");
        assert_contains(worker->last_words, "100ms");
    }
    assert_contains(worker->reason, "killed by signal 9");
    end();
    config.handler = (char *)(uintptr_t) "hang at start";
    spawn_with(&config);
    run_until_gone();
    assert_contains(worker->last_words, "loading hang at start");
    end();
}

static void test_lies_about_progress_do_not_help(void **state)
{
    (void)state;
    static const char *const liars[] = { "begin in the future", "begin for ever" };
    for (size_t i = 0; i < COUNT_OF(liars); i++) {
        struct consumer_config config = config_for(liars[i]);
        config.limits.deadline_ns = 400 * CLOCK_NS_PER_MS;
        config.limits.grace_ns = 100 * CLOCK_NS_PER_MS;
        spawn_with(&config);
        RUN_UNTIL(told.ready || told.gone);
        if (told.ready) {
            assert_int_equal(deliver(1, 10), 1);
            run_until_gone();
            assert_contains(worker->last_words, "limits.deadline");
        }
        end();
    }
}

/* This program was stopped for longer than the worker had, and its answer lies in the socket. */
static void test_an_answer_that_was_not_read_yet_counts(void **state)
{
    (void)state;
    struct consumer_config config = config_for("ack");
    config.limits.deadline_ns = 400 * CLOCK_NS_PER_MS;
    config.limits.grace_ns = 100 * CLOCK_NS_PER_MS;
    spawn_with(&config);
    RUN_UNTIL(told.ready || told.gone);
    if (told.ready) {
        const struct timespec longer = { .tv_nsec = 700000000 };
        assert_int_equal(deliver(1, 10), 1);
        (void)nanosleep(&longer, NULL);
        RUN_UNTIL(told.count == 1 || told.gone);
        assert_false(worker->ran_over);
    }
    end();
}

static void test_a_program_that_is_none(void **state)
{
    (void)state;
    struct worker_origin right = origin;
    origin.program_fd = origin.cache_fd;
    spawn("ack");
    run_until_gone();
    assert_string_equal(worker->reason, "exit status 1");
    origin = right;
    end();
}

#define WITH_WORKERS(test) cmocka_unit_test_setup_teardown(test, begin_test, tear_down)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "@worker") == 0)
        fake_main(behaviours);
    keep_descriptors_to_itself();
    const struct CMUnitTest tests[] = {
        WITH_WORKERS(test_set_up),
        WITH_WORKERS(test_is_born_with_nothing),
        WITH_WORKERS(test_deliveries_are_answered),
        WITH_WORKERS(test_a_batch_is_bounded),
        WITH_WORKERS(test_a_slow_reader_pins_no_memory),
        WITH_WORKERS(test_large_bodies_are_laid),
        WITH_WORKERS(test_a_full_shelf_makes_wait),
        WITH_WORKERS(test_a_full_shelf_keeps_nobody_idle),
        WITH_WORKERS(test_what_is_not_taken_is_not_laid),
        WITH_WORKERS(test_taking_back),
        WITH_WORKERS(test_last_answers_count),
        WITH_WORKERS(test_logs_are_passed_on),
        WITH_WORKERS(test_ends_of_all_kinds),
        WITH_WORKERS(test_leaks_are_told_when_asked),
        WITH_WORKERS(test_stop_lets_it_answer_first),
        WITH_WORKERS(test_stop_reaches_a_slow_reader),
        WITH_WORKERS(test_kill),
        WITH_WORKERS(test_free_at_any_time),
        WITH_WORKERS(test_no_progress),
        WITH_WORKERS(test_lies_about_progress_do_not_help),
        WITH_WORKERS(test_answers_in_any_order),
        WITH_WORKERS(test_messages_are_returned_behind_a_failure_only),
        WITH_WORKERS(test_what_it_was_at_when_it_died),
        WITH_WORKERS(test_an_answer_that_was_not_read_yet_counts),
        WITH_WORKERS(test_a_program_that_is_none),
    };
    return cmocka_run_group_tests(tests, open_origin, close_origin);
}
