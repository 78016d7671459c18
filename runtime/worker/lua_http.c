/* HTTP for scripts; see lua_http.h. What waits is in wait.h, the request itself in web.h. */
#include "worker/lua_http.h"

#include "common/clock.h"
#include "common/units.h"
#include "worker/json_text.h"
#include "worker/value.h"
#include "worker/web.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <lauxlib.h>

/* An option's value is on top of the stack when it is taken, and stays. */
enum { OPTIONS = 1 };

/* The wait is over by then, whatever libcurl and c-ares are still at. */
static const int64_t spare_ns = CLOCK_NS_PER_SECOND / 4;

static const char whole_second[] = "give seconds, or a time such as \"5s\", above 0";

/* What the script asks for, while it is read: all of it lies in Lua's own memory. */
struct asked {
    struct state *state;
    lua_State *lua;
    struct web_request request;
    const char *headers[WEB_HEADERS_MAX];
    char method[WEB_METHOD_MAX + 1];
    struct note problem;
};

/* Answers false, for the caller's return. */
static bool refuse(struct asked *asked, const char *what, int index, const char *advice)
{
    if (asked->problem.size > 0)
        return false;
    note_printf(&asked->problem, "http: %s is ", what);
    value_quote(&asked->problem, asked->lua, index);
    note_printf(&asked->problem, ": %s", advice);
    return false;
}

/* Options */

static bool take_url(struct asked *asked, int index)
{
    size_t size;
    if (lua_type(asked->lua, index) != LUA_TSTRING)
        return refuse(asked, "url", index, "give a text such as \"https://api.example.com/v1\"");
    asked->request.url = lua_tolstring(asked->lua, index, &size);
    if (size == 0 || size > WEB_URL_MAX || strlen(asked->request.url) != size)
        return refuse(asked, "url", index, "it is empty, too long, or has a NUL in it");
    return true;
}

static bool take_method(struct asked *asked, int index)
{
    size_t size = 0;
    const char *text =
        lua_type(asked->lua, index) == LUA_TSTRING ? lua_tolstring(asked->lua, index, &size) : "";
    bool word = size > 0 && size <= WEB_METHOD_MAX;
    for (size_t i = 0; i < size && word; i++) {
        word = isalpha((unsigned char)text[i]) != 0;
        asked->method[i] = (char)toupper((unsigned char)text[i]);
    }
    asked->method[word ? size : 0] = '\0';
    return word || refuse(asked, "method", index, "give a word such as \"GET\" or \"POST\"");
}

static bool is_token(const char *text, size_t size)
{
    bool token = size > 0;
    for (size_t i = 0; i < size && token; i++)
        token = isalnum((unsigned char)text[i]) || (text[i] && strchr("!#$%&'*+-.^_`|~", text[i]));
    return token;
}

/* Stack: name, value -> name, value, line */
static bool take_header(struct asked *asked, int name_at)
{
    lua_State *lua = asked->lua;
    size_t name_size = 0, size = 0;
    const char *name = lua_type(lua, name_at) == LUA_TSTRING ? lua_tolstring(lua, name_at, &name_size) : "";
    if (!is_token(name, name_size))
        return refuse(asked, "the name of a header", name_at, "give a text such as [\"x-request-id\"]");
    if (lua_type(lua, name_at + 1) != LUA_TSTRING && lua_type(lua, name_at + 1) != LUA_TNUMBER)
        return refuse(asked, "the value of a header", name_at + 1, "give a text or a number");
    lua_pushvalue(lua, name_at + 1);
    const char *value = lua_tolstring(lua, -1, &size);
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)value[i] < ' ' && value[i] != '\t')
            return refuse(asked, "the value of a header", name_at + 1, "it has a control character in it");
    }
    if (asked->request.header_count == WEB_HEADERS_MAX)
        return refuse(asked, "headers", OPTIONS, "there are more than 64 in it");
    lua_pushfstring(lua, size > 0 ? "%s: %s" : "%s;", name, value);
    lua_replace(lua, -2);
    asked->headers[asked->request.header_count++] = lua_tostring(lua, -1);
    return true;
}

/* The lines stay on the stack, so that they stay at all. */
static bool take_headers(struct asked *asked, int index)
{
    lua_State *lua = asked->lua;
    if (lua_type(lua, index) != LUA_TTABLE)
        return refuse(asked, "headers", index, "give a table by name");
    luaL_checkstack(lua, 2 * WEB_HEADERS_MAX, "too many headers");
    lua_pushnil(lua);
    while (lua_next(lua, index)) {
        int name_at = lua_gettop(lua) - 1;
        if (!take_header(asked, name_at))
            return false;
        /* name, value, line -> line, name */
        lua_remove(lua, name_at + 1);
        lua_insert(lua, name_at);
    }
    return true;
}

