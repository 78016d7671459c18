/* The memory monitor; see monitor.h. */
#include "host/monitor.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "host/program.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const int64_t stalled_ns = 30 * CLOCK_NS_PER_SECOND;
static const int64_t past_ns = 600 * CLOCK_NS_PER_SECOND; /* what has not happened for so long is over */

enum {
    NEAR_PERCENT = 80,       /* of a bound: time to warn */
    DEAD_LETTERS_MANY = 100, /* fewer are told of by their own lines in the log */
    OWN_SOCKETS_MAX =
        8, /* beside one for each worker: the connection, one that is dialled, and inherited ones */
};

/* What one look at all processes finds. */
struct look {
    int64_t total_bytes;
    int64_t largest_bytes;
    struct worker_process *largest;
    struct consumer *largest_of;
    unsigned processes;
    unsigned wanted;
};

static const char *status_name(enum memory_status status)
{
    static const char *const names[] = { "normal", "warning", "critical" };
    return names[status];
}

/* Resident bytes that are the process's own: the second number of statm without the third, which is what it
 * shares (the cache, the program's text) and would count once for each worker. 0 where the process is gone.
 */
static int64_t own_bytes(pid_t pid)
{
    char path[64];
    char text[128] = "";
    char *cursor = text;
    (void)snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    bool read = fgets(text, sizeof text, file) != NULL;
    (void)fclose(file);
    int64_t pages[3] = { 0 };
    for (int i = 0; read && i < 3; i++)
        pages[i] = strtoll(cursor, &cursor, 10);
    return (pages[1] - pages[2]) * sysconf(_SC_PAGESIZE);
}

static void look_at_worker(struct look *look, struct consumer *consumer, struct worker_process *worker)
{
    int64_t bytes = own_bytes(worker->pid);
    worker->resident_bytes = bytes;
    look->total_bytes += bytes + worker_shelf_bytes(worker);
    look->processes++;
    if (bytes > look->largest_bytes) {
        look->largest_bytes = bytes;
        look->largest = worker;
        look->largest_of = consumer;
    }
    if (bytes > consumer->config->recycle.process_memory_bytes)
        pool_replace(&consumer->pool, worker, "it has grown over recycle.process_memory");
}

static void look_at_consumer(struct look *look, struct consumer *consumer)
{
    struct worker_process *worker;
    for (unsigned i = 0; (worker = pool_process(&consumer->pool, i)); i++)
        look_at_worker(look, consumer, worker);
    look->wanted += pool_size(&consumer->pool);
}

/* Whether a consumer gets anything done */

static void look_at_prefetch(struct consumer *consumer, int64_t now_ns)
{
    static const char words[] =
        "the whole prefetch is unsettled and nothing moves: handlers are stuck or slow";
    unsigned unsettled = ledger_unsettled(&consumer->ledger);
    if (unsettled < consumer->config->prefetch || now_ns - consumer->active_ns <= stalled_ns)
        alarm_clear(&consumer->alarms, ALARM_UNSETTLED);
    else if (alarm_raise(&consumer->alarms, ALARM_UNSETTLED, now_ns, "consumer %s: %s",
                         consumer->config->name, words))
        log_warning(log_message(words), log_text("queue", consumer->config->queue),
                    log_unsigned("unsettled", unsettled),
                    log_duration("seconds", now_ns - consumer->active_ns));
}

static void look_at_queue(struct consumer *consumer, int64_t now_ns)
{
    static const char words[] = "the queue comes near its declare.max_length";
    int64_t bound = consumer->config->declare.enabled ? consumer->config->declare.max_length : -1;
    const struct queue_state *queue = &consumer->queue;
    if (!queue->known || bound <= 0 || (int64_t)queue->messages * 100 < bound * NEAR_PERCENT)
        alarm_clear(&consumer->alarms, ALARM_QUEUE_FULL);
    else if (alarm_raise(&consumer->alarms, ALARM_QUEUE_FULL, now_ns, "queue %s: %s: %" PRIu32 " of %" PRId64,
                         consumer->config->queue, words, queue->messages, bound))
        log_warning(log_message(words), log_text("queue", consumer->config->queue),
                    log_unsigned("messages", queue->messages), log_integer("max_length", bound));
}

