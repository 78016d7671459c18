/* What a script publishes, as the host gets it: properties, headers and bodies of every kind, what is refused
 * and in which words, when it is sent and when not, and its bounds; see worker/lua_publish.h. */
#include "worker_fixture.h"

#include "common/fields.h"

#define HANDLER(body)   "return function(data, message) " body " end"
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* A message that was published, put together again. */
struct parcel_sent {
    uint64_t seq;
    struct buffer bytes; /* attributes, then the body */
    struct slice attributes;
    struct slice body;
};

/* Takes the WIRE_PUBLISH that `answer` holds, and its pieces. */
static void take_parcel(struct fixture *fixture, const struct answer *first, struct parcel_sent *sent)
{
    struct answer piece;
    const struct wire_publish publish = first->publish;
    size_t size = (size_t)publish.attributes_bytes + publish.body_bytes;
    buffer_init(&sent->bytes, size + 1);
    assert_true(buffer_append(&sent->bytes, first->attributes.data, first->attributes.size));
    while (sent->bytes.size < size) {
        expect_type(fixture, &piece, WIRE_PIECE);
        assert_true(piece.attributes.size > 0);
        assert_true(buffer_append(&sent->bytes, piece.attributes.data, piece.attributes.size));
    }
    assert_int_equal(sent->bytes.size, size);
    sent->seq = publish.seq;
    sent->attributes = (struct slice){ .data = sent->bytes.data, .size = publish.attributes_bytes };
    sent->body =
        (struct slice){ .data = sent->bytes.data + publish.attributes_bytes, .size = publish.body_bytes };
}

static void expect_parcel(struct fixture *fixture, struct parcel_sent *sent)
{
    struct answer answer;
    expect_type(fixture, &answer, WIRE_PUBLISH);
    take_parcel(fixture, &answer, sent);
}

static void expect_verdict(struct fixture *fixture, int verdict, const char *text)
{
    struct answer answer;
    expect_type(fixture, &answer, WIRE_RESULT);
    if (answer.result.verdict != verdict || (text && !strstr(answer.text, text)))
        fail_msg("verdict %d instead of %d, with \"%s\"", answer.result.verdict, verdict, answer.text);
}

static void assert_attribute(const struct parcel_sent *sent, enum wire_attribute_id id, const char *text)
{
    struct slice value;
    bool found = wire_find(sent->attributes, id, &value);
    if (found != (text != NULL) || (text && !slice_equals(value, text)))
        fail_msg("attribute %d is \"%.*s\" and should be \"%s\"", (int)id, found ? (int)value.size : 0,
                 found ? value.data : "", text ? text : "nothing");
}

static void assert_body(const struct parcel_sent *sent, const char *text)
{
    if (!slice_equals(sent->body, text))
        fail_msg("the body is %.*s and should be %s", (int)sent->body.size, sent->body.data, text);
}

/* Bodies */

static const struct {
    const char *lua;
    const char *body;
} bodies[] = {
    { "'hello'", "hello" },
    { "''", "" },
    { "{}", "{}" },
    { "{ id = 1 }", "{\"id\":1}" },
    { "{ 1, 2.5, true, false, 'x', require 'cjson'.null }", "[1,2.5,true,false,\"x\",null]" },
    { "{ { {} }, { a = { 1 } } }", "[[{}],{\"a\":[1]}]" },
    { "{ 1, nil, 3 }", "[1,null,3]" },
    { "{ [3] = 'c' }", "[null,null,\"c\"]" },
    { "{ [0] = 'zero' }", "{\"0\":\"zero\"}" },
    { "{ [1.5] = 1 }", "{\"1.5\":1}" },
    { "{ 9007199254740991, 123456789012345, -9007199254740992 }",
      "[9007199254740991,123456789012345,-9007199254740992]" },
    { "{ 0.1, 1/3, 1e300, -1e-7, 2^63 }", "[0.1,0.3333333333333333,1e+300,-1e-07,9.223372036854776e+18]" },
    { "{ 'a\"b\\\\c/d\\n\\t\\r\\b\\f\\v\\0\\127' }",
      "[\"a\\\"b\\\\c/d\\n\\t\\r\\b\\f\\u000b\\u0000\\u007f\"]" },
    { "{ ['k\"'] = 'm\xc3\xb6hre' }", "{\"k\\\"\":\"m\xc3\xb6hre\"}" },
    { "setmetatable({ 1 }, { __index = error, __pairs = error, __len = error })", "[1]" },
    { "require 'cjson'.decode('[1,null,{\"a\":[]}]')", "[1,null,{\"a\":{}}]" },
};

