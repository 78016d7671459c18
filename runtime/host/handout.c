/* Adaptive hand-out of deliveries to workers; see handout.h. */
#include "host/handout.h"

#include <stdlib.h>

struct handout_batch {
    struct delivery *deliveries[WORKER_BATCH_MAX];
    unsigned count;
    unsigned company; /* the least of these and of what the worker has (ledger.h) */
    bool drains;      /* nothing more goes into it: it makes room for a suspect */
};

enum { NO_LANE = -1 };

void handout_init(struct handout *handout, struct ledger *ledger, struct pool *pool, struct budget *budget)
{
    *handout = (struct handout){ .ledger = ledger, .pool = pool, .budget = budget };
}

void handout_clear(struct handout *handout)
{
    free(handout->batches);
    *handout = (struct handout){ 0 };
}

unsigned handout_window(int64_t service_ns, unsigned concurrency)
{
    int64_t window = service_ns > 0 ? HANDOUT_AHEAD_NS / service_ns : 0;
    if (window > HANDOUT_WINDOW_MAX)
        window = HANDOUT_WINDOW_MAX;
    return window > (int64_t)concurrency ? (unsigned)window : concurrency;
}

/* The number of workers changes with a reload. */
static bool fit_batches(struct handout *handout)
{
    unsigned count = pool_size(handout->pool);
    if (count == handout->batch_count)
        return true;
    struct handout_batch *batches = reallocarray(handout->batches, count, sizeof *batches);
    if (!batches)
        return false;
    for (unsigned i = 0; i < count; i++)
        batches[i] = (struct handout_batch){ 0 };
    handout->batches = batches;
    handout->batch_count = count;
    return true;
}

static int lane_of(const struct handout *handout, const struct worker_process *worker)
{
    for (unsigned lane = 0; lane < handout->batch_count; lane++) {
        if (pool_worker(handout->pool, lane) == worker)
            return (int)lane;
    }
    return NO_LANE;
}

/* Suspects are rare, and gone soon: that there are none is all that is looked at for most messages. */
static void find_company(struct handout *handout)
{
    for (unsigned lane = 0; lane < handout->batch_count; lane++) {
        handout->batches[lane].company = 0;
        handout->batches[lane].drains = false;
    }
    if (handout->ledger->suspects == 0)
        return;
    for (const struct delivery *delivery = handout->ledger->order.first; delivery;
         delivery = delivery->order.next) {
        bool suspect = delivery->company > 0 && delivery->state == DELIVERY_DISPATCHED;
        int lane = suspect ? lane_of(handout, delivery->worker) : NO_LANE;
        if (lane != NO_LANE)
            handout->batches[lane].company =
                ledger_company_least(handout->batches[lane].company, delivery->company);
    }
}

/* How many this worker may have with such a message among them. One that runs them one at a time says itself
 * at which it dies. */
static unsigned room_of(const struct worker_process *worker, const struct handout_batch *batch,
                        unsigned company)
{
    unsigned window = handout_window(worker->service_ns, worker->concurrency);
    company = ledger_company_least(company, batch->company);
    return worker->concurrency > 1 ? ledger_company_least(window, company) : window;
}

/* How much the worker in this lane has before it; UINT_MAX where it does not take this message. */
static unsigned load_of(const struct handout *handout, unsigned lane, const struct delivery *delivery)
{
    const struct worker_process *worker = pool_worker(handout->pool, lane);
    const struct handout_batch *batch = &handout->batches[lane];
    if (!worker || batch->count == WORKER_BATCH_MAX || batch->drains)
        return UINT32_MAX;
    unsigned load = worker->unanswered + batch->count;
    return load < room_of(worker, batch, delivery->company) ? load : UINT32_MAX;
}

static int choose_lane(const struct handout *handout, const struct delivery *delivery)
{
    if (handout->by_key) {
        unsigned lane = delivery->key_hash % handout->batch_count;
        return load_of(handout, lane, delivery) < UINT32_MAX ? (int)lane : NO_LANE;
    }
    unsigned least = UINT32_MAX;
    int chosen = NO_LANE;
    for (unsigned lane = 0; lane < handout->batch_count; lane++) {
        unsigned load = load_of(handout, lane, delivery);
        if (load < least) {
            least = load;
            chosen = (int)lane;
        }
    }
    return chosen;
}

/* One message more may go out: within the budget, and within the rate. */
static bool admit(struct handout *handout, int64_t now_ns)
{
    if (!rate_take(&handout->rate, now_ns))
        return false;
    if (budget_take(handout->budget))
        return true;
    rate_return(&handout->rate);
    return false;
}

/* It did not go out after all, or came back unbegun. */
static void readmit(struct handout *handout)
{
    rate_return(&handout->rate);
    budget_return(handout->budget);
}

static void put(struct handout_batch *batch, struct delivery *delivery)
{
    batch->company = ledger_company_least(batch->company, delivery->company);
    batch->deliveries[batch->count++] = delivery;
}

