/* Messages of strangers, as the host sends them on and as `dead` and `capture` show them. What is restored,
 * sent to a queue or given back has attributes that can be published; what is printed is one line without
 * control characters, or JSON that can be read again. */
#include "console.h"

#include "common/utf8.h"
#include "common/wire.h"
#include "host/capture/line.h"
#include "host/dead/dead_json.h"
#include "host/dead/dead_letter.h"
#include "host/dead/text.h"
#include "host/letter.h"

enum { BYTES_MAX = 8 * 1024 * 1024 };

static struct slice bytes_of(const struct buffer *buffer)
{
    return (struct slice){ .data = buffer->data ? buffer->data : "", .size = buffer->size };
}

/* The attributes that a frame of the broker leads to: each within its bounds. */
static bool can_be_delivered(struct slice attributes)
{
    struct wire_attribute attribute;
    enum wire_next next;
    uint64_t seen = 0;
    while ((next = wire_take_attribute(&attributes, &attribute)) == WIRE_FRAME) {
        bool text = attribute.id != WIRE_HEADERS && attribute.id < WIRE_TIMESTAMP;
        size_t size = attribute.id == WIRE_TIMESTAMP ? sizeof(uint64_t) : 1;
        if (attribute.id < WIRE_EXCHANGE || attribute.id > WIRE_DELIVERY_MODE || (seen >> attribute.id & 1) ||
            (text && attribute.value.size > WIRE_NAME_MAX) ||
            (attribute.id >= WIRE_TIMESTAMP && attribute.value.size != size))
            return false;
        seen |= UINT64_C(1) << attribute.id;
    }
    return next == WIRE_MORE;
}

/* JSON */

static int nothing(lua_State *lua)
{
    (void)lua;
    return 0;
}

static void must_be_json(const struct buffer *json)
{
    static const struct console_script no_scripts[] = { { NULL, NULL, NULL } };
    static lua_State *lua;
    struct slice text = bytes_of(json);
    if (!lua)
        lua = console_open(no_scripts, "return require('cjson').decode", nothing);
    MUST(!json->failed && utf8_is_valid(text));
    lua_pushlstring(lua, text.data, text.size);
    console_call(lua);
}

/* Ways of a message */

static void send_on(struct slice attributes, const char *reason)
{
    struct buffer sent, back;
    uint32_t failed = 0;
    const struct letter letter = { .to = "orders.retry",
                                   .queue = "orders",
                                   .attempt = 2,
                                   .wait_ms = reason ? -1 : 1000,
                                   .reason = reason,
                                   .error = slice_of("no"),
                                   .host = "host",
                                   .consumer = "orders",
                                   .body_bytes = -1 };
    buffer_init(&sent, BYTES_MAX);
    buffer_init(&back, BYTES_MAX);
    letter_write(&letter, attributes, &sent);
    MUST(!sent.failed);
    MUST(can_be_delivered(bytes_of(&sent)));
    if (!reason) {
        MUST(letter_restore(bytes_of(&sent), "orders", &back, &failed) == LETTER_RETRIED);
        MUST(failed == 2 && can_be_delivered(bytes_of(&back)));
    }
    buffer_clear(&sent);
    buffer_clear(&back);
}

static void restore(struct slice attributes)
{
    struct buffer back;
    uint32_t failed = 0;
    buffer_init(&back, BYTES_MAX);
    if (letter_restore(attributes, "orders", &back, &failed) == LETTER_NEW)
        MUST(back.size == 0);
    else
        MUST(can_be_delivered(bytes_of(&back)));
    MUST(letter_attempt(attributes, true, failed) >= 1);
    buffer_clear(&back);
}

static void look_at_dead(struct slice attributes, struct slice body)
{
    struct dead_letter letter;
    struct buffer to;
    const char *why = NULL;
    buffer_init(&to, BYTES_MAX);
    dead_letter_read(&letter, attributes, body, body.size);
    MUST(letter.id.size > 0);
    dead_json_put(&to, &letter, true);
    must_be_json(&to);
    buffer_reset(&to);
    dead_json_put(&to, &letter, false);
    must_be_json(&to);
    buffer_reset(&to);
    if (dead_letter_write_back(&letter, &to, &why))
        MUST(can_be_delivered(bytes_of(&to)));
    else
        MUST(why && *why);
    buffer_reset(&to);
    text_put(&to, letter.error, false);
    for (size_t i = 0; i < to.size; i++)
        MUST((unsigned char)to.data[i] >= ' ' && to.data[i] != 127);
    buffer_clear(&to);
}

static void capture(struct slice attributes, struct slice body)
{
    struct line line;
    struct buffer to;
    const struct line_message message = { .attributes = attributes, .body = body, .attempt = 1 };
    buffer_init(&to, BYTES_MAX);
    line_begin(&line, &message, &to);
    while (line_next(&line, &to))
        continue;
    must_be_json(&to);
    MUST(to.data[to.size - 1] == '\n' && !memchr(to.data, '\n', to.size - 1));
    buffer_clear(&to);
}

/* Attributes; what follows those that are whole is the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = fuzz_input(data, size);
    struct wire_attribute attribute;
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME)
        continue;
    struct slice attributes = fuzz_input(data, size - rest.size);
    if (!can_be_delivered(attributes))
        return 0;
    restore(attributes);
    send_on(attributes, NULL);
    send_on(attributes, "error");
    look_at_dead(attributes, rest);
    capture(attributes, rest);
    return 0;
}
