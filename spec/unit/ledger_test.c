/* The ledger against a broker's channel that knows what acks mean: every delivery is settled once, as it was
 * decided, and in time. Then case by case what the header promises. */
#include "host/ledger.h"

#include "tools.h"

/* What the broker knows of a channel: which tags it has delivered and how each was settled. A settlement of a
 * tag that it does not know, or was told of before, would be a 406 that closes the channel. */

enum { TAGS_MAX = 20000 };

enum fate { NEVER_DELIVERED, UNACKED, GOT_ACK, GOT_REQUEUE, GOT_REJECT };

struct channel {
    enum fate fates[TAGS_MAX];
    uint64_t next_tag;
    unsigned unacked;
};

static void channel_open(struct channel *channel)
{
    memset(channel, 0, sizeof *channel);
    channel->next_tag = 1;
}

static uint64_t channel_deliver(struct channel *channel)
{
    uint64_t tag = channel->next_tag++;
    assert_true(tag < TAGS_MAX);
    channel->fates[tag] = UNACKED;
    channel->unacked++;
    return tag;
}

static void channel_settle_one(struct channel *channel, uint64_t tag, enum fate fate)
{
    if (tag == 0 || tag >= TAGS_MAX || channel->fates[tag] != UNACKED)
        fail_msg("406 PRECONDITION_FAILED: unknown delivery tag %u", (unsigned)tag);
    channel->fates[tag] = fate;
    channel->unacked--;
}

static void channel_settle(struct channel *channel, const struct settlement *settlement)
{
    static const enum fate fates[] = {
        [SETTLE_ACK] = GOT_ACK, [SETTLE_REQUEUE] = GOT_REQUEUE, [SETTLE_REJECT] = GOT_REJECT
    };
    assert_true(settlement->kind == SETTLE_ACK || !settlement->multiple);
    for (uint64_t tag = settlement->multiple ? 1 : settlement->tag; tag < settlement->tag; tag++) {
        if (channel->fates[tag] == UNACKED)
            channel_settle_one(channel, tag, GOT_ACK);
    }
    channel_settle_one(channel, settlement->tag, fates[settlement->kind]);
}

/* The plain model: what was done with each delivery that is in use, by tag. */

enum { CAPACITY_MAX = 300, WORKERS = 3 };

struct entry {
    struct delivery *delivery;
    uint64_t tag;
    enum delivery_state state;
    const void *worker;
    uint64_t seq;
    enum settlement_kind decision; /* valid when settled */
    int64_t settled_ns;
    char first_byte; /* of the frame */
};

struct world {
    struct ledger ledger;
    struct channel channel;
    struct random random;
    int64_t now_ns;
    uint64_t seq;
    unsigned capacity;
    unsigned count;
    struct entry entries[CAPACITY_MAX]; /* oldest tag first */
    uint64_t settled;                   /* deliveries that the broker was told of */
    uint64_t dropped;
};

static unsigned count_in(const struct world *world, enum delivery_state state)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world->count; i++)
        count += world->entries[i].state == state;
    return count;
}

/* Any entry in this state; NULL where there is none. */
static struct entry *pick(struct world *world, enum delivery_state state)
{
    unsigned count = count_in(world, state);
    if (count == 0)
        return NULL;
    unsigned skip = random_below(&world->random, count);
    for (unsigned i = 0;; i++) {
        if (world->entries[i].state == state && skip-- == 0)
            return &world->entries[i];
    }
}

static void forget(struct world *world, uint64_t tag)
{
    for (unsigned i = 0; i < world->count; i++) {
        if (world->entries[i].tag != tag)
            continue;
        world->count--;
        memmove(&world->entries[i], &world->entries[i + 1], (world->count - i) * sizeof world->entries[0]);
        return;
    }
    fail_msg("tag %u is not in use", (unsigned)tag);
}

/* One thing that may happen to the ledger each. */

