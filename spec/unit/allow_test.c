/* Which hosts http.allow lets through, and which addresses are private. */
#include "worker/allow.h"

#include "tools.h"

#include <arpa/inet.h>

static void test_matching(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *host;
        uint16_t port;
        enum allow allow;
    } cases[] = {
        { "api.example.com:443", "api.example.com", 443, ALLOW_EXACT },
        { "API.example.com:443", "api.EXAMPLE.com", 443, ALLOW_EXACT },
        { "api.example.com:443", "api.example.com", 80, ALLOW_NOT },
        { "api.example.com:443", "example.com", 443, ALLOW_NOT },
        { "api.example.com:443", "api.example.com.", 443, ALLOW_NOT },
        { "api.example.com:443", "api.example.comx", 443, ALLOW_NOT },
        { "*.example.com:443", "api.example.com", 443, ALLOW_BELOW },
        { "*.example.com:443", "a.b.Example.com", 443, ALLOW_BELOW },
        { "*.example.com:443", "example.com", 443, ALLOW_NOT },
        { "*.example.com:443", ".example.com", 443, ALLOW_NOT },
        { "*.example.com:443", "badexample.com", 443, ALLOW_NOT },
        { "*.example.com:443", "api.example.com", 444, ALLOW_NOT },
        { "*.0.0.1:80", "127.0.0.1", 80, ALLOW_NOT },
        { "*.:80", "a.", 80, ALLOW_NOT },
        { "*:80", "a", 80, ALLOW_NOT },
        { "127.0.0.1:80", "127.0.0.1", 80, ALLOW_EXACT },
        { "[::1]:80", "::1", 80, ALLOW_EXACT },
        { "[::1]:80", "::2", 80, ALLOW_NOT },
        { "h:65535", "h", 65535, ALLOW_EXACT },
        { "h:0", "h", 0, ALLOW_NOT },
        { "h:65536", "h", 0, ALLOW_NOT },
        { "h:", "h", 0, ALLOW_NOT },
        { ":80", "", 80, ALLOW_NOT },
        { "h", "h", 80, ALLOW_NOT },
        { "", "", 0, ALLOW_NOT },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        enum allow allow = allow_match(slice_of(cases[i].entry), slice_of(cases[i].host), cases[i].port);
        if (allow != cases[i].allow)
            fail_msg("%s says %d of %s:%d", cases[i].entry, (int)allow, cases[i].host, cases[i].port);
    }
}

static bool is_private(const char *text)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    struct sockaddr_in four = { .sin_family = AF_INET };
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
        return allow_is_private((const struct sockaddr *)&four);
    assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
    return allow_is_private((const struct sockaddr *)&six);
}

static void test_private_addresses(void **state)
{
    (void)state;
    static const char *const private[] = {
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
        "2001::1",
    };
    static const char *const public[] = {
        "1.1.1.1",         "9.255.255.255",   "11.0.0.0",       "100.63.255.255",
        "100.128.0.0",     "126.255.255.255", "128.0.0.0",      "172.15.255.255",
        "172.32.0.0",      "192.167.0.1",     "192.169.0.1",    "223.255.255.255",
        "2606:4700::1111", "2a00::1",         "::ffff:1.1.1.1", "64:ff9b::101:101",
    };
    for (size_t i = 0; i < COUNT_OF(private); i++) {
        if (!is_private(private[i]))
            fail_msg("%s is not taken for private", private[i]);
    }
    for (size_t i = 0; i < COUNT_OF(public); i++) {
        if (is_private(public[i]))
            fail_msg("%s is taken for private", public[i]);
    }
}

static void test_other_families_are_private(void **state)
{
    (void)state;
    const struct sockaddr local = { .sa_family = AF_UNIX };
    assert_true(allow_is_private(&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_private_addresses),
        cmocka_unit_test(test_other_families_are_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