static void bodies_are_written(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        char script[512];
        struct fixture fixture;
        struct parcel_sent sent;
        (void)snprintf(script, sizeof script, HANDLER("message:publish('shop', 'new', %s)"), bodies[i].lua);
        fixture_open(&fixture);
        fixture_run(&fixture, script);
        fixture_deliver(&fixture, &(struct parcel){ 0 });
        expect_parcel(&fixture, &sent);
        expect_verdict(&fixture, WIRE_ACK, NULL);
        assert_int_equal(sent.seq, 1);
        assert_attribute(&sent, WIRE_EXCHANGE, "shop");
        assert_attribute(&sent, WIRE_ROUTING_KEY, "new");
        assert_attribute(&sent, WIRE_DELIVERY_MODE, "\2");
        assert_attribute(&sent, WIRE_CONTENT_TYPE, bodies[i].lua[0] == '\'' ? NULL : "application/json");
        assert_attribute(&sent, WIRE_HEADERS, NULL);
        assert_body(&sent, bodies[i].body);
        buffer_clear(&sent.bytes);
        fixture_finish(&fixture);
    }
}

/* Properties */

static void every_property(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    struct slice value;
    uint64_t timestamp;
    (void)context;
    fixture_open(&fixture);
    fixture_run(
        &fixture,
        HANDLER("message:publish('', 'queue', 'x', { content_type = 'text/plain', content_encoding = 'utf-8',"
                " delivery_mode = 1, priority = 255, correlation_id = 'c-1', reply_to = 'answers',"
                " expiration = '1.5s', message_id = 'm-1', timestamp = 1700000000, type = 'order',"
                " user_id = 'guest', app_id = ('a'):rep(255) })"));
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_parcel(&fixture, &sent);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    assert_attribute(&sent, WIRE_EXCHANGE, NULL);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "queue");
    assert_attribute(&sent, WIRE_CONTENT_TYPE, "text/plain");
    assert_attribute(&sent, WIRE_CONTENT_ENCODING, "utf-8");
    assert_attribute(&sent, WIRE_DELIVERY_MODE, "\1");
    assert_attribute(&sent, WIRE_PRIORITY, "\xff");
    assert_attribute(&sent, WIRE_CORRELATION_ID, "c-1");
    assert_attribute(&sent, WIRE_REPLY_TO, "answers");
    assert_attribute(&sent, WIRE_EXPIRATION, "1500");
    assert_attribute(&sent, WIRE_MESSAGE_ID, "m-1");
    assert_attribute(&sent, WIRE_MESSAGE_TYPE, "order");
    assert_attribute(&sent, WIRE_USER_ID, "guest");
    assert_true(wire_find(sent.attributes, WIRE_APP_ID, &value));
    assert_int_equal(value.size, 255);
    assert_true(wire_find(sent.attributes, WIRE_TIMESTAMP, &value));
    assert_int_equal(value.size, sizeof timestamp);
    memcpy(&timestamp, value.data, sizeof timestamp);
    assert_int_equal(timestamp, 1700000000);
    buffer_clear(&sent.bytes);
    fixture_finish(&fixture);
}

static const struct {
    const char *lua;
    const char *ms;
} expirations[] = {
    { "0", "0" },
    { "1.5", "1500" },
    { "0.0001", "1" },
    { "'90s'", "90000" },
    { "'250ms'", "250" },
    { "'49d'", "4233600000" },
    { "message.id .. 'ms'", "7" },
};

static void expirations_are_times(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(expirations); i++) {
        char script[256];
        struct fixture fixture;
        struct parcel_sent sent;
        (void)snprintf(script, sizeof script, HANDLER("message:publish('', 'q', '', { expiration = %s })"),
                       expirations[i].lua);
        fixture_open(&fixture);
        fixture_run(&fixture, script);
        fixture_deliver(&fixture, &(struct parcel){ .id = "7" });
        expect_parcel(&fixture, &sent);
        assert_attribute(&sent, WIRE_EXPIRATION, expirations[i].ms);
        expect_verdict(&fixture, WIRE_ACK, NULL);
        buffer_clear(&sent.bytes);
        fixture_finish(&fixture);
    }
}

