/* The families of /metrics: a table for each kind of subject, and the few that have labels of their own. */
#include "host/status/metrics.h"

#include "common/clock.h"
#include "common/log.h"
#include "host/program.h"
#include "host/ruling.h"
#include "host/status/health.h"
#include "host/status/prometheus.h"

#include <math.h>
#include <stdio.h>

/* What a sample is of; of a table about the program only the first part is valid, and so on. */
struct subject {
    const struct program *program;
    struct publisher_counts publishing;
    struct cache_stats cache;
    const struct consumer *consumer;
    const struct worker_process *worker;
};

struct metric {
    const char *name;
    const char *type;
    const char *help;
    double (*value)(const struct subject *subject);
};

/* Values */

static double known(bool is_known, int64_t value)
{
    return is_known ? (double)value : (double)NAN;
}

/* What the monitor finds is not known before its first look. */
static double looked(const struct program *program, int64_t value)
{
    return known(program->monitor.host_bytes > 0, value);
}

static double blocked_seconds(const struct program *program)
{
    return (double)(broker_blocked_ns(&program->broker) + broker_blocked_ns(&program->outlet.broker)) / 1e9;
}

static double max_length(const struct consumer *consumer)
{
    const struct declare_config *declare = &consumer->config->declare;
    return known(declare->enabled && declare->max_length > 0, declare->max_length);
}

/* Tables: METRIC(name, type, help, value), where the value is of `program`, `consumer` or `worker`. */

#define PROGRAM_METRICS(METRIC)                                                                              \
    METRIC(ready, "gauge",                                                                                   \
           "Whether the program is connected, and every consumer consumes with a ready worker: 1 or 0.",     \
           health_is_ready(program, NULL))                                                                   \
    METRIC(start_time_seconds, "gauge", "When the program started, in Unix time.", program->started_at)      \
    METRIC(memory_bytes, "gauge",                                                                            \
           "Resident memory of the host and all its workers, without what they share; large messages on "    \
           "their way once.",                                                                                \
           looked(program, program->monitor.usage_bytes))                                                    \
    METRIC(memory_peak_bytes, "gauge", "The most that moonrabbit_memory_bytes has been.",                    \
           looked(program, program->monitor.peak_bytes))                                                     \
    METRIC(memory_warning_bytes, "gauge", "The configured memory.warning.", program->monitor.warning_bytes)  \
    METRIC(memory_critical_bytes, "gauge", "The configured memory.critical.",                                \
           program->monitor.critical_bytes)                                                                  \
    METRIC(memory_status, "gauge", "0: normal, 1: over memory.warning, 2: over memory.critical.",            \
           program->monitor.status)                                                                          \
    METRIC(host_resident_bytes, "gauge", "Resident memory of the host alone, without what it shares.",       \
           looked(program, program->monitor.host_bytes))                                                     \
    METRIC(open_descriptors, "gauge", "Descriptors that the host has open.",                                 \
           looked(program, program->monitor.descriptors))                                                    \
    METRIC(max_descriptors, "gauge", "Descriptors that it may have open.",                                   \
           looked(program, program->monitor.descriptors_max))                                                \
    METRIC(consuming_connection_up, "gauge", "Whether the connection that consumes is up: 1 or 0.",          \
           broker_is_up(&program->broker))                                                                   \
    METRIC(consuming_connection_reconnects_total, "counter", "How often it came back after it was lost.",    \
           program->broker.reconnects)                                                                       \
    METRIC(publishing_connection_up, "gauge", "Whether the connection that publishes is up: 1 or 0.",        \
           broker_is_up(&program->outlet.broker))                                                            \
    METRIC(publishing_connection_reconnects_total, "counter", "How often it came back after it was lost.",   \
           program->outlet.broker.reconnects)                                                                \
    METRIC(channels, "gauge", "Channels of consumers that are in use.",                                      \
           broker_channels_taken(&program->broker))                                                          \
    METRIC(max_channels, "gauge", "The configured broker.max_channels.", program->broker.channel_count)      \
    METRIC(blocked, "gauge", "Whether the broker blocks publishers: 1 or 0.",                                \
           program->broker.blocked || program->outlet.broker.blocked)                                        \
    METRIC(blocked_seconds_total, "counter", "How long it has blocked them.", blocked_seconds(program))      \
    METRIC(published_total, "counter",                                                                       \
           "Messages published: by handlers, as retries and as dead letters; again ones count again.",       \
           subject->publishing.published)                                                                    \
    METRIC(confirmed_total, "counter", "Of those, how many the broker has confirmed.",                       \
           subject->publishing.confirmed)                                                                    \
    METRIC(returned_total, "counter", "Of those, how many no queue took.", subject->publishing.returned)     \
    METRIC(nacked_total, "counter", "Of those, how many the broker refused by basic.nack.",                  \
           subject->publishing.refused)                                                                      \
    METRIC(unconfirmed, "gauge", "Messages published that the broker has not answered yet.",                 \
           outlet_unconfirmed(&program->outlet))                                                             \
    METRIC(cache_entries, "gauge", "Entries in the cache.", subject->cache.entries)                          \
    METRIC(cache_max_entries, "gauge", "Entries that it can hold.", subject->cache.capacity_entries)         \
    METRIC(cache_bytes, "gauge", "Bytes of the cache in use.", subject->cache.bytes)                         \
    METRIC(cache_max_bytes, "gauge", "Bytes that entries can take.", subject->cache.capacity_bytes)          \
    METRIC(cache_hits_total, "counter", "Lookups that found an entry.", subject->cache.hits)                 \
    METRIC(cache_misses_total, "counter", "Lookups that found none.", subject->cache.misses)                 \
    METRIC(cache_evictions_total, "counter", "Entries that went for others before their time.",              \
           subject->cache.evictions)                                                                         \
    METRIC(cache_expired_total, "counter", "Entries whose time was over.", subject->cache.expired)           \
    METRIC(cache_resets_total, "counter",                                                                    \
           "Parts of the cache that were emptied, since a worker had died while changing them or damaged "   \
           "them.",                                                                                          \
           subject->cache.resets)                                                                            \
    METRIC(log_lines_dropped_total, "counter",                                                               \
           "Log lines dropped, since the reader of the log was too slow.", log_dropped())

