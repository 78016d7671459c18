/* What the limits of a message cost. Tells
 *
 *   {"counted_ns":[...],"uncounted_ns":[...],"arming_ns":[...],"calls":N,"messages":N}
 *
 * counted_ns: processor time of one message through the handler, every byte of it counted, in each of ROUNDS
 * rounds; uncounted_ns: the same in a state whose blocks lie in the same places, uncounted; arming_ns:
 * beginning and ending the limits around a message, which is in both. And how many system calls a worker
 * process made for so many messages: a tracer counts them. */
#include "worker_load.h"
#include "worker_subject.h"

#include <sys/ptrace.h>

enum {
    ROUNDS = 41,
    MESSAGES = 5000, /* in a round */
    PAIRS = 100000,  /* of beginning and ending */
    TRACED_BATCHES = 32,
};

static const struct parcel order = { .body = LOAD_ORDER, .content_type = "application/json", .id = "123456" };

static double run_ns(struct subject *subject)
{
    struct outcome outcome;
    json_memory_use(&subject->state.quota);
    int64_t began_ns = cpu_now_ns();
    for (int i = 0; i < MESSAGES; i++)
        handler_run(&subject->state, &subject->message, began_ns, &outcome);
    int64_t ended_ns = cpu_now_ns();
    assert_int_equal(outcome.verdict, WIRE_ACK);
    return (double)(ended_ns - began_ns) / MESSAGES;
}

static double arm_ns(struct subject *subject)
{
    int64_t began_ns = cpu_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        state_begin(&subject->state, began_ns);
        state_end(&subject->state);
    }
    return (double)(cpu_now_ns() - began_ns) / PAIRS;
}

static void tell(const char *name, const double figures[ROUNDS])
{
    (void)printf("\"%s\":[", name);
    for (int i = 0; i < ROUNDS; i++)
        (void)printf("%s%.1f", i == 0 ? "" : ",", figures[i]);
    (void)printf("],");
}

static void time_messages(struct fixture *fixture)
{
    static double counted_ns[ROUNDS], uncounted_ns[ROUNDS], arming_ns[ROUNDS];
    struct subject counted, uncounted;
    char script[128];
    (void)snprintf(script, sizeof script, "%s/handler.lua", fixture->folder);
    subject_open(&counted, fixture, script, &order);
    subject_open(&uncounted, fixture, script, &order);
    lua_setallocf(uncounted.state.lua, quota_place, &uncounted.state.quota);
    for (int i = 0; i < ROUNDS; i++) {
        counted_ns[i] = run_ns(&counted);
        uncounted_ns[i] = run_ns(&uncounted);
        arming_ns[i] = arm_ns(&counted);
    }
    subject_close(&counted);
    subject_close(&uncounted);
    tell("counted_ns", counted_ns);
    tell("uncounted_ns", uncounted_ns);
    tell("arming_ns", arming_ns);
}

/* Follows the worker until the feeder has ended: how many system calls it began. */
static unsigned count_calls(pid_t worker, pid_t feeder)
{
    unsigned stops = 0;
    for (;;) {
        int status;
        pid_t who = waitpid(-1, &status, __WALL);
        assert_true(who > 0);
        if (who == feeder) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            return stops / 2; /* one at its beginning, one at its end */
        }
        assert_true(who == worker && WIFSTOPPED(status));
        int signal = WSTOPSIG(status);
        bool at_call = signal == (SIGTRAP | 0x80), at_event = status >> 16 != 0;
        stops += at_call;
        long passed_on = at_call || at_event ? 0 : signal;
        assert_int_equal(ptrace(PTRACE_SYSCALL, worker, NULL, passed_on), 0);
    }
}

static void stop_tracing(pid_t worker)
{
    int status;
    assert_int_equal(ptrace(PTRACE_INTERRUPT, worker, NULL, NULL), 0);
    assert_int_equal(waitpid(worker, &status, __WALL), worker);
    assert_int_equal(ptrace(PTRACE_DETACH, worker, NULL, NULL), 0);
}

static void count_system_calls(struct fixture *fixture)
{
    struct load load = { .parcel = &order };
    load.fixture = *fixture;
    assert_int_equal(ptrace(PTRACE_SEIZE, fixture->pid, NULL, (void *)PTRACE_O_TRACESYSGOOD), 0);
    assert_int_equal(ptrace(PTRACE_INTERRUPT, fixture->pid, NULL, NULL), 0);
    pid_t feeder = fork();
    assert_true(feeder >= 0);
    if (feeder == 0) {
        load_run(&load, TRACED_BATCHES);
        _exit(0);
    }
    unsigned calls = count_calls(fixture->pid, feeder);
    stop_tracing(fixture->pid);
    (void)printf("\"calls\":%u,\"messages\":%u}\n", calls, TRACED_BATCHES * LOAD_BATCH);
}

static void measure(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.deadline_ns = 30 * CLOCK_NS_PER_SECOND;
    fixture_run(&fixture, LOAD_HANDLER);
    (void)printf("\n{");
    time_messages(&fixture);
    (void)fflush(stdout);
    count_system_calls(&fixture);
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(measure) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