/* Headers */

/* Each is the only header, so that its bytes are known. */
static const struct {
    const char *lua;
    struct slice bytes;
} headers[] = {
#define HEADER(lua, literal)                                                                                 \
    {                                                                                                        \
        lua,                                                                                                 \
        {                                                                                                    \
            .data = (literal), .size = sizeof(literal) - 1                                                   \
        }                                                                                                    \
    }
    HEADER("{}", ""),
    HEADER("{ a = true }", "\1at\1"),
    HEADER("{ a = 7 }", "\1aI\0\0\0\7"),
    HEADER("{ a = -1 }", "\1aI\xff\xff\xff\xff"),
    HEADER("{ a = 2^31 }", "\1al\0\0\0\0\x80\0\0\0"),
    HEADER("{ a = -2^53 }", "\1al\xff\xe0\0\0\0\0\0\0"),
    HEADER("{ a = 2^63 }", "\1ad\x43\xe0\0\0\0\0\0\0"),
    HEADER("{ a = 1.5 }", "\1ad\x3f\xf8\0\0\0\0\0\0"),
    HEADER("{ a = 'hare' }", "\1aS\0\0\0\4hare"),
    HEADER("{ [''] = '' }", "\0S\0\0\0\0"),
    HEADER("{ [0] = 'x' }", "\0010S\0\0\0\1x"),
    HEADER("{ a = require 'cjson'.null }", "\1aV"),
    HEADER("{ a = {} }", "\1aF\0\0\0\0"),
    HEADER("{ a = { 1, 'x' } }", "\1aA\0\0\0\x0bI\0\0\0\1S\0\0\0\1x"),
    HEADER("{ a = { b = { true } } }", "\1aF\0\0\0\x09\1bA\0\0\0\2t\1"),
    HEADER("{ ['moonrabbit-attempt'] = 3, ['moonrabbit-'] = 1, a = 1 }", "\1aI\0\0\0\1"),
    HEADER("{ a = { ['moonrabbit-x'] = 1 } }", "\1aF\0\0\0\x12\x0cmoonrabbit-xI\0\0\0\1"),
    HEADER("{ CC = { 'x' } }", "\2CCA\0\0\0\6S\0\0\0\1x"),
};

static void headers_are_written(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        char script[256];
        struct fixture fixture;
        struct parcel_sent sent;
        struct slice value;
        (void)snprintf(script, sizeof script, HANDLER("message:publish('', 'q', '', { headers = %s })"),
                       headers[i].lua);
        fixture_open(&fixture);
        fixture_run(&fixture, script);
        fixture_deliver(&fixture, &(struct parcel){ 0 });
        expect_parcel(&fixture, &sent);
        expect_verdict(&fixture, WIRE_ACK, NULL);
        assert_true(wire_find(sent.attributes, WIRE_HEADERS, &value));
        assert_true(fields_are_sound(value));
        if (value.size != headers[i].bytes.size || memcmp(value.data, headers[i].bytes.data, value.size) != 0)
            fail_msg("%s is not written as it should be", headers[i].lua);
        buffer_clear(&sent.bytes);
        fixture_finish(&fixture);
    }
}

