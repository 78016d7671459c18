/* Doing what was ordered with a dead-letter queue; see dead.h. */
#include "host/dead/dead.h"

#include "host/dead/dead_json.h"
#include "host/dead/dead_letter.h"
#include "host/dead/show.h"
#include "host/dead/table.h"
#include "host/dead/text.h"
#include "host/session.h"

#include "common/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES_MAX = INT32_MAX, COMPLAINT_BYTES_MAX = 4096 };

/* What is left to do with a message that was taken. */
enum fate { HAND_BACK, KEEP, STOP_HERE, FAILED };

struct work {
    const struct dead_order *order;
    struct session session;
    struct table table; /* LIST */
    struct buffer page; /* what is printed, or published, of the message at hand */
    struct error error;
    int64_t now;         /* seconds since 1970 */
    uint32_t most;       /* messages to look at */
    uint32_t left;       /* in the queue behind those */
    uint32_t looked;     /* at so many */
    uint32_t chosen;     /* of them */
    uint32_t done;       /* of those: acked */
    uint32_t failed;     /* of those: could not go back */
    uint64_t *kept;      /* tags of DROP, until it was asked */
    uint64_t *untouched; /* tags to hand back */
    size_t kept_count;
    size_t untouched_count;
};

/* Choosing */

static bool has_id(const struct dead_order *order, const struct dead_letter *letter)
{
    for (size_t i = 0; i < order->id_count; i++) {
        if (slice_equals(letter->id, order->ids[i]))
            return true;
    }
    return order->id_count == 0;
}

static bool is_chosen(const struct work *work, const struct dead_letter *letter)
{
    const struct dead_order *order = work->order;
    if (!has_id(order, letter))
        return false;
    for (size_t i = 0; i < order->filter_count; i++) {
        if (!filter_matches(&order->filters[i], letter, work->now))
            return false;
    }
    return true;
}

/* Each action on one message */

static bool ack(struct work *work, uint64_t tag)
{
    bool acked = session_ack(&work->session, tag, &work->error);
    work->done += acked;
    return acked;
}

static enum fate fail_memory(struct work *work)
{
    (void)error_set(&work->error, ERROR_FAILED, "no memory for so many messages: give a smaller --max");
    return FAILED;
}

static void print(struct slice text)
{
    if (text.size > 0)
        (void)fwrite(text.data, 1, text.size, stdout);
}

static void print_page(const struct work *work)
{
    print((struct slice){ .data = work->page.data, .size = work->page.size });
}

static enum fate list(struct work *work, const struct dead_letter *letter)
{
    if (work->order->json) {
        dead_json_put(&work->page, letter, false);
        print_page(work);
        return work->page.failed ? fail_memory(work) : HAND_BACK;
    }
    return table_add(&work->table, letter, work->now) ? HAND_BACK : fail_memory(work);
}

static enum fate show(struct work *work, const struct dead_letter *letter)
{
    if (work->order->body)
        print(letter->body);
    else if (work->order->json)
        dead_json_put(&work->page, letter, true);
    else
        show_put_letter(&work->page, letter, work->now);
    if (work->chosen > 1 && work->page.size > 0 && !work->order->json)
        (void)fputc('\n', stdout);
    print_page(work);
    if (work->page.failed)
        return fail_memory(work);
    /* Where no one was named, the first is meant. */
    return work->order->id_count == 0 && work->order->filter_count == 0 ? STOP_HERE : HAND_BACK;
}

/* Says of one message why it stays where it is. */
static void complain(struct work *work, struct slice id, const char *why)
{
    struct buffer line;
    buffer_init(&line, COMPLAINT_BYTES_MAX);
    text_put(&line, id, false);
    (void)buffer_append_text(&line, " stays: ");
    text_put(&line, slice_of(why), false);
    (void)fprintf(stderr, "moonrabbit: %.*s\n", (int)line.size, line.data);
    buffer_clear(&line);
    work->failed++;
}

static void leave(struct work *work, uint64_t tag)
{
    work->untouched[work->untouched_count++] = tag;
}

