/* What the cache costs a handler, with 1 or more worker processes on one cache at the same time:
 *
 *   cache PROCESSES MESSAGES HANDLER
 *
 * Each process gets the same MESSAGES messages, with the numbers 1, 2, 3 … for their ids and its own number
 * for the body; none gets its next before all have answered. The handler rejects each with the nanoseconds of
 * processor time that it took. Tells these, and the time that passed until all had answered, of each message:
 * {"messages":[{"passed":...,"cpu":[...]},...]}. */
#include "../unit/worker_fixture.h"

enum { PROCESSES_MAX = 16, ENTRIES = 10000 };

static struct {
    unsigned processes, messages;
    const char *handler;
} job;

/* The cache of the first is everybody's. */
static void open_workers(struct fixture *fixtures)
{
    struct error error;
    for (unsigned i = 0; i < job.processes; i++) {
        fixture_open(&fixtures[i]);
        if (i == 0) {
            fixture_make_cache(&fixtures[0], 32 << 20, ENTRIES);
        } else {
            fixtures[i].cache_fd = dup(fixtures[0].cache_fd);
            assert_true(cache_map(&fixtures[i].cache, fixtures[i].cache_fd, &error));
        }
        fixture_run(&fixtures[i], job.handler);
    }
}

static void measure(struct fixture *fixtures, unsigned message)
{
    struct answer answer;
    char id[16], number[16];
    (void)snprintf(id, sizeof id, "%u", message);
    int64_t began_ns = clock_now_ns();
    for (unsigned i = 0; i < job.processes; i++) {
        (void)snprintf(number, sizeof number, "%u", i + 1);
        fixture_deliver(&fixtures[i], &(struct parcel){ .id = id, .body = number });
    }
    for (unsigned i = 0; i < job.processes; i++) {
        expect_type(&fixtures[i], &answer, WIRE_RESULT);
        if (answer.result.verdict != WIRE_REJECT)
            fail_msg("message %u: %s", message, answer.text);
        (void)printf("%s%s", i > 0 ? "," : "\"cpu\":[", answer.text);
    }
    (void)printf("],\"passed\":%lld", (long long)(clock_now_ns() - began_ns));
}

static void run(void **context)
{
    struct fixture fixtures[PROCESSES_MAX];
    (void)context;
    open_workers(fixtures);
    (void)printf("\n{\"messages\":[");
    for (unsigned i = 1; i <= job.messages; i++) {
        (void)printf("%s{", i > 1 ? "," : "");
        measure(fixtures, i);
        (void)printf("}");
    }
    (void)printf("]}\n");
    for (unsigned i = 0; i < job.processes; i++)
        fixture_finish(&fixtures[i]);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(run) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    if (count == 4) {
        job.processes = (unsigned)strtoul(arguments[1], &(char *){ NULL }, 10);
        job.messages = (unsigned)strtoul(arguments[2], &(char *){ NULL }, 10);
        job.handler = arguments[3];
    }
    return fixture_main(count, arguments, all_tests);
}
