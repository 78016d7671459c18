/* Requests: whole, in pieces, wrong; and the head of a response. */
#include "host/status/http.h"

#include "tools.h"

struct request_case {
    const char *bytes;
    enum http_next next;
    enum http_method method;
    const char *path;
};

static const struct request_case requests[] = {
    { "GET / HTTP/1.1\r\n\r\n", HTTP_REQUEST, HTTP_GET, "/" },
    { "GET / HTTP/1.0\n\n", HTTP_REQUEST, HTTP_GET, "/" },
    { "HEAD /metrics?x=/y HTTP/1.1\r\nHost: a\r\n\r\nmore", HTTP_REQUEST, HTTP_HEAD, "/metrics" },
    { "GET http://host:1/status?a HTTP/1.1\r\nHost: a\n\r\n", HTTP_REQUEST, HTTP_GET, "/status" },
    { "GET http://host HTTP/1.1\r\n\r\n", HTTP_REQUEST, HTTP_GET, "" },
    { "GET * HTTP/1.1\r\n\r\n", HTTP_REQUEST, HTTP_GET, "*" },
    { "DELETE / HTTP/1.1\r\n\r\n", HTTP_REQUEST, HTTP_OTHER, "/" },
    { "GETTER / HTTP/1.1\r\n\r\n", HTTP_REQUEST, HTTP_OTHER, "/" },
    { "", HTTP_MORE, 0, NULL },
    { "GET / HTTP/1.1", HTTP_MORE, 0, NULL },
    { "GET / HTTP/1.1\r\n", HTTP_MORE, 0, NULL },
    { "GET / HTTP/1.1\r\nHost: a\r\n\r", HTTP_MORE, 0, NULL },
    { "\r\n", HTTP_BROKEN, 0, NULL },
    { "GET /\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { "GET  HTTP/1.1\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { "GET / HTTP/2.0\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { "GET / HTTP/1.15\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { "get / HTTP/1.1\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { " / HTTP/1.1\r\n\r\n", HTTP_BROKEN, 0, NULL },
    { "\x16\x03\x01", HTTP_BROKEN, 0, NULL },
    { "GET /\x80 ", HTTP_BROKEN, 0, NULL },
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        struct http_request request = { 0 };
        enum http_next next = http_next(slice_of(requests[i].bytes), &request);
        if (next != requests[i].next)
            fail_msg("%s: %d", requests[i].bytes, (int)next);
        if (next != HTTP_REQUEST)
            continue;
        assert_int_equal(request.method, requests[i].method);
        assert_bytes(request.path, slice_of(requests[i].path));
    }
}

static const struct {
    const char *bytes;
    const char *host;
} asked[] = {
    { "GET / HTTP/1.1\r\n\r\n", "" },
    { "GET http://host:1/status?a HTTP/1.1\r\nHost: a\n\r\n", "host:1" },
    { "GET http://host HTTP/1.1\r\n\r\n", "host" },
    { "GET / HTTP/1.1\r\nX: y\r\nhOST:\t box:9 \r\nHost: b\r\n\r\n", "box:9" },
    { "GET / HTTP/1.1\nHost:\n\n", "" },
    { "GET / HTTP/1.1\r\nHosts: a\r\n\r\nHost: b\r\n", "" },
};

static void test_whom_it_asks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        struct http_request request;
        assert_int_equal(http_next(slice_of(asked[i].bytes), &request), HTTP_REQUEST);
        assert_bytes(request.host, slice_of(asked[i].host));
    }
}

static const struct {
    const char *host;
    bool local;
} hosts[] = {
    { "", true },
    { "localhost", true },
    { "localhost.", true },
    { "localhost.:80", true },
    { "a.localhost.:1", true },
    { "evil.example.", false },
    { "LocalHost:9464", true },
    { "a.localhost:1", true },
    { "127.0.0.1:9464", true },
    { "10.1.2.3", true },
    { "[::1]:9464", true },
    { "[::1]", true },
    { "Box:9464", true },
    { "box.evil.example", false },
    { "evil.example:9464", false },
    { "localhost.evil.example", false },
    { "notlocalhost", false },
    { ".localhost", false },
    { "127.0.0.1.evil.example", false },
    { "user@evil.example", false },
};

static void test_hosts_of_this_machine(void **state)
{
    (void)state;
    char longest[2000];
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        if (http_host_is_local(slice_of(hosts[i].host), "box") != hosts[i].local)
            fail_msg("%s", hosts[i].host);
    }
    memset(longest, 'x', sizeof longest);
    assert_false(http_host_is_local((struct slice){ longest, sizeof longest }, "box"));
    assert_false(http_host_is_local(BYTES("box\0.evil.example"), "box"));
}

static void test_piece_by_piece(void **state)
{
    (void)state;
    static const char whole[] = "GET /status HTTP/1.1\r\nHost: a\r\nCookie: b\r\n\r\n";
    struct http_request request;
    for (size_t size = 0; size < sizeof whole - 1; size++)
        assert_int_equal(http_next((struct slice){ whole, size }, &request), HTTP_MORE);
    assert_int_equal(http_next(BYTES(whole), &request), HTTP_REQUEST);
}

static void test_heads(void **state)
{
    (void)state;
    static const unsigned codes[] = { 200, 400, 404, 405, 421, 431, 500, 503 };
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        struct buffer to;
        buffer_init(&to, HTTP_HEAD_MAX);
        http_put_head(&to, codes[i], "text/plain; version=0.0.4; charset=utf-8", SIZE_MAX);
        assert_false(to.failed);
        assert_true(buffer_append(&to, "", 1));
        assert_contains(to.data, http_phrase(codes[i]));
        assert_int_equal(strstr(to.data, "Allow: GET, HEAD\r\n") != NULL, codes[i] == 405);
        assert_string_equal(to.data + to.size - 5, "\r\n\r\n");
        buffer_clear(&to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_whom_it_asks),
        cmocka_unit_test(test_hosts_of_this_machine),
        cmocka_unit_test(test_piece_by_piece),
        cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