#define CONSUMER_METRICS(METRIC)                                                                             \
    METRIC(deliveries_total, "counter", "Messages that the broker delivered.", consumer->counts.delivered)   \
    METRIC(redeliveries_total, "counter", "Of those, how many it marked as redelivered.",                    \
           consumer->counts.redelivered)                                                                     \
    METRIC(acked_total, "counter", "Deliveries acked after their handler succeeded.",                        \
           consumer->counts.acked)                                                                           \
    METRIC(retries_total, "counter", "Deliveries moved to a delay queue.", consumer->counts.retried)         \
    METRIC(requeued_total, "counter", "Deliveries sent back to the queue.", consumer->counts.requeued)       \
    METRIC(rejected_total, "counter", "Deliveries rejected, for want of a dead-letter queue.",               \
           consumer->counts.rejected)                                                                        \
    METRIC(dead_letters_total, "counter", "Deliveries moved to the dead-letter queue.",                      \
           consumer->counts.dead)                                                                            \
    METRIC(stale_results_total, "counter",                                                                   \
           "Results of handlers that came after their channel had gone, and were dropped.",                  \
           consumer->counts.stale)                                                                           \
    METRIC(deadline_kills_total, "counter",                                                                  \
           "Workers killed, since a message ran past limits.deadline and limits.grace.",                     \
           consumer->counts.deadline_kills)                                                                  \
    METRIC(worker_deaths_total, "counter", "Workers that died.", consumer->counts.worker_deaths)             \
    METRIC(process_replacements_total, "counter", "Worker processes replaced for their memory.",             \
           consumer->pool.replaced)                                                                          \
    METRIC(prefetch, "gauge", "The configured prefetch.", consumer->config->prefetch)                        \
    METRIC(unacked, "gauge", "Deliveries that the broker has no answer to.",                                 \
           ledger_in_use(&consumer->ledger))                                                                 \
    METRIC(in_flight, "gauge", "Of those, how many are with workers.", consumer->ledger.dispatched)          \
    METRIC(held, "gauge", "Of those, how many wait for a worker.", consumer->ledger.held.count)              \
    METRIC(publishing, "gauge", "Of those, how many wait for a confirm.", consumer->ledger.publishing)       \
    METRIC(leak_suspects, "gauge", "Variables of handlers that are suspected of leaking.",                   \
           consumer->leaks.count)                                                                            \
    METRIC(queue_messages, "gauge", "Messages in the queue, ready to be delivered.",                         \
           known(consumer->queue.known, consumer->queue.messages))                                           \
    METRIC(queue_consumers, "gauge", "Consumers of the queue, of all programs.",                             \
           known(consumer->queue.known, consumer->queue.consumers))                                          \
    METRIC(queue_max_messages, "gauge", "The configured declare.max_length.", max_length(consumer))          \
    METRIC(dead_letter_messages, "gauge", "Messages in the dead-letter queue.",                              \
           known(consumer->dead_letters.known, consumer->dead_letters.messages))