static bool on_settled(void *owner, const struct published *published, const char *refusal,
                       struct error *error)
{
    struct work *work = owner;
    (void)error; /* the work's own */
    if (!refusal)
        return ack(work, published->tag);
    complain(work, slice_of(published->id), refusal);
    leave(work, published->tag);
    return true;
}

static void copy_name(char to[SESSION_NAME_BYTES], struct slice name)
{
    size_t size = name.size < SESSION_NAME_BYTES ? name.size : SESSION_NAME_BYTES - 1;
    memcpy(to, name.data, size);
    to[size] = '\0';
}

static enum fate send_back(struct work *work, const struct dead_letter *letter, uint64_t tag)
{
    const char *why;
    struct published published = { .tag = tag };
    if (slice_equals(letter->queue, work->order->queue)) {
        complain(work, letter->id, "it came from this very queue");
        return HAND_BACK;
    }
    if (!dead_letter_write_back(letter, &work->page, &why)) {
        complain(work, letter->id, why);
        return HAND_BACK;
    }
    copy_name(published.id, letter->id);
    copy_name(published.queue, letter->queue);
    const struct slice attributes = { .data = work->page.data, .size = work->page.size };
    return session_publish(&work->session, &published, attributes, letter->body, &work->error) ? KEEP
                                                                                               : FAILED;
}

static enum fate drop(struct work *work, uint64_t tag)
{
    if (work->order->yes)
        return ack(work, tag) ? KEEP : FAILED;
    work->kept[work->kept_count++] = tag;
    return KEEP;
}

static enum fate act(struct work *work, const struct dead_letter *letter, uint64_t tag)
{
    buffer_reset(&work->page);
    work->chosen++;
    switch (work->order->action) {
    case DEAD_LIST:
        return list(work, letter);
    case DEAD_SHOW:
        return show(work, letter);
    case DEAD_RETRY:
        return send_back(work, letter, tag);
    case DEAD_DROP:
    default:
        return drop(work, tag);
    }
}

/* Going through the queue */

/* How much of a body the action needs. */
static size_t body_max(const struct dead_order *order)
{
    bool whole = order->action == DEAD_RETRY || (order->action == DEAD_SHOW && (order->body || order->json));
    return whole ? SIZE_MAX : DEAD_LETTER_NAMED_BODY;
}

/* What is only looked at, or dropped, comes as a run, and goes back to its place whatever the queue is. What
 * is sent back is taken one by one, so that no more is under way than the window. */
static bool begin(struct work *work)
{
    const struct dead_order *order = work->order;
    return order->action == DEAD_RETRY ||
           session_run(&work->session, order->queue, work->most, &work->left, &work->error);
}

static enum session_answer next(struct work *work, struct taken *taken)
{
    const struct dead_order *order = work->order;
    if (order->action != DEAD_RETRY) {
        work->left -= work->left > 0;
        return session_next(&work->session, body_max(order), taken, &work->error);
    }
    enum session_answer answer =
        session_take(&work->session, order->queue, body_max(order), taken, &work->error);
    work->left = answer == SESSION_YES ? taken->left : work->left;
    return answer;
}

/* False at the end of the queue, or of the work. */
static bool take_one(struct work *work, bool *ret_failed)
{
    struct taken taken;
    struct dead_letter letter;
    enum session_answer answer = next(work, &taken);
    *ret_failed = answer == SESSION_FAILED;
    if (answer != SESSION_YES)
        return false;
    work->looked++;
    dead_letter_read(&letter, taken.attributes, taken.body, taken.body_bytes);
    enum fate fate = is_chosen(work, &letter) ? act(work, &letter, taken.tag) : HAND_BACK;
    if (fate == HAND_BACK && work->order->action == DEAD_RETRY)
        leave(work, taken.tag);
    *ret_failed = fate == FAILED;
    return fate == HAND_BACK || fate == KEEP;
}

/* Where none is named the first is shown, and no other is touched. */
static uint32_t most_of(const struct dead_order *order)
{
    bool first = order->action == DEAD_SHOW && order->id_count == 0 && order->filter_count == 0;
    return first ? 1 : order->look;
}

