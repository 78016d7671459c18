/* The periodic timer of a worker; see tick.h. */
#include "worker/tick.h"

#include "common/clock.h"

#include <errno.h>

enum {
    TICK_MS = 5,
    /* A worker with a message now and then neither re-arms for each nor wakes for long after the last. */
    IDLE_TICKS_MAX = 20,
};

/* Async-signal-safe. Arming a timer that was made can only fail by its arguments. */
static void set_period(struct tick *tick, long period_ns)
{
    const struct itimerspec spec = { .it_interval.tv_nsec = period_ns, .it_value.tv_nsec = period_ns };
    (void)timer_settime(tick->timer, 0, &spec, NULL);
    tick->armed = period_ns != 0;
}

/* Runs in the signal handler: what has to happen while a handler runs long happens here. */
static void on_tick(struct tick *tick)
{
    deadline_look(tick->deadline, clock_now_ns());
    bool sent = link_send_waiting(tick->link);
    if (sent || tick->working)
        tick->idle = 0;
    else if (++tick->idle >= IDLE_TICKS_MAX)
        set_period(tick, 0);
}

static void on_alarm(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    /* Another process may send SIGALRM too, and then there is no pointer in it. */
    if (info->si_code == SI_TIMER)
        on_tick(info->si_value.sival_ptr);
    errno = saved;
}

bool tick_open(struct tick *tick, struct link *link, struct deadline *deadline, struct error *error)
{
    struct sigaction action = { .sa_sigaction = on_alarm, .sa_flags = SA_RESTART | SA_SIGINFO };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
                              .sigev_signo = SIGALRM,
                              .sigev_value.sival_ptr = tick };
    *tick = (struct tick){ .deadline = deadline };
    if (sigemptyset(&action.sa_mask) < 0 || sigaction(SIGALRM, &action, NULL) < 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &tick->timer) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot make a worker's timer");
    tick->link = link;
    return true;
}

void tick_close(struct tick *tick)
{
    (void)signal(SIGALRM, SIG_IGN); /* first: a tick may be pending */
    if (tick->link)
        (void)timer_delete(tick->timer);
    tick->link = NULL;
}

void tick_work(struct tick *tick)
{
    tick->working = 1; /* first: from here on the signal handler does not disarm */
    tick->idle = 0;
    if (!tick->armed)
        set_period(tick, TICK_MS * (long)CLOCK_NS_PER_MS);
}

void tick_rest(struct tick *tick)
{
    tick->working = 0;
}