static void look_at_dead_letters(struct consumer *consumer, int64_t now_ns)
{
    static const char words[] = "dead letters pile up: see `moonrabbit dead list`";
    const struct queue_state *dead = &consumer->dead_letters;
    bool grows = dead->known && dead->grown_ns > 0 && now_ns - dead->grown_ns < past_ns;
    if (!grows || dead->messages < DEAD_LETTERS_MANY)
        alarm_clear(&consumer->alarms, ALARM_DEAD_LETTERS);
    else if (alarm_raise(&consumer->alarms, ALARM_DEAD_LETTERS, now_ns, "queue %s: %s: there are %" PRIu32,
                         consumer->config->dead_letter, words, dead->messages))
        log_warning(log_message(words), log_text("dead_letter", consumer->config->dead_letter),
                    log_unsigned("messages", dead->messages));
}

/* The report is in the log already. */
static void look_at_leaks(struct consumer *consumer, int64_t now_ns)
{
    const struct leak_suspect *latest = NULL;
    for (unsigned i = 0; i < consumer->leaks.count; i++) {
        const struct leak_suspect *suspect = &consumer->leaks.suspects[i];
        if (!latest || suspect->found_ns > latest->found_ns)
            latest = suspect;
    }
    if (!latest || now_ns - latest->found_ns > past_ns)
        alarm_clear(&consumer->alarms, ALARM_LEAK);
    else
        (void)alarm_raise(&consumer->alarms, ALARM_LEAK, now_ns, "consumer %s: %s grows with each message",
                          consumer->config->name, latest->path);
}

/* What was left out is told even where no line follows that could say so. */
static void tell_suppressed(struct consumer *consumer, int64_t now_ns)
{
    uint64_t of_handlers = limiter_take_ended(&consumer->handler_lines, now_ns);
    uint64_t of_host = limiter_take_ended(&consumer->complaints, now_ns) +
                       limiter_take_ended(&consumer->errands.complaints, now_ns) +
                       limiter_take_ended(&consumer->pool.complaints, now_ns) +
                       limiter_take_ended(&consumer->recycles.lines, now_ns);
    if (of_host > 0)
        log_info(log_message("lines that said the same of other messages and workers were left out"),
                 log_text("consumer", consumer->config->name), log_suppressed(of_host));
    if (of_handlers > 0)
        log_info(log_message("lines of handlers were left out: log.handler_lines a second are written"),
                 log_text("consumer", consumer->config->name), log_suppressed(of_handlers));
}

static void judge_consumer(struct consumer *consumer, int64_t now_ns)
{
    look_at_prefetch(consumer, now_ns);
    look_at_queue(consumer, now_ns);
    look_at_dead_letters(consumer, now_ns);
    look_at_leaks(consumer, now_ns);
    tell_suppressed(consumer, now_ns);
}

static int64_t percent_of(int64_t part, int64_t whole)
{
    return whole > 0 ? part * 100 / whole : 0;
}

static void tell_memory(const struct monitor *monitor, enum log_level level, const char *message)
{
    char usage[UNITS_TEXT_MAX], peak[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX];
    log_write(level,
              log_fields(log_message(message), log_text("status", status_name(monitor->status)),
                         log_text("usage", units_format_size(monitor->usage_bytes, usage)),
                         log_text("peak", units_format_size(monitor->peak_bytes, peak)),
                         log_text("limit", units_format_size(monitor->critical_bytes, limit)),
                         log_integer("percent", percent_of(monitor->usage_bytes, monitor->critical_bytes))));
}

/* It may still be at messages that it had got before it was asked. */
static bool may_still_recycle(const struct worker_process *worker)
{
    return worker->recycles == worker->relief_after &&
           clock_now_ns() < worker->relief_ns + worker->patience_ns;
}

