/* Handing out, with workers that are only a socket and a status page: who gets how much, what is taken back,
 * and that no message is ever run twice, lost or counted wrongly in the budget. */
#include "host/handout.h"

#include "tools.h"

#include <sys/socket.h>
#include <unistd.h>

enum {
    ENVELOPE_BYTES = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES,
    PREFETCH = 300,
    WORKERS_MAX = 4,
    INBOX_MAX = 1000,
    TAGS_MAX = 100000,
};

#define FAST_NS   INT64_C(10000)    /* window 128 */
#define MEDIUM_NS INT64_C(500000)   /* window 10 */
#define SLOW_NS   INT64_C(10000000) /* window 1 */

/* The far side: what a worker has read, and what it is at. */
struct peer {
    struct worker_process *worker;
    int fd;
    struct wire_deliver inbox[INBOX_MAX];
    unsigned read; /* messages that came, */
    unsigned next; /* and the next one to begin */
    bool claiming; /* has stored what it begins, and not yet looked whether it may */
    bool running;
    struct buffer bytes;
};

struct world {
    struct ev_loop *loop;
    struct ledger ledger;
    struct budget budget;
    struct pool pool;
    struct handout handout;
    struct pool_slot slots[WORKERS_MAX];
    struct worker_process workers[WORKERS_MAX];
    struct peer peers[WORKERS_MAX];
    uint64_t tag;
    int64_t now_ns;
    uint8_t runs[TAGS_MAX]; /* how often each tag was run */
    unsigned settled;
};

static struct world world;

