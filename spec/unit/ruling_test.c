/* The verdict table: what each result means for the broker, at each attempt. */
#include "host/ruling.h"

#include "tools.h"

enum { ATTEMPTS = 5 };

/* A failure is a requeue while an attempt is left, and a reject at the last. */
static const struct {
    enum wire_verdict verdict;
    bool is_failure;
    enum settlement_kind settlement; /* where it is none */
    bool is_quiet;                   /* no log line of its own */
} verdicts[] = {
    { WIRE_ACK, false, SETTLE_ACK, true },
    { WIRE_REJECT, false, SETTLE_REJECT, false },
    { WIRE_UNDECODABLE, false, SETTLE_REJECT, false },
    { WIRE_RETRY, true, SETTLE_REQUEUE, true },
    { WIRE_REQUEUE, true, SETTLE_REQUEUE, true },
    { WIRE_ERROR, true, SETTLE_REQUEUE, false },
    { (enum wire_verdict)0, true, SETTLE_REQUEUE, false },
    { (enum wire_verdict)200, true, SETTLE_REQUEUE, false }, /* from a worker that makes up its own */
};

static void assert_failure(struct ruling ruling, bool last, bool is_quiet)
{
    assert_int_equal(ruling.settlement, last ? SETTLE_REJECT : SETTLE_REQUEUE);
    assert_int_equal(ruling.exhausted, last);
    assert_int_equal(ruling.message != NULL, last || !is_quiet);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const uint32_t attempts[] = { 1, 2, ATTEMPTS - 1, ATTEMPTS, ATTEMPTS + 1, UINT32_MAX };
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        for (size_t j = 0; j < COUNT_OF(attempts); j++) {
            struct ruling ruling = ruling_for_result(verdicts[i].verdict, attempts[j], ATTEMPTS);
            if (verdicts[i].is_failure) {
                assert_failure(ruling, attempts[j] >= ATTEMPTS, verdicts[i].is_quiet);
                continue;
            }
            assert_int_equal(ruling.settlement, verdicts[i].settlement);
            assert_false(ruling.exhausted);
            assert_int_equal(ruling.message == NULL, verdicts[i].is_quiet);
        }
    }
}

static void test_crashes(void **state)
{
    (void)state;
    for (uint32_t attempt = 1; attempt <= ATTEMPTS + 2; attempt++)
        assert_failure(ruling_for_crash(attempt, ATTEMPTS), attempt >= ATTEMPTS, false);
}

static void test_one_attempt_is_no_second(void **state)
{
    (void)state;
    assert_int_equal(ruling_for_result(WIRE_RETRY, 1, 1).settlement, SETTLE_REJECT);
    assert_int_equal(ruling_for_result(WIRE_ACK, 1, 1).settlement, SETTLE_ACK);
    assert_int_equal(ruling_for_crash(1, 1).settlement, SETTLE_REJECT);
}

/* However it fails, a message that is delivered again and again is rejected in the end. */
static void test_nothing_loops_for_ever(void **state)
{
    (void)state;
    for (unsigned attempts = 1; attempts < 50; attempts++) {
        for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
            uint32_t attempt = 1;
            while (ruling_for_result(verdicts[i].verdict, attempt, attempts).settlement == SETTLE_REQUEUE)
                attempt++;
            assert_int_equal(attempt, verdicts[i].is_failure ? attempts : 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_one_attempt_is_no_second),
        cmocka_unit_test(test_nothing_loops_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
