/* Capturing messages; see capture.h. */
#include "host/capture/capture.h"

#include "common/clock.h"
#include "common/units.h"
#include "common/wire.h"
#include "host/capture/line.h"
#include "host/capture/output.h"
#include "host/json.h"
#include "host/letter.h"
#include "host/session.h"
#include "host/stop.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
    PAGE_BYTES_MAX = 8 * 1024 * 1024, /* headers, written out, or a piece of a body */
    ATTRIBUTES_BYTES_MAX = WIRE_ATTRIBUTES_MAX + 1024,
    SUMMARY_BYTES_MAX = 4096,
};

#define PROGRESS_NS (CLOCK_NS_PER_SECOND / 5)

struct capture {
    const struct capture_order *order;
    struct session session;
    struct output output;
    struct buffer page;     /* the piece of a line that is at hand */
    struct buffer restored; /* attributes of a message that came back from a delay queue */
    struct error error;
    uint32_t written;    /* messages */
    uint64_t bytes;      /* of their bodies */
    uint32_t depth;      /* messages in the queue when it began */
    bool unwritten;      /* the message at hand could not be written */
    bool shows_progress; /* on a terminal that the messages do not go to */
    int64_t progress_ns; /* when to show it next */
};

/* One message */

static bool write_line(struct capture *capture, const struct line_message *message)
{
    struct line line;
    bool written;
    line_begin(&line, message, &capture->page);
    do {
        written = output_write(&capture->output, &capture->page, &capture->error);
    } while (written && line_next(&line, &capture->page));
    return written;
}

/* As a consumer of the queue would be given it. */
static bool write_message(struct capture *capture, const struct taken *taken)
{
    struct slice attributes = taken->attributes;
    const char *queue = capture->order->queue ? capture->order->queue : "";
    uint32_t failed = 0;
    buffer_reset(&capture->restored);
    if (letter_restore(attributes, queue, &capture->restored, &failed) != LETTER_NEW)
        attributes = (struct slice){ .data = capture->restored.data, .size = capture->restored.size };
    if (capture->restored.failed)
        return error_set(&capture->error, ERROR_FAILED, "no memory for the properties of a message");
    const struct line_message message = {
        .attributes = attributes,
        .body = taken->body,
        .redelivered = taken->redelivered,
        .attempt = letter_attempt(attributes, taken->redelivered, failed),
    };
    return write_line(capture, &message);
}

static bool keep(struct capture *capture, const struct taken *taken)
{
    capture->unwritten = !write_message(capture, taken);
    if (capture->unwritten)
        return false;
    capture->written++;
    capture->bytes += taken->body_bytes;
    return true;
}

static void show_progress(struct capture *capture)
{
    char size[UNITS_TEXT_MAX];
    int64_t now = clock_now_ns();
    if (!capture->shows_progress || now < capture->progress_ns)
        return;
    capture->progress_ns = now + PROGRESS_NS;
    (void)fprintf(stderr, "\r\33[K%" PRIu32 " messages, %s", capture->written,
                  units_format_size((int64_t)capture->bytes, size));
}

/* All of them */

static bool begin(struct capture *capture)
{
    const struct capture_order *order = capture->order;
    if (order->queue)
        return session_run(&capture->session, order->queue, order->max, &capture->depth, &capture->error);
    return session_tap(&capture->session, order->exchange, order->routing_key, &capture->error);
}

/* A message of a queue goes back when the session ends; a copy is ours, and whoever reads along sees it when
 * it comes. */
static bool settle(struct capture *capture, const struct taken *taken)
{
    if (capture->order->queue)
        return true;
    capture->unwritten = !output_flush(&capture->output, &capture->error);
    return !capture->unwritten && session_ack(&capture->session, taken->tag, &capture->error);
}

static bool take_all(struct capture *capture)
{
    struct taken taken;
    enum session_answer answer = SESSION_YES;
    if (!begin(capture))
        return false;
    stop_listen();
    while (capture->written < capture->order->max && answer == SESSION_YES) {
        show_progress(capture);
        answer = session_next(&capture->session, SIZE_MAX, &taken, &capture->error);
        if (answer == SESSION_YES && !(keep(capture, &taken) && settle(capture, &taken)))
            return false;
    }
    return answer != SESSION_FAILED;
}

