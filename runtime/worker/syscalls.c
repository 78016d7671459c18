/* The list of system calls; see syscalls.h. */
#include "worker/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include <seccomp.h>

#define END (-1) /* no call has this number: those that an architecture has not are below -100 */

/* Looking up calls by a tree: about 7 comparisons for each, instead of one for each call in the list. */
enum { OPTIMIZE_AS_TREE = 2 };

static const int allowed[] = {
    /* the socket, the script's files, last words on standard error */
    SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(pread64),
    SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
    SCMP_SYS(statx), SCMP_SYS(lseek),
    /* memory; what makes it executable is among the conditional ones */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* clocks, and the tick */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(getrusage), SCMP_SYS(timer_settime), SCMP_SYS(timer_gettime), SCMP_SYS(timer_delete),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
    SCMP_SYS(sigaltstack),
    /* what the C library and LuaJIT need for themselves */
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid),
    SCMP_SYS(exit), SCMP_SYS(exit_group), END
};

/* Of each group all ways there are: who is kept from one of them tries the next. */
static const int deadly[] = {
    /* programs and processes */
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone3),
    SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(personality), SCMP_SYS(setuid), SCMP_SYS(setgid),
    SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups),
    SCMP_SYS(capset),
    /* other processes */
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kill), SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal), SCMP_SYS(kcmp),
    /* the network; what clients need of it is below */
    SCMP_SYS(socketpair), SCMP_SYS(socketcall), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept),
    SCMP_SYS(accept4),
    /* the kernel */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(memfd_create), END
};

/* Where handlers may not use the network, deadly; where they may, allowed: sockets of the Internet only. */
static const int of_clients[] = { SCMP_SYS(socket), SCMP_SYS(connect), END };
static const int client[] = {
    SCMP_SYS(connect),     SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(sendmsg),    SCMP_SYS(recvmsg),    SCMP_SYS(shutdown),
    SCMP_SYS(fcntl),       SCMP_SYS(ioctl),      SCMP_SYS(uname),      SCMP_SYS(getuid),
    SCMP_SYS(geteuid),     SCMP_SYS(getgid),     SCMP_SYS(getegid),    END,
};

/* A call that is allowed where one of its arguments is as it should be. */
struct condition {
    int call;
    struct scmp_arg_cmp argument;
};

#define WHERE(number, mask, value)                                                                           \
    {                                                                                                        \
        .arg = (number), .op = SCMP_CMP_MASKED_EQ, .datum_a = (mask), .datum_b = (value)                     \
    }

enum {
    WRITING =
        O_ACCMODE | O_CREAT | O_TRUNC, /* O_RDONLY is none of them; O_TMPFILE needs O_WRONLY or O_RDWR */
    WRITE_AND_EXECUTE = PROT_WRITE | PROT_EXEC,
    SOCKET_TYPES = 0xf, /* without SOCK_CLOEXEC and SOCK_NONBLOCK */
};

/* Memory becomes executable only by mprotect and only where it is no longer writable: so LuaJIT itself does
 * it. */
static const struct condition conditions[] = {
    { SCMP_SYS(openat), WHERE(2, WRITING, O_RDONLY) },
    { SCMP_SYS(mmap), WHERE(2, PROT_EXEC, 0) },
    { SCMP_SYS(mprotect), WHERE(2, PROT_EXEC, 0) },
    { SCMP_SYS(mprotect), WHERE(2, WRITE_AND_EXECUTE, PROT_EXEC) },
    { END, WHERE(0, 0, 0) },
};

#ifdef __SANITIZE_ADDRESS__
/* AddressSanitizer reads /proc for its report, and at the end it looks for leaks from a thread that traces
 * the first one meanwhile. */
static const int allowed_besides[] = {
    SCMP_SYS(open),     SCMP_SYS(readlink),   SCMP_SYS(readlinkat),
    SCMP_SYS(getdents), SCMP_SYS(getdents64), SCMP_SYS(wait4),
    SCMP_SYS(prctl),    SCMP_SYS(getppid),    END,
};
static const struct condition conditions_besides[] = {
    { SCMP_SYS(clone), WHERE(0, CLONE_VM, CLONE_VM) },
    { SCMP_SYS(ptrace), WHERE(0, UINT32_MAX, PTRACE_ATTACH) },
    { SCMP_SYS(ptrace), WHERE(0, UINT32_MAX, PTRACE_DETACH) },
    { SCMP_SYS(ptrace), WHERE(0, UINT32_MAX, PTRACE_GETREGS) },
    { SCMP_SYS(ptrace), WHERE(0, UINT32_MAX, PTRACE_GETREGSET) },
    { SCMP_SYS(prlimit64), WHERE(2, UINT64_MAX, 0) },
    { END, WHERE(0, 0, 0) },
};
static const int deadly_besides[] = { END };
#else
static const int allowed_besides[] = { END };
static const struct condition conditions_besides[] = { { END, WHERE(0, 0, 0) } };
static const int deadly_besides[] = { SCMP_SYS(clone), SCMP_SYS(ptrace), END };
#endif