/* A message's own headers can be passed on as they are. */
static void headers_come_back(void **context)
{
    static const char table[] = "\1aF\0\0\0\x09\1bA\0\0\0\2t\1\1c"
                                "d\x3f\xf8\0\0\0\0\0\0\1dV";
    struct fixture fixture;
    struct parcel_sent sent;
    struct buffer attributes;
    struct slice value;
    struct field field;
    (void)context;
    buffer_init(&attributes, 1024);
    wire_add(&attributes, WIRE_HEADERS, (struct slice){ .data = table, .size = sizeof table - 1 });
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("message:publish('', 'q', message.body, { headers = message.headers })"));
    fixture_deliver(&fixture,
                    &(struct parcel){ .body = "as it was",
                                      .attributes = { .data = attributes.data, .size = attributes.size } });
    expect_parcel(&fixture, &sent);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    assert_body(&sent, "as it was");
    assert_true(wire_find(sent.attributes, WIRE_HEADERS, &value));
    assert_int_equal(value.size, sizeof table - 1);
    assert_true(fields_find(value, "a", &field) && field.kind == FIELD_TABLE);
    assert_true(fields_find(value, "c", &field) && field.kind == FIELD_DOUBLE);
    assert_true(fields_find(value, "d", &field) && field.kind == FIELD_VOID);
    buffer_clear(&sent.bytes);
    buffer_clear(&attributes);
    fixture_finish(&fixture);
}

/* Replies */

static void deliver_question(struct fixture *fixture, const char *reply_to, const char *correlation_id)
{
    struct buffer attributes;
    buffer_init(&attributes, 1024);
    if (reply_to)
        wire_add(&attributes, WIRE_REPLY_TO, slice_of(reply_to));
    if (correlation_id)
        wire_add(&attributes, WIRE_CORRELATION_ID, slice_of(correlation_id));
    fixture_deliver(fixture,
                    &(struct parcel){ .attributes = { .data = attributes.data, .size = attributes.size } });
    buffer_clear(&attributes);
}

static void replies(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("message:reply({ sum = 3 }, message.correlation_id == 'own' and "
                                  "{ correlation_id = 'mine', content_type = 'x' } or nil)"));
    deliver_question(&fixture, "answers", "c-7");
    expect_parcel(&fixture, &sent);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    assert_attribute(&sent, WIRE_EXCHANGE, NULL);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "answers");
    assert_attribute(&sent, WIRE_CORRELATION_ID, "c-7");
    assert_attribute(&sent, WIRE_DELIVERY_MODE, "\2");
    assert_body(&sent, "{\"sum\":3}");
    buffer_clear(&sent.bytes);
    deliver_question(&fixture, "answers", NULL);
    expect_parcel(&fixture, &sent);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    assert_attribute(&sent, WIRE_CORRELATION_ID, NULL);
    buffer_clear(&sent.bytes);
    deliver_question(&fixture, "answers", "own");
    expect_parcel(&fixture, &sent);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    assert_attribute(&sent, WIRE_CORRELATION_ID, "mine");
    assert_attribute(&sent, WIRE_CONTENT_TYPE, "x");
    buffer_clear(&sent.bytes);
    deliver_question(&fixture, NULL, "c-8");
    expect_verdict(&fixture, WIRE_ERROR, "reply: this message has no reply_to: nobody waits for an answer");
    deliver_question(&fixture, "", "c-8");
    expect_verdict(&fixture, WIRE_ERROR, "reply: this message has no reply_to: nobody waits for an answer");
    fixture_finish(&fixture);
}

/* What is refused */

