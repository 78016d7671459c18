/* What a confined process can still do, and what not: each case in a process of its own, which confines
 * itself as a worker does and tries one thing. See worker/confine.h and worker/syscalls.h; the host's part is
 * host/seccomp.h. */
#include "worker/confine.h"

#include "host/seccomp.h"
#include "tools.h"
#include "worker/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <linux/landlock.h>
#include <lua.h>
#include <lualib.h>
#include <seccomp.h>

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

enum {
    DONE = 0, /* it worked */
    KILLED = -1,
    KILLED_BY_ANOTHER = -2,
    UNCONFINED = -3,
    /* else the errno that it failed with */
};

#define MIB ((size_t)1024 * 1024)

static const struct wire_setup usual = { .memory_bytes = 64 * MIB,
                                         .message_bytes = 16 * MIB,
                                         .seccomp = true };

/* A folder with a script and a file beside it */

static char top[] = "/tmp/moonrabbit-confine-XXXXXX";

static void write_file(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("return 1", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **context)
{
    (void)context;
    assert_non_null(mkdtemp(top));
    assert_int_equal(chdir(top), 0);
    assert_int_equal(mkdir("handlers", 0700), 0);
    write_file("handlers/script.lua");
    write_file("secret");
    return 0;
}

static int tear_down(void **context)
{
    (void)context;
    (void)unlink("handlers/script.lua");
    (void)unlink("secret");
    (void)rmdir("handlers");
    return chdir("/") == 0 && rmdir(top) == 0 ? 0 : -1;
}

/* What is tried: each returns DONE or an errno */

static struct folder folder;
static pid_t parent;

static int result_of(long returned)
{
    return returned < 0 ? errno : DONE;
}

static int run_program(void)
{
    char program[] = "true";
    char *const arguments[] = { program, NULL };
    return result_of(execve("/bin/true", arguments, NULL));
}

static int run_opened_program(void)
{
    char program[] = "true";
    char *const arguments[] = { program, NULL };
    return result_of(execveat(folder.fd, "script.lua", arguments, NULL, 0));
}

static int start_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return result_of(pid);
}

static int start_thread(void)
{
    return result_of(syscall(SYS_clone3, NULL, 0));
}

static int open_socket(void)
{
    return result_of(socket(AF_INET, SOCK_STREAM, 0));
}

static int open_local_socket(void)
{
    return result_of(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int be_traced(void)
{
    return result_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int read_parents_memory(void)
{
    char byte;
    const struct iovec here = { .iov_base = &byte, .iov_len = 1 };
    const struct iovec there = { .iov_base = top, .iov_len = 1 };
    return result_of(process_vm_readv(parent, &here, 1, &there, 1, 0));
}

static int signal_parent(void)
{
    return result_of(kill(parent, 0));
}

static int signal_parents_thread(void)
{
    return result_of(syscall(SYS_tgkill, parent, parent, 0));
}

static int load_code_into_the_kernel(void)
{
    return result_of(syscall(SYS_bpf, 0, NULL, 0));
}

static int make_ring(void)
{
    return result_of(syscall(SYS_io_uring_setup, 1, NULL));
}

/* The way of 32-bit programs, by which a call has another number: 20 is getpid there, and writev here. */
static int call_as_another_architecture(void)
{
#ifdef __x86_64__
    long number = 20;
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
    return number == getpid() ? DONE : EINVAL;
#else
    return (int)syscall(SYS_kill, parent, 0); /* there is no such way */
#endif
}

static int change_user(void)
{
    return result_of(syscall(SYS_setuid, getuid()));
}

static int open_to_write(void)
{
    return result_of(openat(folder.fd, "script.lua", O_WRONLY));
}

static int open_to_truncate(void)
{
    return result_of(openat(folder.fd, "script.lua", O_RDONLY | O_TRUNC));
}

static int create_file(void)
{
    return result_of(openat(folder.fd, "new", O_RDONLY | O_CREAT, 0600));
}

static int create_unnamed_file(void)
{
    return result_of(open(".", O_TMPFILE | O_RDWR, 0600));
}

static int remove_file(void)
{
    return result_of(unlinkat(folder.fd, "script.lua", 0));
}

static int open_with_hidden_flags(void)
{
    return result_of(syscall(SYS_openat2, folder.fd, "script.lua", NULL, 0));
}

static int open_secret(void)
{
    return result_of(openat(AT_FDCWD, "secret", O_RDONLY));
}

static int open_memory_of_parent(void)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)parent);
    return result_of(open(path, O_RDONLY));
}