static void refused_arrivals(struct world *world)
{
    uint64_t last = world->channel.next_tag - 1;
    assert_null(ledger_arrive(&world->ledger, 0));
    assert_null(ledger_arrive(&world->ledger, last));
    if (last > 0)
        assert_null(ledger_arrive(&world->ledger, 1 + random_below(&world->random, (unsigned)last)));
}

static void arrive(struct world *world)
{
    if (count_in(world, DELIVERY_ARRIVING) > 0)
        return;
    refused_arrivals(world);
    if (world->count == world->capacity) {
        assert_null(ledger_arrive(&world->ledger, world->channel.next_tag));
        return;
    }
    if (random_one_in(&world->random, 20))
        world->channel.next_tag += random_below(&world->random, 5);
    uint64_t tag = channel_deliver(&world->channel);
    struct delivery *delivery = ledger_arrive(&world->ledger, tag);
    assert_non_null(delivery);
    assert_int_equal(delivery->state, DELIVERY_ARRIVING);
    assert_ptr_equal(delivery, &world->ledger.deliveries[delivery->slot]);
    assert_true(delivery->tag == tag && delivery->attempt == 1 && delivery->frame_bytes == 0);
    assert_false(delivery->redelivered || delivery->oversized);
    delivery->redelivered = delivery->oversized = true;
    delivery->attempt = 99;
    delivery->frame_bytes = random_one_in(&world->random, 8) ? 3 * LEDGER_KEEP_BYTES : 100;
    assert_true(delivery_reserve(delivery, delivery->frame_bytes));
    memset(delivery->frame, (char)tag, delivery->frame_bytes);
    world->entries[world->count++] = (struct entry){
        .delivery = delivery, .tag = tag, .state = DELIVERY_ARRIVING, .first_byte = (char)tag
    };
}

static void hold(struct world *world)
{
    struct entry *entry = pick(world, DELIVERY_ARRIVING);
    if (!entry)
        return;
    ledger_hold(&world->ledger, entry->delivery);
    entry->state = DELIVERY_HELD;
}

static void dispatch(struct world *world)
{
    static const char workers[WORKERS];
    struct entry *entry = pick(world, DELIVERY_HELD);
    if (!entry)
        return;
    entry->worker = &workers[random_below(&world->random, WORKERS)];
    entry->seq = ++world->seq;
    entry->state = DELIVERY_DISPATCHED;
    ledger_dispatch(&world->ledger, entry->delivery, entry->worker, entry->seq);
}

static void take_back(struct world *world)
{
    struct entry *entry = pick(world, DELIVERY_DISPATCHED);
    if (!entry)
        return;
    ledger_return(&world->ledger, entry->delivery);
    entry->state = DELIVERY_HELD;
    assert_null(ledger_find(&world->ledger, entry->delivery->slot, entry->worker, entry->seq));
}

static void settle(struct world *world)
{
    bool early = random_one_in(&world->random, 10);
    struct entry *entry = pick(world, early ? DELIVERY_HELD : DELIVERY_DISPATCHED);
    if (!entry)
        return;
    unsigned choice = random_below(&world->random, 10);
    entry->decision = choice == 0 ? SETTLE_REQUEUE : choice == 1 ? SETTLE_REJECT : SETTLE_ACK;
    entry->settled_ns = world->now_ns;
    entry->state = DELIVERY_SETTLED;
    assert_int_equal(entry->delivery->frame[0], entry->first_byte);
    assert_int_equal(entry->delivery->frame[entry->delivery->frame_bytes - 1], entry->first_byte);
    ledger_settle(&world->ledger, entry->delivery, entry->decision, world->now_ns);
    assert_null(ledger_find(&world->ledger, entry->delivery->slot, entry->worker, entry->seq));
}