static const struct {
    const char *lua;
    const char *text;
} refusals[] = {
    { "message:publish()",
      "publish: the exchange is nil: give its name of at most 255 bytes, or \"\" for the default" },
    { "message:publish('x')", "publish: the routing key is nil: give a text of at most 255 bytes" },
    { "message:publish('', '', 'x')",
      "handler.lua:1: publish: exchange and routing key are both empty: the default exchange takes" },
    { "message:publish({}, 'k', '')", "publish: the exchange is a table: " },
    { "message:publish('x', 5, '')", "publish: the routing key is 5 (a number): give a text" },
    { "message:publish(('x'):rep(256), 'k', '')", "publish: the exchange has 256 bytes: give its name" },
    { "message:publish('x', ('k'):rep(256), '')", "publish: the routing key has 256 bytes: give a text" },
    { "message:publish('x', 'k')",
      "publish: the body is nil: give a text, or a table, which is sent as JSON" },
    { "message:publish('x', 'k', 5)", "publish: the body is 5 (a number): give a text" },
    { "message:publish('x', 'k', true)", "publish: the body is true: give a text" },
    { "message:publish('x', 'k', require 'cjson'.null)", "publish: the body is a userdata: give a text" },
    { "message:publish('x', 'k', '', 5)",
      "publish: what stands for the properties is 5 (a number): give a table" },
    { "message.publish('x', 'k', '')", "publish is called with a colon: message:publish(...)" },
    { "message.publish()", "publish is called with a colon: message:publish(...)" },
    { "message.reply(nil, '')", "reply is called with a colon: message:reply(...)" },
    { "message:reply()", "reply: this message has no reply_to" },
    { "message:publish('x', 'k', { f = print })",
      "handler.lua:1: body.f is a function, which only lives in this worker" },
    { "message:publish('x', 'k', { a = { 1, { b = message } } })",
      "body.a[2].b is a userdata, which only lives" },
    { "message:publish('x', 'k', { [true] = 1 })", "body has a boolean for a key: only texts and numbers" },
    { "message:publish('x', 'k', { 0/0 })", "body[1] is not a number (0/0)" },
    { "message:publish('x', 'k', { n = math.huge })", "body.n is infinite" },
    { "message:publish('x', 'k', { n = -math.huge })", "body.n is infinite" },
    { "local t = {} t.t = t message:publish('x', 'k', t)",
      "t is a table inside of 1000 others: so deep a table cannot" },
    { "message:publish('x', 'k', { [1000] = 1 })",
      "body is a list with more holes than items: give its items the keys" },
    { "message:publish('x', 'k', '', { prority = 1 })",
      "publish: there is no property \"prority\" (a string): there are content_type, content_encoding, "
      "headers, "
      "delivery_mode, priority, correlation_id, reply_to, expiration, message_id, timestamp, type, user_id, "
      "app_id" },
    { "message:publish('x', 'k', '', { 'text/plain' })",
      "publish: there is no property 1 (a number): there are" },
    { "message:publish('x', 'k', '', { content_type = 5 })",
      "publish: content_type is 5 (a number): give a text of at most" },
    { "message:publish('x', 'k', '', { message_id = ('i'):rep(256) })",
      "publish: message_id has 256 bytes: give a text" },
    { "message:publish('x', 'k', '', { priority = 256 })",
      "publish: priority is 256 (a number): give a whole number from 0 to 255" },
    { "message:publish('x', 'k', '', { priority = -1 })", "publish: priority is -1 (a number)" },
    { "message:publish('x', 'k', '', { priority = 1.5 })", "publish: priority is 1.5 (a number)" },
    { "message:publish('x', 'k', '', { priority = 0/0 })", "publish: priority is " },
    { "message:publish('x', 'k', '', { priority = '5' })", "publish: priority is \"5\" (a string)" },
    { "message:publish('x', 'k', '', { delivery_mode = 0 })",
      "publish: delivery_mode is 0 (a number): give 2 (persistent" },
    { "message:publish('x', 'k', '', { delivery_mode = 'persistent' })",
      "publish: delivery_mode is \"persistent\" (a string): give 2" },
    { "message:publish('x', 'k', '', { timestamp = -1 })",
      "publish: timestamp is -1 (a number): give whole seconds since 1970" },
    { "message:publish('x', 'k', '', { timestamp = 1e17 })",
      "publish: timestamp is 1e+17 (a number): give whole seconds" },
    { "message:publish('x', 'k', '', { timestamp = 1.5 })",
      "publish: timestamp is 1.5 (a number): give whole seconds" },
    { "message:publish('x', 'k', '', { expiration = -1 })",
      "publish: expiration is -1 (a number): give seconds as a number" },
    { "message:publish('x', 'k', '', { expiration = '60000' })",
      "publish: expiration is \"60000\" (a string): give seconds as a number, or a time with its unit such "
      "as \"90s\"" },
    { "message:publish('x', 'k', '', { expiration = '50d' })",
      "publish: expiration is \"50d\" (a string): give seconds" },
    { "message:publish('x', 'k', '', { expiration = math.huge })",
      "publish: expiration is inf (a number): give seconds" },
    { "message:publish('x', 'k', '', { expiration = true })", "publish: expiration is true: give seconds" },
    { "message:publish('x', 'k', '', { headers = 'a' })",
      "publish: headers is \"a\" (a string): give a table by name" },
    { "message:publish('x', 'k', '', { headers = { 1, 2 } })", "headers is a list: give a table by name" },
    { "message:publish('x', 'k', '', { headers = { a = { b = print } } })",
      "headers.a.b is a function, which only" },
    { "message:publish('x', 'k', '', { headers = { a = 0/0 } })", "headers.a is not a number (0/0)" },
    { "message:publish('x', 'k', '', { headers = { [('n'):rep(256)] = 1 } })",
      "headers has a key of 256 bytes, and 255 are allowed" },
    { "local h = {} h.h = h message:publish('x', 'k', '', { headers = h })",
      "is a table inside of 32 others" },
    { "message:publish('x', 'k', '', { headers = { CC = 'all' } })",
      "publish: the header CC is \"all\" (a string): give a list of routing keys, and not an empty one" },
    { "message:publish('x', 'k', '', { headers = { BCC = {} } })",
      "publish: the header BCC is a table: give a list of routing keys" },
    { "message:publish('x', 'k', '', { headers = { CC = { 'a', 5 } } })",
      "publish: the header CC is a table: give a list" },
    { "message:publish('x', 'k', '', { headers = { a = ('h'):rep(48 * 1024) } })",
      "publish: the properties take more than 48KiB, headers included: put what is large into the body" },
    { "for i = 1, 1001 do message:publish('x', 'k', '') end",
      "publish: one message publishes at most 1000 others" },
    { "message:publish('x', 'k', ('b'):rep(3 * 2^20))",
      "publish: one message publishes at most 2MiB (limits.message)" },
    { "for i = 1, 300 do message:publish('x', 'k', ('b'):rep(10000)) end",
      "publish: one message publishes at most 2MiB" },
    { "local t = { 1 } for i = 1, 40 do t = { t, t } end message:publish('x', 'k', t)",
      "publish: one message publishes at most 2MiB" },
};

