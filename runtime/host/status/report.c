/* Writing /status; see report.h. Each function writes what its name says as a member, or as an element. */
#include "host/status/report.h"

#include "common/clock.h"
#include "host/json.h"
#include "host/program.h"
#include "host/ruling.h"
#include "host/status/health.h"

#include <time.h>
#include <unistd.h>

/* Times */

static double unix_now(void)
{
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What happened at this time of the monotonic clock. */
static void moment(struct buffer *to, const char *name, int64_t at_ns)
{
    int64_t ago_ms = (clock_now_ns() - at_ns) / CLOCK_NS_PER_MS;
    json_double(to, name, (double)(int64_t)(unix_now() * 1000 - (double)ago_ms) / 1000);
}

static void known_unsigned(struct buffer *to, const char *name, uint64_t number, bool known)
{
    if (known)
        json_unsigned(to, name, number);
    else
        json_null(to, name);
}

/* The program */

static void put_alarms(struct buffer *to, const struct alarms *alarms, const char *consumer)
{
    for (int kind = 0; kind < ALARM_KINDS; kind++) {
        const struct alarm *alarm = &alarms->of[kind];
        if (!alarm->raised)
            continue;
        json_open(to, NULL, '{');
        json_text(to, "name", alarm_name((enum alarm_kind)kind));
        json_text(to, "consumer", consumer);
        json_text(to, "text", alarm->text);
        moment(to, "since", alarm->since_ns);
        json_close(to, '}');
    }
}

static void put_all_alarms(struct buffer *to, const struct program *program)
{
    json_open(to, "alarms", '[');
    put_alarms(to, &program->monitor.alarms, NULL);
    for (const struct member *member = program_next_shown(program, NULL); member;
         member = program_next_shown(program, member))
        put_alarms(to, &member->consumer->alarms, member->consumer->config->name);
    json_close(to, ']');
}

static void put_memory(struct buffer *to, const struct monitor *monitor)
{
    static const char *const names[] = { "normal", "warning", "critical" };
    bool looked = monitor->host_bytes > 0;
    json_open(to, "memory", '{');
    json_text(to, "status", names[monitor->status]);
    known_unsigned(to, "usage", (uint64_t)monitor->usage_bytes, looked);
    known_unsigned(to, "peak", (uint64_t)monitor->peak_bytes, looked);
    json_integer(to, "warning", monitor->warning_bytes);
    json_integer(to, "critical", monitor->critical_bytes);
    known_unsigned(to, "host_rss", (uint64_t)monitor->host_bytes, looked);
    json_close(to, '}');
    json_open(to, "descriptors", '{');
    known_unsigned(to, "open", monitor->descriptors, looked);
    known_unsigned(to, "limit", (uint64_t)monitor->descriptors_max, monitor->descriptors_max > 0);
    json_close(to, '}');
}

static const char *connection_state(const struct broker *broker)
{
    if (broker_is_up(broker))
        return "up";
    return broker->state == BROKER_DIALING ? "dialling" : "down";
}

static void put_connection(struct buffer *to, const struct broker *broker)
{
    json_open(to, NULL, '{');
    json_text(to, "name", broker->purpose);
    json_text(to, "state", connection_state(broker));
    json_unsigned(to, "reconnects", broker->reconnects);
    json_unsigned(to, "channels", broker_channels_taken(broker));
    json_unsigned(to, "channels_max", broker->channel_count);
    json_boolean(to, "blocked", broker->blocked);
    json_seconds(to, "blocked_seconds", broker_blocked_ns(broker));
    json_close(to, '}');
}

static void put_publishing(struct buffer *to, const struct outlet *outlet)
{
    const struct publisher_counts counts = outlet_counts(outlet);
    json_open(to, "publishing", '{');
    json_unsigned(to, "published", counts.published);
    json_unsigned(to, "confirmed", counts.confirmed);
    json_unsigned(to, "returned", counts.returned);
    json_unsigned(to, "nacked", counts.refused);
    json_unsigned(to, "unconfirmed", outlet_unconfirmed(outlet));
    json_close(to, '}');
}

static void put_cache(struct buffer *to, const struct cache *cache)
{
    struct cache_stats stats;
    cache_read_stats(cache, &stats);
    json_open(to, "cache", '{');
    json_unsigned(to, "entries", stats.entries);
    json_unsigned(to, "capacity", stats.capacity_entries);
    json_unsigned(to, "bytes", stats.bytes);
    json_unsigned(to, "memory", stats.capacity_bytes);
    json_unsigned(to, "hits", stats.hits);
    json_unsigned(to, "misses", stats.misses);
    json_unsigned(to, "evictions", stats.evictions);
    json_unsigned(to, "expired", stats.expired);
    json_unsigned(to, "resets", stats.resets);
    json_close(to, '}');
}

/* A consumer */

static void put_verdicts(struct buffer *to, const struct consumer_counts *counts)
{
    json_open(to, "verdicts", '{');
    for (int verdict = WIRE_ACK; verdict < WIRE_VERDICTS; verdict++) {
        if (verdict != WIRE_SKIPPED)
            json_unsigned(to, ruling_verdict_name((enum wire_verdict)verdict), counts->verdicts[verdict]);
    }
    json_unsigned(to, "crashed", counts->crashed);
    json_close(to, '}');
}

static void put_durations(struct buffer *to, const struct histogram *durations)
{
    uint64_t count = 0;
    json_open(to, "duration", '{');
    json_unsigned(to, "count", durations->count);
    json_double(to, "sum", (double)durations->sum_ns / 1e9);
    json_open(to, "buckets", '[');
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        count += durations->counts[i];
        json_open(to, NULL, '{');
        if (i < HISTOGRAM_BOUNDS)
            json_seconds(to, "le", histogram_bounds_ns[i]);
        else
            json_null(to, "le");
        json_unsigned(to, "count", count);
        json_close(to, '}');
    }
    json_close(to, ']');
    json_close(to, '}');
}

