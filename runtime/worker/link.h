/* The worker's end of the socket to the host: frames in, frames out, both in batches.
 *
 * Input: one recv brings many frames; they are handed out in place, without a copy. The room for them is
 * bounded by what one frame may take, grows only for a frame that needs it and is given back after that
 * frame.
 *
 * Output: frames wait in one fixed buffer until link_flush. The tick's signal handler may send from it at any
 * moment (link_send_waiting), by this discipline: it runs in the only thread; it sees whole frames only,
 * since `published` is stored after a frame is complete; it moves nothing but `sent`; and while `busy` is set
 * it does nothing. Main code sets `busy` around whatever moves bytes or resets the counters, and never
 * reallocates the buffer. */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "common/buffer.h"
#include "common/error.h"
#include "common/log.h"
#include "common/wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    LINK_INPUT_BYTES = 120 * 1024, /* read at a time; what the input takes when no frame is larger: one of
                                      64 KiB fits it, with its attributes */
    LINK_BATCH_BYTES = 64 * 1024,  /* of output waiting, then it is sent */
};

struct link {
    int fd;
    bool closed; /* the host is gone: output is dropped */

    char *input; /* mapped; came and not taken: [start, end) */
    size_t input_bytes;
    size_t start;
    size_t end;
    size_t payload_max; /* larger payloads are broken frames */

    struct buffer output;    /* memory is reserved once, for a batch and one frame more */
    atomic_size_t published; /* end of the last complete frame in `output` */
    atomic_size_t sent;      /* bytes of `output` that the host has got */
    atomic_bool busy;        /* main code is sending: the signal handler keeps off */
};

/* Takes over `fd`, which must be a connected socket; false with error where it is none or memory is short. */
bool link_open(struct link *link, int fd, struct error *error);
void link_close(struct link *link);

/* From now on a payload may have so many bytes. */
void link_allow(struct link *link, size_t payload_max);

/* The next frame of what has come; on WIRE_FRAME it is valid until the next link_fill. */
enum wire_next link_next(struct link *link, struct wire_frame *frame);

/* Waits for more input, after link_next said WIRE_MORE; link_fill takes it. False: it is `until_ns`, and none
 * has come (INT64_MAX: for ever). Cheaper than to wait in recv: that is woken whenever the host takes what
 * was sent, too. */
bool link_await(const struct link *link, int64_t until_ns);

enum link_fill { LINK_FILLED, LINK_ENDED, LINK_FAILED };

/* Takes more input, or waits for it, after link_next said WIRE_MORE. LINK_FAILED: no memory or a broken
 * socket, see error.
 */
enum link_fill link_fill(struct link *link, struct error *error);

/* Begins a frame and returns where to put it (with the functions of wire.h), link_end publishes it. In
 * between nothing may call into Lua; a frame that was begun and not ended is dropped by the next link_begin.
 * A full batch is sent first, so that output never grows past its bound however much a script logs. */
struct buffer *link_begin(struct link *link, enum wire_type type);
void link_end(struct link *link);

/* A log line of the worker's own. */
void link_log(struct link *link, enum log_level level, const char *text);

/* Sends all that waits, however long the host takes to read it. */
void link_flush(struct link *link);

/* Signal handler only: sends of what waits as much as the socket takes now; true where anything waited. */
bool link_send_waiting(struct link *link);

#endif