/* The first suspect for which there is no room gets it in one lane, that with the least to do; younger
 * messages go on in the others. */
static void make_room(struct handout *handout)
{
    unsigned least = UINT32_MAX;
    struct handout_batch *chosen = NULL;
    for (unsigned lane = 0; lane < handout->batch_count; lane++) {
        const struct worker_process *worker = pool_worker(handout->pool, lane);
        struct handout_batch *batch = &handout->batches[lane];
        if (batch->drains)
            return;
        if (worker && worker->unanswered + batch->count < least) {
            least = worker->unanswered + batch->count;
            chosen = batch;
        }
    }
    if (chosen)
        chosen->drains = true;
}

static void plan(struct handout *handout, int64_t now_ns)
{
    find_company(handout);
    for (struct delivery *delivery = handout->ledger->held.first; delivery; delivery = delivery->queue.next) {
        if (delivery->oversized)
            continue; /* the consumer refuses it when the budget allows */
        int lane = choose_lane(handout, delivery);
        if (lane == NO_LANE) {
            if (!handout->by_key && delivery->company == 0)
                return;
            if (delivery->company > 0)
                make_room(handout);
            continue; /* there may be room for another, or its key be free */
        }
        if (!admit(handout, now_ns))
            return;
        put(&handout->batches[lane], delivery);
    }
}

/* Whether there may be more to send: a batch was full, and was taken. */
static bool send_batches(struct handout *handout)
{
    bool more = false;
    for (unsigned lane = 0; lane < handout->batch_count; lane++) {
        struct handout_batch *batch = &handout->batches[lane];
        struct worker_process *worker = pool_worker(handout->pool, lane);
        unsigned taken = 0;
        if (worker && batch->count > 0)
            taken = worker_send(worker, handout->ledger, batch->deliveries, batch->count);
        for (unsigned i = taken; i < batch->count; i++)
            readmit(handout);
        more = more || (taken == WORKER_BATCH_MAX && worker->unanswered < worker->concurrency);
        batch->count = 0;
    }
    return more;
}

/* One worker, or a lane for each key: a message must not overtake another that an old set still has. */
static bool must_wait_for_retired(const struct handout *handout)
{
    bool ordered = handout->by_key || pool_size(handout->pool) == 1;
    return ordered && pool_retired_unanswered(handout->pool) > 0;
}

bool handout_run(struct handout *handout, int64_t now_ns)
{
    if (handout->ledger->held.count == 0 || must_wait_for_retired(handout))
        return true;
    if (!fit_batches(handout))
        return false;
    do {
        plan(handout, now_ns);
    } while (send_batches(handout));
    return true;
}

/* Revokes what the worker has not begun and puts it back among the held. */
static void take_back(struct handout *handout, struct worker_process *worker, uint64_t from)
{
    uint64_t first = worker_revoke(worker, from);
    struct ledger *ledger = handout->ledger;
    for (struct delivery *delivery = ledger->order.first; delivery; delivery = delivery->order.next) {
        if (delivery->state == DELIVERY_DISPATCHED && delivery->worker == worker && delivery->seq >= first) {
            ledger_return(ledger, delivery);
            readmit(handout);
        }
    }
}

static bool any_idle(const struct handout *handout)
{
    for (unsigned lane = 0; lane < pool_size(handout->pool); lane++) {
        const struct worker_process *worker = pool_worker(handout->pool, lane);
        if (worker && worker->unanswered == 0)
            return true;
    }
    return false;
}

/* Held messages go to idle workers before any is taken back, unless the rate holds them. */
static bool any_to_give(const struct handout *handout, int64_t now_ns)
{
    return handout->ledger->held.count > 0 && rate_due_ns(&handout->rate) <= now_ns;
}

bool handout_rebalance(struct handout *handout, int64_t now_ns)
{
    if (handout->by_key || pool_size(handout->pool) < 2 || any_to_give(handout, now_ns) ||
        handout->ledger->dispatched < 2 || !any_idle(handout))
        return false;
    bool backlog = false;
    for (unsigned lane = 0; lane < pool_size(handout->pool); lane++) {
        struct worker_process *worker = pool_worker(handout->pool, lane);
        uint64_t seq;
        int64_t since_ns;
        if (!worker || worker->unanswered < 2)
            continue;
        backlog = true;
        if (worker_begun(worker, &seq, &since_ns) && now_ns - since_ns >= HANDOUT_STUCK_NS)
            take_back(handout, worker, seq + 1);
    }
    return backlog;
}

void handout_recall(struct handout *handout)
{
    struct worker_process *worker;
    for (unsigned i = 0; (worker = pool_process(handout->pool, i)); i++) {
        if (worker->unanswered > 0)
            take_back(handout, worker, atomic_load(&worker->board->started) + 1);
    }
}