/* Each is an error of the script, of which nothing is sent; the same worker goes on after it. */
static void what_is_wrong_is_refused(void **context)
{
    (void)context;
    struct fixture fixture;
    fixture_open(&fixture);
    fixture.limits.message_bytes = 2 << 20;
    fixture_run(&fixture,
                "return function(code, message) message:publish('', 'q', 'before')\n"
                "return assert(loadstring('local message = ... ' .. code, '=handler.lua'))(message) end");
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct answer answer;
        fixture_try(&fixture, &(struct parcel){ .body = refusals[i].lua }, &answer);
        if (answer.result.verdict != WIRE_ERROR || !strstr(answer.text, refusals[i].text))
            fail_msg("%s: verdict %d, \"%s\"", refusals[i].lua, answer.result.verdict, answer.text);
    }
    fixture_finish(&fixture);
}

/* When it is sent */

static const struct {
    const char *how;
    const char *end;
    int verdict;
} failures[] = {
    { "retry", "return false", WIRE_RETRY },
    { "requeue", "return 'requeue'", WIRE_REQUEUE },
    { "reject", "return 'reject', 'no'", WIRE_REJECT },
    { "an error", "error 'no'", WIRE_ERROR },
    { "no verdict", "return 42", WIRE_ERROR },
    { "no memory", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", WIRE_OUT_OF_MEMORY },
};

static void a_failure_publishes_nothing(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        char script[256];
        struct fixture fixture;
        (void)snprintf(script, sizeof script, HANDLER("message:publish('', 'q', 'no') %s"), failures[i].end);
        fixture_open(&fixture);
        fixture_run(&fixture, script);
        fixture_deliver(&fixture, &(struct parcel){ 0 });
        expect_verdict(&fixture, failures[i].verdict, NULL);
        fixture_close(&fixture);
    }
}

/* What a script catches does not matter, and a parcel that was broken off leaves no trace. */
static void what_was_broken_off_is_gone(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture,
                HANDLER("message:publish('', 'first', '1')\n"
                        "assert(not pcall(message.publish, message, '', 'q', { 1, 2, print }))\n"
                        "message:publish('', 'second', '2')\n"
                        "assert(not pcall(message.publish, message, '', 'q', '', { priority = -1 }))"));
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_parcel(&fixture, &sent);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "first");
    assert_body(&sent, "1");
    buffer_clear(&sent.bytes);
    expect_parcel(&fixture, &sent);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "second");
    assert_body(&sent, "2");
    buffer_clear(&sent.bytes);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    fixture_finish(&fixture);
}