static void put_queues(struct buffer *to, const struct consumer *consumer)
{
    const struct consumer_config *config = consumer->config;
    int64_t most = config->declare.enabled ? config->declare.max_length : -1;
    known_unsigned(to, "queue_depth", consumer->queue.messages, consumer->queue.known);
    known_unsigned(to, "queue_max_length", (uint64_t)most, most > 0);
    known_unsigned(to, "queue_consumers", consumer->queue.consumers, consumer->queue.known);
    json_text(to, "dead_letter_queue", config->dead_letter);
    known_unsigned(to, "dead_letter_depth", consumer->dead_letters.messages, consumer->dead_letters.known);
}

static void put_recycle(struct buffer *to, const struct recycle_event *event)
{
    json_open(to, NULL, '{');
    moment(to, "time", event->time_ns);
    json_unsigned(to, "worker", event->lane + 1);
    json_text(to, "reason", recycles_reason((enum wire_recycle_reason)event->told.reason));
    json_unsigned(to, "messages", event->told.messages);
    json_seconds(to, "age", event->told.age_ns);
    json_unsigned(to, "heap", event->told.heap_bytes);
    json_unsigned(to, "peak", event->told.peak_bytes);
    json_seconds(to, "pause", event->told.pause_ns);
    json_close(to, '}');
}

/* The recent ones in the order in which they were told. */
static void put_recycles(struct buffer *to, const struct recycles *recycles)
{
    json_open(to, "recycles", '{');
    for (int reason = WIRE_RECYCLE_NONE + 1; reason < WIRE_RECYCLE_REASONS; reason++)
        json_unsigned(to, recycles_reason((enum wire_recycle_reason)reason), recycles->counts[reason]);
    json_double(to, "pause_sum", (double)recycles->pauses.sum_ns / 1e9);
    json_open(to, "recent", '[');
    for (unsigned before = RECYCLES_KEPT; before-- > 0;) {
        const struct recycle_event *event = recycles_recent(recycles, before);
        if (event)
            put_recycle(to, event);
    }
    json_close(to, ']');
    json_close(to, '}');
}

static void put_worker(struct buffer *to, const struct consumer *consumer,
                       const struct worker_process *worker)
{
    static const char *const states[] = { "starting", "ready", "stopping", "stopping" };
    bool looked = worker->resident_bytes > 0;
    json_open(to, NULL, '{');
    json_unsigned(to, "worker", worker->lane + 1);
    json_integer(to, "pid", worker->pid);
    json_text(to, "state", states[worker->state]);
    json_unsigned(to, "heap", atomic_load(&worker->board->heap_bytes));
    json_unsigned(to, "heap_peak", atomic_load(&worker->board->heap_peak_bytes));
    json_integer(to, "heap_limit", consumer->config->limits.memory_bytes);
    known_unsigned(to, "rss", (uint64_t)worker->resident_bytes, looked);
    json_unsigned(to, "messages", worker->answered);
    json_unsigned(to, "in_flight", worker->unanswered);
    json_unsigned(to, "handout", handout_window(worker->service_ns, worker->concurrency));
    json_unsigned(to, "recycles", worker->recycles);
    moment(to, "started", worker->started_ns);
    json_close(to, '}');
}

