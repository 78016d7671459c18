/* The status board: claiming and taking back race for a message, and it is never both run and taken back. */
#include "common/board.h"

#include "tools.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_fresh_page_takes_nothing_back(void **state)
{
    (void)state;
    struct error error;
    int fd = -1;
    struct board *board = board_open(&fd, &error);
    assert_non_null(board);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(atomic_load(&board->started), 0);
    assert_true(board_claim(board, 1, 100));
    assert_int_equal(atomic_load(&board->started), 1);
    assert_int_equal(atomic_load(&board->started_ns), 100);
    assert_true(board_claim(board, UINT64_MAX - 1, 200));
    board_close(board);
    (void)close(fd);
}

static void test_revoke(void **state)
{
    (void)state;
    static const struct {
        uint64_t started;
        uint64_t revoked_from;
        uint64_t first_not_begun;
    } cases[] = { { 0, 1, 1 }, { 3, 5, 5 }, { 4, 5, 5 }, { 5, 5, 6 }, { 9, 5, 10 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct board board = { .started = cases[i].started, .revoked_from = UINT64_MAX };
        assert_int_equal(board_revoke(&board, cases[i].revoked_from), cases[i].first_not_begun);
        assert_true(board_claim(&board, cases[i].revoked_from - 1, 0));
        assert_false(board_claim(&board, cases[i].revoked_from, 0));
        assert_false(board_claim(&board, cases[i].revoked_from + 1, 0));
        board_allow(&board);
        assert_true(board_claim(&board, cases[i].revoked_from + 1, 0));
    }
}

static void test_both_processes_see_one_page(void **state)
{
    (void)state;
    struct error error;
    int fd = -1;
    struct board *board = board_open(&fd, &error);
    struct board *other = board_map(fd, &error);
    assert_non_null(board);
    assert_non_null(other);
    assert_true(board_claim(other, 7, 1));
    assert_int_equal(board_revoke(board, 3), 8);
    assert_false(board_claim(other, 8, 2));
    board_close(other);
    board_close(board);
    (void)close(fd);
}

/* A worker that could shrink the page would end the host at its next look. */
static void test_size_cannot_be_changed(void **state)
{
    (void)state;
    struct error error;
    struct stat status;
    int fd = -1;
    struct board *board = board_open(&fd, &error);
    assert_non_null(board);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, sizeof *board);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    board_close(board);
    (void)close(fd);
}

static void test_map_refuses_what_is_no_page(void **state)
{
    (void)state;
    struct error error;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_null(board_map(fds[0], &error));
    assert_int_equal(error.code, ERROR_FAILED);
    assert_contains(error.text, "status page");
    assert_null(board_map(-1, &error));
    board_close(NULL);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* The race. Host and worker go through rounds together; in each the worker claims MESSAGES messages one after
 * the other while the host takes back from one of them on. Whoever is waited for yields, so that the two meet
 * on one processor, too. */

enum { ROUNDS = 150000, MESSAGES = 4 };

struct race {
    struct board board;
    _Atomic uint64_t round;            /* begun by the host */
    _Atomic uint64_t finished;         /* by the worker */
    _Atomic bool ran[MESSAGES];        /* in this round */
    _Atomic unsigned worker_hesitates; /* turns of an empty loop before its first claim */
};

static void wait_for(_Atomic uint64_t *counter, uint64_t value)
{
    for (unsigned turns = 0; atomic_load(counter) < value; turns++) {
        if (turns > 100)
            (void)sched_yield();
    }
}

static void hesitate(unsigned turns)
{
    for (volatile unsigned i = 0; i < turns; i++)
        ;
}

static void *run_worker(void *argument)
{
    struct race *race = argument;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        wait_for(&race->round, round);
        hesitate(atomic_load(&race->worker_hesitates));
        for (unsigned i = 0; i < MESSAGES; i++) {
            uint64_t seq = (round - 1) * MESSAGES + 1 + i;
            atomic_store(&race->ran[i], board_claim(&race->board, seq, 1));
        }
        atomic_store(&race->finished, round);
    }
    return NULL;
}

struct tally {
    unsigned ran;
    unsigned taken_back;
    unsigned mixed; /* rounds in which some ran and some were taken back */
};

static void judge(struct race *race, uint64_t first_seq, uint64_t from, uint64_t not_begun,
                  struct tally *tally)
{
    unsigned ran = 0;
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint64_t seq = first_seq + i;
        bool did_run = atomic_load(&race->ran[i]);
        assert_false(did_run && seq >= not_begun); /* the host has given it to another */
        assert_true(did_run || seq >= from);       /* nobody took it back: it must not be skipped */
        ran += did_run;
        tally->taken_back += seq >= not_begun;
    }
    tally->ran += ran;
    tally->mixed += ran > 0 && ran < MESSAGES;
}

static void run_host(struct race *race, struct tally *tally)
{
    struct random random = { 13 };
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint64_t first_seq = (round - 1) * MESSAGES + 1;
        uint64_t from = first_seq + random_below(&random, MESSAGES);
        board_allow(&race->board);
        atomic_store(&race->worker_hesitates, random_below(&random, 60));
        unsigned hesitation = random_below(&random, 120);
        atomic_store(&race->round, round);
        hesitate(hesitation);
        uint64_t not_begun = board_revoke(&race->board, from);
        assert_true(not_begun >= from);
        wait_for(&race->finished, round);
        judge(race, first_seq, from, not_begun, tally);
    }
}

static void test_race_of_two_threads(void **state)
{
    (void)state;
    static struct race race; /* outlives the test, as the worker does where it fails */
    struct tally tally = { 0 };
    pthread_t worker;
    assert_int_equal(pthread_create(&worker, NULL, run_worker, &race), 0);
    run_host(&race, &tally);
    assert_int_equal(pthread_join(worker, NULL), 0);
    assert_true(tally.ran > 0 && tally.taken_back > 0 && tally.mixed > 0);
    print_message("# %u ran, %u were taken back, %u rounds of both\n", tally.ran, tally.taken_back,
                  tally.mixed);
}

static void test_race_of_two_processes(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    struct race *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(race != MAP_FAILED);
    pid_t worker = fork();
    if (worker == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)run_worker(race);
        _exit(0);
    }
    run_host(race, &tally);
    assert_int_equal(waitpid(worker, NULL, 0), worker);
    assert_true(tally.ran > 0 && tally.taken_back > 0);
    (void)munmap(race, sizeof *race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh_page_takes_nothing_back), cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_both_processes_see_one_page),   cmocka_unit_test(test_size_cannot_be_changed),
        cmocka_unit_test(test_map_refuses_what_is_no_page),   cmocka_unit_test(test_race_of_two_threads),
        cmocka_unit_test(test_race_of_two_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