/* As all that follow: 0, or the negative errno of the first rule that could not be added. */
static int add_calls(scmp_filter_ctx filter, uint32_t action, const int *calls)
{
    int failure = 0;
    for (size_t i = 0; calls[i] != END && !failure; i++)
        failure = seccomp_rule_add(filter, action, calls[i], 0);
    return failure;
}

static int add_conditions(scmp_filter_ctx filter, const struct condition *some)
{
    int failure = 0;
    for (size_t i = 0; some[i].call != END && !failure; i++)
        failure = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, some[i].call, 1, &some[i].argument);
    return failure;
}

/* abort() signals its own thread. */
static int allow_own_signals(scmp_filter_ctx filter)
{
    const struct condition own[] = {
        { SCMP_SYS(tgkill), WHERE(0, UINT32_MAX, (scmp_datum_t)getpid()) },
        { END, WHERE(0, 0, 0) },
    };
    return add_conditions(filter, own);
}

/* To hosts of the Internet: no packet of one's own making, no Unix socket, no talk with the kernel. */
static int allow_sockets(scmp_filter_ctx filter)
{
    static const struct {
        int family;
        int type;
    } kinds[] = {
        { AF_INET, SOCK_STREAM }, { AF_INET, SOCK_DGRAM }, { AF_INET6, SOCK_STREAM }, { AF_INET6, SOCK_DGRAM }
    };
    int failure = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !failure; i++) {
        const struct scmp_arg_cmp kind[] = {
            WHERE(0, UINT32_MAX, (scmp_datum_t)kinds[i].family),
            WHERE(1, SOCKET_TYPES, (scmp_datum_t)kinds[i].type),
        };
        failure = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, kind);
    }
    return failure;
}

static int add_network(scmp_filter_ctx filter, bool network)
{
    if (!network)
        return add_calls(filter, SCMP_ACT_KILL_PROCESS, of_clients);
    int failure = add_calls(filter, SCMP_ACT_ALLOW, client);
    return failure ? failure : allow_sockets(filter);
}

static int add_rules(scmp_filter_ctx filter, bool network)
{
    int failure = add_calls(filter, SCMP_ACT_ALLOW, allowed);
    if (!failure)
        failure = add_calls(filter, SCMP_ACT_ALLOW, allowed_besides);
    if (!failure)
        failure = add_conditions(filter, conditions);
    if (!failure)
        failure = add_conditions(filter, conditions_besides);
    if (!failure)
        failure = allow_own_signals(filter);
    if (!failure)
        failure = add_calls(filter, SCMP_ACT_KILL_PROCESS, deadly);
    if (!failure)
        failure = add_calls(filter, SCMP_ACT_KILL_PROCESS, deadly_besides);
    if (!failure)
        failure = add_network(filter, network);
    return failure;
}

static int set_attributes(scmp_filter_ctx filter)
{
    static const struct {
        enum scmp_filter_attr name;
        uint32_t value;
    } attributes[] = {
        { SCMP_FLTATR_API_SYSRAWRC, 1 },
        { SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS },
        { SCMP_FLTATR_CTL_OPTIMIZE, OPTIMIZE_AS_TREE },
    };
    int failure = 0;
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0] && !failure; i++)
        failure = seccomp_attr_set(filter, attributes[i].name, attributes[i].value);
    return failure;
}

bool syscalls_filter(bool network, struct error *error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return error_set(error, ERROR_FAILED, "no memory for the filter of a worker's system calls");
    int failure = set_attributes(filter);
    if (!failure)
        failure = add_rules(filter, network);
    if (!failure)
        failure = seccomp_load(filter);
    seccomp_release(filter);
    if (failure)
        (void)error_set_errno(error, ERROR_FAILED, -failure, "cannot filter a worker's system calls");
    return failure == 0;
}