static void find(struct world *world)
{
    struct entry *entry = pick(world, DELIVERY_DISPATCHED);
    if (!entry)
        return;
    const struct ledger *ledger = &world->ledger;
    uint32_t slot = entry->delivery->slot;
    assert_ptr_equal(ledger_find(ledger, slot, entry->worker, entry->seq), entry->delivery);
    assert_null(ledger_find(ledger, slot, entry->worker, entry->seq + 1));
    assert_null(ledger_find(ledger, slot, &world->now_ns, entry->seq));
    assert_null(ledger_find(ledger, slot + world->capacity, entry->worker, entry->seq));
    assert_null(ledger_find(ledger, UINT32_MAX, entry->worker, entry->seq));
}

static void drop(struct world *world)
{
    world->dropped += world->count;
    ledger_drop(&world->ledger);
    world->count = 0;
    channel_open(&world->channel);
}

/* Sending settlements */

static unsigned waiting_acks(const struct world *world, int64_t *ret_oldest_ns)
{
    unsigned count = 0;
    *ret_oldest_ns = INT64_MAX;
    for (unsigned i = 0; i < world->count; i++) {
        const struct entry *entry = &world->entries[i];
        if (entry->state != DELIVERY_SETTLED || entry->decision != SETTLE_ACK)
            continue;
        count++;
        if (entry->settled_ns < *ret_oldest_ns)
            *ret_oldest_ns = entry->settled_ns;
    }
    return count;
}

static bool has_refused(const struct world *world)
{
    for (unsigned i = 0; i < world->count; i++) {
        if (world->entries[i].state == DELIVERY_SETTLED && world->entries[i].decision != SETTLE_ACK)
            return true;
    }
    return false;
}

/* An ack that goes out behind a delivery which is still at work was due, or acks were piling up. */
static void assert_not_early(const struct world *world, const struct settlement *settlement)
{
    int64_t oldest_ns;
    unsigned waiting = waiting_acks(world, &oldest_ns);
    bool is_prefix = world->entries[0].state == DELIVERY_SETTLED;
    assert_false(has_refused(world));
    assert_true(!settlement->multiple || is_prefix);
    assert_true(is_prefix || world->now_ns - oldest_ns >= LEDGER_STRAGGLER_NS ||
                2 * waiting >= world->capacity);
}

/* The broker hears of it; what that settles was decided so, and was not settled yet. */
static void hear(struct world *world, const struct settlement *settlement)
{
    if (settlement->kind == SETTLE_ACK)
        assert_not_early(world, settlement);
    channel_settle(&world->channel, settlement);
    for (unsigned i = 0; i < world->count;) {
        const struct entry *entry = &world->entries[i];
        bool is_told =
            entry->tag == settlement->tag || (settlement->multiple && entry->tag < settlement->tag);
        if (!is_told) {
            i++;
            continue;
        }
        assert_int_equal(entry->state, DELIVERY_SETTLED);
        assert_int_equal(entry->decision, settlement->kind);
        assert_int_equal(entry->delivery->state, DELIVERY_FREE);
        forget(world, entry->tag);
        world->settled++;
    }
}

/* What free entries keep is what the ledger believes, and bounded. */
static void assert_spares(const struct ledger *it)
{
    size_t spare = 0;
    for (const struct delivery *delivery = it->free.first; delivery; delivery = delivery->queue.next) {
        assert_int_equal(delivery->frame == NULL, delivery->frame_capacity == 0);
        spare += delivery->frame_capacity > LEDGER_KEEP_BYTES ? delivery->frame_capacity : 0;
    }
    assert_int_equal(it->spare_bytes, spare);
    assert_true(spare <= LEDGER_SPARE_BYTES && it->spare_least <= spare);
}

/* Nothing is left that had to go now. */
static void assert_all_sent(const struct world *world)
{
    int64_t oldest_ns;
    unsigned waiting = waiting_acks(world, &oldest_ns);
    assert_false(has_refused(world));
    assert_true(world->count == 0 || world->entries[0].state != DELIVERY_SETTLED);
    assert_true(waiting == 0 || world->now_ns - oldest_ns < LEDGER_STRAGGLER_NS);
    assert_true(waiting == 0 || 2 * waiting < world->capacity);
}

