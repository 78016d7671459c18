/* Base64: the vectors of RFC 4648, what is no base64, and every length there and back; see common/base64.h.
 */
#include "common/base64.h"

#include "tools.h"

enum { BYTES_MAX = 4096 };

static const struct {
    struct slice bytes;
    const char *text;
} vectors[] = {
    { INIT_BYTES(""), "" },
    { INIT_BYTES("f"), "Zg==" },
    { INIT_BYTES("fo"), "Zm8=" },
    { INIT_BYTES("foo"), "Zm9v" },
    { INIT_BYTES("foob"), "Zm9vYg==" },
    { INIT_BYTES("fooba"), "Zm9vYmE=" },
    { INIT_BYTES("foobar"), "Zm9vYmFy" },
    { INIT_BYTES("\0\xff\xfb\xff"), "AP/7/w==" },
};

static bool decode(const char *text, struct buffer *to)
{
    size_t size = strlen(text);
    char *exact = exact_copy(text, size);
    buffer_reset(to);
    bool sound = base64_decode((struct slice){ exact, size }, to);
    free(exact);
    return sound;
}

static void test_vectors(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        buffer_reset(&to);
        base64_encode(vectors[i].bytes, &to);
        assert_bytes((struct slice){ to.data, to.size }, slice_of(vectors[i].text));
        assert_true(decode(vectors[i].text, &to));
        assert_bytes((struct slice){ to.data, to.size }, vectors[i].bytes);
    }
    buffer_clear(&to);
}

static void test_what_does_not_matter(void **state)
{
    (void)state;
    static const char *const texts[] = { "Zm9v", "Zm 9v", "Zm\r\n9v\n", "\tZm9v= =", "Zm9v====" };
    struct buffer to;
    buffer_init(&to, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_true(decode(texts[i], &to));
        assert_slice(((struct slice){ to.data, to.size }), "foo");
    }
    buffer_clear(&to);
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = { "?", "Z", "Zm9vY", "Zh==", "Zm9=v", "Zm8-", "Z\xc3\xb6==", "Zm9" };
    struct buffer to;
    buffer_init(&to, BYTES_MAX);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        assert_false(decode(texts[i], &to));
    buffer_clear(&to);
}

static void test_no_room(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, 2);
    assert_false(decode("Zm9v", &to));
    assert_true(decode("Zm8=", &to));
    buffer_clear(&to);
}

static void test_every_length(void **state)
{
    (void)state;
    struct random random = { 7 };
    struct buffer text, back;
    char bytes[256];
    buffer_init(&text, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (size_t i = 0; i < size; i++)
            bytes[i] = (char)random_next(&random);
        buffer_reset(&text);
        buffer_reset(&back);
        char *exact = exact_copy(bytes, size);
        base64_encode((struct slice){ exact, size }, &text);
        assert_true(base64_decode((struct slice){ text.data, text.size }, &back));
        assert_bytes((struct slice){ back.data, back.size }, (struct slice){ exact, size });
        free(exact);
    }
    buffer_clear(&text);
    buffer_clear(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),      cmocka_unit_test(test_what_does_not_matter),
        cmocka_unit_test(test_what_is_none), cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
