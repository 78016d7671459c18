/* Confining the worker process; see confine.h. */
#include "worker/confine.h"

#include "common/inherit.h"
#include "worker/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/landlock.h>

/* The socket, the board, the script's folder, a file being read, and what the C library opens for itself. */
enum {
    DESCRIPTORS_MAX = 32,
    DESCRIPTORS_BORN = 4096, /* until it is known whether it may use the network */
};

#define MIB ((uint64_t)1024 * 1024)

/* Besides what is counted: machine code, the heap of the C library, and holes in Lua's own. */
#define SPARE_BYTES (256 * MIB)

/* For the network: answers that are under way are counted once more, and a connection takes buffers and the
 * state of its encryption. */
#define CONNECTION_BYTES (MIB / 2)

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

/* One that is lower already stays: nobody but root could raise it. */
static bool lower_limit(int resource, const char *name, rlim_t most, struct error *error)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) == 0 && limit.rlim_max < most)
        return true;
    limit = (struct rlimit){ .rlim_cur = most, .rlim_max = most };
    if (setrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot set a worker's limit of %s", name);
    return true;
}

/* The C library reads the time zone when it first needs it, and again at each os.time unless TZ names it:
 * once is enough, and later it could not. */
static bool read_time_zone(struct error *error)
{
    if (setenv("TZ", ":/etc/localtime", 0) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot set a worker's time zone");
    tzset();
    return true;
}

/* Valgrind is known by what it adds to the environment, in which no script has a hand. */
static bool is_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "/vgpreload_");
}

/* AddressSanitizer and valgrind reserve memory, read files, and look for leaks from a second thread. */
static bool is_watched(void)
{
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return is_under_valgrind();
#endif
}

/* Valgrind keeps descriptors of its own behind the others, and lets nobody set an end before them. */
static bool lower_limits(struct error *error)
{
    return lower_limit(RLIMIT_CORE, "core dumps", 0, error) &&
           (is_under_valgrind() || lower_limit(RLIMIT_NOFILE, "open files", DESCRIPTORS_BORN, error)) &&
           (is_watched() || lower_limit(RLIMIT_NPROC, "processes", 0, error));
}

bool confine_process(struct error *error)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot tie a worker to its host");
    return settle_signals(error) && close_others(error) && read_time_zone(error) && lower_limits(error);
}

/* The address space in use now; 0 where /proc does not tell. */
static uint64_t used_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &pages) != 1) /* NOLINT(cert-err34-c): the kernel's own number */
        pages = 0;
    (void)fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t stack_bytes(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ? 0 : limit.rlim_cur;
}

static uint64_t cache_bytes(void)
{
    struct stat cache;
    return fstat(WORKER_CACHE_FD, &cache) < 0 ? 0 : (uint64_t)cache.st_size;
}

/* Not what keeps a script to limits.memory, but the fence behind it, for memory that nobody counts. A block
 * of Lua that grows is there twice for a moment, and so is a message that is larger than the last. The
 * bounds of the configuration keep the sum far from its end. */
static bool limit_address_space(const struct wire_setup *setup, bool network, struct error *error)
{
    uint64_t used = used_bytes();
    if (used == 0)
        return true;
    if (network)
        used += setup->memory_bytes + setup->concurrency * CONNECTION_BYTES;
    uint64_t most = used + stack_bytes() + cache_bytes() + 3 * setup->memory_bytes +
                    2 * setup->message_bytes + SPARE_BYTES;
    return lower_limit(RLIMIT_AS, "address space", most, error);
}

static void allow_file(int ruleset, const char *path)
{
    struct landlock_path_beneath_attr reading = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    if (reading.parent_fd < 0)
        return;
    (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &reading, 0);
    (void)close(reading.parent_fd);
}

/* Landlock: of all files only those in the folder can be opened, to read. Where the kernel has it not, or
 * something else has used it up, the system calls alone are the fence: files can then be read that this user
 * may read, and not be written. */
static void limit_files(const struct folder *folder, const char *authorities)
{
    const struct landlock_ruleset_attr everything = {
        .handled_access_fs = 2 * LANDLOCK_ACCESS_FS_MAKE_SYM - 1, /* all that its first version knows */
    };
    const struct landlock_path_beneath_attr reading = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
        .parent_fd = folder->fd,
    };
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &everything, sizeof everything, 0);
    if (ruleset < 0)
        return;
    if (authorities) {
        allow_file(ruleset, authorities);
        allow_file(ruleset, "/etc/hosts");
    }
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &reading, 0) == 0)
        (void)syscall(SYS_landlock_restrict_self, ruleset, 0);
    (void)close(ruleset);
}

/* A descriptor for each connection, and for its predecessor that is being closed. */
static bool limit_descriptors(const struct wire_setup *setup, bool network, struct error *error)
{
    uint64_t most = DESCRIPTORS_MAX + (network ? 2 * (uint64_t)setup->concurrency + DESCRIPTORS_MAX : 0);
    return is_under_valgrind() || lower_limit(RLIMIT_NOFILE, "open files", most, error);
}

bool confine_script(const struct folder *folder, const struct wire_setup *setup, const char *authorities,
                    struct error *error)
{
    if (!limit_descriptors(setup, authorities != NULL, error))
        return false;
    if (!is_watched()) {
        if (!limit_address_space(setup, authorities != NULL, error))
            return false;
        limit_files(folder, authorities);
    }
    return !setup->seccomp || syscalls_filter(authorities != NULL, error);
}