static void send_some(struct world *world)
{
    unsigned most = random_one_in(&world->random, 3) ? random_below(&world->random, 3) : UINT32_MAX;
    struct settlement settlement;
    for (unsigned sent = 0; sent < most; sent++) {
        if (!ledger_next_settlement(&world->ledger, world->now_ns, &settlement)) {
            assert_all_sent(world);
            return;
        }
        hear(world, &settlement);
    }
}

/* What must hold at all times */

static void assert_held_by_tag(const struct world *world)
{
    const struct delivery *held = world->ledger.held.first;
    for (unsigned i = 0; i < world->count; i++) {
        if (world->entries[i].state != DELIVERY_HELD)
            continue;
        assert_ptr_equal(held, world->entries[i].delivery);
        held = held->queue.next;
    }
    assert_null(held);
    assert_int_equal(world->ledger.held.count, count_in(world, DELIVERY_HELD));
}

static void assert_world(const struct world *world)
{
    const struct ledger *ledger = &world->ledger;
    int64_t oldest_ns;
    unsigned waiting = waiting_acks(world, &oldest_ns);
    assert_held_by_tag(world);
    assert_int_equal(ledger_in_use(ledger), world->count);
    assert_int_equal(world->channel.unacked, world->count);
    assert_int_equal(ledger->free.count, world->capacity - world->count);
    assert_int_equal(ledger->dispatched, count_in(world, DELIVERY_DISPATCHED));
    assert_int_equal(ledger_unsettled(ledger), world->count - count_in(world, DELIVERY_SETTLED));
    assert_int_equal(ledger->acked.count, waiting);
    assert_true(ledger_due_ns(ledger) == (waiting ? oldest_ns + LEDGER_STRAGGLER_NS : INT64_MAX));
    assert_spares(ledger);
}

static void step(struct world *world)
{
    static void (*const steps[])(struct world *) = {
        arrive, arrive, arrive, hold, hold,   hold,   hold,      dispatch,  dispatch,  dispatch,
        settle, settle, settle, find, settle, settle, take_back, send_some, send_some,
    };
    if (random_one_in(&world->random, 5000) || world->channel.next_tag + 10 > TAGS_MAX)
        drop(world);
    if (random_one_in(&world->random, 50))
        ledger_tend(&world->ledger);
    steps[random_below(&world->random, COUNT_OF(steps))](world);
    world->now_ns += random_one_in(&world->random, 4) ? random_below(&world->random, 4000000) : 0;
    assert_world(world);
}

/* Settles what is left: in the end the broker waits for nothing. */
static void finish(struct world *world)
{
    hold(world);
    while (world->count > 0) {
        settle(world);
        dispatch(world);
        world->now_ns += LEDGER_STRAGGLER_NS;
        send_some(world);
    }
    assert_int_equal(world->channel.unacked, 0);
    assert_world(world);
}

static void test_against_a_broker(void **state)
{
    (void)state;
    enum { STEPS = 60000 };
    static const unsigned capacities[] = { 1, 2, 3, 4, 10, 64, 256 };
    static struct world world;
    for (size_t i = 0; i < COUNT_OF(capacities); i++) {
        struct error error;
        memset(&world, 0, sizeof world);
        world.random.state = 29 + i;
        world.capacity = capacities[i];
        assert_true(ledger_init(&world.ledger, world.capacity, &error));
        channel_open(&world.channel);
        for (unsigned n = 0; n < STEPS; n++)
            step(&world);
        finish(&world);
        assert_true(world.settled > STEPS / 50);
        ledger_clear(&world.ledger);
    }
}

/* Case by case */

static struct ledger ledger;
static struct delivery *all[10]; /* tags 1 to 10 */

