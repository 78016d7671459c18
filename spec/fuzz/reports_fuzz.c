/* What a worker sends, as the host takes it: whatever it is, the host is told only of messages that the
 * worker had, each once, and of nothing beyond its bounds; and what it publishes can be read to its end. What
 * it has not answered, and nothing else, has a place on its shelf. What breaks the protocol is the last that
 * is heard. */
/* All of it, for the functions that take bytes without a socket. */
#include "host/worker_process.c" /* NOLINT(bugprone-suspicious-include) */

#include "host/parcel.h"

#include "fuzz.h"

enum { GIVEN_MAX = 64, MESSAGE_BYTES = 4096 };

struct told {
    bool answered[GIVEN_MAX + 1];
    unsigned results;
    bool gone;
};

static struct told told;
static struct worker_process *spoken_to;

static void must_be_heard(const struct worker_process *worker)
{
    MUST(worker == spoken_to && worker->fd >= 0);
}

static void on_ready(void *owner, struct worker_process *worker)
{
    (void)owner;
    must_be_heard(worker);
}

static void must_be_parcel(struct slice content)
{
    static char copy[2 * WIRE_PUBLISHES_BYTES_LEAST];
    MUST(content.size <= sizeof copy);
    if (content.size > 0)
        memcpy(copy, content.data, content.size);
    struct parcel parcel = { .content = copy, .content_bytes = content.size };
    struct publication publication;
    size_t offset = 0, taken = 0;
    while (parcel_next(&parcel, &offset, &publication)) {
        MUST(parcel_attributes_are_sound(publication.attributes));
        taken += publication.attributes.size + publication.body.size;
        MUST(offset <= content.size);
    }
    MUST(offset == content.size && taken <= WIRE_PUBLISHES_BYTES_LEAST);
}

static void on_result(void *owner, struct worker_process *worker, const struct wire_result *result,
                      struct slice text, struct buffer *messages)
{
    (void)owner;
    (void)text;
    must_be_heard(worker);
    MUST(result->seq >= 1 && result->seq < worker->next_seq && !told.answered[result->seq]);
    MUST(result->verdict >= WIRE_ACK && result->verdict < WIRE_VERDICTS);
    MUST(messages->size == 0 || result->verdict == WIRE_ACK);
    must_be_parcel((struct slice){ messages->data, messages->size });
    told.answered[result->seq] = true;
    told.results++;
}

static void on_published(void *owner, struct worker_process *worker, struct slice message)
{
    (void)owner;
    must_be_heard(worker);
    must_be_parcel(message);
}

static void on_log(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes)
{
    (void)owner;
    (void)attributes;
    must_be_heard(worker);
    MUST(level <= LOG_ERROR);
}

static void on_recycled(void *owner, struct worker_process *worker, const struct wire_recycled *recycled)
{
    (void)owner;
    must_be_heard(worker);
    MUST(recycled->reason > WIRE_RECYCLE_NONE && recycled->reason < WIRE_RECYCLE_REASONS);
}

static void on_leak(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                    const struct leak_names *names)
{
    (void)owner;
    (void)leak;
    must_be_heard(worker);
    MUST(names->path.size > 0 && names->path.size <= WIRE_LEAK_PATH_MAX);
    MUST(names->kind.size <= WIRE_LEAK_KIND_MAX && names->sample.size <= WIRE_LEAK_SAMPLE_MAX);
}

static void on_looked(void *owner, struct worker_process *worker, const struct wire_looked *looked)
{
    (void)owner;
    (void)looked;
    must_be_heard(worker);
}

static void on_gone(void *owner, struct worker_process *worker)
{
    (void)owner;
    (void)worker;
    told.gone = true;
}

static const struct worker_events fuzz_events = {
    .ready = on_ready,
    .result = on_result,
    .published = on_published,
    .log = on_log,
    .recycled = on_recycled,
    .leak = on_leak,
    .looked = on_looked,
    .gone = on_gone,
};

/* As after worker_spawn and worker_send, but with no process behind it. */
static struct worker_process *new_worker(struct ev_loop *loop, struct board *board, unsigned given,
                                         bool ready, unsigned concurrency)
{
    struct worker_process *worker = calloc(1, sizeof *worker);
    MUST(worker);
    worker->events = &fuzz_events;
    worker->loop = loop;
    worker->board = board;
    worker->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    worker->state = ready ? WORKER_READY : WORKER_STARTING;
    worker->was_ready = ready;
    worker->concurrency = concurrency;
    worker->patience_ns = CLOCK_NS_PER_SECOND;
    worker->messages_bytes_max = wire_publishes_bytes_max(MESSAGE_BYTES);
    buffer_init(&worker->in, IN_BYTES);
    buffer_init(&worker->out, SIZE_MAX / 2);
    buffer_init(&worker->open, SIZE_MAX / 2);
    buffer_init(&worker->messages,
                (size_t)worker->messages_bytes_max + (size_t)WIRE_PUBLISHES_MAX * WIRE_PUBLISH_BYTES);
    worker->next_seq = 1 + given;
    worker->unanswered = given;
    for (uint64_t seq = 1; seq <= given; seq++) {
        uint32_t at;
        MUST(shelf_places_take(&worker->places, SHELF_UNIT_BYTES, seq, &at));
        MUST(concurrency == 1 || buffer_append(&worker->open, (const char *)&seq, sizeof seq));
    }
    init_watchers(worker);
    return worker;
}

/* In pieces of `step` bytes, as the socket may have them. */
static void hear(struct worker_process *worker, struct slice bytes, size_t step)
{
    while (bytes.size > 0 && worker->fd >= 0) {
        size_t room = IN_BYTES - worker->in.size;
        size_t size = bytes.size < step ? bytes.size : step;
        size = size < room ? size : room;
        MUST(size > 0 && buffer_append(&worker->in, bytes.data, size));
        bytes.data += size;
        bytes.size -= size;
        take_frames(worker);
    }
}

/* u8 deliveries given, u8 what it is like, u8 the size of pieces; then frames. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ev_loop *loop;
    static struct board board;
    enum { HEAD = 3, READY = 1, MANY = 2, REVOKED = 4, LOOKING = 8 };
    if (size < HEAD)
        return 0;
    if (!loop)
        loop = ev_loop_new(0);
    MUST(loop);
    unsigned given = data[0] % (GIVEN_MAX + 1);
    struct worker_process *worker =
        new_worker(loop, &board, given, data[1] & READY, data[1] & MANY ? GIVEN_MAX : 1);
    spoken_to = worker;
    told = (struct told){ .results = 0 };
    worker->looking = data[1] & LOOKING ? 2 : 0;
    board_allow(&board);
    if (data[1] & REVOKED)
        (void)worker_revoke(worker, 1 + given / 2);
    hear(worker, fuzz_input(data + HEAD, size - HEAD), data[2] ? data[2] : SIZE_MAX);
    MUST(told.results + worker->unanswered == given && !told.gone);
    MUST((unsigned)__builtin_popcountll(worker->places.taken) == worker->unanswered);
    MUST(worker->fd >= 0 || *worker->last_words);
    worker->board = NULL;
    worker_free(worker);
    return 0;
}
