/* The ledger of one channel's deliveries; see ledger.h. */
#include "host/ledger.h"

#include <assert.h>
#include <stdlib.h>

/* The two kinds of list differ only in which links of a delivery they use. */
static struct delivery_links *order_links(struct delivery *delivery)
{
    return &delivery->order;
}

static struct delivery_links *queue_links(struct delivery *delivery)
{
    return &delivery->queue;
}

typedef struct delivery_links *links_of(struct delivery *delivery);

static inline void list_insert_after(struct delivery_list *list, struct delivery *after,
                                     struct delivery *delivery, links_of *links)
{
    struct delivery *next = after ? links(after)->next : list->first;
    *links(delivery) = (struct delivery_links){ .previous = after, .next = next };
    if (after)
        links(after)->next = delivery;
    else
        list->first = delivery;
    if (next)
        links(next)->previous = delivery;
    else
        list->last = delivery;
    list->count++;
}

static inline void list_append(struct delivery_list *list, struct delivery *delivery, links_of *links)
{
    list_insert_after(list, list->last, delivery, links);
}

static inline void list_remove(struct delivery_list *list, struct delivery *delivery, links_of *links)
{
    struct delivery_links *own = links(delivery);
    if (own->previous)
        links(own->previous)->next = own->next;
    else
        list->first = own->next;
    if (own->next)
        links(own->next)->previous = own->previous;
    else
        list->last = own->previous;
    list->count--;
}

bool ledger_init(struct ledger *ledger, unsigned capacity, struct error *error)
{
    *ledger = (struct ledger){ .capacity = capacity };
    ledger->deliveries = calloc(capacity, sizeof *ledger->deliveries);
    if (!ledger->deliveries)
        return error_set(error, ERROR_FAILED, "no memory for a ledger of %u deliveries", capacity);
    for (unsigned i = 0; i < capacity; i++) {
        ledger->deliveries[i].slot = i;
        buffer_init(&ledger->deliveries[i].outbox, SIZE_MAX / 2);
        list_append(&ledger->free, &ledger->deliveries[i], queue_links);
    }
    return true;
}

void ledger_clear(struct ledger *ledger)
{
    for (unsigned i = 0; ledger->deliveries && i < ledger->capacity; i++) {
        free(ledger->deliveries[i].frame);
        buffer_clear(&ledger->deliveries[i].outbox);
    }
    free(ledger->deliveries);
    *ledger = (struct ledger){ 0 };
}

/* What a free entry keeps beyond LEDGER_KEEP_BYTES counts as a whole. */
static size_t spare_bytes_of(const struct delivery *delivery)
{
    return delivery->frame_capacity > LEDGER_KEEP_BYTES ? delivery->frame_capacity : 0;
}

static void drop_frame(struct delivery *delivery)
{
    free(delivery->frame);
    delivery->frame = NULL;
    delivery->frame_capacity = 0;
}

struct delivery *ledger_arrive(struct ledger *ledger, uint64_t tag)
{
    struct delivery *delivery = ledger->free.first;
    if (!delivery || tag <= ledger->last_tag)
        return NULL;
    ledger->last_tag = tag;
    ledger->spare_bytes -= spare_bytes_of(delivery);
    if (ledger->spare_bytes < ledger->spare_least)
        ledger->spare_least = ledger->spare_bytes;
    list_remove(&ledger->free, delivery, queue_links);
    list_append(&ledger->order, delivery, order_links);
    delivery->state = DELIVERY_ARRIVING;
    delivery->tag = tag;
    delivery->attempt = 1;
    delivery->failed = 0;
    delivery->redelivered = delivery->oversized = delivery->stripped = false;
    delivery->frame_bytes = 0;
    delivery->key_hash = 0;
    delivery->errand = ERRAND_NONE;
    return delivery;
}