static int set_up(void **state)
{
    (void)state;
    struct error error;
    assert_true(ledger_init(&ledger, COUNT_OF(all), &error));
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        all[i] = ledger_arrive(&ledger, i + 1);
        assert_non_null(all[i]);
        ledger_hold(&ledger, all[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ledger_clear(&ledger);
    ledger_clear(&ledger);
    return 0;
}

static void decide(uint64_t tag, enum settlement_kind kind, int64_t now_ns)
{
    ledger_settle(&ledger, all[tag - 1], kind, now_ns);
}

static void assert_next(int64_t now_ns, enum settlement_kind kind, uint64_t tag, bool multiple)
{
    struct settlement settlement;
    assert_true(ledger_next_settlement(&ledger, now_ns, &settlement));
    assert_int_equal(settlement.kind, kind);
    assert_int_equal(settlement.tag, tag);
    assert_int_equal(settlement.multiple, multiple);
}

static void assert_none(int64_t now_ns)
{
    struct settlement settlement = { .tag = 42 };
    assert_false(ledger_next_settlement(&ledger, now_ns, &settlement));
    assert_int_equal(settlement.tag, 42);
}

static void test_prefix_goes_as_one(void **state)
{
    (void)state;
    decide(2, SETTLE_ACK, 0);
    decide(3, SETTLE_ACK, 0);
    assert_none(0);
    decide(1, SETTLE_ACK, 0);
    assert_next(0, SETTLE_ACK, 3, true);
    assert_none(0);
    assert_int_equal(ledger_in_use(&ledger), 7);
}

static void test_refusals_go_first_and_are_never_covered(void **state)
{
    (void)state;
    decide(1, SETTLE_ACK, 0);
    decide(2, SETTLE_REJECT, 0);
    decide(3, SETTLE_ACK, 0);
    decide(4, SETTLE_REQUEUE, 0);
    assert_next(0, SETTLE_REJECT, 2, false);
    assert_next(0, SETTLE_REQUEUE, 4, false);
    assert_next(0, SETTLE_ACK, 3, true);
    assert_none(0);
}

static void test_stragglers(void **state)
{
    (void)state;
    assert_int_equal(ledger_due_ns(&ledger), INT64_MAX);
    decide(3, SETTLE_ACK, 100);
    decide(2, SETTLE_ACK, 200);
    assert_int_equal(ledger_due_ns(&ledger), 100 + LEDGER_STRAGGLER_NS);
    assert_none(99 + LEDGER_STRAGGLER_NS);
    assert_next(100 + LEDGER_STRAGGLER_NS, SETTLE_ACK, 3, false);
    assert_int_equal(ledger_due_ns(&ledger), 200 + LEDGER_STRAGGLER_NS);
    assert_none(100 + LEDGER_STRAGGLER_NS);
    assert_next(200 + LEDGER_STRAGGLER_NS, SETTLE_ACK, 2, false);
    assert_none(INT64_MAX / 2);
}

/* Half of the entries wait: they go before they are due, until less than half does. */
static void test_pressure(void **state)
{
    (void)state;
    for (uint64_t tag = 10; tag > 6; tag--)
        decide(tag, SETTLE_ACK, 0);
    assert_none(0);
    decide(6, SETTLE_ACK, 0);
    assert_next(0, SETTLE_ACK, 10, false);
    assert_none(0);
}

static void test_returns_go_to_their_old_place(void **state)
{
    (void)state;
    static const uint64_t orders[][3] = { { 1, 2, 3 }, { 3, 2, 1 }, { 2, 3, 1 }, { 10, 1, 5 }, { 5, 10, 1 } };
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        for (size_t j = 0; j < 3; j++)
            ledger_dispatch(&ledger, all[orders[i][j] - 1], &ledger, j + 1);
        assert_int_equal(ledger.held.count, 7);
        for (size_t j = 0; j < 3; j++)
            ledger_return(&ledger, all[orders[i][j] - 1]);
        uint64_t tag = 1;
        for (const struct delivery *held = ledger.held.first; held; held = held->queue.next)
            assert_int_equal(held->tag, tag++);
        assert_int_equal(tag, 11);
    }
}

static void test_a_full_ledger_takes_no_more(void **state)
{
    (void)state;
    assert_null(ledger_arrive(&ledger, 11));
    decide(1, SETTLE_ACK, 0);
    assert_null(ledger_arrive(&ledger, 11));
    assert_next(0, SETTLE_ACK, 1, false);
    assert_null(ledger_arrive(&ledger, 10));
    assert_non_null(ledger_arrive(&ledger, 11));
}

/* A tag that came before is refused also when nothing is in use any more. */
static void test_tags_rise(void **state)
{
    (void)state;
    for (uint64_t tag = 1; tag <= 10; tag++)
        decide(tag, SETTLE_ACK, 0);
    assert_next(0, SETTLE_ACK, 10, true);
    assert_int_equal(ledger_in_use(&ledger), 0);
    assert_null(ledger_arrive(&ledger, 0));
    assert_null(ledger_arrive(&ledger, 1));
    assert_null(ledger_arrive(&ledger, 10));
    assert_non_null(ledger_arrive(&ledger, 12));
    assert_null(ledger_arrive(&ledger, 11));
    assert_non_null(ledger_arrive(&ledger, UINT64_MAX));
    assert_null(ledger_arrive(&ledger, UINT64_MAX));
}

static void test_drop_frees_all(void **state)
{
    (void)state;
    ledger_dispatch(&ledger, all[0], &ledger, 1);
    decide(2, SETTLE_ACK, 0);
    decide(3, SETTLE_REJECT, 0);
    ledger_drop(&ledger);
    assert_int_equal(ledger_in_use(&ledger), 0);
    assert_int_equal(ledger_unsettled(&ledger), 0);
    assert_int_equal(ledger.free.count, 10);
    assert_int_equal(ledger.held.count + ledger.acked.count + ledger.refused.count + ledger.dispatched, 0);
    assert_null(ledger_find(&ledger, all[0]->slot, &ledger, 1));
    assert_none(INT64_MAX / 2);
    assert_int_equal(ledger_due_ns(&ledger), INT64_MAX);
    for (uint64_t tag = 1; tag <= 10; tag++)
        assert_non_null(ledger_arrive(&ledger, tag));
    ledger_drop(&ledger);
    ledger_drop(&ledger);
    assert_int_equal(ledger.free.count, 10);
}

/* What is in use keeps its memory; a free entry, once it was not needed for a while, keeps little. */
static void test_memory_of_frames(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, LEDGER_KEEP_BYTES, LEDGER_KEEP_BYTES + 1, 1 << 20 };
    ledger_drop(&ledger);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct delivery *delivery = ledger_arrive(&ledger, 1);
        assert_true(delivery_reserve(delivery, sizes[i]));
        assert_true(delivery->frame_capacity >= sizes[i]);
        if (sizes[i] > 0)
            memset(delivery->frame, 'x', sizes[i]);
        ledger_drop(&ledger);
        assert_true(delivery->frame_capacity >= sizes[i]);
        ledger_tend(&ledger);
        assert_true(delivery->frame_capacity >= sizes[i]);
        ledger_tend(&ledger);
        assert_true(delivery->frame_capacity <= LEDGER_KEEP_BYTES);
        assert_spares(&ledger);
    }
    struct delivery *delivery = ledger_arrive(&ledger, 1);
    assert_false(delivery_reserve(delivery, SIZE_MAX));
    assert_int_equal(delivery->frame_capacity, 0);
}

