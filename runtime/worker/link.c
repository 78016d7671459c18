/* Frames in and out of the worker; see link.h. */
#include "worker/link.h"

#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
    FRAME_OUT_MAX = WIRE_HEADER_BYTES + WIRE_REPORT_MAX,
    OUTPUT_BYTES = LINK_BATCH_BYTES + FRAME_OUT_MAX,
};

bool link_open(struct link *link, int fd, struct error *error)
{
    *link = (struct link){ .fd = fd, .payload_max = LINK_INPUT_BYTES - WIRE_HEADER_BYTES };
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return error_set_errno(error, ERROR_USAGE, errno,
                               "a worker is started by moonrabbit itself: descriptor %d is no socket", fd);
    buffer_init(&link->output, OUTPUT_BYTES);
    link->input = mmap(NULL, LINK_INPUT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (link->input == MAP_FAILED || !buffer_reserve(&link->output, OUTPUT_BYTES))
        return error_set(error, ERROR_FAILED, "no memory for a worker's buffers");
    link->input_bytes = LINK_INPUT_BYTES;
    return true;
}

void link_close(struct link *link)
{
    if (link->input_bytes)
        (void)munmap(link->input, link->input_bytes);
    buffer_clear(&link->output);
    link->input_bytes = 0;
}

void link_allow(struct link *link, size_t payload_max)
{
    link->payload_max = payload_max;
}

enum wire_next link_next(struct link *link, struct wire_frame *frame)
{
    const struct slice came = { .data = link->input + link->start, .size = link->end - link->start };
    enum wire_next next = wire_next(came, link->payload_max, frame);
    if (next == WIRE_FRAME)
        link->start += WIRE_HEADER_BYTES + frame->payload.size;
    return next;
}

/* What the frame at the front needs in all; its size was checked by wire_next. */
static size_t needed_bytes(const struct link *link)
{
    uint32_t payload;
    if (link->end < WIRE_HEADER_BYTES)
        return LINK_INPUT_BYTES;
    memcpy(&payload, link->input, sizeof payload);
    size_t needed = WIRE_HEADER_BYTES + (size_t)payload;
    return needed > LINK_INPUT_BYTES ? needed : LINK_INPUT_BYTES;
}

/* Moves what is left to the front and fits the room to the frame that is coming. */
static bool make_room(struct link *link)
{
    if (link->start > 0)
        memmove(link->input, link->input + link->start, link->end - link->start);
    link->end -= link->start;
    link->start = 0;
    size_t needed = needed_bytes(link);
    if (needed == link->input_bytes)
        return true;
    void *input = mremap(link->input, link->input_bytes, needed, MREMAP_MAYMOVE);
    if (input == MAP_FAILED)
        return false;
    link->input = input;
    link->input_bytes = needed;
    return true;
}

/* For poll, rounded up; -1: for ever. */
static int milliseconds_until(int64_t until_ns)
{
    if (until_ns == INT64_MAX)
        return -1;
    int64_t left_ns = until_ns - clock_now_ns();
    int64_t left_ms = left_ns > 0 ? (left_ns - 1) / CLOCK_NS_PER_MS + 1 : 0;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

bool link_await(const struct link *link, int64_t until_ns)
{
    struct pollfd readable = { .fd = link->fd, .events = POLLIN };
    int count;
    do
        count = poll(&readable, 1, milliseconds_until(until_ns));
    while (count < 0 && errno == EINTR);
    return count != 0; /* what has failed, link_fill tells */
}

enum link_fill link_fill(struct link *link, struct error *error)
{
    if (!make_room(link)) {
        (void)error_set(error, ERROR_FAILED, "no memory for a message of %zu bytes", needed_bytes(link));
        return LINK_FAILED;
    }
    ssize_t came;
    do {
        came = recv(link->fd, link->input + link->end, link->input_bytes - link->end, 0);
    } while (came < 0 && errno == EINTR);
    if (came == 0 || (came < 0 && errno == ECONNRESET))
        return LINK_ENDED;
    if (came < 0) {
        (void)error_set_errno(error, ERROR_FAILED, errno, "cannot read from the host");
        return LINK_FAILED;
    }
    link->end += (size_t)came;
    return LINK_FILLED;
}

struct buffer *link_begin(struct link *link, enum wire_type type)
{
    link->output.size = atomic_load_explicit(&link->published, memory_order_relaxed);
    if (link->output.size >= LINK_BATCH_BYTES)
        link_flush(link);
    link->output.failed = false;
    (void)wire_begin(&link->output, type);
    return &link->output;
}

void link_end(struct link *link)
{
    size_t mark = atomic_load_explicit(&link->published, memory_order_relaxed);
    wire_end(&link->output, mark);
    if (!link->output.failed)
        atomic_store_explicit(&link->published, link->output.size, memory_order_release);
}

void link_log(struct link *link, enum log_level level, const char *text)
{
    const struct wire_log line = { .level = (uint8_t)level };
    struct buffer *frame = link_begin(link, WIRE_LOG);
    wire_add_log(frame, &line);
    wire_add(frame, WIRE_TEXT, slice_of(text));
    link_end(link);
}

static bool send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

void link_flush(struct link *link)
{
    atomic_store(&link->busy, true);
    size_t sent = atomic_load(&link->sent);
    size_t published = atomic_load(&link->published);
    if (!link->closed && !send_all(link->fd, link->output.data + sent, published - sent))
        link->closed = true;
    atomic_store(&link->sent, 0);
    atomic_store(&link->published, 0);
    link->output.size = 0;
    atomic_store(&link->busy, false);
}

bool link_send_waiting(struct link *link)
{
    if (atomic_load(&link->busy))
        return true;
    size_t sent = atomic_load(&link->sent);
    size_t published = atomic_load(&link->published);
    if (sent == published)
        return false;
    ssize_t taken = send(link->fd, link->output.data + sent, published - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken > 0)
        atomic_store(&link->sent, sent + (size_t)taken);
    return true;
}
