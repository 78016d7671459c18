/* The verdict table: what each result means for the broker, at each attempt. */
#include "host/ruling.h"

#include "tools.h"

enum { ATTEMPTS = 5 };

/* A failure is tried again while an attempt is left, and given up at the last. */
static const struct {
    enum wire_verdict verdict;
    bool is_failure;
    enum ruling_kind kind; /* of a failure: while an attempt is left */
    const char *reason;    /* with which it is given up */
    bool is_quiet;         /* no log line of its own */
} verdicts[] = {
    { WIRE_ACK, false, RULING_ACK, NULL, true },
    { WIRE_REJECT, false, RULING_GIVE_UP, "rejected", false },
    { WIRE_UNDECODABLE, false, RULING_GIVE_UP, "undecodable", false },
    { WIRE_RETRY, true, RULING_RETRY, "gave-up", true },
    { WIRE_REQUEUE, true, RULING_REQUEUE, "gave-up", true },
    { WIRE_ERROR, true, RULING_RETRY, "error", false },
    { WIRE_OUT_OF_MEMORY, true, RULING_RETRY, "out-of-memory", false },
    { WIRE_OUT_OF_TIME, true, RULING_RETRY, "out-of-time", false },
    { (enum wire_verdict)0, true, RULING_RETRY, "error", false },
    { (enum wire_verdict)200, true, RULING_RETRY, "error", false }, /* from a worker that makes up its own */
};

static void assert_ruling(struct ruling ruling, enum ruling_kind kind, const char *reason)
{
    assert_int_equal(ruling.kind, kind);
    if (kind == RULING_GIVE_UP)
        assert_string_equal(ruling.reason, reason);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const uint32_t attempts[] = { 1, 2, ATTEMPTS - 1, ATTEMPTS, ATTEMPTS + 1, UINT32_MAX };
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        for (size_t j = 0; j < COUNT_OF(attempts); j++) {
            struct ruling ruling = ruling_for_result(verdicts[i].verdict, attempts[j], ATTEMPTS);
            bool last = verdicts[i].is_failure && attempts[j] >= ATTEMPTS;
            assert_ruling(ruling, last ? RULING_GIVE_UP : verdicts[i].kind, verdicts[i].reason);
            assert_int_equal(ruling.message == NULL, verdicts[i].is_quiet && !last);
        }
    }
}

static void test_other_failures(void **state)
{
    (void)state;
    for (uint32_t attempt = 1; attempt <= ATTEMPTS + 2; attempt++) {
        enum ruling_kind kind = attempt < ATTEMPTS ? RULING_RETRY : RULING_GIVE_UP;
        assert_ruling(ruling_for_crash(attempt, ATTEMPTS), kind, "crashed");
        assert_ruling(ruling_for_unpublished(attempt, ATTEMPTS), kind, "unpublished");
        assert_non_null(ruling_for_crash(attempt, ATTEMPTS).message);
        assert_non_null(ruling_for_unpublished(attempt, ATTEMPTS).message);
    }
    assert_ruling(ruling_for_oversized(), RULING_GIVE_UP, "too-large");
}

static void test_one_attempt_is_no_second(void **state)
{
    (void)state;
    assert_int_equal(ruling_for_result(WIRE_RETRY, 1, 1).kind, RULING_GIVE_UP);
    assert_int_equal(ruling_for_result(WIRE_ACK, 1, 1).kind, RULING_ACK);
    assert_int_equal(ruling_for_crash(1, 1).kind, RULING_GIVE_UP);
}

/* However it fails, a message that is delivered again and again is given up in the end. */
static void test_nothing_loops_for_ever(void **state)
{
    (void)state;
    for (unsigned attempts = 1; attempts < 50; attempts++) {
        for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
            uint32_t attempt = 1;
            enum ruling_kind kind;
            while ((kind = ruling_for_result(verdicts[i].verdict, attempt, attempts).kind) == RULING_RETRY ||
                   kind == RULING_REQUEUE)
                attempt++;
            assert_int_equal(attempt, verdicts[i].is_failure ? attempts : 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_other_failures),
        cmocka_unit_test(test_one_attempt_is_no_second),
        cmocka_unit_test(test_nothing_loops_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