bool delivery_reserve(struct delivery *delivery, size_t bytes)
{
    assert(delivery->state == DELIVERY_ARRIVING);
    /* In whole LEDGER_KEEP_BYTES, so that the next message fits that is a little longer; but a small one does
     * not sit on the memory of a large one. */
    size_t wanted = bytes > 0 ? (bytes - 1) / LEDGER_KEEP_BYTES + 1 : 1;
    size_t kept = delivery->frame_capacity / LEDGER_KEEP_BYTES;
    if (wanted <= kept && kept / 2 <= wanted)
        return true;
    /* What the entry held is of no use: free first, so that two large frames are never held at once. */
    drop_frame(delivery);
    if (wanted > SIZE_MAX / LEDGER_KEEP_BYTES)
        return false;
    delivery->frame = malloc(wanted * LEDGER_KEEP_BYTES);
    if (!delivery->frame)
        return false;
    delivery->frame_capacity = wanted * LEDGER_KEEP_BYTES;
    return true;
}

void ledger_hold(struct ledger *ledger, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_ARRIVING);
    delivery->state = DELIVERY_HELD;
    list_append(&ledger->held, delivery, queue_links);
}

void ledger_dispatch(struct ledger *ledger, struct delivery *delivery, const void *worker, uint64_t seq)
{
    assert(delivery->state == DELIVERY_HELD);
    list_remove(&ledger->held, delivery, queue_links);
    delivery->state = DELIVERY_DISPATCHED;
    delivery->worker = worker;
    delivery->seq = seq;
    ledger->dispatched++;
}

void ledger_return(struct ledger *ledger, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_DISPATCHED);
    struct delivery *before = ledger->held.first;
    struct delivery *after = NULL;
    while (before && before->tag < delivery->tag) {
        after = before;
        before = before->queue.next;
    }
    ledger->dispatched--;
    delivery->state = DELIVERY_HELD;
    delivery->worker = NULL;
    list_insert_after(&ledger->held, after, delivery, queue_links);
}

/* Takes it out of where it is on its way to a settlement. */
static void leave(struct ledger *ledger, struct delivery *delivery)
{
    switch (delivery->state) {
    case DELIVERY_HELD:
        list_remove(&ledger->held, delivery, queue_links);
        break;
    case DELIVERY_DISPATCHED:
        ledger->dispatched--;
        break;
    default:
        assert(delivery->state == DELIVERY_PUBLISHING && delivery->parcel.state == PARCEL_IDLE);
        if (delivery->parked)
            list_remove(&ledger->parked, delivery, queue_links);
        ledger->publishing--;
        break;
    }
    delivery->worker = NULL;
}

void ledger_publish(struct ledger *ledger, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_HELD || delivery->state == DELIVERY_DISPATCHED);
    leave(ledger, delivery);
    delivery->state = DELIVERY_PUBLISHING;
    ledger->publishing++;
    delivery->parked = false;
    ledger_park(ledger, delivery);
}

void ledger_park(struct ledger *ledger, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_PUBLISHING && !delivery->parked);
    delivery->parked = true;
    list_append(&ledger->parked, delivery, queue_links);
}

void ledger_unpark(struct ledger *ledger, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_PUBLISHING && delivery->parked);
    delivery->parked = false;
    list_remove(&ledger->parked, delivery, queue_links);
}

void ledger_settle(struct ledger *ledger, struct delivery *delivery, enum settlement_kind kind,
                   int64_t now_ns)
{
    leave(ledger, delivery);
    delivery->state = DELIVERY_SETTLED;
    delivery->settlement = kind;
    delivery->settled_ns = now_ns;
    list_append(kind == SETTLE_ACK ? &ledger->acked : &ledger->refused, delivery, queue_links);
}

struct delivery *ledger_find(const struct ledger *ledger, uint32_t slot, const void *worker, uint64_t seq)
{
    if (slot >= ledger->capacity)
        return NULL;
    struct delivery *delivery = &ledger->deliveries[slot];
    bool own = delivery->state == DELIVERY_DISPATCHED && delivery->worker == worker && delivery->seq == seq;
    return own ? delivery : NULL;
}

