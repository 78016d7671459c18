/* The dialling thread; see dial.h. */
#include "host/dial.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

struct dial {
    struct ev_loop *loop;
    ev_async finished;
    pthread_t thread;
    atomic_bool abandoned;
    const struct broker_config *config;
    unsigned channel_max;
    size_t first_url;
    dial_done *done;
    void *owner;
    /* Written by the thread, read by the loop after it has joined the thread. */
    struct dial_result result;
    struct error failures[]; /* one for each URL */
};

static void *run(void *argument)
{
    struct dial *dial = argument;
    const struct broker_config *config = dial->config;
    for (size_t i = 0; i < config->url_count && !atomic_load(&dial->abandoned); i++) {
        size_t url = (dial->first_url + i) % config->url_count;
        struct error *failure = &dial->failures[dial->result.failure_count];
        dial->result.connection = connection_dial(config, config->urls[url], dial->channel_max, failure);
        if (dial->result.connection) {
            dial->result.url = url;
            break;
        }
        dial->result.failure_count++;
    }
    ev_async_send(dial->loop, &dial->finished);
    return NULL;
}

static void dial_free(struct dial *dial)
{
    ev_async_stop(dial->loop, &dial->finished);
    free(dial);
}

static void on_finished(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct dial *dial = watcher->data;
    (void)pthread_join(dial->thread, NULL);
    dial->done(dial->owner, &dial->result);
    dial_free(dial);
}

/* Signals are the loop's: the thread is started with all of them blocked. */
static int start_thread(struct dial *dial)
{
    sigset_t all, before;
    sigfillset(&all);
    int status = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (status)
        return status;
    status = pthread_create(&dial->thread, NULL, run, dial);
    int restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status ? status : restored;
}

struct dial *dial_start(struct ev_loop *loop, const struct broker_config *config, unsigned channel_max,
                        size_t first_url, dial_done *done, void *owner, struct error *error)
{
    struct dial *dial = calloc(1, sizeof *dial + config->url_count * sizeof dial->failures[0]);
    if (!dial) {
        error_set(error, ERROR_FAILED, "no memory to connect to the broker");
        return NULL;
    }
    dial->loop = loop;
    dial->config = config;
    dial->channel_max = channel_max;
    dial->first_url = first_url;
    dial->done = done;
    dial->owner = owner;
    dial->result.failures = dial->failures;
    ev_async_init(&dial->finished, on_finished);
    dial->finished.data = dial;
    ev_async_start(loop, &dial->finished);
    int status = start_thread(dial);
    if (status) {
        error_set_errno(error, ERROR_FAILED, status, "cannot start a thread to connect to the broker");
        dial_free(dial);
        return NULL;
    }
    return dial;
}

void dial_abandon(struct dial *dial)
{
    if (!dial)
        return;
    atomic_store(&dial->abandoned, true);
    (void)pthread_join(dial->thread, NULL);
    connection_free(dial->result.connection);
    dial_free(dial);
}