static void put_workers(struct buffer *to, const struct consumer *consumer)
{
    const struct worker_set *set = &consumer->pool.active;
    json_open(to, "workers", '[');
    for (unsigned i = 0; i < set->count; i++) {
        if (set->slots[i].worker)
            put_worker(to, consumer, set->slots[i].worker);
    }
    json_close(to, ']');
}

static void put_leaks(struct buffer *to, const struct leaks *leaks)
{
    json_open(to, "leaks", '[');
    for (unsigned i = 0; i < leaks->count; i++) {
        const struct leak_suspect *suspect = &leaks->suspects[i];
        json_open(to, NULL, '{');
        json_text(to, "path", suspect->path);
        json_text(to, "kind", suspect->kind);
        json_unsigned(to, "entries", suspect->entries);
        json_double(to, "entries_per_message", suspect->entries_per_message);
        json_unsigned(to, "bytes", suspect->bytes);
        json_double(to, "bytes_per_message", suspect->bytes_per_message);
        json_text(to, "sample", suspect->sample);
        json_unsigned(to, "worker", suspect->lane + 1);
        moment(to, "time", suspect->found_ns);
        json_close(to, '}');
    }
    json_close(to, ']');
}

static const char *consumer_phase(enum consumer_phase phase)
{
    static const char *const names[] = { "running", "draining", "flushing", "closing", "ended" };
    return names[phase];
}

static void put_counts(struct buffer *to, const struct consumer *consumer)
{
    const struct consumer_counts *counts = &consumer->counts;
    json_unsigned(to, "prefetch", consumer->config->prefetch);
    json_unsigned(to, "unacked", ledger_in_use(&consumer->ledger));
    json_unsigned(to, "in_flight", consumer->ledger.dispatched);
    json_unsigned(to, "held", consumer->ledger.held.count);
    json_unsigned(to, "publishing", consumer->ledger.publishing);
    json_unsigned(to, "delivered", counts->delivered);
    json_unsigned(to, "redelivered", counts->redelivered);
    json_unsigned(to, "stale", counts->stale);
    put_verdicts(to, counts);
    json_unsigned(to, "acked", counts->acked);
    json_unsigned(to, "requeued", counts->requeued);
    json_unsigned(to, "retries", counts->retried);
    json_unsigned(to, "dead_letters", counts->dead);
    json_unsigned(to, "rejected", counts->rejected);
}

static void put_consumer(struct buffer *to, const struct consumer *consumer)
{
    json_open(to, NULL, '{');
    json_text(to, "name", consumer->config->name);
    json_text(to, "queue", consumer->config->queue);
    json_text(to, "phase", consumer_phase(consumer->phase));
    put_counts(to, consumer);
    put_durations(to, &consumer->durations);
    put_queues(to, consumer);
    put_recycles(to, &consumer->recycles);
    json_unsigned(to, "deadline_kills", consumer->counts.deadline_kills);
    json_unsigned(to, "worker_deaths", consumer->counts.worker_deaths);
    json_unsigned(to, "process_replacements", consumer->pool.replaced);
    put_workers(to, consumer);
    put_leaks(to, &consumer->leaks);
    json_close(to, '}');
}

void report_write(const struct program *program, struct buffer *to)
{
    static const char *const phases[] = { "starting", "running", "stopping", "stopping" };
    json_open(to, NULL, '{');
    json_text(to, "version", MOONRABBIT_VERSION);
    json_text(to, "host", program->context.host);
    json_integer(to, "pid", getpid());
    json_double(to, "time", (double)(int64_t)(unix_now() * 1000) / 1000);
    json_seconds(to, "uptime", clock_now_ns() - program->started_ns);
    json_text(to, "phase", phases[program->phase]);
    json_boolean(to, "ready", health_is_ready(program, NULL));
    put_all_alarms(to, program);
    put_memory(to, &program->monitor);
    json_open(to, "connections", '[');
    put_connection(to, &program->broker);
    put_connection(to, &program->outlet.broker);
    json_close(to, ']');
    put_publishing(to, &program->outlet);
    put_cache(to, &program->cache);
    json_open(to, "consumers", '[');
    for (const struct member *member = program_next_shown(program, NULL); member;
         member = program_next_shown(program, member))
        put_consumer(to, member->consumer);
    json_close(to, ']');
    json_close(to, '}');
    (void)buffer_append_text(to, "\n");
}
