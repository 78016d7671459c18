/* A real worker process for tests: this test program, executed anew as a worker, over a real socketpair and
 * status page, with a folder of its own for scripts. Included by the tests of the worker, each of which calls
 * fixture_main.
 *
 * Nothing waits for ever: what does not come within PATIENCE_MS fails the test. */
#ifndef SPEC_UNIT_WORKER_FIXTURE_H
#define SPEC_UNIT_WORKER_FIXTURE_H

#include "common/board.h"
#include "common/buffer.h"
#include "common/cache.h"
#include "common/clock.h"
#include "common/inherit.h"
#include "common/log.h"
#include "common/shelf.h"
#include "common/wire.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PATIENCE_MS = 60000,
    MESSAGE_MAX = 16 * 1024 * 1024,
    FRAME_MAX = WIRE_HEADER_BYTES + WIRE_REPORT_MAX,
};

/* What a test changes of the worker's setup before fixture_start; fixture_open fills in the usual. */
struct fixture {
    struct wire_setup limits;
    const char *script; /* path given to the worker, which starts in `folder` */
    char folder[64];
    bool nested; /* `pid` is a process that does nothing but be the worker's parent */
    pid_t pid;
    int fd;
    struct board *board;
    struct shelf shelf;
    struct cache cache; /* as the host's; made by fixture_spawn where cache_fd is -1 */
    int cache_fd;
    struct buffer input;
    size_t taken;
    uint64_t seq;
};

struct answer {
    uint8_t type;
    struct wire_result result;   /* of WIRE_RESULT */
    struct wire_log log;         /* of WIRE_LOG */
    struct wire_publish publish; /* of WIRE_PUBLISH */
    struct slice attributes;     /* what follows the struct; valid until the next answer */
    char text[WIRE_TEXT_MAX + 1];
};

/* One delivery; what is NULL or 0 is not sent. */
struct parcel {
    const char *body;
    size_t body_bytes; /* 0: up to the NUL */
    bool laid;         /* the body lies on the shelf, */
    uint32_t laid_at;  /* here; where it is no place there only said to */
    const char *content_type;
    const char *id;
    struct slice attributes; /* any others, encoded */
};

static inline void fixture_open(struct fixture *fixture)
{
    *fixture = (struct fixture){
        .limits = { .memory_bytes = 64 << 20,
                    .message_bytes = MESSAGE_MAX,
                    .log_level = LOG_INFO,
                    .seccomp = true },
        .script = "handler.lua",
        .folder = "/tmp/moonrabbit-worker-XXXXXX",
        .fd = -1,
        .cache_fd = -1,
    };
    assert_non_null(mkdtemp(fixture->folder));
    buffer_init(&fixture->input, 64 << 20);
}