/* First a new state, which costs microseconds; where that did not help, a new process. */
static void relieve(const struct monitor *monitor, const struct look *look)
{
    struct worker_process *worker = look->largest;
    if (!worker || worker->state != WORKER_READY) /* it starts or ends anyway */
        return;
    if (worker->relief_ns < monitor->critical_ns) {
        worker_recycle(worker);
        worker->relief_ns = clock_now_ns();
        worker->relief_after = worker->recycles;
    } else if (!may_still_recycle(worker)) {
        pool_replace(&look->largest_of->pool, worker, "memory is critical and it is the largest");
    }
}

static void warn_of_memory(struct monitor *monitor, bool risen)
{
    bool critical = monitor->status == MEMORY_CRITICAL;
    const char *words =
        critical ? "memory is critical; the largest worker is recycled" : "memory is over memory.warning";
    char usage[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX];
    bool due = alarm_raise(&monitor->alarms, ALARM_MEMORY, clock_now_ns(), "%s: %s of %s", words,
                           units_format_size(monitor->usage_bytes, usage),
                           units_format_size(monitor->critical_bytes, limit));
    if (due || risen)
        tell_memory(monitor, critical ? LOG_ERROR : LOG_WARNING, words);
}

static void judge_memory(struct monitor *monitor, const struct look *look)
{
    enum memory_status before = monitor->status;
    monitor->usage_bytes = look->total_bytes;
    if (monitor->usage_bytes > monitor->peak_bytes)
        monitor->peak_bytes = monitor->usage_bytes;
    monitor->status = look->total_bytes >= monitor->critical_bytes  ? MEMORY_CRITICAL
                      : look->total_bytes >= monitor->warning_bytes ? MEMORY_WARNING
                                                                    : MEMORY_NORMAL;
    if (monitor->status == MEMORY_CRITICAL && before != MEMORY_CRITICAL)
        monitor->critical_ns = clock_now_ns();
    if (monitor->status == MEMORY_CRITICAL)
        relieve(monitor, look);
    if (monitor->status != MEMORY_NORMAL) {
        warn_of_memory(monitor, monitor->status > before);
        return;
    }
    alarm_clear(&monitor->alarms, ALARM_MEMORY);
    if (before != MEMORY_NORMAL)
        tell_memory(monitor, LOG_INFO, "memory is back to normal");
}

/* Handlers ask for it; see memory.check. */
static void show_status(const struct program *program)
{
    for (struct member *member = program->members; member; member = member->next) {
        struct worker_process *worker;
        for (unsigned i = 0; (worker = pool_process(&member->consumer->pool, i)); i++)
            atomic_store(&worker->board->memory_status, (uint32_t)program->monitor.status);
    }
}

struct descriptors {
    unsigned open;
    unsigned sockets; /* among them */
};

static bool is_socket(int folder_fd, const char *name)
{
    static const char mark[] = "socket:";
    char target[sizeof mark - 1];
    ssize_t size = readlinkat(folder_fd, name, target, sizeof target);
    return size == (ssize_t)sizeof target && memcmp(target, mark, sizeof target) == 0;
}

static struct descriptors count_descriptors(void)
{
    struct descriptors count = { 0 };
    const struct dirent *entry;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return count;
    while ((entry = readdir(folder))) {
        count.open += *entry->d_name != '.';
        count.sockets += is_socket(dirfd(folder), entry->d_name);
    }
    (void)closedir(folder);
    count.open--; /* the folder itself */
    return count;
}

static void warn_near(struct monitor *monitor, enum alarm_kind kind, const char *message, uint64_t used,
                      uint64_t bound)
{
    if (used * 100 < bound * NEAR_PERCENT)
        alarm_clear(&monitor->alarms, kind);
    else if (alarm_raise(&monitor->alarms, kind, clock_now_ns(), "%s: %" PRIu64 " of %" PRIu64, message, used,
                         bound))
        log_warning(log_message(message), log_unsigned("used", used), log_unsigned("bound", bound));
}

