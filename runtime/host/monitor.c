/* The memory monitor; see monitor.h. */
#include "host/monitor.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "host/program.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const int64_t warning_interval_ns = 60 * CLOCK_NS_PER_SECOND;
static const int64_t stalled_ns = 30 * CLOCK_NS_PER_SECOND;

enum {
    NEAR_PERCENT = 80, /* of a bound: time to warn */
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

static bool may_warn(struct monitor *monitor, enum monitor_warning kind)
{
    int64_t now_ns = clock_now_ns();
    if (monitor->warned_ns[kind] && now_ns - monitor->warned_ns[kind] < warning_interval_ns)
        return false;
    monitor->warned_ns[kind] = now_ns;
    return true;
}

static void look_at_worker(struct look *look, struct consumer *consumer, struct worker_process *worker)
{
    int64_t bytes = own_bytes(worker->pid);
    look->total_bytes += bytes;
    look->processes++;
    if (bytes > look->largest_bytes) {
        look->largest_bytes = bytes;
        look->largest = worker;
        look->largest_of = consumer;
    }
    if (bytes > consumer->config->recycle.process_memory_bytes)
        pool_replace(&consumer->pool, worker, "it has grown over recycle.process_memory");
}

static void look_at_consumer(struct program *program, struct look *look, struct consumer *consumer)
{
    struct worker_process *worker;
    for (unsigned i = 0; (worker = pool_process(&consumer->pool, i)); i++)
        look_at_worker(look, consumer, worker);
    look->wanted += pool_size(&consumer->pool);
    bool stalled = ledger_unsettled(&consumer->ledger) == consumer->config->prefetch &&
                   clock_now_ns() - consumer->active_ns > stalled_ns;
    if (stalled && may_warn(&program->monitor, WARN_UNSETTLED))
        log_warning(
            log_message("the whole prefetch is unsettled and nothing moves: handlers are stuck or slow"),
            log_text("queue", consumer->config->queue),
            log_unsigned("unsettled", ledger_unsettled(&consumer->ledger)),
            log_duration("seconds", clock_now_ns() - consumer->active_ns));
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

/* First a new state, which costs microseconds; where that did not help, a new process. */
static void relieve(struct monitor *monitor, const struct look *look)
{
    if (!look->largest)
        return;
    if (monitor->recycled == look->largest->pid) {
        pool_replace(&look->largest_of->pool, look->largest, "memory is critical and it is the largest");
        monitor->recycled = 0;
    } else {
        worker_recycle(look->largest);
        monitor->recycled = look->largest->pid;
    }
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
    if (monitor->status == MEMORY_CRITICAL)
        relieve(monitor, look);
    else
        monitor->recycled = 0;
    bool due = monitor->status != MEMORY_NORMAL && may_warn(monitor, WARN_MEMORY);
    if (monitor->status == MEMORY_NORMAL && before != MEMORY_NORMAL)
        tell_memory(monitor, LOG_INFO, "memory is back to normal");
    else if (monitor->status > before || due)
        tell_memory(monitor, monitor->status == MEMORY_CRITICAL ? LOG_ERROR : LOG_WARNING,
                    monitor->status == MEMORY_CRITICAL ? "memory is critical; the largest worker is recycled"
                                                       : "memory is over memory.warning");
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

static void warn_near(struct monitor *monitor, enum monitor_warning kind, const char *message, uint64_t used,
                      uint64_t bound)
{
    if (used * 100 >= bound * NEAR_PERCENT && may_warn(monitor, kind))
        log_warning(log_message(message), log_unsigned("used", used), log_unsigned("bound", bound));
}

static void look_at_resources(struct program *program, const struct look *look)
{
    struct monitor *monitor = &program->monitor;
    struct descriptors descriptors = count_descriptors();
    /* A reload doubles the workers for a moment, and each may have a successor. */
    uint64_t processes_max = 4 * (uint64_t)look->wanted;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        warn_near(monitor, WARN_DESCRIPTORS, "open descriptors come near the limit of the process",
                  descriptors.open, limit.rlim_cur);
    warn_near(monitor, WARN_SOCKETS, "there are many more sockets than workers and connections",
              descriptors.sockets, processes_max + OWN_SOCKETS_MAX);
    warn_near(monitor, WARN_PROCESSES, "there are many more worker processes than configured",
              look->processes, processes_max);
    unsigned channels = 0;
    for (unsigned i = 0; i < program->broker.config->max_channels; i++)
        channels += program->broker.channels[i].owner != NULL;
    warn_near(monitor, WARN_CHANNELS, "channels come near broker.max_channels", channels,
              program->broker.config->max_channels);
}

/* Takes no lock: workers cannot keep the host waiting. */
static void look_at_cache(struct program *program)
{
    struct monitor *monitor = &program->monitor;
    struct cache_stats stats;
    cache_tend(&program->cache);
    cache_read_stats(&program->cache, &stats);
    if (stats.resets == monitor->cache_resets || !may_warn(monitor, WARN_CACHE))
        return;
    monitor->cache_resets = stats.resets;
    log_warning(log_message("parts of the cache were emptied: a worker died in the middle of changing them, "
                            "or damaged them"),
                log_unsigned("resets", stats.resets), log_unsigned("entries", stats.entries));
}

static void on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct program *program = watcher->data;
    struct look look = { .total_bytes = own_bytes(getpid()) };
    for (struct member *member = program->members; member; member = member->next)
        look_at_consumer(program, &look, member->consumer);
    judge_memory(&program->monitor, &look);
    show_status(program);
    look_at_resources(program, &look);
    look_at_cache(program);
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