#define WORKER_METRICS(METRIC)                                                                               \
    METRIC(worker_up, "gauge", "Whether the worker is ready: 1 or 0.", worker->state == WORKER_READY)        \
    METRIC(worker_heap_bytes, "gauge", "Lua heap of the worker.", atomic_load(&worker->board->heap_bytes))   \
    METRIC(worker_heap_peak_bytes, "gauge", "The most that its Lua state has had.",                          \
           atomic_load(&worker->board->heap_peak_bytes))                                                     \
    METRIC(worker_heap_limit_bytes, "gauge", "The configured limits.memory.",                                \
           consumer->config->limits.memory_bytes)                                                            \
    METRIC(worker_resident_bytes, "gauge", "Resident memory of the worker, without what it shares.",         \
           known(worker->resident_bytes > 0, worker->resident_bytes))                                        \
    METRIC(worker_in_flight, "gauge", "Deliveries that it has and has not answered.", worker->unanswered)    \
    METRIC(worker_handout, "gauge", "Deliveries that it is given ahead, at most.",                           \
           handout_window(worker->service_ns, worker->concurrency))

#define VALUE(name, type, help, expression)                                                                  \
    static double value_of_##name(const struct subject *subject)                                             \
    {                                                                                                        \
        const struct program *program = subject->program;                                                    \
        const struct consumer *consumer = subject->consumer;                                                 \
        const struct worker_process *worker = subject->worker;                                               \
        (void)program, (void)consumer, (void)worker;                                                         \
        return (double)(expression);                                                                         \
    }
#define ROW(name, type, help, expression) { "moonrabbit_" #name, type, help, value_of_##name },

PROGRAM_METRICS(VALUE)
CONSUMER_METRICS(VALUE)
WORKER_METRICS(VALUE)

static const struct metric program_metrics[] = { PROGRAM_METRICS(ROW){ 0 } };
static const struct metric consumer_metrics[] = { CONSUMER_METRICS(ROW){ 0 } };
static const struct metric worker_metrics[] = { WORKER_METRICS(ROW){ 0 } };

/* The program */

static void put_program(struct buffer *to, const struct subject *subject)
{
    static const struct prometheus_label none[PROMETHEUS_LABELS_MAX] = { { 0 } };
    for (const struct metric *metric = program_metrics; metric->name; metric++) {
        prometheus_family(to, metric->name, metric->type, metric->help);
        prometheus_sample(to, metric->name, "", none, metric->value(subject));
    }
}

static void put_build(struct buffer *to)
{
    static const char name[] = "moonrabbit_build_info";
    const struct prometheus_label labels[PROMETHEUS_LABELS_MAX] = { { "version", MOONRABBIT_VERSION } };
    prometheus_family(to, name, "gauge", "The version of this program, in a label; always 1.");
    prometheus_sample(to, name, "", labels, 1);
}

static bool is_raised(const struct program *program, enum alarm_kind kind)
{
    bool raised = alarm_is_raised(&program->monitor.alarms, kind);
    for (const struct member *member = program_next_shown(program, NULL); member;
         member = program_next_shown(program, member))
        raised = raised || alarm_is_raised(&member->consumer->alarms, kind);
    return raised;
}

static void put_alarms(struct buffer *to, const struct program *program)
{
    static const char name[] = "moonrabbit_alarm";
    prometheus_family(to, name, "gauge", "Whether the monitor warns of this: 1 or 0.");
    for (int kind = 0; kind < ALARM_KINDS; kind++) {
        const struct prometheus_label labels[PROMETHEUS_LABELS_MAX] = {
            { "reason", alarm_name((enum alarm_kind)kind) },
        };
        prometheus_sample(to, name, "", labels, is_raised(program, (enum alarm_kind)kind));
    }
}

/* Consumers: a family has the samples of all of them together. */

/* The labels of every sample of a consumer, and one more where `name` is not NULL. */
struct labels {
    struct prometheus_label of[PROMETHEUS_LABELS_MAX];
};

static struct labels labels_of(const struct consumer *consumer, const char *name, const char *value)
{
    return (struct labels){ {
        { "consumer", consumer->config->name },
        { "queue", consumer->config->queue },
        { name, value },
    } };
}