/* The ledger's ten entries with frames of so many bytes each, of which all but the last are settled. */
static void fill_and_settle(size_t bytes)
{
    ledger_drop(&ledger);
    for (uint64_t tag = 1; tag <= COUNT_OF(all); tag++) {
        struct delivery *delivery = ledger_arrive(&ledger, tag);
        all[tag - 1] = delivery;
        assert_true(delivery_reserve(delivery, bytes));
        ledger_hold(&ledger, delivery);
    }
    for (uint64_t tag = 1; tag < COUNT_OF(all); tag++)
        decide(tag, SETTLE_ACK, 0);
    assert_next(0, SETTLE_ACK, COUNT_OF(all) - 1, true);
    assert_spares(&ledger);
}

static void test_large_frames_are_kept_up_to_a_bound(void **state)
{
    (void)state;
    enum { LARGE = LEDGER_SPARE_BYTES / 4 };
    fill_and_settle(LARGE);
    assert_int_equal(ledger.spare_bytes, LEDGER_SPARE_BYTES);
    fill_and_settle(LEDGER_SPARE_BYTES + 1);
    assert_int_equal(ledger.spare_bytes, 0);
    fill_and_settle(LEDGER_KEEP_BYTES);
    assert_int_equal(ledger.spare_bytes, 0);
}

