/* Broker URLs: taken apart as everybody writes them, refused where they are wrong, and never shown with user
 * or password. */
#include "host/amqp/address.h"

#include "tools.h"

#include <stdio.h>

static const struct {
    const char *url;
    const char *user;
    const char *password;
    const char *host;
    int port;
    const char *vhost;
    bool tls;
    const char *name;
} good[] = {
    { "amqp://", "guest", "guest", "localhost", 5672, "/", false, "amqp://localhost:5672/%2f" },
    { "amqp://h", "guest", "guest", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://h/", "guest", "guest", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://h/%2f", "guest", "guest", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://h/%2F", "guest", "guest", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://h/%2forders", "guest", "guest", "h", 5672, "/orders", false, "amqp://h:5672//orders" },
    { "amqp://h/orders", "guest", "guest", "h", 5672, "orders", false, "amqp://h:5672/orders" },
    { "amqps://h", "guest", "guest", "h", 5671, "/", true, "amqps://h:5671/%2f" },
    { "amqps://ann:word@h:99/v", "ann", "word", "h", 99, "v", true, "amqps://h:99/v" },
    { "amqp://ann:word@h.example.com:65535", "ann", "word", "h.example.com", 65535, "/", false,
      "amqp://h.example.com:65535/%2f" },
    { "amqp://ann@h", "ann", "guest", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://ann:@h", "ann", "", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://ann:word@", "ann", "word", "localhost", 5672, "/", false, "amqp://localhost:5672/%2f" },
    { "amqp://a%6en:w%40%3a%2f%25d@h", "ann", "w@:/%d", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://ann:w\xc3\xb6rd@h", "ann", "w\xc3\xb6rd", "h", 5672, "/", false, "amqp://h:5672/%2f" },
    { "amqp://[::1]", "guest", "guest", "::1", 5672, "/", false, "amqp://[::1]:5672/%2f" },
    { "amqp://ann:word@[::1]:99/v", "ann", "word", "::1", 99, "v", false, "amqp://[::1]:99/v" },
    { "amqps://[2001:db8::7:1]/v", "guest", "guest", "2001:db8::7:1", 5671, "v", true,
      "amqps://[2001:db8::7:1]:5671/v" },
    { "amqp://[::ffff:10.0.0.1]", "guest", "guest", "::ffff:10.0.0.1", 5672, "/", false,
      "amqp://[::ffff:10.0.0.1]:5672/%2f" },
    { "amqp://[fe80::1%25eth0]:99", "guest", "guest", "fe80::1%eth0", 99, "/", false,
      "amqp://[fe80::1%eth0]:99/%2f" },
};

static void test_good_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct address address;
        struct error error;
        if (!address_parse(&address, good[i].url, &error))
            fail_msg("%s: %s", good[i].url, error.text);
        assert_text(address.user, good[i].user);
        assert_text(address.password, good[i].password);
        assert_text(address.host, good[i].host);
        assert_text(address.vhost, good[i].vhost);
        assert_text(address.name, good[i].name);
        assert_int_equal(address.port, good[i].port);
        assert_int_equal(address.tls, good[i].tls);
        address_clear(&address);
    }
}

static void test_bad_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "amqp",
        "amqp:ann:hunter2@h",
        "http://ann:hunter2@h",
        "ann:hunter2@h",
        "amqp://ann:hunter2",
        "amqp://ann:hunter2:more@h",
        "amqp://ann:hunter2@h@i",
        "amqp://ann:hunter2@h:",
        "amqp://ann:hunter2@h:0",
        "amqp://ann:hunter2@h:65536",
        "amqp://ann:hunter2@h:-1",
        "amqp://ann:hunter2@h:12x",
        "amqp://ann:hunter2@h:99999999999999999999",
        "amqp://ann:hunter2@h/a/b",
        "amqp://ann:hunter2@h/v?x=1",
        "amqp://ann:hunter2@h#x",
        "amqp://ann:hunter2%@h",
        "amqp://ann:hunter2%zz@h",
        "amqp://ann:hunter2%4",
        "amqp://ann:hunter2%00more@h",
        "amqp://ann:hunter2@[::1",
        "amqp://ann:hunter2@::1]",
        "amqp://[ann:hunter2@h]/v",
        "amqp://[ann:hunter2]/v",
        "amqp://[ann@h]/v",
        "amqp://[::1%25ann@hunter2]/v",
        "amqp://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]/hunter2",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct address address;
        struct error error;
        if (address_parse(&address, bad[i], &error))
            fail_msg("%s was taken for a URL of %s", bad[i], address.name);
        assert_int_equal(error.code, ERROR_USAGE);
        assert_contains(error.text, "amqp://user:password@host:port/vhost");
        assert_null(strstr(error.text, "hunter2"));
        assert_null(address.storage);
        address_clear(&address);
    }
}