void ledger_set_company(struct ledger *ledger, struct delivery *delivery, unsigned company)
{
    ledger->suspects -= delivery->company > 0;
    ledger->suspects += company > 0;
    delivery->company = company;
}

static void release(struct ledger *ledger, struct delivery *delivery)
{
    list_remove(&ledger->order, delivery, order_links);
    if (spare_bytes_of(delivery) > LEDGER_SPARE_BYTES - ledger->spare_bytes)
        drop_frame(delivery);
    ledger->spare_bytes += spare_bytes_of(delivery);
    buffer_reset(&delivery->outbox);
    buffer_shrink(&delivery->outbox, LEDGER_KEEP_BYTES);
    delivery->state = DELIVERY_FREE;
    delivery->worker = NULL;
    ledger_set_company(ledger, delivery, 0);
    /* Last out, first in: the memory that was touched last is warm. */
    list_insert_after(&ledger->free, NULL, delivery, queue_links);
}

static void send_one(struct ledger *ledger, struct delivery_list *from, struct settlement *ret)
{
    struct delivery *delivery = from->first;
    *ret = (struct settlement){ .kind = delivery->settlement, .tag = delivery->tag };
    list_remove(from, delivery, queue_links);
    release(ledger, delivery);
}

/* The settled prefix as one ack. Refusals were sent before, so all that is settled here is an ack. */
static bool send_prefix(struct ledger *ledger, struct settlement *ret)
{
    unsigned count = 0;
    struct delivery *delivery = ledger->order.first;
    while (delivery && delivery->state == DELIVERY_SETTLED) {
        struct delivery *next = delivery->order.next;
        *ret = (struct settlement){ .kind = SETTLE_ACK, .tag = delivery->tag, .multiple = ++count > 1 };
        list_remove(&ledger->acked, delivery, queue_links);
        release(ledger, delivery);
        delivery = next;
    }
    return count > 0;
}

bool ledger_next_settlement(struct ledger *ledger, int64_t now_ns, struct settlement *ret)
{
    if (ledger->refused.first) {
        send_one(ledger, &ledger->refused, ret);
        return true;
    }
    if (send_prefix(ledger, ret))
        return true;
    const struct delivery *oldest = ledger->acked.first;
    if (!oldest)
        return false;
    bool pressed = ledger->acked.count * 2 >= ledger->capacity;
    if (!pressed && now_ns - oldest->settled_ns < LEDGER_STRAGGLER_NS)
        return false;
    send_one(ledger, &ledger->acked, ret);
    return true;
}

int64_t ledger_due_ns(const struct ledger *ledger)
{
    return ledger->acked.first ? ledger->acked.first->settled_ns + LEDGER_STRAGGLER_NS : INT64_MAX;
}

void ledger_drop(struct ledger *ledger)
{
    ledger->held = ledger->parked = ledger->refused = ledger->acked = (struct delivery_list){ 0 };
    ledger->dispatched = ledger->publishing = 0;
    ledger->last_tag = 0;
    while (ledger->order.first)
        release(ledger, ledger->order.first);
}

/* From the back of the free entries, where those are that were used longest ago. */
void ledger_tend(struct ledger *ledger)
{
    size_t kept = ledger->spare_bytes - ledger->spare_least;
    for (struct delivery *delivery = ledger->free.last; delivery && ledger->spare_bytes > kept;
         delivery = delivery->queue.previous) {
        size_t spare = spare_bytes_of(delivery);
        if (spare > 0)
            drop_frame(delivery);
        ledger->spare_bytes -= spare;
    }
    ledger->spare_least = ledger->spare_bytes;
}

unsigned ledger_in_use(const struct ledger *ledger)
{
    return ledger->order.count;
}

unsigned ledger_unsettled(const struct ledger *ledger)
{
    return ledger->order.count - ledger->acked.count - ledger->refused.count;
}