static bool take_body(struct asked *asked, int index)
{
    if (lua_type(asked->lua, index) != LUA_TSTRING)
        return refuse(asked, "body", index, "give a text, or a table as `json`");
    asked->request.body.data = lua_tolstring(asked->lua, index, &asked->request.body.size);
    asked->request.has_body = true;
    return true;
}

static bool has_content_type(const struct asked *asked)
{
    static const char name[] = "content-type:";
    bool has = false;
    for (unsigned i = 0; i < asked->request.header_count; i++)
        has = has || strncasecmp(asked->headers[i], name, sizeof name - 1) == 0;
    return has;
}

/* Put together in the state's own buffer, so that nothing is lost where tree_write raises. */
static bool take_json(struct asked *asked, int index)
{
    lua_State *lua = asked->lua;
    struct buffer *to = &asked->state->scratch;
    buffer_clear(to);
    buffer_init(to, quota_room(&asked->state->quota) / 2);
    tree_write(lua, index, "json", &json_text_format, to);
    if (to->failed)
        return refuse(asked, "json", index, "it takes more memory than limits.memory leaves");
    lua_pushlstring(lua, to->data, to->size);
    buffer_clear(to);
    asked->request.body.data = lua_tolstring(lua, -1, &asked->request.body.size);
    asked->request.has_body = true;
    if (!has_content_type(asked) && asked->request.header_count < WEB_HEADERS_MAX)
        asked->headers[asked->request.header_count++] = "Content-Type: application/json";
    return true;
}

static bool take_timeout(struct asked *asked, int index)
{
    if (!value_to_duration(asked->lua, index, &asked->request.timeout_ns) || asked->request.timeout_ns == 0)
        return refuse(asked, "timeout", index, whole_second);
    return true;
}

static bool take_max_response(struct asked *asked, int index)
{
    size_t size;
    int64_t bytes = -1;
    if (lua_type(asked->lua, index) == LUA_TNUMBER)
        bytes = lua_tonumber(asked->lua, index) >= 0 && lua_tonumber(asked->lua, index) < 1e15
                    ? (int64_t)lua_tonumber(asked->lua, index)
                    : -1;
    else if (lua_type(asked->lua, index) == LUA_TSTRING) {
        const char *text = lua_tolstring(asked->lua, index, &size);
        if (!units_parse_size(text, size, &bytes))
            bytes = -1;
    }
    if (bytes < 0)
        return refuse(asked, "max_response", index, "give bytes, or a size such as \"4MiB\"");
    asked->request.response_bytes = (uint64_t)bytes;
    return true;
}

static bool take_redirects(struct asked *asked, int index)
{
    double number = lua_type(asked->lua, index) == LUA_TNUMBER ? lua_tonumber(asked->lua, index) : -1;
    if (!(number >= 0 && number <= WEB_REDIRECTS_MAX && number == floor(number)))
        return refuse(asked, "redirects", index, "give a whole number from 0 to 20");
    asked->request.redirects = (unsigned)number;
    return true;
}

