/* SipHash-1-3 against the values of another implementation: CPython's hash of bytes(range(n)), whose key
 * follows from PYTHONHASHSEED. */
#include "common/siphash.h"

#include "tools.h"

enum { SIZES = 10 };

static const size_t sizes[SIZES] = { 1, 2, 7, 8, 9, 15, 16, 17, 63, 200 };

static const struct {
    uint64_t seed[2];
    uint64_t hashes[SIZES];
} cases[] = {
    /* PYTHONHASHSEED=0 */
    { { 0, 0 },
      { 0x68a914128e01e473, 0x010bac45c41e3669, 0x2f098ab0c751325a, 0xead411e67ebe2eea, 0x75927f9d95124362,
        0xf30eb725bb91c9ea, 0x8972188433a5c5b7, 0x4883c49a2c009c1d, 0x385d3e39e5f37359,
        0x7176378efd9e8a23 } },
    /* PYTHONHASHSEED=1 */
    { { 0xaed66ce184be2329, 0xebe9bbf1f1499052 },
      { 0xecd3e5afcecda4b9, 0xbf360f1ea1745965, 0xfd15e78052a69ddf, 0xc0b5739e7e28dd01, 0x208a1a5a0cbbf778,
        0xfa87985f39e97a53, 0x12e9d283f9f37002, 0x9f5bb4237f61907f, 0x542052345bc68274,
        0x1fedd3accb0915fe } },
    /* PYTHONHASHSEED=7 */
    { { 0x12c874a1806f0e3d, 0x470a89d2f9d2784f },
      { 0x7e255bf0210f9775, 0xe143141d79ac5dad, 0x987cfd95990dd34b, 0x8450991e34fe08de, 0xa0a0a12bd6c44f35,
        0x1517e7dc54a43f5b, 0x642bba6a6c24ebf5, 0xcc54010f13010f0d, 0xb1eaa0579bb21aa3,
        0x5397ba965fd542f3 } },
};

static void test_reference(void **state)
{
    (void)state;
    char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t n = 0; n < SIZES; n++) {
            char *exact = exact_copy(bytes, sizes[n]);
            assert_int_equal(siphash(cases[i].seed, (struct slice){ exact, sizes[n] }), cases[i].hashes[n]);
            free(exact);
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    const uint64_t seed[2] = { 0, 0 };
    assert_int_equal(siphash(seed, BYTES("")), UINT64_C(0xd1fba762150c532c));
    assert_int_equal(siphash(seed, (struct slice){ NULL, 0 }), UINT64_C(0xd1fba762150c532c));
    assert_int_equal(siphash(seed, BYTES("siphash")), UINT64_C(0x8264ceeccb16bcbe));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
