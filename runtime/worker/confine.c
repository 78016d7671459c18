/* Confining the worker process; see confine.h. */
#include "worker/confine.h"

#include "common/inherit.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* The socket, the board, the script's folder, a file being read, and what the C library opens for itself. */
enum { DESCRIPTORS_MAX = 32 };

/* systemd and a terminal signal the whole group, but how a worker ends is for the host to say. */
static const int ignored_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };

static bool settle_signals(struct error *error)
{
    sigset_t none;
    if (sigemptyset(&none) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot unblock a worker's signals");
    for (size_t i = 0; i < sizeof ignored_signals / sizeof ignored_signals[0]; i++) {
        if (signal(ignored_signals[i], SIG_IGN) == SIG_ERR)
            return error_set_errno(error, ERROR_FAILED, errno, "cannot ignore signal %d in a worker",
                                   ignored_signals[i]);
    }
    return true;
}

/* The host marks all it opens close-on-exec; this is the second fence, which kernels before 5.9 do not have.
 */
static bool close_others(struct error *error)
{
    if (close_range(INHERITED_END, ~0U, 0) < 0 && errno != ENOSYS && errno != EPERM)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot close what a worker has inherited");
    return true;
}

static bool lower_limit(int resource, const char *name, rlim_t most, struct error *error)
{
    const struct rlimit limit = { .rlim_cur = most, .rlim_max = most };
    if (setrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot set a worker's limit of %s", name);
    return true;
}

bool confine_process(struct error *error)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot tie a worker to its host");
    return settle_signals(error) && close_others(error) && lower_limit(RLIMIT_CORE, "core dumps", 0, error) &&
           lower_limit(RLIMIT_NOFILE, "open files", DESCRIPTORS_MAX, error);
}