static void unwatched(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void open_worker(unsigned lane, int64_t service_ns)
{
    struct worker_process *worker = &world.workers[lane];
    struct peer *peer = &world.peers[lane];
    struct error error;
    int fds[2], board_fd;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    memset(peer, 0, sizeof *peer);
    *peer = (struct peer){ .worker = worker, .fd = fds[1] };
    buffer_init(&peer->bytes, 64 * 1024 * 1024);
    *worker = (struct worker_process){
        .loop = world.loop,
        .lane = lane,
        .state = WORKER_READY,
        .fd = fds[0],
        .board = board_open(&board_fd, &error),
        .patience_ns = INT64_C(1000000000000),
        .next_seq = 1,
        .concurrency = 1,
        .service_ns = service_ns,
    };
    assert_non_null(worker->board);
    (void)close(board_fd);
    ev_io_init(&worker->writable, unwatched, worker->fd, EV_WRITE);
    buffer_init(&worker->out, 16 * 1024 * 1024);
    world.slots[lane] = (struct pool_slot){ .pool = &world.pool, .worker = worker };
}

static void close_worker(unsigned lane)
{
    struct worker_process *worker = &world.workers[lane];
    if (!world.slots[lane].worker)
        return;
    ev_io_stop(world.loop, &worker->writable);
    ev_timer_stop(world.loop, &worker->overdue);
    (void)close(worker->fd);
    (void)close(world.peers[lane].fd);
    board_close(worker->board);
    buffer_clear(&worker->out);
    buffer_clear(&world.peers[lane].bytes);
    world.slots[lane].worker = NULL;
}

static void open_world(unsigned workers, int64_t service_ns)
{
    struct error error;
    memset(&world, 0, sizeof world);
    world.loop = ev_loop_new(EVFLAG_AUTO);
    world.now_ns = 1;
    assert_non_null(world.loop);
    assert_true(ledger_init(&world.ledger, PREFETCH, &error));
    world.pool = (struct pool){ .loop = world.loop, .active = { .slots = world.slots, .count = workers } };
    for (unsigned lane = 0; lane < workers; lane++)
        open_worker(lane, service_ns);
    handout_init(&world.handout, &world.ledger, &world.pool, &world.budget);
}

static void close_world(void)
{
    for (unsigned lane = 0; lane < WORKERS_MAX; lane++)
        close_worker(lane);
    handout_clear(&world.handout);
    ledger_clear(&world.ledger);
    ev_loop_destroy(world.loop);
}

/* What happens on the host's side. */

static struct delivery *arrive_with(size_t frame_bytes, uint32_t key_hash)
{
    struct delivery *delivery = ledger_arrive(&world.ledger, ++world.tag);
    assert_non_null(delivery);
    assert_true(delivery_reserve(delivery, frame_bytes));
    memset(delivery->frame, 0, frame_bytes);
    delivery->frame_bytes = frame_bytes;
    delivery->attributes_bytes = 0;
    delivery->key_hash = key_hash;
    ledger_hold(&world.ledger, delivery);
    return delivery;
}

static void arrive(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        (void)arrive_with(ENVELOPE_BYTES, 0);
}

static void run(void)
{
    assert_true(handout_run(&world.handout, world.now_ns));
}

static void send_settlements(void)
{
    struct settlement settlement;
    while (ledger_next_settlement(&world.ledger, INT64_MAX / 2, &settlement))
        ;
}

/* A result comes in: what worker_process.c and consumer.c do with it. */
static void answer(struct peer *peer, const struct wire_deliver *deliver, bool skipped)
{
    struct worker_process *worker = peer->worker;
    struct delivery *delivery = ledger_find(&world.ledger, deliver->slot, worker, deliver->seq);
    assert_true(worker->unanswered > 0);
    worker->unanswered--;
    worker->answered_seq = deliver->seq;
    if (worker->unanswered == 0 && worker->revoked) {
        board_allow(worker->board);
        worker->revoked = false;
    }
    if (!delivery) {
        assert_true(skipped); /* what runs is never taken from a worker */
    } else if (skipped) {
        ledger_return(&world.ledger, delivery);
        budget_return(&world.budget);
    } else {
        world.runs[delivery->tag]++;
        assert_int_equal(world.runs[delivery->tag], 1);
        ledger_settle(&world.ledger, delivery, SETTLE_ACK, world.now_ns);
        budget_settle(&world.budget);
        world.settled++;
        send_settlements();
    }
}

/* What happens on the worker's side. */

static void read_frames(struct peer *peer)
{
    struct wire_frame frame;
    ssize_t size;
    do {
        assert_true(buffer_reserve(&peer->bytes, 65536));
        size = recv(peer->fd, peer->bytes.data + peer->bytes.size, 65536, 0);
        peer->bytes.size += size > 0 ? (size_t)size : 0;
    } while (size > 0);
    while (wire_next((struct slice){ peer->bytes.data, peer->bytes.size }, 1 << 24, &frame) == WIRE_FRAME) {
        struct slice payload = frame.payload;
        assert_int_equal(frame.type, WIRE_DELIVER);
        assert_true(peer->read < INBOX_MAX);
        assert_true(wire_take_deliver(&payload, &peer->inbox[peer->read]));
        assert_int_equal(peer->inbox[peer->read].seq, peer->read + 1);
        peer->read++;
        buffer_consume(&peer->bytes, WIRE_HEADER_BYTES + frame.payload.size);
    }
}

static bool has_work(const struct peer *peer)
{
    return peer->next < peer->read;
}

/* Claiming in its two steps, so that the host may come between; see common/board.h. */
static void begin(struct peer *peer)
{
    assert_true(has_work(peer) && !peer->claiming && !peer->running);
    struct board *board = peer->worker->board;
    atomic_store(&board->started_ns, world.now_ns);
    atomic_store(&board->started, peer->inbox[peer->next].seq);
    peer->claiming = true;
}

static void look(struct peer *peer)
{
    assert_true(peer->claiming);
    const struct wire_deliver *deliver = &peer->inbox[peer->next];
    peer->claiming = false;
    peer->running = deliver->seq < atomic_load(&peer->worker->board->revoked_from);
    if (!peer->running) {
        answer(peer, deliver, true);
        peer->next++;
    }
}

static void finish(struct peer *peer)
{
    assert_true(peer->running);
    answer(peer, &peer->inbox[peer->next], false);
    peer->running = false;
    peer->next++;
}

static void work_off(struct peer *peer)
{
    read_frames(peer);
    while (has_work(peer)) {
        if (!peer->running && !peer->claiming)
            begin(peer);
        if (peer->claiming)
            look(peer);
        if (peer->running)
            finish(peer);
    }
}

static unsigned load(unsigned lane)
{
    return world.workers[lane].unanswered;
}

static void test_window(void **state)
{
    (void)state;
    static const struct {
        int64_t service_ns;
        unsigned window;
    } cases[] = {
        { 0, 1 },       { -1, 1 },      { INT64_MIN, 1 }, { 1, 128 },       { 39062, 128 },
        { 39063, 127 }, { 50000, 100 }, { 1666666, 3 },   { 2500000, 2 },   { 2500001, 1 },
        { 5000000, 1 }, { 5000001, 1 }, { 1000000, 5 },   { INT64_MAX, 1 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(handout_window(cases[i].service_ns, 1), cases[i].window);
    assert_int_equal(handout_window(0, 256), 256);
    assert_int_equal(handout_window(SLOW_NS, 256), 256);
    assert_int_equal(handout_window(MEDIUM_NS, 4), 10);
}

static void test_nothing_to_hand_out(void **state)
{
    (void)state;
    open_world(2, FAST_NS);
    run();
    assert_int_equal(load(0) + load(1), 0);
    assert_int_equal(world.budget.taken, 0);
    close_world();
}

static void test_unknown_workers_get_one_each(void **state)
{
    (void)state;
    open_world(3, 0);
    arrive(10);
    run();
    run();
    for (unsigned lane = 0; lane < 3; lane++)
        assert_int_equal(load(lane), 1);
    assert_int_equal(world.ledger.held.count, 7);
    close_world();
}

static void test_loads_are_even(void **state)
{
    (void)state;
    open_world(4, FAST_NS);
    for (unsigned total = 1; total <= 250; total += 3) {
        arrive(3);
        run();
        unsigned least = UINT32_MAX, most = 0;
        for (unsigned lane = 0; lane < 4; lane++) {
            least = load(lane) < least ? load(lane) : least;
            most = load(lane) > most ? load(lane) : most;
        }
        assert_true(most - least <= 1);
        assert_int_equal(world.ledger.held.count, 0);
    }
    close_world();
}

static void test_slow_workers_get_one(void **state)
{
    (void)state;
    open_world(3, FAST_NS);
    world.workers[1].service_ns = SLOW_NS;
    world.workers[2].service_ns = MEDIUM_NS;
    arrive(60);
    run();
    assert_int_equal(load(1), 1);
    assert_int_equal(load(2), 10);
    assert_int_equal(load(0), 49);
    close_world();
}

/* A window of 128 is filled in batches of 64, and no further. */
static void test_batches(void **state)
{
    (void)state;
    open_world(1, 1);
    arrive(200);
    run();
    assert_int_equal(load(0), WORKER_BATCH_MAX);
    run();
    assert_int_equal(load(0), HANDOUT_WINDOW_MAX);
    run();
    assert_int_equal(load(0), HANDOUT_WINDOW_MAX);
    assert_int_equal(world.ledger.held.count, 200 - HANDOUT_WINDOW_MAX);
    assert_int_equal(world.budget.taken, HANDOUT_WINDOW_MAX);
    close_world();
}

static void test_one_worker_keeps_the_order(void **state)
{
    (void)state;
    open_world(1, MEDIUM_NS);
    struct peer *peer = &world.peers[0];
    uint64_t expected = 1;
    for (unsigned round = 0; round < 50; round++) {
        arrive(7);
        run();
        read_frames(peer);
        for (unsigned done = 0; done < 3 && has_work(peer);) {
            begin(peer);
            look(peer);
            if (!peer->running)
                continue;
            assert_int_equal(world.ledger.deliveries[peer->inbox[peer->next].slot].tag, expected++);
            finish(peer);
            done++;
        }
        if (round % 10 == 9)
            handout_recall(&world.handout);
    }
    close_world();
}

static void test_who_takes_nothing(void **state)
{
    (void)state;
    open_world(4, FAST_NS);
    world.workers[0].state = WORKER_STARTING;
    world.workers[1].state = WORKER_STOPPING;
    assert_true(buffer_append(&world.workers[2].out, "x", 1));
    world.workers[3].revoked = true;
    arrive(5);
    run();
    assert_int_equal(world.ledger.held.count, 5);
    assert_int_equal(world.budget.taken, 0);
    struct worker_process *absent = world.slots[0].worker;
    world.slots[0].worker = NULL;
    world.workers[3].revoked = false;
    run();
    assert_int_equal(load(3), 5);
    world.slots[0].worker = absent;
    close_world();
}

/* A socket that is full: what it did not take stays held, in order, and out of the budget. */
static void test_full_sockets(void **state)
{
    (void)state;
    enum { COUNT = 40, LARGE = 100000 };
    open_world(1, FAST_NS);
    for (unsigned i = 0; i < COUNT; i++)
        (void)arrive_with(LARGE, 0);
    run();
    unsigned taken = load(0);
    assert_true(taken > 0 && taken < COUNT);
    assert_int_equal(world.ledger.held.count, COUNT - taken);
    assert_int_equal(world.ledger.held.first->tag, taken + 1);
    assert_int_equal(world.budget.taken, taken);
    assert_true(world.workers[0].out.size < LARGE);
    run();
    assert_int_equal(load(0), taken);
    close_world();
}

static void test_keys_have_lanes(void **state)
{
    (void)state;
    open_world(3, MEDIUM_NS);
    world.handout.by_key = true;
    for (uint32_t i = 0; i < 60; i++)
        (void)arrive_with(ENVELOPE_BYTES, i * 7);
    run();
    for (unsigned lane = 0; lane < 3; lane++) {
        struct peer *peer = &world.peers[lane];
        uint64_t last = 0;
        assert_int_equal(load(lane), 10);
        read_frames(peer);
        for (unsigned i = 0; i < peer->read; i++) {
            const struct delivery *delivery = &world.ledger.deliveries[peer->inbox[i].slot];
            assert_int_equal(delivery->key_hash % 3, lane);
            assert_true(delivery->tag > last);
            last = delivery->tag;
        }
    }
    close_world();
}

/* A key whose worker is busy waits, and the others do not wait for it. */
static void test_a_full_lane_holds_back_its_keys_alone(void **state)
{
    (void)state;
    open_world(2, SLOW_NS);
    world.handout.by_key = true;
    for (unsigned i = 0; i < 5; i++)
        (void)arrive_with(ENVELOPE_BYTES, 0);
    (void)arrive_with(ENVELOPE_BYTES, 1);
    run();
    assert_int_equal(load(0), 1);
    assert_int_equal(load(1), 1);
    assert_int_equal(world.ledger.held.count, 4);
    assert_int_equal(world.ledger.held.first->tag, 2);
    work_off(&world.peers[1]);
    world.now_ns += 100 * HANDOUT_STUCK_NS;
    assert_false(handout_rebalance(&world.handout, world.now_ns));
    assert_int_equal(load(0), 1);
    close_world();
}

static void test_order_waits_for_retired_workers(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 2; workers++) {
        for (unsigned by_key = 0; by_key <= 1; by_key++) {
            struct worker_process old = { .unanswered = 1 };
            struct worker_process *retired[] = { &old };
            bool ordered = by_key || workers == 1;
            open_world(workers, FAST_NS);
            world.handout.by_key = by_key;
            world.pool.retired = retired;
            world.pool.retired_count = 1;
            arrive(4);
            run();
            assert_int_equal(world.ledger.held.count, ordered ? 4 : 0);
            old.unanswered = 0;
            run();
            assert_int_equal(world.ledger.held.count, 0);
            close_world();
        }
    }
}

/* A reload changes the number of workers between two turns. */
static void test_more_and_fewer_workers(void **state)
{
    (void)state;
    static const unsigned counts[] = { 1, 4, 2, 3, 1 };
    open_world(WORKERS_MAX, FAST_NS);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        world.pool.active.count = counts[i];
        arrive(12);
        run();
        assert_int_equal(world.ledger.held.count, 0);
        for (unsigned lane = 0; lane < WORKERS_MAX; lane++) {
            assert_int_equal(load(lane), lane < counts[i] ? 12 / counts[i] : 0);
            work_off(&world.peers[lane]);
        }
    }
    close_world();
}

/* Taking back */

/* Two workers with ten each; the first is at its first message, the second has done all its own. */
static void open_stuck_world(void)
{
    open_world(2, FAST_NS);
    arrive(20);
    run();
    assert_int_equal(load(0), 10);
    read_frames(&world.peers[0]);
    begin(&world.peers[0]);
    look(&world.peers[0]);
    work_off(&world.peers[1]);
}

static void test_idle_workers_take_over_from_slow_ones(void **state)
{
    (void)state;
    open_stuck_world();
    assert_true(handout_rebalance(&world.handout, world.now_ns + HANDOUT_STUCK_NS - 1));
    assert_int_equal(world.ledger.held.count, 0);
    assert_true(handout_rebalance(&world.handout, world.now_ns + HANDOUT_STUCK_NS));
    assert_int_equal(world.ledger.held.count, 9);
    assert_int_equal(world.ledger.dispatched, 1);
    assert_int_equal(world.budget.taken - world.budget.settled, 1);
    run();
    assert_int_equal(load(1), 9);
    assert_int_equal(load(0), 10); /* nothing new before it has answered all */
    work_off(&world.peers[1]);
    assert_int_equal(world.settled, 19);
    work_off(&world.peers[0]);
    assert_int_equal(world.settled, 20);
    assert_int_equal(load(0), 0);
    assert_true(worker_accepts(&world.workers[0]));
    assert_int_equal(ledger_in_use(&world.ledger), 0);
    close_world();
}

static void test_nothing_is_taken_back_without_need(void **state)
{
    (void)state;
    int64_t late_ns = INT64_C(1000) * HANDOUT_STUCK_NS;
    open_stuck_world();
    arrive(1);
    assert_false(handout_rebalance(&world.handout, late_ns)); /* what is held goes first */
    run();
    assert_false(handout_rebalance(&world.handout, late_ns)); /* nobody is idle */
    work_off(&world.peers[1]);
    world.workers[1].state = WORKER_STOPPING;
    assert_false(handout_rebalance(&world.handout, late_ns));
    world.workers[1].state = WORKER_READY;
    assert_int_equal(load(0), 10);
    work_off(&world.peers[0]);
    assert_false(handout_rebalance(&world.handout, late_ns)); /* nobody is busy */
    arrive(1);
    run();
    assert_false(handout_rebalance(&world.handout, late_ns)); /* nothing waits behind it */
    close_world();
}

static void test_a_message_alone_has_nothing_behind_it(void **state)
{
    (void)state;
    open_world(3, SLOW_NS);
    arrive(2);
    run();
    for (unsigned lane = 0; lane < 2; lane++) {
        read_frames(&world.peers[lane]);
        begin(&world.peers[lane]);
        look(&world.peers[lane]);
    }
    assert_false(handout_rebalance(&world.handout, INT64_C(1000) * HANDOUT_STUCK_NS));
    assert_int_equal(world.ledger.dispatched, 2);
    close_world();
}

/* A page still speaks of the last message until the next is begun: that one is over, and no reason. */
static void test_a_worker_that_has_not_begun_is_not_stuck(void **state)
{
    (void)state;
    open_world(2, FAST_NS);
    arrive(2);
    run();
    work_off(&world.peers[0]);
    work_off(&world.peers[1]);
    world.now_ns += 1000 * HANDOUT_STUCK_NS;
    arrive(4);
    run();
    work_off(&world.peers[1]);
    assert_int_equal(load(0), 2);
    assert_true(handout_rebalance(&world.handout, world.now_ns));
    assert_int_equal(world.ledger.held.count, 0);
    assert_false(world.workers[0].revoked);
    close_world();
}

static void test_recall_leaves_what_has_begun(void **state)
{
    (void)state;
    open_stuck_world();
    handout_recall(&world.handout);
    assert_int_equal(world.ledger.dispatched, 1);
    assert_int_equal(world.ledger.held.count, 9);
    assert_int_equal(world.budget.taken - world.budget.settled, 1);
    work_off(&world.peers[0]);
    assert_int_equal(world.settled, 11);
    run();
    work_off(&world.peers[0]);
    work_off(&world.peers[1]);
    assert_int_equal(world.settled, 20);
    close_world();
}

static void test_recall_before_anything_has_begun(void **state)
{
    (void)state;
    open_world(2, FAST_NS);
    arrive(10);
    run();
    handout_recall(&world.handout);
    assert_int_equal(world.ledger.dispatched, 0);
    assert_int_equal(world.ledger.held.count, 10);
    assert_int_equal(world.budget.taken, 0);
    work_off(&world.peers[0]);
    work_off(&world.peers[1]);
    assert_int_equal(world.settled, 0);
    run();
    work_off(&world.peers[0]);
    work_off(&world.peers[1]);
    assert_int_equal(world.settled, 10);
    close_world();
}

static void test_recall_reaches_retired_workers(void **state)
{
    (void)state;
    open_world(2, FAST_NS);
    arrive(10);
    run();
    struct worker_process *retired[] = { &world.workers[1] };
    world.slots[1].worker = NULL;
    world.pool.retired = retired;
    world.pool.retired_count = 1;
    handout_recall(&world.handout);
    assert_int_equal(world.ledger.held.count, 10);
    world.slots[1].worker = &world.workers[1];
    close_world();
}

/* Taken back once, a message is not given back to the same worker by taking back again from further on. */
static void test_taking_back_twice(void **state)
{
    (void)state;
    open_stuck_world();
    assert_true(handout_rebalance(&world.handout, world.now_ns + HANDOUT_STUCK_NS));
    run();
    struct peer *slow = &world.peers[0];
    finish(slow);
    begin(slow); /* the second, which was taken back: it has not looked yet */
    handout_recall(&world.handout);
    look(slow);
    assert_false(slow->running);
    work_off(slow);
    work_off(&world.peers[1]);
    run();
    work_off(slow);
    work_off(&world.peers[1]);
    assert_int_equal(world.settled, 20);
    close_world();
}

/* Everything at random, and the budget at the end: each message is run by one worker, once. */

static void die(unsigned lane)
{
    struct peer *peer = &world.peers[lane];
    uint64_t running = peer->running ? peer->inbox[peer->next].seq : 0;
    struct delivery *next;
    for (struct delivery *delivery = world.ledger.order.first; delivery; delivery = next) {
        next = delivery->order.next;
        if (delivery->state != DELIVERY_DISPATCHED || delivery->worker != peer->worker)
            continue;
        if (delivery->seq == running) {
            world.runs[delivery->tag]++;
            ledger_settle(&world.ledger, delivery, SETTLE_REJECT, world.now_ns);
            budget_settle(&world.budget);
            world.settled++;
        } else {
            ledger_return(&world.ledger, delivery);
            budget_return(&world.budget);
        }
    }
    send_settlements();
    close_worker(lane);
    open_worker(lane, 0);
}

static void act(struct random *random, unsigned lane)
{
    struct peer *peer = &world.peers[lane];
    read_frames(peer);
    if (peer->claiming)
        look(peer);
    else if (peer->running)
        finish(peer);
    else if (has_work(peer))
        begin(peer);
    peer->worker->service_ns = random_one_in(random, 20) ? random_below(random, 3000000) : FAST_NS;
    if (random_one_in(random, 400) || peer->read > INBOX_MAX - 2 * HANDOUT_WINDOW_MAX)
        die(lane);
}

static void step(struct random *random, unsigned workers)
{
    switch (random_below(random, 12)) {
    case 0:
        for (unsigned i = random_below(random, 40); i > 0 && world.ledger.free.count > 0; i--)
            (void)arrive_with(ENVELOPE_BYTES, (uint32_t)random_next(random));
        break;
    case 1:
    case 2:
        run();
        break;
    case 3:
        (void)handout_rebalance(&world.handout, world.now_ns);
        break;
    case 4:
        if (random_one_in(random, 10))
            handout_recall(&world.handout);
        break;
    default:
        act(random, random_below(random, workers));
        break;
    }
    world.now_ns += random_one_in(random, 3) ? random_below(random, 10000000) : 0;
    assert_true(world.budget.taken <= world.budget.limit);
    assert_int_equal(world.budget.taken - world.budget.settled, world.ledger.dispatched);
    assert_int_equal(world.budget.settled, world.settled);
}

static void test_exactly_the_budget_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct random random = { seed };
        unsigned workers = 1 + random_below(&random, WORKERS_MAX);
        open_world(workers, 0);
        world.handout.by_key = random_one_in(&random, 3);
        world.budget.limit = 1 + random_below(&random, 2000);
        for (unsigned n = 0; !budget_is_spent(&world.budget); n++) {
            assert_true(n < 1000000);
            step(&random, workers);
        }
        assert_int_equal(world.settled, world.budget.limit);
        assert_int_equal(world.ledger.dispatched, 0);
        unsigned run_tags = 0;
        for (uint64_t tag = 1; tag <= world.tag; tag++)
            run_tags += world.runs[tag];
        assert_int_equal(run_tags, world.budget.limit);
        close_world();
    }
}