static const struct option {
    const char *name;
    bool (*take)(struct asked *asked, int index);
} options[] = {
    { "url", take_url },
    { "method", take_method },
    { "headers", take_headers },
    { "body", take_body },
    { "json", take_json },
    { "timeout", take_timeout },
    { "max_response", take_max_response },
    { "redirects", take_redirects },
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

static bool is_known(lua_State *lua, int index)
{
    const char *name = lua_type(lua, index) == LUA_TSTRING ? lua_tostring(lua, index) : "";
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(options[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool all_known(struct asked *asked)
{
    lua_State *lua = asked->lua;
    lua_pushnil(lua);
    while (lua_next(lua, OPTIONS)) {
        if (!is_known(lua, -2))
            return refuse(asked, "an option", lua_gettop(lua) - 1,
                          "there are url, method, headers, body, json, timeout, max_response, redirects");
        lua_pop(lua, 1);
    }
    return true;
}

/* What is pushed for an option stays below the next. */
static bool read_options(struct asked *asked)
{
    lua_State *lua = asked->lua;
    if (lua_type(lua, OPTIONS) != LUA_TTABLE)
        return refuse(asked, "what is asked for", OPTIONS, "give a table with a url");
    if (!all_known(asked))
        return false;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        lua_pushstring(lua, options[i].name);
        lua_rawget(lua, OPTIONS);
        if (!lua_isnil(lua, -1) && !options[i].take(asked, lua_gettop(lua)))
            return false;
    }
    if (!asked->request.url) {
        lua_pushnil(lua);
        return refuse(asked, "url", lua_gettop(lua), "give one");
    }
    if (!*asked->method)
        memcpy(asked->method, asked->request.has_body ? "POST" : "GET", asked->request.has_body ? 5 : 4);
    return true;
}

/* Answers */

static void on_done(void *owner)
{
    wait_finish(owner);
}

/* Stack: response -> response; headers of one name are one, by commas */
static void push_header(lua_State *lua, struct slice line)
{
    const char *colon = memchr(line.data, ':', line.size);
    if (!colon)
        return;
    char name[256];
    size_t size = (size_t)(colon - line.data);
    if (size == 0 || size >= sizeof name)
        return;
    for (size_t i = 0; i < size; i++)
        name[i] = (char)tolower((unsigned char)line.data[i]);
    struct slice value = { .data = colon + 1, .size = line.size - size - 1 };
    while (value.size > 0 && isspace((unsigned char)value.data[0])) {
        value.data++;
        value.size--;
    }
    while (value.size > 0 && isspace((unsigned char)value.data[value.size - 1]))
        value.size--;
    lua_pushlstring(lua, name, size);
    lua_pushvalue(lua, -1);
    lua_rawget(lua, -3);
    if (lua_isnil(lua, -1)) {
        lua_pop(lua, 1);
        lua_pushlstring(lua, value.data, value.size);
    } else {
        lua_pushliteral(lua, ", ");
        lua_pushlstring(lua, value.data, value.size);
        lua_concat(lua, 3);
    }
    lua_rawset(lua, -3);
}

static void push_headers(lua_State *lua, struct slice rest)
{
    lua_newtable(lua);
    while (rest.size > 0) {
        const char *end = memchr(rest.data, '\n', rest.size);
        size_t size = end ? (size_t)(end - rest.data) : rest.size;
        push_header(lua, (struct slice){ .data = rest.data, .size = size });
        rest.data += end ? size + 1 : size;
        rest.size -= end ? size + 1 : size;
    }
}

/* -> response, nil | nil, problem. Where this raises, the state frees the transfer with the next one. */
static int push_answer(struct wait *wait, lua_State *lua)
{
    struct web_transfer *transfer = wait->data;
    struct state *state = state_of(lua);
    struct web_answer answer = web_answer(transfer);
    web_free(state->answered);
    state->answered = transfer;
    if (answer.problem) {
        lua_pushnil(lua);
        lua_pushfstring(lua, "http: %s", answer.problem);
    } else {
        lua_createtable(lua, 0, 4);
        lua_pushinteger(lua, (lua_Integer)answer.status);
        lua_setfield(lua, -2, "status");
        push_headers(lua, answer.headers);
        lua_setfield(lua, -2, "headers");
        lua_pushlstring(lua, answer.body.data ? answer.body.data : "", answer.body.size);
        lua_setfield(lua, -2, "body");
        lua_pushnil(lua);
    }
    state->answered = NULL;
    web_free(transfer);
    return 2;
}

static void drop(struct wait *wait)
{
    web_free(wait->data);
}

static const struct wait_kind asking = { .name = "http", .push = push_answer, .drop = drop };

/* http(options) -> true, and a wait has begun | nil, what is wrong with the options */
static int begin_request(lua_State *lua)
{
    struct state *state = state_of(lua);
    struct web *web = state->assignment->web;
    struct asked asked = { .state = state, .lua = lua };
    lua_settop(lua, 1);
    asked.request = (struct web_request){
        .method = asked.method,
        .headers = asked.headers,
        .timeout_ns = web->config.timeout_ns,
        .response_bytes = web->config.response_bytes,
        .redirects = WEB_REDIRECTS_USUAL,
    };
    if (!read_options(&asked)) {
        lua_pushnil(lua);
        lua_pushlstring(lua, asked.problem.text, asked.problem.size);
        return 2;
    }
    lua_pushboolean(lua, true);
    struct wait *wait = state->wait;
    struct web_transfer *transfer = web_new(web, &asked.request, on_done, wait);
    if (!transfer)
        return luaL_error(lua, "http: there is no memory for another request");
    (void)wait_begin(state, &asking, transfer, clock_now_ns() + asked.request.timeout_ns + spare_ns);
    web_start(transfer);
    return 1;
}

void lua_http_push_functions(struct state *state, lua_State *lua)
{
    if (!state->assignment->web)
        return;
    state_push_function(state, lua, begin_request);
    lua_setfield(lua, -2, "http");
}
