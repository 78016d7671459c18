/* One delivery through a handler: decoding, the message object, verdicts and errors; see worker/handler.h. */
#include "worker_fixture.h"

#define HANDLER(body) "return function(data, message) " body " end"
#define ADVICE        ": return true, false, \"ack\", \"retry\", \"requeue\" or \"reject\""

static const struct script_case verdict_cases[] = {
    { "nothing", HANDLER(""), { 0 }, WIRE_ACK, NULL },
    { "nil", HANDLER("return nil"), { 0 }, WIRE_ACK, NULL },
    { "true", HANDLER("return true"), { 0 }, WIRE_ACK, NULL },
    { "ack", HANDLER("return 'ack'"), { 0 }, WIRE_ACK, NULL },
    { "false", HANDLER("return false"), { 0 }, WIRE_RETRY, NULL },
    { "retry", HANDLER("return 'retry'"), { 0 }, WIRE_RETRY, NULL },
    { "requeue", HANDLER("return 'requeue'"), { 0 }, WIRE_REQUEUE, NULL },
    { "reject", HANDLER("return 'reject'"), { 0 }, WIRE_REJECT, NULL },
    { "reason", HANDLER("return 'reject', 'no total'"), { 0 }, WIRE_REJECT, "no total" },
    { "reason that is a number", HANDLER("return 'reject', 42"), { 0 }, WIRE_REJECT, "42" },
    { "reason that is a table", HANDLER("return 'reject', {}"), { 0 }, WIRE_REJECT, "a table" },
    { "number", HANDLER("return 42"), { 0 }, WIRE_ERROR, "handler.lua returned 42 (a number)" ADVICE },
    { "fraction", HANDLER("return 0.5"), { 0 }, WIRE_ERROR, "returned 0.5 (a number)" },
    { "other word",
      HANDLER("return 'done'"),
      { 0 },
      WIRE_ERROR,
      "handler.lua returned \"done\" (a string)" ADVICE },
    { "word with a NUL", HANDLER("return 'ack\\0'"), { 0 }, WIRE_ERROR, "handler.lua returned \"ack" },
    { "table", HANDLER("return {}"), { 0 }, WIRE_ERROR, "handler.lua returned a table" ADVICE },
    { "function", HANDLER("return print"), { 0 }, WIRE_ERROR, "returned a function" },
    { "message itself", HANDLER("return message"), { 0 }, WIRE_ERROR, "returned a userdata" },
    { "delay that is no time",
      HANDLER("return false, 'soon'"),
      { 0 },
      WIRE_ERROR,
      "handler.lua returned the delay \"soon\" (a string): give seconds, or a time like \"90s\"" },
    { "negative delay", HANDLER("return false, -1"), { 0 }, WIRE_ERROR, "returned the delay -1 (a number)" },
    { "delay that is no number", HANDLER("return false, 0/0"), { 0 }, WIRE_ERROR, "returned the delay" },
    { "endless delay", HANDLER("return 'retry', math.huge"), { 0 }, WIRE_ERROR, "returned the delay inf" },
    { "delay that is too long",
      HANDLER("return 'retry', '31d'"),
      { 0 },
      WIRE_ERROR,
      "handler.lua returned the delay \"31d\" (a string): give seconds, or a time like \"90s\", of at most "
      "30 "
      "days" },
    { "delay that is a table",
      HANDLER("return 'retry', {}"),
      { 0 },
      WIRE_ERROR,
      "returned the delay a table" },
    { "error",
      HANDLER("error('no database')"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: no database\nstack traceback:" },
    { "where it came from",
      "local function total()\n error('no total') end\n" HANDLER("total() return 1"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:2: no total\nstack traceback:\n\t[C]: in function 'error'\n\thandler.lua:2: in function "
      "'total'\n\thandler.lua:3: in function <handler.lua:3>" },
    { "error without a place", HANDLER("error('bare', 0)"), { 0 }, WIRE_ERROR, "bare\nstack" },
    { "error of nil", HANDLER("error()"), { 0 }, WIRE_ERROR, "error value is nil" },
    { "error that is a table", HANDLER("error({})"), { 0 }, WIRE_ERROR, "error value is a table" },
    { "error with a message", HANDLER("error({ message = 'deep' })"), { 0 }, WIRE_ERROR, "deep" },
    { "error with a msg", HANDLER("error({ msg = 'short' })"), { 0 }, WIRE_ERROR, "short" },
    { "error whose __tostring is not asked",
      HANDLER("error(setmetatable({}, { __tostring = function() while true do end end }))"),
      { 0 },
      WIRE_ERROR,
      "error value is a table" },
    { "error whose __index is not asked",
      HANDLER("error(setmetatable({}, { __index = function() while true do end end }))"),
      { 0 },
      WIRE_ERROR,
      "error value is a table" },
    { "endless recursion",
      "local function f() return 1 + f() end return f",
      { 0 },
      WIRE_ERROR,
      "stack overflow" },
    { "nil value",
      HANDLER("return data.total.net"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: attempt to index field 'total' (a nil value)" },
    { "yield", HANDLER("coroutine.yield(1)"), { 0 }, WIRE_ERROR, "attempt to yield" },
};

static void verdicts(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof verdict_cases / sizeof verdict_cases[0]; i++)
        check_case(&verdict_cases[i]);
}

static void delays(void **context)
{
    static const struct {
        const char *script;
        int64_t delay_ns;
    } cases[] = {
        { HANDLER("return false"), -1 },
        { HANDLER("return false, 0"), 0 },
        { HANDLER("return false, 1.5"), INT64_C(1500000000) },
        { HANDLER("return 'retry', '90s'"), INT64_C(90000000000) },
        { HANDLER("return 'retry', '250ms'"), INT64_C(250000000) },
        { HANDLER("return 'retry', '30d'"), INT64_C(2592000000000000) },
        { HANDLER("return 'retry', 90"), INT64_C(90000000000) },
        { HANDLER("return true, 5"), -1 },
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        struct answer answer;
        fixture_open(&fixture);
        fixture_run(&fixture, cases[i].script);
        fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
        assert_int_equal(answer.result.delay_ns, cases[i].delay_ns);
        fixture_finish(&fixture);
    }
}

/* The handler answers with what it got, as "reject" and a reason. */
#define SHOW                                                                                                 \
    HANDLER("return 'reject', type(data) .. ':' .. tostring(type(data) == 'table' and data.a or data)")

static const struct script_case decoding_cases[] = {
    { "no type", SHOW, { .body = "{\"a\":1}" }, WIRE_REJECT, "string:{\"a\":1}" },
    { "plain text", SHOW, { .body = "x", .content_type = "text/plain" }, WIRE_REJECT, "string:x" },
    { "json", SHOW, { .body = "{\"a\":1}", .content_type = "application/json" }, WIRE_REJECT, "table:1" },
    { "json with parameters",
      SHOW,
      { .body = "{\"a\":1}", .content_type = "Application/JSON ; charset=utf-8" },
      WIRE_REJECT,
      "table:1" },
    { "a kind of json",
      SHOW,
      { .body = "{\"a\":1}", .content_type = "application/vnd.api+JSON" },
      WIRE_REJECT,
      "table:1" },
    { "like json", SHOW, { .body = "{}", .content_type = "application/jsonp" }, WIRE_REJECT, "string:{}" },
    { "json null",
      HANDLER("return 'reject', tostring(data == require('cjson').null)"),
      { .body = "null", .content_type = "application/json" },
      WIRE_REJECT,
      "true" },
    { "json string", SHOW, { .body = "\"x\"", .content_type = "application/json" }, WIRE_REJECT, "string:x" },
    { "not json",
      SHOW,
      { .body = "{oops", .content_type = "application/json" },
      WIRE_UNDECODABLE,
      "the body is not JSON: Expected object key string but found invalid token at character 2" },
    { "no body", SHOW, { .content_type = "application/json" }, WIRE_UNDECODABLE, "the body is not JSON: " },
    { "not a number",
      SHOW,
      { .body = "[NaN]", .content_type = "application/json" },
      WIRE_UNDECODABLE,
      "not JSON" },
    { "more than one",
      SHOW,
      { .body = "{} {}", .content_type = "application/json" },
      WIRE_UNDECODABLE,
      "not JSON" },
    { "the script's own settings",
      "local cjson = require 'cjson' cjson.decode_max_depth(1) " HANDLER("return 'reject', data[1][1][1]"),
      { .body = "[[[\"deep\"]]]", .content_type = "application/json" },
      WIRE_REJECT,
      "deep" },
};

static void decoding(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof decoding_cases / sizeof decoding_cases[0]; i++)
        check_case(&decoding_cases[i]);
}

static void check_decode(uint8_t decode, const char *content_type, enum wire_verdict verdict,
                         const char *text)
{
    const struct script_case test = {
        "decode", SHOW, { .body = "{\"a\":1}", .content_type = content_type }, verdict, text
    };
    struct fixture fixture;
    fixture_open(&fixture);
    fixture.limits.decode = decode;
    check_case_in(&fixture, &test);
}

static void decoding_can_be_told(void **context)
{
    (void)context;
    check_decode(WIRE_DECODE_RAW, "application/json", WIRE_REJECT, "string:{");
    check_decode(WIRE_DECODE_JSON, "text/plain", WIRE_REJECT, "table:1");
    check_decode(WIRE_DECODE_JSON, NULL, WIRE_REJECT, "table:1");
}

static void a_body_too_deep_is_not_decoded(void **context)
{
    enum { DEPTH = 100000 };
    struct script_case test = { "depth bomb",
                                SHOW,
                                { .body_bytes = DEPTH, .content_type = "application/json" },
                                WIRE_UNDECODABLE,
                                "Found too many nested data structures" };
    (void)context;
    char *body = malloc(DEPTH);
    assert_non_null(body);
    memset(body, '[', DEPTH);
    test.parcel.body = body;
    check_case(&test);
    free(body);
}

static void add_byte(struct buffer *attributes, enum wire_attribute_id id, uint8_t value)
{
    wire_add(attributes, id, (struct slice){ .data = (const char *)&value, .size = 1 });
}

static void add_all_attributes(struct buffer *attributes)
{
    const uint64_t timestamp = 1700000000;
    wire_add(attributes, WIRE_EXCHANGE, slice_of("shop"));
    wire_add(attributes, WIRE_ROUTING_KEY, slice_of("order.created"));
    wire_add(attributes, WIRE_CONSUMER_TAG, slice_of("host-1-orders"));
    wire_add(attributes, WIRE_CONTENT_ENCODING, slice_of("utf-8"));
    wire_add(attributes, WIRE_CORRELATION_ID, slice_of("c-1"));
    wire_add(attributes, WIRE_REPLY_TO, slice_of("replies"));
    wire_add(attributes, WIRE_EXPIRATION, slice_of("60000"));
    wire_add(attributes, WIRE_MESSAGE_TYPE, slice_of("order"));
    wire_add(attributes, WIRE_USER_ID, slice_of("guest"));
    wire_add(attributes, WIRE_APP_ID, slice_of("shop-web"));
    wire_add(attributes, WIRE_CLUSTER_ID, slice_of("ignored"));
    wire_add(attributes, WIRE_TIMESTAMP,
             (struct slice){ .data = (const char *)&timestamp, .size = sizeof timestamp });
    add_byte(attributes, WIRE_PRIORITY, 7);
    add_byte(attributes, WIRE_DELIVERY_MODE, 2);
    assert_false(attributes->failed);
}

static void message_fields(void **context)
{
    static const char script[] = HANDLER(
        "local want = { body = 'hello', id = 'm-1', queue = 'orders', exchange = 'shop', routing_key = "
        "'order.created',"
        " consumer_tag = 'host-1-orders', content_type = 'text/plain', content_encoding = 'utf-8',"
        " correlation_id = 'c-1', reply_to = 'replies', expiration = '60000', type = 'order', user_id = "
        "'guest',"
        " app_id = 'shop-web', timestamp = 1700000000, priority = 7, delivery_mode = 2, redelivered = true,"
        " attempt = 3 }\n"
        "for name, value in pairs(want) do\n"
        "  if message[name] ~= value then error(name .. ' is ' .. tostring(message[name])) end\n"
        "end\n"
        "assert(data == 'hello' and next(message.headers) == nil and message.cluster_id == nil)");
    struct buffer attributes;
    (void)context;
    buffer_init(&attributes, 4096);
    add_all_attributes(&attributes);
    const struct parcel parcel = { .body = "hello",
                                   .id = "m-1",
                                   .content_type = "text/plain",
                                   .attributes = { .data = attributes.data, .size = attributes.size } };
    check_case(&(struct script_case){ "fields", script, parcel, WIRE_ACK, NULL });
    buffer_clear(&attributes);
}

static const struct script_case message_cases[] = {
    { "bare message",
      HANDLER("assert(data == '' and message.body == '' and message.exchange == '' and message.routing_key "
              "== '')\n"
              "for _, name in ipairs { 'id', 'content_type', 'correlation_id', 'timestamp', 'priority', "
              "'type' } do\n"
              "  assert(message[name] == nil, name) end\n"
              "assert(type(message.headers) == 'table')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "headers are the same table",
      HANDLER("assert(message.headers == message.headers)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "unknown field",
      HANDLER("assert(message.total == nil and message[1] == nil and message[{}] == nil)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "writing",
      HANDLER("message.total = 1"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: message.total cannot be set: a message is read only" },
    { "writing with a strange key",
      HANDLER("message[{}] = 1"),
      { 0 },
      WIRE_ERROR,
      "message.table cannot be set" },
    { "its metatable",
      HANDLER("assert(getmetatable(message) == 'read only') setmetatable(message, {})"),
      { 0 },
      WIRE_ERROR,
      "bad argument #1 to 'setmetatable'" },
};

static void message_object(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof message_cases / sizeof message_cases[0]; i++)
        check_case(&message_cases[i]);
}

static void a_kept_message_is_over(void **context)
{
    static const char script[] =
        "local kept, threads, headers\n"
        "return function(data, message)\n"
        "  if data == 'keep' then\n"
        "    kept, headers = message, message.headers\n"
        "    threads = coroutine.wrap(function() coroutine.yield() return message.id end)\n"
        "    threads()\n"
        "    return\n"
        "  end\n"
        "  assert(message.id == 'second' and type(headers) == 'table' and headers ~= message.headers and "
        "message.headers == message.headers)\n"
        "  if data == 'thread' then return 'reject', threads() end\n"
        "  return 'reject', kept.body\n"
        "end";
    static const char over[] = "this message is over: copy what you need from it before the handler returns";
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, script);
    fixture_try(&fixture, &(struct parcel){ .body = "keep", .id = "first" }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    fixture_try(&fixture, &(struct parcel){ .body = "x", .id = "second" }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ERROR);
    assert_non_null(strstr(answer.text, over));
    fixture_try(&fixture, &(struct parcel){ .body = "thread", .id = "second" }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ERROR);
    assert_non_null(strstr(answer.text, over));
    fixture_finish(&fixture);
}

static void a_message_is_over_in_teardown(void **context)
{
    static const char script[] = "local kept\n"
                                 "return { handle = function(_, message) kept = message end,\n"
                                 "  teardown = function() return kept.body end }";
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, script);
    fixture_try(&fixture, &(struct parcel){ .body = "x" }, &answer);
    fixture_send_stop(&fixture);
    expect_type(&fixture, &answer, WIRE_LOG);
    assert_int_equal(answer.log.level, LOG_ERROR);
    assert_non_null(
        strstr(answer.text, "teardown of handler.lua failed: handler.lua:3: this message is over"));
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

/* Field tables byte by byte: length and name, kind, content in big-endian. */
#define BYTES(text)                                                                                          \
    {                                                                                                        \
        .data = (text), .size = sizeof(text) - 1                                                             \
    }

static void check_headers(const char *name, struct slice table, const char *script, enum wire_verdict verdict,
                          const char *text)
{
    struct buffer attributes;
    buffer_init(&attributes, WIRE_ATTRIBUTES_MAX);
    wire_add(&attributes, WIRE_HEADERS, table);
    assert_false(attributes.failed);
    const struct parcel parcel = { .attributes = { .data = attributes.data, .size = attributes.size } };
    check_case(&(struct script_case){ name, script, parcel, verdict, text });
    buffer_clear(&attributes);
}

static void header_kinds(void **context)
{
    static const struct {
        const char *name;
        struct slice table;
        const char *expression; /* of h, the headers */
    } cases[] = {
        { "boolean", BYTES("\001at\001"), "h.a == true" },
        { "int8", BYTES("\001ab\377"), "h.a == -1" },
        { "uint8", BYTES("\001aB\377"), "h.a == 255" },
        { "int16", BYTES("\001as\377\376"), "h.a == -2" },
        { "uint16", BYTES("\001au\377\376"), "h.a == 65534" },
        { "int32", BYTES("\001aI\377\377\377\375"), "h.a == -3" },
        { "uint32", BYTES("\001ai\377\377\377\375"), "h.a == 4294967293" },
        { "int64", BYTES("\001al\377\377\377\377\377\377\377\374"), "h.a == -4" },
        { "int64 beyond 2^53", BYTES("\001al\000\100\000\000\000\000\000\001"), "h.a == 2^54" },
        { "uint64", BYTES("\001aL\200\000\000\000\000\000\000\000"), "h.a == 2^63" },
        { "float", BYTES("\001af\077\000\000\000"), "h.a == 0.5" },
        { "double", BYTES("\001ad\300\004\000\000\000\000\000\000"), "h.a == -2.5" },
        { "decimal", BYTES("\001aD\002\000\000\004\322"), "h.a == 12.34" },
        { "timestamp", BYTES("\001aT\000\000\000\000\145\123\361\000"), "h.a == 1700000000" },
        { "string", BYTES("\001aS\000\000\000\003x\000y"), "h.a == 'x\\0y'" },
        { "binary", BYTES("\001ax\000\000\000\002\377\376"), "h.a == '\\255\\254'" },
        { "void", BYTES("\001aV"), "h.a == require('cjson').null" },
        { "table", BYTES("\001aF\000\000\000\012\001bF\000\000\000\003\001cV"),
          "h.a.b.c == require('cjson').null" },
        { "array", BYTES("\001aA\000\000\000\006t\001VA\000\000\000\000"), NULL },
        { "array of three", BYTES("\001aA\000\000\000\010t\001VA\000\000\000\000"),
          "#h.a == 3 and h.a[1] == true and h.a[2] == require('cjson').null and type(h.a[3]) == 'table'" },
        { "a name twice", BYTES("\001at\001\001at\000"), "h.a == false" },
        { "no name", BYTES("\000t\001"), "h[''] == true" },
        { "unknown kind", BYTES("\001a?\001"), NULL },
        { "cut", BYTES("\001aS\000\000\000\377x"), NULL },
    };
    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char script[512];
        bool fine = cases[i].expression != NULL;
        (void)snprintf(script, sizeof script,
                       HANDLER("local h = message.headers if not (%s) then return 'requeue' end"),
                       fine ? cases[i].expression : "h");
        check_headers(cases[i].name, cases[i].table, script, fine ? WIRE_ACK : WIRE_ERROR,
                      fine ? NULL : "handler.lua:1: the headers of this message cannot be read");
    }
}

/* `depth` tables in one another, or arrays where `kind` is 'A'. */
static size_t nest(char *to, size_t depth, char kind)
{
    enum { TABLE = 7, ARRAY = 5 };
    size_t head = kind == 'A' ? ARRAY : TABLE, used = 0;
    to[used++] = 1;
    to[used++] = 'a';
    for (size_t i = 0; i < depth; i++) {
        size_t content = (depth - i - 1) * head;
        if (i > 0 && kind == 'F') {
            to[used++] = 1;
            to[used++] = 'a';
        }
        to[used++] = kind;
        for (int shift = 24; shift >= 0; shift -= 8)
            to[used++] = (char)(content >> shift & 0xff);
    }
    return used;
}

static void headers_nest_to_a_bound(void **context)
{
    enum { NEST_BYTES = 128 * 1024 };
    static const char script[] = HANDLER("local h, depth = message.headers, 0\n"
                                         "while type(h) == 'table' do depth, h = depth + 1, h.a or h[1] end\n"
                                         "return 'reject', depth");
    char *bytes = malloc(NEST_BYTES);
    (void)context;
    assert_non_null(bytes);
    for (const char *kind = "FA"; *kind; kind++) {
        check_headers("deep", (struct slice){ .data = bytes, .size = nest(bytes, 31, *kind) }, script,
                      WIRE_REJECT, "32");
        check_headers("too deep", (struct slice){ .data = bytes, .size = nest(bytes, 32, *kind) }, script,
                      WIRE_ERROR, "handler.lua:1: the headers of this message nest deeper than 32 tables");
        check_headers("a bomb", (struct slice){ .data = bytes, .size = nest(bytes, 18000, *kind) }, script,
                      WIRE_ERROR, "nest deeper than 32 tables");
    }
    free(bytes);
}

static void a_long_error_is_cut(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("error(('x'):rep(100000))"));
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ERROR);
    assert_int_equal(strlen(answer.text), WIRE_TEXT_MAX);
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(delays),
        cmocka_unit_test(decoding),
        cmocka_unit_test(decoding_can_be_told),
        cmocka_unit_test(a_body_too_deep_is_not_decoded),
        cmocka_unit_test(message_fields),
        cmocka_unit_test(message_object),
        cmocka_unit_test(a_kept_message_is_over),
        cmocka_unit_test(a_message_is_over_in_teardown),
        cmocka_unit_test(header_kinds),
        cmocka_unit_test(headers_nest_to_a_bound),
        cmocka_unit_test(a_long_error_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