/* What goes beyond the rate stays held, and what comes back unbegun is given its place back. */
static void test_rate(void **state)
{
    (void)state;
    open_world(2, FAST_NS);
    rate_set(&world.handout.rate, RATE_BURST_NS / 10, world.now_ns);
    arrive(30);
    run();
    assert_int_equal(world.ledger.dispatched, 10);
    run();
    assert_int_equal(world.ledger.dispatched, 10);
    handout_recall(&world.handout);
    assert_int_equal(world.ledger.dispatched, 0);
    work_off(&world.peers[0]);
    work_off(&world.peers[1]);
    run();
    assert_int_equal(world.ledger.dispatched, 10);
    world.now_ns += RATE_BURST_NS / 10 * 3;
    run();
    assert_int_equal(world.ledger.dispatched, 13);
    rate_set(&world.handout.rate, 0, world.now_ns);
    run();
    assert_int_equal(world.ledger.dispatched, 30);
    close_world();
}

static void open_concurrent_world(unsigned workers, unsigned concurrency)
{
    open_world(workers, SLOW_NS);
    for (unsigned lane = 0; lane < workers; lane++) {
        world.workers[lane].concurrency = concurrency;
        buffer_init(&world.workers[lane].open, 4096);
    }
}

static void close_concurrent_world(unsigned workers)
{
    for (unsigned lane = 0; lane < workers; lane++) {
        work_off(&world.peers[lane]);
        buffer_clear(&world.workers[lane].open);
    }
    close_world();
}

