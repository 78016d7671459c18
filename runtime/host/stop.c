/* Asking a command to end; see stop.h. */
#include "host/stop.h"

#include "common/clock.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t asked;

static void on_signal(int number)
{
    (void)number;
    asked = 1;
}

/* Without SA_RESTART, so that what waits looks. */
void stop_listen(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool stop_asked(void)
{
    return asked != 0;
}

/* Between the look at `asked` and the wait no signal may be missed: both are held back until ppoll waits. */
bool stop_wait_readable(int fd, int64_t timeout_ns)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    struct timespec timeout = { .tv_sec = timeout_ns / CLOCK_NS_PER_SECOND,
                                .tv_nsec = timeout_ns % CLOCK_NS_PER_SECOND };
    sigset_t both, before;
    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGINT);
    (void)sigaddset(&both, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &both, &before);
    int count = asked ? 0 : ppoll(&ready, 1, &timeout, &before);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return count > 0;
}