static void a_message_that_is_over_publishes_nothing(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_run(
        &fixture,
        "local kept, publish, reply\n"
        "return function(data, message)\n"
        "  if not kept then kept, publish, reply = message, message.publish, message.reply return end\n"
        "  local function try(call, ...) return (select(2, pcall(call, ...))) end\n"
        "  return 'reject', try(kept.publish, kept, '', 'q', '') .. '|' .. try(publish, kept, '', 'q', '')\n"
        "    .. '|' .. try(reply, kept, '') .. '|' .. try(function() return kept.id end)\n"
        "end");
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_ACK);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    static const char late[] =
        "it is too late: the message, setup or teardown that this belongs to is over, and "
        "what it published is sent";
    char expected[1024];
    (void)snprintf(
        expected, sizeof expected,
        "publish: %s|publish: %s|reply: %s|handler.lua:6: this message is over: copy what you need "
        "from it before the handler returns",
        late, late, late);
    assert_string_equal(answer.text, expected);
    fixture_finish(&fixture);
}

static void in_a_coroutine(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("coroutine.wrap(function() message:publish('', 'q', { 'in' }) end)()"));
    fixture_deliver(&fixture, &(struct parcel){ 0 });
    expect_parcel(&fixture, &sent);
    assert_body(&sent, "[\"in\"]");
    buffer_clear(&sent.bytes);
    expect_verdict(&fixture, WIRE_ACK, NULL);
    fixture_finish(&fixture);
}

/* Sizes */

/* Bodies around the size of a frame come in as few pieces as it takes, and whole. */
static void large_bodies_come_in_pieces(void **context)
{
    static const size_t sizes[] = { 1, 65000, 65536, 65537, 131072, 1000000, 8 << 20 };
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture,
                HANDLER("message:publish('', 'q', ('0123456789abcdef'):rep(tonumber(data) / 16 + 1):sub(1, "
                        "data)) message:publish('', 'end', data)"));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char size[32];
        struct parcel_sent sent;
        (void)snprintf(size, sizeof size, "%zu", sizes[i]);
        fixture_deliver(&fixture, &(struct parcel){ .body = size });
        expect_parcel(&fixture, &sent);
        assert_int_equal(sent.body.size, sizes[i]);
        for (size_t at = 0; at < sizes[i]; at += 4093)
            assert_int_equal(sent.body.data[at], "0123456789abcdef"[at % 16]);
        buffer_clear(&sent.bytes);
        expect_parcel(&fixture, &sent);
        assert_body(&sent, size);
        buffer_clear(&sent.bytes);
        expect_verdict(&fixture, WIRE_ACK, NULL);
    }
    fixture_finish(&fixture);
}

static void as_many_as_are_allowed(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    char text[16];
    (void)context;
    fixture_open(&fixture);
    fixture_run(&fixture, HANDLER("for i = 1, 1000 do message:publish('', 'q', tostring(i)) end"));
    for (int round = 0; round < 3; round++) {
        fixture_deliver(&fixture, &(struct parcel){ 0 });
        for (int i = 1; i <= WIRE_PUBLISHES_MAX; i++) {
            (void)snprintf(text, sizeof text, "%d", i);
            expect_parcel(&fixture, &sent);
            assert_body(&sent, text);
            assert_int_equal(sent.seq, round + 1);
            buffer_clear(&sent.bytes);
        }
        expect_verdict(&fixture, WIRE_ACK, NULL);
    }
    fixture_finish(&fixture);
}