static void work_on_one(struct peer *peer)
{
    read_frames(peer);
    begin(peer);
    look(peer);
    finish(peer);
}

static void arrive_suspect(unsigned company)
{
    ledger_set_company(&world.ledger, arrive_with(ENVELOPE_BYTES, 0), company);
}

/* A worker is in small company for as long as it has a suspect, and no longer. */
static void test_small_company_ends_with_the_suspect(void **state)
{
    (void)state;
    open_concurrent_world(1, 8);
    arrive_suspect(3);
    arrive(20);
    run();
    assert_int_equal(load(0), 3);
    work_on_one(&world.peers[0]); /* the suspect */
    run();
    assert_int_equal(load(0), 8);
    send_settlements();
    assert_int_equal(world.ledger.suspects, 0);
    close_concurrent_world(1);
}

/* While one lane makes room for a suspect, others take what is younger. */
static void test_a_suspect_holds_up_one_lane(void **state)
{
    (void)state;
    open_concurrent_world(2, 8);
    arrive(16);
    run();
    assert_int_equal(load(0) + load(1), 16);
    arrive_suspect(1);
    arrive(20);
    for (unsigned done = 0; done < 8; done++) {
        work_on_one(&world.peers[0]);
        work_on_one(&world.peers[1]);
        run();
        assert_int_equal(load(1), 8);
    }
    assert_int_equal(load(0), 1);
    assert_int_equal(world.ledger.held.first->company, 0);
    close_concurrent_world(2);
}

