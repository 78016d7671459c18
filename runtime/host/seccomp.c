/* Asking the kernel for a filter; see seccomp.h. */
#include "host/seccomp.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

/* In the child: 0, or the errno of what failed. Never returns. */
static void try_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int failure = filter ? seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1) : -ENOMEM;
    if (!failure)
        failure = seccomp_load(filter);
    /* Kernels before 4.14 cannot end a process by it, but a thread only. */
    if (!failure)
        failure = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(kexec_load), 0);
    _exit(-failure);
}

bool seccomp_probe(struct error *error)
{
    int status;
    pid_t ended;
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot start a process");
    if (pid == 0)
        try_filter();
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (ended < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot wait for a process");
    if (!WIFEXITED(status))
        return error_set(error, ERROR_FAILED, "a process that tried was killed by signal %d",
                         WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ||
           error_set_errno(error, ERROR_FAILED, WEXITSTATUS(status), "the kernel takes no filter");
}

bool seccomp_choose(enum config_seccomp wanted, bool *ret_filter, struct error *error)
{
    struct error why;
    bool filters = wanted != CONFIG_SECCOMP_OFF && seccomp_probe(&why);
    if (wanted == CONFIG_SECCOMP_REQUIRED && !filters)
        return error_set(error, ERROR_USAGE,
                         "sandbox.seccomp is \"required\", and seccomp is refused here: %s; allow it where "
                         "this runs, or give \"on\"",
                         why.text);
    if (wanted == CONFIG_SECCOMP_ON && !filters)
        log_warning(log_message("workers run without a filter of their system calls (seccomp); all else that "
                                "confines them holds"),
                    log_text("reason", why.text));
    *ret_filter = filters;
    return true;
}

const char *seccomp_library(char text[SECCOMP_TEXT_MAX])
{
    const struct scmp_version *version = seccomp_version();
    (void)snprintf(text, SECCOMP_TEXT_MAX, "libseccomp %u.%u.%u", version->major, version->minor,
                   version->micro);
    return text;
}