/* What is said at the end */

static uint32_t depth_of(const struct capture *capture)
{
    return capture->depth > capture->written ? capture->depth : capture->written;
}

static void put_summary_json(const struct capture *capture, struct buffer *to)
{
    const struct capture_order *order = capture->order;
    json_open(to, NULL, '{');
    json_text(to, order->queue ? "queue" : "exchange", order->queue ? order->queue : order->exchange);
    json_unsigned(to, "messages", capture->written);
    json_unsigned(to, "bytes", capture->bytes);
    if (order->queue)
        json_unsigned(to, "depth", depth_of(capture));
    json_boolean(to, "stopped", stop_asked());
    json_close(to, '}');
    (void)buffer_append_text(to, "\n");
}

static void put_summary(const struct capture *capture, struct buffer *to)
{
    const struct capture_order *order = capture->order;
    char size[UNITS_TEXT_MAX];
    (void)buffer_printf(to, "%scaptured %" PRIu32, stop_asked() ? "stopped: " : "", capture->written);
    if (order->queue)
        (void)buffer_printf(to, " of the %" PRIu32, depth_of(capture));
    (void)buffer_printf(to, " message%s %s %s (%s)\n", capture->written == 1 && !order->queue ? "" : "s",
                        order->queue ? "in" : "of", order->queue ? order->queue : order->exchange,
                        units_format_size((int64_t)capture->bytes, size));
}

static bool tell(const struct capture *capture)
{
    struct buffer text;
    FILE *to = capture->output.fd == STDOUT_FILENO ? stderr : stdout;
    buffer_init(&text, SUMMARY_BYTES_MAX);
    if (capture->order->json)
        put_summary_json(capture, &text);
    else
        put_summary(capture, &text);
    bool told = text.size > 0 && fwrite(text.data, 1, text.size, to) == text.size && fflush(to) == 0;
    buffer_clear(&text);
    return told;
}

/* The whole */

/* Whatever was captured before the broker failed is kept; what could not be written whole is not. */
static bool finish(struct capture *capture, bool taken)
{
    struct error error;
    if (capture->unwritten || (!taken && capture->written == 0))
        return false;
    if (output_finish(&capture->output, &error))
        return taken;
    if (taken)
        capture->error = error;
    return false;
}

static void clear_progress(const struct capture *capture)
{
    if (capture->progress_ns > 0)
        (void)fprintf(stderr, "\r\33[K");
}

static int code_of(const struct capture *capture, bool done)
{
    bool told = (!done && capture->written == 0) || tell(capture);
    if (!done)
        (void)fprintf(stderr, "moonrabbit: %s\n", capture->error.text);
    else if (!told)
        (void)fprintf(stderr, "moonrabbit: standard output does not take what is written to it\n");
    return done && told ? ERROR_NONE : done ? ERROR_FAILED : (int)capture->error.code;
}

static void set_up(struct capture *capture, const struct capture_order *order)
{
    *capture = (struct capture){ .order = order };
    buffer_init(&capture->page, PAGE_BYTES_MAX);
    buffer_init(&capture->restored, ATTRIBUTES_BYTES_MAX);
    (void)signal(SIGPIPE, SIG_IGN); /* what cannot be written is an error like others */
    (void)signal(SIGXFSZ, SIG_IGN);
}

int capture_run(const struct broker_config *config, const struct capture_order *order)
{
    /* A reader of what is written may take its time while messages wait to be handed back. */
    struct broker_config patient = *config;
    struct capture capture;
    set_up(&capture, order);
    if (order->queue)
        patient.heartbeat_seconds = 0;
    bool done = output_open(&capture.output, order->output, &capture.error);
    if (done) {
        capture.shows_progress = isatty(STDERR_FILENO) && !isatty(capture.output.fd);
        bool taken =
            session_open(&capture.session, &patient, NULL, NULL, &capture.error) && take_all(&capture);
        session_close(&capture.session); /* the messages go back before anything else can fail */
        done = finish(&capture, taken);
    }
    clear_progress(&capture);
    int code = code_of(&capture, done);
    output_close(&capture.output);
    buffer_clear(&capture.page);
    buffer_clear(&capture.restored);
    return code;
}