/* Messages of which one has ended their worker are in small company, and what is younger waits for them. */
static void test_suspects_are_parted(void **state)
{
    (void)state;
    static const unsigned companies[] = { 2, 2, 2, 1, 1, 0, 0 };
    open_concurrent_world(2, 8);
    for (size_t i = 0; i < COUNT_OF(companies); i++)
        arrive_suspect(companies[i]);
    run();
    assert_int_equal(load(0), 2);
    assert_int_equal(load(1), 1);
    work_off(&world.peers[1]);
    run();
    assert_int_equal(load(1), 1);
    work_off(&world.peers[1]);
    run();
    assert_int_equal(load(1), 1);
    work_off(&world.peers[0]);
    run();
    assert_int_equal(load(0), 2);
    assert_int_equal(load(1), 1);
    assert_int_equal(world.ledger.held.count, 0);
    for (unsigned lane = 0; lane < 2; lane++)
        work_off(&world.peers[lane]);
    assert_int_equal(world.settled, COUNT_OF(companies));
    close_concurrent_world(2);
}

/* The budget, not the rate, is what ends the program: its places are not used up by waiting. */
static void test_rate_and_budget(void **state)
{
    (void)state;
    open_world(1, FAST_NS);
    rate_set(&world.handout.rate, RATE_BURST_NS / 10, world.now_ns);
    world.budget.limit = 4;
    arrive(30);
    run();
    assert_int_equal(world.ledger.dispatched, 4);
    assert_true(rate_take(&world.handout.rate, world.now_ns));
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_suspects_are_parted),
        cmocka_unit_test(test_small_company_ends_with_the_suspect),
        cmocka_unit_test(test_a_suspect_holds_up_one_lane),
        cmocka_unit_test(test_nothing_to_hand_out),
        cmocka_unit_test(test_unknown_workers_get_one_each),
        cmocka_unit_test(test_loads_are_even),
        cmocka_unit_test(test_slow_workers_get_one),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_one_worker_keeps_the_order),
        cmocka_unit_test(test_who_takes_nothing),
        cmocka_unit_test(test_full_sockets),
        cmocka_unit_test(test_keys_have_lanes),
        cmocka_unit_test(test_a_full_lane_holds_back_its_keys_alone),
        cmocka_unit_test(test_order_waits_for_retired_workers),
        cmocka_unit_test(test_more_and_fewer_workers),
        cmocka_unit_test(test_idle_workers_take_over_from_slow_ones),
        cmocka_unit_test(test_nothing_is_taken_back_without_need),
        cmocka_unit_test(test_a_message_alone_has_nothing_behind_it),
        cmocka_unit_test(test_a_worker_that_has_not_begun_is_not_stuck),
        cmocka_unit_test(test_recall_leaves_what_has_begun),
        cmocka_unit_test(test_recall_before_anything_has_begun),
        cmocka_unit_test(test_recall_reaches_retired_workers),
        cmocka_unit_test(test_taking_back_twice),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_and_budget),
        cmocka_unit_test(test_exactly_the_budget_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