static int map(size_t size, int protection)
{
    void *mapped = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? errno : DONE;
}

static int map_writable_code(void)
{
    return map(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int map_code_of_a_file(void)
{
    int fd = openat(folder.fd, "script.lua", O_RDONLY);
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : DONE;
}

static int make_code_writable(void)
{
    void *code = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED || mprotect(code, 4096, PROT_READ | PROT_EXEC) < 0)
        return UNCONFINED;
    return result_of(mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
}

static int map_too_much(void)
{
    return map(8192 * MIB, PROT_READ | PROT_WRITE);
}

static int raise_limit(void)
{
    const struct rlimit most = { RLIM_INFINITY, RLIM_INFINITY };
    return result_of(setrlimit(RLIMIT_AS, &most));
}

static int name_process(void)
{
    return result_of(prctl(PR_SET_NAME, "other"));
}

static int give_up(void)
{
    abort();
}

static int read_script(void)
{
    struct buffer content;
    struct error error;
    bool right = folder_read_script(&folder, "script.lua", &content, &error) && content.size == 8;
    buffer_clear(&content);
    return right ? DONE : EINVAL;
}

static int use_memory(void)
{
    char *block = malloc(48 * MIB);
    if (!block)
        return ENOMEM;
    memset(block, 1, 48 * MIB);
    char *larger = realloc(block, 64 * MIB);
    free(larger ? larger : block);
    return larger ? DONE : ENOMEM;
}

static int write_last_words(void)
{
    return result_of(write(STDERR_FILENO, "", 0));
}

static int use_clocks(void)
{
    struct timespec spec;
    time_t now = time(NULL);
    struct tm parts;
    struct pollfd nothing = { .fd = -1 };
    return clock_gettime(CLOCK_MONOTONIC, &spec) == 0 && clock() >= 0 && localtime_r(&now, &parts) &&
                   mktime(&parts) == now && poll(&nothing, 1, 0) == 0
               ? DONE
               : EINVAL;
}

/* A loop that runs hot is compiled, which takes memory that can be executed. */
static int compile_a_loop(void)
{
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    bool compiled = luaL_dostring(lua, "local sum = 0 for i = 1, 100000 do sum = sum + i end "
                                       "return require('jit.util').traceinfo(1) ~= nil") == 0 &&
                    lua_toboolean(lua, -1);
    lua_close(lua);
    return compiled ? DONE : EINVAL;
}

/* Trying it */

struct act {
    const char *name;
    int (*try)(void);
    int becomes; /* DONE, KILLED or an errno */
};

/* Where handlers may use the network; else NULL. */
static const char *authorities;

static int confine_and_try(const struct act *act, const struct wire_setup *setup)
{
    struct error error;
    if (!folder_open(&folder, "handlers/script.lua", &error) || !confine_process(&error))
        return UNCONFINED;
    folder_close(&folder); /* what was open before is closed */
    if (!folder_open(&folder, "handlers/script.lua", &error) ||
        !confine_script(&folder, setup, authorities, &error))
        return UNCONFINED;
    return act->try();
}

/* Runs it in a child: what it returned, or KILLED. */
static int outcome(const struct act *act, const struct wire_setup *setup)
{
    int status;
    parent = getpid();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(confine_and_try(act, setup) & 0xff);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? KILLED : KILLED_BY_ANOTHER;
    return (signed char)WEXITSTATUS(status);
}

static int in_child(int (*try)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(try());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED_BY_ANOTHER;
}

static void check(const struct act *acts, size_t count, const struct wire_setup *setup)
{
    bool right = true;
    for (size_t i = 0; i < count; i++) {
        int becomes = outcome(&acts[i], setup);
        if (becomes != acts[i].becomes)
            print_error("%s: %d instead of %d\n", acts[i].name, becomes, acts[i].becomes);
        right = right && becomes == acts[i].becomes;
    }
    assert_true(right);
}

static void breaking_out_is_deadly(void **context)
{
    static const struct act acts[] = {
        { "a program", run_program, KILLED },
        { "an opened program", run_opened_program, KILLED },
        { "a process", start_process, SANITIZED ? EPERM : KILLED },
        { "a thread", start_thread, KILLED },
        { "a socket", open_socket, KILLED },
        { "a local socket", open_local_socket, KILLED },
        { "being traced", be_traced, SANITIZED ? EPERM : KILLED },
        { "the host's memory", read_parents_memory, KILLED },
        { "a signal to the host", signal_parent, KILLED },
        { "code in the kernel", load_code_into_the_kernel, KILLED },
        { "a ring", make_ring, KILLED },
        { "another user", change_user, KILLED },
        { "a call of another architecture", call_as_another_architecture, KILLED },
    };
    (void)context;
    check(acts, COUNT_OF(acts), &usual);
}

static int open_raw_socket(void)
{
    return result_of(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int open_kernel_socket(void)
{
    return result_of(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int open_datagram_socket(void)
{
    return result_of(socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0));
}

static int listen_to_others(void)
{
    return result_of(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
}

/* With http, a worker is a client of the Internet, and nothing more. */
static void clients_of_the_network(void **context)
{
    static const struct act acts[] = {
        { "a socket", open_socket, DONE },          { "a datagram socket", open_datagram_socket, DONE },
        { "a raw socket", open_raw_socket, EPERM }, { "a socket to the kernel", open_kernel_socket, EPERM },
        { "listening", listen_to_others, KILLED },  { "a local socket", open_local_socket, EPERM },
        { "a program", run_program, KILLED },       { "a thread", start_thread, KILLED },
        { "its script", read_script, DONE },        { "opening to write", open_to_write, EPERM },
    };
    (void)context;
    authorities = "/etc/hosts";
    check(acts, COUNT_OF(acts), &usual);
    authorities = NULL;
}

static void what_is_not_needed_is_refused(void **context)
{
    static const struct act acts[] = {
        { "opening to write", open_to_write, EPERM },
        { "opening to truncate", open_to_truncate, EPERM },
        { "making a file", create_file, EPERM },
        { "making a file without a name", create_unnamed_file, EPERM },
        { "removing a file", remove_file, EPERM },
        { "opening with hidden flags", open_with_hidden_flags, EPERM },
        { "writable code", map_writable_code, EPERM },
        { "code out of a file", map_code_of_a_file, EPERM },
        { "code made writable", make_code_writable, EPERM },
        { "a signal to the host's thread", signal_parents_thread, EPERM },
        { "a higher limit", raise_limit, EPERM },
    };
    (void)context;
    check(acts, COUNT_OF(acts), &usual);
}

static void what_a_worker_needs_works(void **context)
{
    static const struct act acts[] = {
        { "its script", read_script, DONE },      { "memory", use_memory, DONE },
        { "last words", write_last_words, DONE }, { "clocks", use_clocks, DONE },
        { "the compiler", compile_a_loop, DONE }, { "abort", give_up, KILLED_BY_ANOTHER },
    };
    (void)context;
    check(acts, COUNT_OF(acts), &usual);
}

static bool kernel_has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

/* These two fences are not for a program that AddressSanitizer watches. */
static void files_and_memory_have_an_end(void **context)
{
    static const struct act memory[] = { { "8 GiB", map_too_much, ENOMEM } };
    static const struct act files[] = {
        { "a file beside the folder", open_secret, EACCES },
        { "the host's memory", open_memory_of_parent, EACCES },
        { "the script", read_script, DONE },
    };
    struct wire_setup unfiltered = usual;
    (void)context;
    unfiltered.seccomp = false;
    if (SANITIZED)
        return;
    check(memory, COUNT_OF(memory), &usual);
    if (kernel_has_landlock()) {
        check(files, COUNT_OF(files), &usual);
        check(files, COUNT_OF(files), &unfiltered);
    }
}

static int count_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? errno : (int)limit.rlim_max;
}

static int confine_when_limited(void)
{
    static const struct act act = { "the limit", count_limit, 0 };
    const struct rlimit lower = { 16, 16 };
    struct wire_setup unfiltered = usual;
    unfiltered.seccomp = false; /* or the limits could not be asked for */
    return setrlimit(RLIMIT_NOFILE, &lower) < 0 ? UNCONFINED : confine_and_try(&act, &unfiltered);
}

static void a_lower_limit_stays(void **context)
{
    static const struct act act = { "the limit", count_limit, 32 };
    struct wire_setup unfiltered = usual;
    (void)context;
    unfiltered.seccomp = false;
    check(&act, 1, &unfiltered);
    assert_int_equal(in_child(confine_when_limited), 16);
}

static void without_a_filter_calls_are_free(void **context)
{
    static const struct act acts[] = {
        { "a socket", open_local_socket, DONE },
        { "a name", name_process, DONE },
    };
    struct wire_setup unfiltered = usual;
    (void)context;
    unfiltered.seccomp = false;
    check(acts, COUNT_OF(acts), &unfiltered);
}

/* A kernel that refuses */

/* Both ways to a filter fail from now on, as where a container forbids them. */
static bool refuse_filters(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    const struct scmp_arg_cmp by_prctl = { .arg = 0, .op = SCMP_CMP_EQ, .datum_a = PR_SET_SECCOMP };
    bool refused =
        filter && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(seccomp), 0) == 0 &&
        seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(prctl), 1, &by_prctl) == 0 &&
        seccomp_load(filter) == 0;
    seccomp_release(filter);
    return refused;
}

static int worker_is_refused(void)
{
    struct error error = { 0 };
    bool confined = folder_open(&folder, "handlers/script.lua", &error) && refuse_filters() &&
                    confine_script(&folder, &usual, NULL, &error);
    return !confined && strstr(error.text, "Permission denied") ? DONE : 1;
}

static int probe_is_refused(void)
{
    struct error error = { 0 };
    bool filters = true;
    return refuse_filters() && seccomp_choose(CONFIG_SECCOMP_ON, &filters, &error) && !filters ? DONE : 1;
}

static int required_is_refused(void)
{
    struct error error = { 0 };
    bool filters = false;
    bool chosen = refuse_filters() && seccomp_choose(CONFIG_SECCOMP_REQUIRED, &filters, &error);
    return !chosen && error.code == ERROR_USAGE && strstr(error.text, "Permission denied") ? DONE : 1;
}

static void a_kernel_that_refuses_is_told(void **context)
{
    (void)context;
    assert_int_equal(in_child(worker_is_refused), DONE);
    assert_int_equal(in_child(probe_is_refused), DONE);
    assert_int_equal(in_child(required_is_refused), DONE);
}

static void the_configuration_chooses(void **context)
{
    struct error error;
    bool filters = false;
    (void)context;
    assert_true(seccomp_choose(CONFIG_SECCOMP_ON, &filters, &error) && filters);
    assert_true(seccomp_choose(CONFIG_SECCOMP_OFF, &filters, &error) && !filters);
    assert_true(seccomp_choose(CONFIG_SECCOMP_REQUIRED, &filters, &error) && filters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breaking_out_is_deadly),          cmocka_unit_test(clients_of_the_network),
        cmocka_unit_test(what_is_not_needed_is_refused),   cmocka_unit_test(what_a_worker_needs_works),
        cmocka_unit_test(files_and_memory_have_an_end),    cmocka_unit_test(a_lower_limit_stays),
        cmocka_unit_test(without_a_filter_calls_are_free), cmocka_unit_test(a_kernel_that_refuses_is_told),
        cmocka_unit_test(the_configuration_chooses),
    };
    return cmocka_run_group_tests_name("confine", tests, set_up, tear_down);
}