/* Writes a file below the fixture's folder, whose folder must be there. */
static inline void fixture_write(const struct fixture *fixture, const char *path, const char *text,
                                 size_t size)
{
    char full[256];
    assert_in_range(snprintf(full, sizeof full, "%s/%s", fixture->folder, path), 1, sizeof full - 1);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void fixture_write_text(const struct fixture *fixture, const char *path, const char *text)
{
    fixture_write(fixture, path, text, strlen(text));
}

static inline void fixture_make_folder(const struct fixture *fixture, const char *path)
{
    char full[256];
    assert_in_range(snprintf(full, sizeof full, "%s/%s", fixture->folder, path), 1, sizeof full - 1);
    assert_int_equal(mkdir(full, 0700), 0);
}

static inline void fixture_link(const struct fixture *fixture, const char *target, const char *path)
{
    char full[256];
    assert_in_range(snprintf(full, sizeof full, "%s/%s", fixture->folder, path), 1, sizeof full - 1);
    assert_int_equal(symlink(target, full), 0);
}

static inline void fixture_become_worker(const struct fixture *fixture, int socket_fd, int board_fd,
                                         int shelf_fd)
{
    char program[] = "moonrabbit", command[] = "@worker";
    char *const arguments[] = { program, command, NULL };
    int self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    int high_socket = fcntl(socket_fd, F_DUPFD_CLOEXEC, 10),
        high_board = fcntl(board_fd, F_DUPFD_CLOEXEC, 10), high_shelf = fcntl(shelf_fd, F_DUPFD_CLOEXEC, 10);
    int high_self = fcntl(self, F_DUPFD_CLOEXEC, 10);
    int high_cache = fcntl(fixture->cache_fd, F_DUPFD_CLOEXEC, 10);
    if (high_socket >= 0 && high_board >= 0 && high_shelf >= 0 && high_self >= 0 && high_cache >= 0 &&
        dup2(high_socket, WORKER_SOCKET_FD) >= 0 && dup2(high_board, WORKER_BOARD_FD) >= 0 &&
        dup2(high_cache, WORKER_CACHE_FD) >= 0 && dup2(high_shelf, WORKER_SHELF_FD) >= 0 &&
        chdir(fixture->folder) == 0)
        (void)fexecve(high_self, arguments, environ);
    _exit(127);
}

static inline void fixture_send(const struct fixture *fixture, const void *data, size_t size)
{
    const char *cursor = data;
    while (size > 0) {
        ssize_t sent = send(fixture->fd, cursor, size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        cursor += sent;
        size -= (size_t)sent;
    }
}

/* A cache that outlives the worker. */
static inline void fixture_make_cache(struct fixture *fixture, size_t memory_bytes, size_t entries)
{
    const struct cache_config config = { .memory_bytes = memory_bytes,
                                         .entries = entries,
                                         .ttl_ns = 3600 * CLOCK_NS_PER_SECOND };
    struct error error;
    if (!cache_create(&fixture->cache, &config, &fixture->cache_fd, &error))
        fail_msg("%s", error.text);
}

/* Starts the worker, which waits for its setup. */
static inline void fixture_spawn(struct fixture *fixture)
{
    int pair[2], board_fd, shelf_fd;
    struct error error;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fixture->board = board_open(&board_fd, &error);
    assert_non_null(fixture->board);
    assert_true(shelf_open(&fixture->shelf, &shelf_fd, &error));
    if (fixture->cache_fd < 0)
        fixture_make_cache(fixture, 1 << 20, 100);
    fixture->pid = fork();
    while (fixture->pid == 0 && fixture->nested && fork() > 0)
        (void)pause();
    if (fixture->pid == 0)
        fixture_become_worker(fixture, pair[1], board_fd, shelf_fd);
    assert_true(fixture->pid > 0);
    (void)close(pair[1]);
    (void)close(board_fd);
    (void)close(shelf_fd);
    fixture->fd = pair[0];
}

/* Starts the worker and sends it its setup; what comes of it is the first answer. */
static inline void fixture_start(struct fixture *fixture)
{
    struct buffer frame;
    fixture_spawn(fixture);
    buffer_init(&frame, FRAME_MAX);
    size_t mark = wire_begin(&frame, WIRE_SETUP);
    wire_add_setup(&frame, &fixture->limits);
    wire_add(&frame, WIRE_SCRIPT, slice_of(fixture->script));
    wire_add(&frame, WIRE_CONSUMER, slice_of("orders"));
    wire_add(&frame, WIRE_QUEUE, slice_of("orders"));
    wire_end(&frame, mark);
    fixture_send(fixture, frame.data, frame.size);
    buffer_clear(&frame);
}

static inline void add_delivery(struct buffer *buffer, struct fixture *fixture, const struct parcel *parcel)
{
    struct buffer attributes;
    buffer_init(&attributes, WIRE_ATTRIBUTES_MAX + 1024);
    if (parcel->content_type)
        wire_add(&attributes, WIRE_CONTENT_TYPE, slice_of(parcel->content_type));
    if (parcel->id)
        wire_add(&attributes, WIRE_MESSAGE_ID, slice_of(parcel->id));
    (void)buffer_append(&attributes, parcel->attributes.data, parcel->attributes.size);
    const char *body = parcel->body ? parcel->body : "";
    size_t body_bytes = parcel->body_bytes ? parcel->body_bytes : strlen(body);
    struct wire_deliver deliver = { .seq = ++fixture->seq,
                                    .slot = (uint32_t)fixture->seq + 1000,
                                    .attempt = 3,
                                    .attributes_bytes = (uint32_t)attributes.size,
                                    .body_bytes = (uint32_t)body_bytes,
                                    .redelivered = 1,
                                    .laid = parcel->laid,
                                    .laid_at = parcel->laid_at };
    char head[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    wire_stamp_deliver(head, &deliver);
    assert_true(buffer_append(buffer, head, sizeof head));
    assert_true(buffer_append(buffer, attributes.data, attributes.size));
    if (!parcel->laid)
        assert_true(buffer_append(buffer, body, body_bytes));
    else if (parcel->laid_at < SHELF_BYTES && body_bytes <= SHELF_BYTES - parcel->laid_at)
        memcpy(fixture->shelf.data + parcel->laid_at, body, body_bytes);
    buffer_clear(&attributes);
}

static inline void fixture_deliver(struct fixture *fixture, const struct parcel *parcel)
{
    struct buffer frame;
    buffer_init(&frame, 64 << 20);
    add_delivery(&frame, fixture, parcel);
    fixture_send(fixture, frame.data, frame.size);
    buffer_clear(&frame);
}

/* More bytes from the worker; false at the end. */
static inline bool fixture_receive(struct fixture *fixture)
{
    struct pollfd readable = { .fd = fixture->fd, .events = POLLIN };
    assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
    assert_true(buffer_reserve(&fixture->input, FRAME_MAX));
    ssize_t size = recv(fixture->fd, fixture->input.data + fixture->input.size, FRAME_MAX, 0);
    if (size > 0)
        fixture->input.size += (size_t)size;
    return size > 0;
}

static inline void read_answer(struct answer *answer, const struct wire_frame *frame)
{
    struct slice payload = frame->payload, text = { .data = "" };
    struct wire_ready ready;
    *answer = (struct answer){ .type = frame->type };
    if (frame->type == WIRE_RESULT)
        assert_true(wire_take_result(&payload, &answer->result));
    else if (frame->type == WIRE_LOG)
        assert_true(wire_take_log(&payload, &answer->log));
    else if (frame->type == WIRE_READY)
        assert_true(wire_take_ready(&payload, &ready));
    else if (frame->type == WIRE_PUBLISH)
        assert_true(wire_take_publish(&payload, &answer->publish));
    answer->attributes = payload;
    if (frame->type == WIRE_PUBLISH || frame->type == WIRE_PIECE)
        return;
    (void)wire_find(payload, WIRE_TEXT, &text);
    assert_true(text.size <= WIRE_TEXT_MAX);
    memcpy(answer->text, text.data, text.size);
}

/* The worker's next frame; false where its end of the socket is closed. */
static inline bool fixture_answer(struct fixture *fixture, struct answer *answer)
{
    struct wire_frame frame;
    buffer_consume(&fixture->input, fixture->taken);
    fixture->taken = 0;
    for (;;) {
        struct slice input = { .data = fixture->input.data, .size = fixture->input.size };
        enum wire_next next = wire_next(input, WIRE_REPORT_MAX, &frame);
        assert_int_not_equal(next, WIRE_BROKEN);
        if (next == WIRE_FRAME)
            break;
        if (!fixture_receive(fixture))
            return false;
    }
    fixture->taken = WIRE_HEADER_BYTES + frame.payload.size;
    read_answer(answer, &frame);
    return true;
}

static inline void expect_type(struct fixture *fixture, struct answer *answer, enum wire_type type)
{
    *answer = (struct answer){ .type = 0 };
    if (!fixture_answer(fixture, answer))
        fail_msg("the worker ended instead of sending a frame of type %d", (int)type);
    if (answer->type != type)
        fail_msg("the worker sent a frame of type %d instead of %d: %s", answer->type, type, answer->text);
}

/* Writes the text as handler.lua and starts a worker that must become ready. */
static inline void fixture_run(struct fixture *fixture, const char *script)
{
    struct answer answer;
    fixture_write_text(fixture, "handler.lua", script);
    fixture_start(fixture);
    expect_type(fixture, &answer, WIRE_READY);
}

/* Delivers and takes the result. */
static inline void fixture_try(struct fixture *fixture, const struct parcel *parcel, struct answer *answer)
{
    fixture_deliver(fixture, parcel);
    expect_type(fixture, answer, WIRE_RESULT);
    assert_int_equal(answer->result.seq, fixture->seq);
    assert_int_equal(answer->result.slot, fixture->seq + 1000);
}

static inline void fixture_send_stop(struct fixture *fixture)
{
    struct buffer frame;
    buffer_init(&frame, FRAME_MAX);
    wire_end(&frame, wire_begin(&frame, WIRE_STOP));
    fixture_send(fixture, frame.data, frame.size);
    buffer_clear(&frame);
}

/* Waits for the worker's end: its exit code, or 128 and its signal. */
static inline int fixture_wait(struct fixture *fixture)
{
    int status = 0;
    struct pollfd ended = { .fd = pidfd_open(fixture->pid, 0), .events = POLLIN };
    assert_true(ended.fd >= 0);
    int polled = poll(&ended, 1, PATIENCE_MS);
    (void)close(ended.fd);
    assert_int_equal(polled, 1);
    assert_int_equal(waitpid(fixture->pid, &status, 0), fixture->pid);
    fixture->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* Ends what is left of the worker, and removes the folder. */
static inline void fixture_close(struct fixture *fixture)
{
    if (fixture->pid > 0) {
        (void)kill(fixture->pid, SIGKILL);
        (void)fixture_wait(fixture);
    }
    if (fixture->fd >= 0)
        (void)close(fixture->fd);
    board_close(fixture->board);
    shelf_close(&fixture->shelf);
    cache_unmap(&fixture->cache);
    if (fixture->cache_fd >= 0)
        (void)close(fixture->cache_fd);
    buffer_clear(&fixture->input);
    (void)nftw(fixture->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Ends the worker in order, which must go well. */
static inline void fixture_finish(struct fixture *fixture)
{
    struct answer answer;
    fixture_send_stop(fixture);
    assert_false(fixture_answer(fixture, &answer));
    assert_int_equal(fixture_wait(fixture), 0);
    fixture_close(fixture);
}

/* The value of a log line's field, as text; NULL where it has none of that name. */
static inline const char *log_field_of(const struct answer *answer, const char *key, char value[2048])
{
    struct slice rest = answer->attributes;
    struct wire_attribute attribute;
    bool found = false;
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (found) {
            (void)snprintf(value, 2048, "%.*s", (int)attribute.value.size, attribute.value.data);
            return value;
        }
        found = attribute.id == WIRE_KEY && slice_equals(attribute.value, key);
    }
    return NULL;
}

/* A script, one message for it, and what has to come of it. */
struct script_case {
    const char *name;
    const char *script;
    struct parcel parcel;
    int verdict;      /* enum wire_verdict, or NOT_LOADED: the script must not load */
    const char *text; /* in the result's text; NULL: there is none */
};

enum { NOT_LOADED = 0 };

static inline void check_text(const struct script_case *test, const char *text)
{
    if (test->text ? strstr(text, test->text) == NULL : *text != '\0')
        fail_msg("%s: the text is \"%s\", and should be \"%s\"", test->name, text,
                 test->text ? test->text : "");
}

static inline void check_loaded(struct fixture *fixture, const struct script_case *test)
{
    struct answer answer;
    if (!fixture_answer(fixture, &answer))
        fail_msg("%s: the worker ended", test->name);
    if (answer.type != (test->verdict == NOT_LOADED ? WIRE_FAILED : WIRE_READY))
        fail_msg("%s: a frame of type %d after the setup: %s", test->name, answer.type, answer.text);
    if (test->verdict != NOT_LOADED)
        return;
    check_text(test, answer.text);
    assert_false(fixture_answer(fixture, &answer));
    assert_int_equal(fixture_wait(fixture), 1);
}

/* Runs the case in `fixture`, which is open and has the modules that the script asks for; closes it. */
static inline void check_case_in(struct fixture *fixture, const struct script_case *test)
{
    struct answer answer;
    fixture_write_text(fixture, "handler.lua", test->script);
    fixture_start(fixture);
    check_loaded(fixture, test);
    if (test->verdict == NOT_LOADED) {
        fixture_close(fixture);
        return;
    }
    fixture_try(fixture, &test->parcel, &answer);
    if (answer.result.verdict != test->verdict)
        fail_msg("%s: verdict %d instead of %d: %s", test->name, answer.result.verdict, test->verdict,
                 answer.text);
    check_text(test, answer.text);
    fixture_finish(fixture);
}

/* Alone in its worker, and in a coroutine as one of several that may be under way. */
static inline void check_case(const struct script_case *test)
{
    struct fixture fixture;
    for (unsigned concurrency = 1; concurrency <= 2; concurrency++) {
        fixture_open(&fixture);
        fixture.limits.concurrency = concurrency;
        check_case_in(&fixture, test);
    }
}

/* A number in the process's status, such as "RssAnon:" in KiB. */
static inline long long status_of(pid_t pid, const char *name)
{
    char path[64], line[256];
    long long value = -1;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char *end = line + strlen(name);
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoll(end, &end, 10);
    }
    (void)fclose(file);
    assert_true(value >= 0);
    return value;
}

static inline int fixture_main(int count, char **arguments, int (*all_tests)(void))
{
    if (count > 1 && strcmp(arguments[1], "@worker") == 0)
        return worker_main();
    return all_tests();
}

#endif