/* What waits is the script's memory: it is counted, ends the message at the limit, and is given back. */
static void it_counts_as_memory(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.memory_bytes = 8 << 20;
    fixture_run(
        &fixture,
        "local memory, kept = require 'memory', nil\n"
        "return function(data, message)\n"
        "  local body = ('x'):rep(2^20)\n"
        "  if data == 'count' then\n"
        "    local before = memory.usage()\n"
        "    message:publish('', 'q', body) message:publish('', 'q', body)\n"
        "    return 'reject', memory.usage() - before >= 2 * 2^20 and 'counted' or 'not counted'\n"
        "  elseif data == 'after' then return 'reject', memory.usage() < 4 * 2^20 and 'freed' or 'held' end\n"
        "  while true do message:publish('', 'q', body) end\n"
        "end");
    fixture_try(&fixture, &(struct parcel){ .body = "count" }, &answer);
    assert_string_equal(answer.text, "counted");
    fixture_try(&fixture, &(struct parcel){ .body = "after" }, &answer);
    assert_string_equal(answer.text, "freed");
    fixture_try(&fixture, &(struct parcel){ .body = "fill" }, &answer);
    assert_int_equal(answer.result.verdict, WIRE_OUT_OF_MEMORY);
    expect_type(&fixture, &answer, WIRE_RECYCLED);
    fixture_finish(&fixture);
}

/* Garbage is no reason to refuse: 6 of 8 MiB are enough for the body and its text, whatever else was made
 * before.
 */
static void garbage_makes_way(void **context)
{
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.memory_bytes = 8 << 20;
    fixture_run(&fixture, "local z = ('z'):rep(10^6)\n" HANDLER(
                              "for i = 1, tonumber(data) do local garbage = ('x'):rep(50000) .. i end\n"
                              "message:publish('', 'q', { z, z, z, z, z, z })"));
    for (int i = 0; i < 120; i += 3) {
        char count[16];
        struct parcel_sent sent;
        (void)snprintf(count, sizeof count, "%d", i);
        fixture_deliver(&fixture, &(struct parcel){ .body = count });
        expect_parcel(&fixture, &sent);
        assert_int_equal(sent.body.size, 6 * 1000000 + 19);
        buffer_clear(&sent.bytes);
        expect_verdict(&fixture, WIRE_ACK, NULL);
    }
    fixture_finish(&fixture);
}

/* setup and teardown */

static void from_setup_and_teardown(void **context)
{
    struct fixture fixture;
    struct parcel_sent sent;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_write_text(&fixture, "handler.lua",
                       "local kept\n"
                       "return {\n"
                       "  setup = function(worker) kept = worker worker:publish('', 'begin', { 1 }) end,\n"
                       "  handle = function()\n"
                       "    assert(kept.reply == nil and not pcall(function() kept.x = 1 end))\n"
                       "    return 'reject', select(2, pcall(kept.publish, kept, '', 'q', ''))\n"
                       "  end,\n"
                       "  teardown = function(worker) worker:publish('', 'end', '') end,\n"
                       "}");
    fixture_start(&fixture);
    expect_parcel(&fixture, &sent);
    assert_int_equal(sent.seq, 0);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "begin");
    assert_body(&sent, "[1]");
    buffer_clear(&sent.bytes);
    expect_type(&fixture, &answer, WIRE_READY);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_non_null(strstr(answer.text, "publish: it is too late: "));
    fixture_send_stop(&fixture);
    expect_parcel(&fixture, &sent);
    assert_int_equal(sent.seq, 0);
    assert_attribute(&sent, WIRE_ROUTING_KEY, "end");
    buffer_clear(&sent.bytes);
    assert_false(fixture_answer(&fixture, &answer));
    assert_int_equal(fixture_wait(&fixture), 0);
    fixture_close(&fixture);
}

static void a_setup_that_fails_publishes_nothing(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_write_text(&fixture, "handler.lua",
                       "return { setup = function(worker) worker:publish('', 'q', '') error 'no' end,\n"
                       "handle = print }");
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_FAILED);
    fixture_close(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_written),
        cmocka_unit_test(every_property),
        cmocka_unit_test(expirations_are_times),
        cmocka_unit_test(headers_are_written),
        cmocka_unit_test(headers_come_back),
        cmocka_unit_test(replies),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(a_failure_publishes_nothing),
        cmocka_unit_test(what_was_broken_off_is_gone),
        cmocka_unit_test(a_message_that_is_over_publishes_nothing),
        cmocka_unit_test(in_a_coroutine),
        cmocka_unit_test(large_bodies_come_in_pieces),
        cmocka_unit_test(as_many_as_are_allowed),
        cmocka_unit_test(it_counts_as_memory),
        cmocka_unit_test(garbage_makes_way),
        cmocka_unit_test(from_setup_and_teardown),
        cmocka_unit_test(a_setup_that_fails_publishes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
