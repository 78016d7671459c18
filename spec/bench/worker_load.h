/* One worker process under load, for the benchmarks of what a worker does between and around messages: the
 * tests' fixture, fed as the host feeds a busy worker, in batches; no broker, no host. */
#ifndef SPEC_BENCH_WORKER_LOAD_H
#define SPEC_BENCH_WORKER_LOAD_H

#include "../unit/worker_fixture.h"

enum { LOAD_BATCH = 64, LOAD_BODY_BYTES = 250 };

/* An order as JSON, LOAD_BODY_BYTES long. */
#define LOAD_ORDER                                                                                           \
    "{\"id\":123456,\"customer\":\"customer-17\",\"total\":12345,\"items\":["                                \
    "{\"goods\":\"carrot\",\"quantity\":3,\"price\":2599},"                                                  \
    "{\"goods\":\"lantern\",\"quantity\":1,\"price\":1499}],"                                                \
    "\"note\":\"ring twice, and leave it with the rabbit in the moon if nobody opens the door, please\"}"

/* What a short handler does. */
#define LOAD_HANDLER                                                                                         \
    "return function(order)\n"                                                                               \
    "  local total = 0\n"                                                                                    \
    "  for _, item in ipairs(order.items) do total = total + item.quantity * item.price end\n"               \
    "  if total == order.total then return 'reject', 'too good to be true' end\n"                            \
    "end"

struct load {
    struct fixture fixture;
    const struct parcel *parcel;
    void (*told)(const struct answer *answer, void *data); /* of every answer that is no result; or NULL */
    void *data;
};

static inline void load_batch(struct load *load)
{
    struct buffer batch;
    buffer_init(&batch, 64 << 20);
    for (int i = 0; i < LOAD_BATCH; i++)
        add_delivery(&batch, &load->fixture, load->parcel);
    fixture_send(&load->fixture, batch.data, batch.size);
    buffer_clear(&batch);
}

/* So many batches of messages, each answered before the next but one is sent. */
static inline void load_run(struct load *load, unsigned batches)
{
    struct answer answer;
    unsigned left = batches * LOAD_BATCH;
    load_batch(load);
    for (unsigned sent = 1; left > 0;) {
        if (left == (batches - sent + 1) * LOAD_BATCH && sent < batches) {
            load_batch(load);
            sent++;
        }
        assert_true(fixture_answer(&load->fixture, &answer));
        if (answer.type == WIRE_RESULT)
            left--;
        else if (load->told)
            load->told(&answer, load->data);
    }
}

#endif
