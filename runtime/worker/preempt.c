/* A compiled loop, and a hook set from a signal; see preempt.h. */
#include "worker/preempt.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum {
    TICK_US = 10 * 1000, /* of processor time: a busy machine changes nothing */
    TICKS_MAX = 10,
};

enum answer { LOOP_ENDS = 0, LOOP_GOES_ON = 1, NOT_TRIED = 2 };

/* Of the child only, which does nothing else; its signal handler has no other way to them. */
static lua_State *running;
static volatile sig_atomic_t ticks;

static void on_hook(lua_State *lua, lua_Debug *event)
{
    (void)event;
    (void)luaL_error(lua, "ended");
}

static void on_tick(int number)
{
    (void)number;
    if (++ticks > TICKS_MAX)
        _exit(LOOP_GOES_ON);
    (void)lua_sethook(running, on_hook, LUA_MASKCOUNT, 1);
}

static enum answer run_loop(void)
{
    const struct sigaction action = { .sa_handler = on_tick };
    const struct itimerval timer = { .it_interval.tv_usec = TICK_US, .it_value.tv_usec = TICK_US };
    running = luaL_newstate();
    if (!running)
        return NOT_TRIED;
    luaL_openlibs(running); /* the compiler comes with its library */
    if (luaL_loadstring(running, "while true do end") != 0 || sigaction(SIGVTALRM, &action, NULL) < 0 ||
        setitimer(ITIMER_VIRTUAL, &timer, NULL) < 0)
        return NOT_TRIED;
    return lua_pcall(running, 0, 0, 0) != 0 ? LOOP_ENDS : NOT_TRIED;
}

bool preempt_test(bool *ret_ends, struct error *error)
{
    int status;
    pid_t ended;
    pid_t pid = fork();
    if (pid < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot start a process");
    if (pid == 0)
        _exit((int)run_loop());
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == NOT_TRIED)
        return error_set(error, ERROR_FAILED, "the process that tries it failed");
    *ret_ends = WEXITSTATUS(status) == LOOP_ENDS;
    return true;
}