static bool go_through(struct work *work)
{
    bool failed = false;
    work->most = most_of(work->order);
    work->kept = calloc(work->most, sizeof *work->kept);
    work->untouched = calloc(work->most, sizeof *work->untouched);
    if (!work->kept || !work->untouched)
        return fail_memory(work) != FAILED;
    if (!begin(work))
        return false;
    while (work->looked < work->most && take_one(work, &failed))
        continue;
    return !failed && session_settle(&work->session, &work->error);
}

static int compare_tags(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* What RETRY leaves, in the order in which it was taken: a classic queue puts it in its place, a quorum queue
 * where it likes. All else goes back with the connection. */
static bool hand_back(struct work *work)
{
    qsort(work->untouched, work->untouched_count, sizeof work->untouched[0], compare_tags);
    for (size_t i = 0; i < work->untouched_count; i++) {
        if (!session_hand_back(&work->session, work->untouched[i], &work->error))
            return false;
    }
    return true;
}

/* What is said at the end */

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

/* Anything but a yes is a no. */
static bool is_agreed(const struct work *work)
{
    char answer[16];
    (void)fprintf(stderr, "Drop %" PRIu32 " message%s of %s for good? [y/N] ", work->chosen,
                  plural(work->chosen), work->order->queue);
    if (!fgets(answer, sizeof answer, stdin))
        return false;
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, "y") == 0 || strcmp(answer, "Y") == 0 || strcmp(answer, "yes") == 0;
}

/* What DROP has chosen and not acked yet: acked after a yes. */
static bool settle_kept(struct work *work)
{
    bool agreed = work->kept_count > 0 && is_agreed(work);
    for (size_t i = 0; agreed && i < work->kept_count; i++) {
        if (!ack(work, work->kept[i]))
            return false;
    }
    return true;
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

/* Also of work that was broken off. */
static void tell_done(const struct work *work)
{
    if (work->order->action == DEAD_RETRY)
        (void)printf("sent back %" PRIu32 " message%s\n", work->done, plural(work->done));
    else if (work->order->action == DEAD_DROP)
        (void)printf("dropped %" PRIu32 " message%s\n", work->done, plural(work->done));
}

static void tell_looked(const struct work *work)
{
    const struct dead_order *order = work->order;
    if (order->action == DEAD_LIST && !order->json && work->chosen > 0)
        table_print(&work->table, terminal_width(), stdout);
    if (work->looked == 0)
        (void)fprintf(stderr, "moonrabbit: %s is empty\n", order->queue);
    else if (work->chosen == 0)
        (void)fprintf(stderr, "moonrabbit: none of the %" PRIu32 " message%s looked at is meant\n",
                      work->looked, plural(work->looked));
    if (work->looked == order->look && work->left > 0)
        (void)fprintf(stderr,
                      "moonrabbit: %s has %" PRIu32 " more messages than the %" PRIu32
                      " that were looked at: --max N looks at N\n",
                      order->queue, work->left, work->looked);
}

/* The whole */

static bool work_through(struct work *work)
{
    return go_through(work) && settle_kept(work) && hand_back(work);
}

static int code_of(const struct work *work, bool done)
{
    bool printed = fflush(stdout) == 0 && !ferror(stdout);
    if (!done)
        (void)fprintf(stderr, "moonrabbit: %s\n", work->error.text);
    if (!printed)
        (void)fprintf(stderr, "moonrabbit: standard output does not take what is written to it\n");
    bool missing = work->order->action == DEAD_SHOW && work->chosen == 0;
    return done && printed && work->failed == 0 && !missing ? ERROR_NONE : ERROR_FAILED;
}

int dead_run(const struct broker_config *config, const struct dead_order *order)
{
    /* Whoever is asked a question may think it over: no heartbeat can be missed. */
    struct broker_config patient = *config;
    struct work work = { .order = order, .now = (int64_t)time(NULL) };
    patient.heartbeat_seconds = 0;
    table_init(&work.table);
    buffer_init(&work.page, PAGE_BYTES_MAX);
    bool done = session_open(&work.session, &patient, on_settled, &work, &work.error) && work_through(&work);
    session_close(&work.session);
    if (done || work.done > 0)
        tell_done(&work);
    if (done)
        tell_looked(&work);
    int code = code_of(&work, done);
    free(work.kept);
    free(work.untouched);
    table_clear(&work.table);
    buffer_clear(&work.page);
    return code;
}