static bool holds(const char *bytes, size_t size, const char *word)
{
    return memmem(bytes, size, word, strlen(word)) != NULL;
}

/* Neither the password nor what its escapes leave behind is in memory any more. */
static void test_forgotten_passwords(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        const char *tail; /* of the password as it was written */
    } cases[] = {
        { "amqp://ann:hunter2@h:99/v", "hunter2" },
        { "amqp://ann:%68%75%6e%74%65%72%32@h:99/v", "%32" },
        { "amqp://ann:%68%75%6e%74%65%72%32@", "%32" },
        { "amqp://ann:%68%75%6e%74%65%72%32@/v", "%32" },
        { "amqp://ann:%68%75%6e%74%65%72%32@[::1]", "%32" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct address address;
        struct error error;
        assert_true(address_parse(&address, cases[i].url, &error));
        assert_text(address.password, "hunter2");
        char host[16], vhost[16];
        (void)snprintf(host, sizeof host, "%s", address.host);
        (void)snprintf(vhost, sizeof vhost, "%s", address.vhost);
        address_forget_password(&address);
        assert_text(address.password, "");
        assert_false(holds(address.storage, address.storage_bytes, "hunter2"));
        assert_false(holds(address.storage, address.storage_bytes, cases[i].tail));
        assert_text(address.user, "ann");
        assert_text(address.host, host);
        assert_text(address.vhost, vhost);
        address_forget_password(&address);
        address_clear(&address);
    }
}

/* The password that a URL does not name is a constant, which nobody may write on. */
static void test_constants_are_not_written_on(void **state)
{
    (void)state;
    struct address address;
    struct error error;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(address_parse(&address, "amqp://ann@h", &error));
        assert_text(address.password, "guest");
        address_forget_password(&address);
        assert_text(address.password, "");
        address_clear(&address);
        assert_null(address.storage);
        address_clear(&address);
    }
}

static void test_long_names_are_cut(void **state)
{
    (void)state;
    char url[3 * ADDRESS_NAME_MAX];
    struct address address;
    struct error error;
    memset(url, 'x', sizeof url);
    memcpy(url, "amqp://ann:hunter2@", 19);
    url[sizeof url - 1] = '\0';
    assert_true(address_parse(&address, url, &error));
    assert_int_equal(strlen(address.name), ADDRESS_NAME_MAX - 1);
    assert_null(strstr(address.name, "hunter2"));
    address_clear(&address);
}

/* URLs put together from pieces: whatever is taken has a host and a port, and a name without the secret. */
static void test_random_urls(void **state)
{
    (void)state;
    static const char *const pieces[] = { "amqp://", "amqps://", "hunter2", "ann", "h",   ":",  "@",   "/",
                                          "[",       "]",        "%2f",     "%00", "::1", "99", "%40", "?" };
    struct random random = { 23 };
    unsigned taken = 0;
    for (unsigned round = 0; round < 200000; round++) {
        struct address address;
        struct error error;
        char url[128];
        size_t size = (size_t)snprintf(url, sizeof url, "amqp://");
        unsigned count = 1 + random_below(&random, 9);
        for (unsigned i = 0; i < count; i++)
            size += (size_t)snprintf(url + size, sizeof url - size, "%s",
                                     pieces[random_below(&random, COUNT_OF(pieces))]);
        if (!address_parse(&address, url, &error))
            continue;
        taken++;
        assert_true(*address.host && *address.vhost && address.port > 0 && address.port < 65536);
        if (!strstr(address.host, "hunter2") && !strstr(address.vhost, "hunter2"))
            assert_null(strstr(address.name, "hunter2"));
        assert_null(strchr(address.host, '@'));
        address_clear(&address);
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_urls),           cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_forgotten_passwords), cmocka_unit_test(test_constants_are_not_written_on),
        cmocka_unit_test(test_long_names_are_cut),  cmocka_unit_test(test_random_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