static void put_consumers(struct buffer *to, struct subject subject)
{
    for (const struct metric *metric = consumer_metrics; metric->name; metric++) {
        prometheus_family(to, metric->name, metric->type, metric->help);
        for (const struct member *member = program_next_shown(subject.program, NULL); member;
             member = program_next_shown(subject.program, member)) {
            subject.consumer = member->consumer;
            const struct labels labels = labels_of(subject.consumer, NULL, NULL);
            prometheus_sample(to, metric->name, "", labels.of, metric->value(&subject));
        }
    }
}

static void put_workers_of(struct buffer *to, struct subject subject, const struct metric *metric)
{
    const struct worker_set *set = &subject.consumer->pool.active;
    char number[16];
    for (unsigned i = 0; i < set->count; i++) {
        subject.worker = set->slots[i].worker;
        if (!subject.worker)
            continue;
        (void)snprintf(number, sizeof number, "%u", i + 1);
        const struct labels labels = labels_of(subject.consumer, "worker", number);
        prometheus_sample(to, metric->name, "", labels.of, metric->value(&subject));
    }
}

static void put_workers(struct buffer *to, struct subject subject)
{
    for (const struct metric *metric = worker_metrics; metric->name; metric++) {
        prometheus_family(to, metric->name, metric->type, metric->help);
        for (const struct member *member = program_next_shown(subject.program, NULL); member;
             member = program_next_shown(subject.program, member)) {
            subject.consumer = member->consumer;
            put_workers_of(to, subject, metric);
        }
    }
}

/* Families of consumers with a label of their own */

static void put_verdicts(struct buffer *to, const struct consumer *consumer)
{
    static const char name[] = "moonrabbit_verdicts_total";
    for (int verdict = WIRE_ACK; verdict < WIRE_VERDICTS; verdict++) {
        if (verdict == WIRE_SKIPPED)
            continue;
        const struct labels labels =
            labels_of(consumer, "verdict", ruling_verdict_name((enum wire_verdict)verdict));
        prometheus_sample(to, name, "", labels.of, (double)consumer->counts.verdicts[verdict]);
    }
    const struct labels labels = labels_of(consumer, "verdict", "crashed");
    prometheus_sample(to, name, "", labels.of, (double)consumer->counts.crashed);
}

static void put_recycles(struct buffer *to, const struct consumer *consumer)
{
    for (int reason = WIRE_RECYCLE_NONE + 1; reason < WIRE_RECYCLE_REASONS; reason++) {
        const struct labels labels =
            labels_of(consumer, "reason", recycles_reason((enum wire_recycle_reason)reason));
        prometheus_sample(to, "moonrabbit_recycles_total", "", labels.of,
                          (double)consumer->recycles.counts[reason]);
    }
}

static void put_durations(struct buffer *to, const struct consumer *consumer)
{
    prometheus_histogram(to, "moonrabbit_handler_duration_seconds", labels_of(consumer, NULL, NULL).of,
                         &consumer->durations);
}

static void put_pauses(struct buffer *to, const struct consumer *consumer)
{
    prometheus_histogram(to, "moonrabbit_recycle_pause_seconds", labels_of(consumer, NULL, NULL).of,
                         &consumer->recycles.pauses);
}

static void put_family(struct buffer *to, const struct program *program, const char *const about[3],
                       void (*put)(struct buffer *to, const struct consumer *consumer))
{
    prometheus_family(to, about[0], about[1], about[2]);
    for (const struct member *member = program_next_shown(program, NULL); member;
         member = program_next_shown(program, member))
        put(to, member->consumer);
}

void metrics_write(const struct program *program, struct buffer *to)
{
    static const struct {
        const char *about[3]; /* name, type, help */
        void (*put)(struct buffer *to, const struct consumer *consumer);
    } families[] = {
        { { "moonrabbit_verdicts_total", "counter", "What became of messages in their handlers." },
          put_verdicts },
        { { "moonrabbit_handler_duration_seconds", "histogram",
            "How long handlers took, decoding included." },
          put_durations },
        { { "moonrabbit_recycles_total", "counter", "Lua states exchanged for new ones." }, put_recycles },
        { { "moonrabbit_recycle_pause_seconds", "histogram",
            "From the last message of a state to the readiness of the next." },
          put_pauses },
    };
    struct subject subject = { .program = program, .publishing = outlet_counts(&program->outlet) };
    cache_read_stats(&program->cache, &subject.cache);
    put_build(to);
    put_program(to, &subject);
    put_alarms(to, program);
    put_consumers(to, subject);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        put_family(to, program, families[i].about, families[i].put);
    put_workers(to, subject);
}