static void look_at_resources(struct program *program, const struct look *look)
{
    struct monitor *monitor = &program->monitor;
    struct descriptors descriptors = count_descriptors();
    /* A reload doubles the workers for a moment, and each may have a successor. */
    uint64_t processes_max = 4 * (uint64_t)look->wanted;
    struct rlimit limit;
    monitor->descriptors = descriptors.open;
    bool limited = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    monitor->descriptors_max = limited ? (int64_t)limit.rlim_cur : 0;
    if (monitor->descriptors_max > 0)
        warn_near(monitor, ALARM_DESCRIPTORS, "open descriptors come near the limit of the process",
                  descriptors.open, (uint64_t)monitor->descriptors_max);
    warn_near(monitor, ALARM_SOCKETS, "there are many more sockets than workers and connections",
              descriptors.sockets, processes_max + OWN_SOCKETS_MAX + status_sockets(&program->status));
    warn_near(monitor, ALARM_PROCESSES, "there are many more worker processes than configured",
              look->processes, processes_max);
    unsigned channels = broker_channels_taken(&program->broker);
    warn_near(monitor, ALARM_CHANNELS, "channels come near broker.max_channels", channels,
              program->broker.config->max_channels);
}

/* Takes no lock: workers cannot keep the host waiting. */
static void look_at_cache(struct program *program)
{
    static const char words[] =
        "parts of the cache were emptied: a worker died in the middle of changing them, or damaged them";
    struct monitor *monitor = &program->monitor;
    int64_t now_ns = clock_now_ns();
    struct cache_stats stats;
    cache_tend(&program->cache);
    cache_read_stats(&program->cache, &stats);
    if (stats.resets != monitor->cache_resets)
        monitor->cache_reset_ns = now_ns;
    else if (now_ns - monitor->cache_reset_ns > past_ns)
        alarm_clear(&monitor->alarms, ALARM_CACHE);
    if (stats.resets != monitor->cache_resets &&
        alarm_raise(&monitor->alarms, ALARM_CACHE, now_ns, "%s", words))
        log_warning(log_message(words), log_unsigned("resets", stats.resets),
                    log_unsigned("entries", stats.entries));
    monitor->cache_resets = stats.resets;
}

static void tell_suppressed_of_outlet(struct outlet *outlet, int64_t now_ns)
{
    uint64_t lines = limiter_take_ended(&outlet->complaints, now_ns) +
                     limiter_take_ended(&outlet->moves.complaints, now_ns) +
                     limiter_take_ended(&outlet->messages.complaints, now_ns);
    if (lines > 0)
        log_info(log_message("lines that said the same of other publications were left out"),
                 log_suppressed(lines));
}

/* The log tells of it as it happens. */
static void look_at_broker(struct program *program, int64_t now_ns)
{
    tell_suppressed_of_outlet(&program->outlet, now_ns);
    struct alarms *alarms = &program->monitor.alarms;
    if (program->broker.blocked || program->outlet.broker.blocked)
        (void)alarm_raise(alarms, ALARM_BLOCKED, now_ns,
                          "the broker blocks publishers: it is short of memory or disk");
    else
        alarm_clear(alarms, ALARM_BLOCKED);
}

static void on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct program *program = watcher->data;
    int64_t now_ns = clock_now_ns();
    program->monitor.host_bytes = own_bytes(getpid());
    struct look look = { .total_bytes = program->monitor.host_bytes };
    for (struct member *member = program->members; member; member = member->next) {
        look_at_consumer(&look, member->consumer);
        judge_consumer(member->consumer, now_ns);
        ledger_tend(&member->consumer->ledger);
    }
    judge_memory(&program->monitor, &look);
    show_status(program);
    look_at_resources(program, &look);
    look_at_cache(program);
    look_at_broker(program, now_ns);
    probe_begin(&program->probe);
}

void monitor_start(struct program *program, const struct config *config)
{
    struct monitor *monitor = &program->monitor;
    double interval = (double)config->memory.interval_ns / 1e9;
    monitor->warning_bytes = config->memory.warning_bytes;
    monitor->critical_bytes = config->memory.critical_bytes;
    ev_timer_stop(program->loop, &monitor->timer);
    ev_timer_init(&monitor->timer, on_look, interval, interval);
    monitor->timer.data = program;
    ev_timer_start(program->loop, &monitor->timer);
}

void monitor_stop(struct program *program)
{
    ev_timer_stop(program->loop, &program->monitor.timer);
}