/* Of nine spare frames three are used between two calls, at most: six go. */
static void test_what_is_not_needed_goes(void **state)
{
    (void)state;
    enum { LARGE = 64 * 1024 };
    fill_and_settle(LARGE);
    assert_int_equal(ledger.spare_bytes, 9 * LARGE);
    ledger_tend(&ledger);
    assert_int_equal(ledger.spare_bytes, 9 * LARGE);
    for (uint64_t tag = 11; tag <= 13; tag++)
        ledger_hold(&ledger, all[tag - 11] = ledger_arrive(&ledger, tag));
    for (uint64_t tag = 11; tag <= 13; tag++)
        ledger_settle(&ledger, all[tag - 11], SETTLE_REQUEUE, 0);
    for (uint64_t tag = 11; tag <= 13; tag++)
        assert_next(0, SETTLE_REQUEUE, tag, false);
    assert_int_equal(ledger.spare_bytes, 9 * LARGE);
    ledger_tend(&ledger);
    assert_int_equal(ledger.spare_bytes, 3 * LARGE);
    assert_non_null(ledger.free.first->frame);
    assert_null(ledger.free.last->frame);
    assert_spares(&ledger);
    ledger_tend(&ledger);
    assert_int_equal(ledger.spare_bytes, 0);
}

/* A message as large, or a little larger, takes the memory of the last one; a small one does not. */
static void test_spare_frames_are_used_again(void **state)
{
    (void)state;
    enum { LARGE = 64 * 1024 };
    fill_and_settle(LARGE + 100);
    size_t spare = ledger.spare_bytes, nine = COUNT_OF(all) - 1;
    struct delivery *delivery = ledger_arrive(&ledger, 11);
    const char *frame = delivery->frame;
    assert_non_null(frame);
    assert_int_equal(ledger.spare_bytes, spare / nine * (nine - 1));
    assert_true(delivery_reserve(delivery, LARGE + 101));
    assert_ptr_equal(delivery->frame, frame);
    delivery = ledger_arrive(&ledger, 12);
    assert_true(delivery_reserve(delivery, 100));
    assert_true(delivery->frame_capacity <= LEDGER_KEEP_BYTES);
    assert_spares(&ledger);
    ledger_drop(&ledger);
    assert_spares(&ledger);
}

#define WITH_TEN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_broker),
        WITH_TEN(test_prefix_goes_as_one),
        WITH_TEN(test_refusals_go_first_and_are_never_covered),
        WITH_TEN(test_stragglers),
        WITH_TEN(test_pressure),
        WITH_TEN(test_returns_go_to_their_old_place),
        WITH_TEN(test_a_full_ledger_takes_no_more),
        WITH_TEN(test_tags_rise),
        WITH_TEN(test_drop_frees_all),
        WITH_TEN(test_memory_of_frames),
        WITH_TEN(test_large_frames_are_kept_up_to_a_bound),
        WITH_TEN(test_what_is_not_needed_goes),
        WITH_TEN(test_spare_frames_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
