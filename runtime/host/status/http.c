/* Reading requests and writing heads; see http.h. */
#include "host/status/http.h"

#include "common/scripts.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

/* What is before the next blank; the rest begins behind it. False where there is none. */
static bool take_word(struct slice *rest, struct slice *ret_word)
{
    const char *blank = memchr(rest->data, ' ', rest->size);
    if (!blank)
        return false;
    *ret_word = (struct slice){ .data = rest->data, .size = (size_t)(blank - rest->data) };
    rest->data += ret_word->size + 1;
    rest->size -= ret_word->size + 1;
    return true;
}

static bool begins_with(struct slice text, const char *words)
{
    size_t size = strlen(words);
    return text.size >= size && memcmp(text.data, words, size) == 0;
}

/* "/path?query", or what proxies are asked for: "http://host/path?query". */
static void take_target(struct slice target, struct http_request *request)
{
    static const char scheme[] = "http://";
    request->host = (struct slice){ .data = "", .size = 0 };
    if (begins_with(target, scheme)) {
        size_t skip = sizeof scheme - 1;
        while (skip < target.size && target.data[skip] != '/')
            skip++;
        request->host =
            (struct slice){ .data = target.data + sizeof scheme - 1, .size = skip - (sizeof scheme - 1) };
        target.data += skip;
        target.size -= skip;
    }
    const char *query = memchr(target.data, '?', target.size);
    if (query)
        target.size = (size_t)(query - target.data);
    request->path = target;
}

static enum http_method method_of(struct slice word)
{
    if (slice_equals(word, "GET"))
        return HTTP_GET;
    return slice_equals(word, "HEAD") ? HTTP_HEAD : HTTP_OTHER;
}

static bool is_method(struct slice word)
{
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < 'A' || word.data[i] > 'Z')
            return false;
    }
    return word.size > 0;
}

static bool parse_line(struct slice line, struct http_request *request)
{
    struct slice method, target;
    if (!take_word(&line, &method) || !take_word(&line, &target) || !is_method(method) || target.size == 0)
        return false;
    if (line.size != strlen("HTTP/1.1") || !begins_with(line, "HTTP/1."))
        return false;
    request->method = method_of(method);
    take_target(target, request);
    return true;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static struct slice without_blanks(struct slice text)
{
    while (text.size > 0 && is_blank(*text.data)) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1]))
        text.size--;
    return text;
}

/* The first header Host of these lines, up to the empty one. */
static struct slice find_host(struct slice lines)
{
    static const char name[] = "host:";
    const char *end;
    while ((end = memchr(lines.data, '\n', lines.size))) {
        struct slice line = { .data = lines.data, .size = (size_t)(end - lines.data) };
        if (without_blanks(line).size == 0)
            break;
        if (line.size >= sizeof name - 1 && strncasecmp(line.data, name, sizeof name - 1) == 0) {
            line.data += sizeof name - 1;
            line.size -= sizeof name - 1;
            return without_blanks(line);
        }
        lines.data += line.size + 1;
        lines.size -= line.size + 1;
    }
    return (struct slice){ .data = "", .size = 0 };
}

/* Noise is told from a request before its line has ended. */
static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    }
    return true;
}

/* Whether an empty line ends the head, of which this is what follows the first line's end. */
static bool has_ended(struct slice rest)
{
    return (rest.size >= 1 && rest.data[0] == '\n') ||
           (rest.size >= 2 && memcmp(rest.data, "\r\n", 2) == 0) || memmem(rest.data, rest.size, "\n\n", 2) ||
           memmem(rest.data, rest.size, "\n\r\n", 3);
}

enum http_next http_next(struct slice bytes, struct http_request *request)
{
    if (bytes.size == 0)
        return HTTP_MORE;
    const char *end = memchr(bytes.data, '\n', bytes.size);
    struct slice line = { .data = bytes.data, .size = end ? (size_t)(end - bytes.data) : bytes.size };
    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    if (!is_printable(line))
        return HTTP_BROKEN;
    if (!end)
        return HTTP_MORE;
    if (!parse_line(line, request))
        return HTTP_BROKEN;
    size_t used = (size_t)(end - bytes.data) + 1;
    struct slice rest = { .data = bytes.data + used, .size = bytes.size - used };
    if (!has_ended(rest))
        return HTTP_MORE;
    if (request->host.size == 0)
        request->host = find_host(rest);
    return HTTP_REQUEST;
}

/* "name" of "name:port", "address" of "[address]:port"; false where it is longer than any name. */
static bool copy_name(struct slice host, char name[NI_MAXHOST])
{
    const char *end = memchr(host.data, host.size > 0 && *host.data == '[' ? ']' : ':', host.size);
    if (end)
        host.size = (size_t)(end - host.data);
    if (host.size > 0 && *host.data == '[') {
        host.data++;
        host.size--;
    }
    if (host.size >= NI_MAXHOST || memchr(host.data, '\0', host.size))
        return false;
    memcpy(name, host.data, host.size);
    if (host.size > 0 && name[host.size - 1] == '.')
        host.size--; /* of a name that is written in full */
    name[host.size] = '\0';
    return true;
}

bool http_host_is_local(struct slice host, const char *own)
{
    static const char below[] = ".localhost";
    unsigned char address[sizeof(struct in6_addr)];
    char name[NI_MAXHOST];
    if (!copy_name(host, name))
        return false;
    size_t size = strlen(name);
    return size == 0 || strcasecmp(name, "localhost") == 0 || strcasecmp(name, own) == 0 ||
           (size > sizeof below - 1 && strcasecmp(name + size - (sizeof below - 1), below) == 0) ||
           inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

const char *http_phrase(unsigned code)
{
    switch (code) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 421:
        return "Misdirected Request";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

/* The page may use its own script and style, ask this listener, and nothing else; nothing of it is kept. */
void http_put_head(struct buffer *to, unsigned code, const char *type, size_t body_bytes)
{
    (void)buffer_printf(to,
                        "HTTP/1.1 %u %s\r\n"
                        "Content-Type: %s\r\n"
                        "Content-Length: %zu\r\n"
                        "Connection: close\r\n"
                        "Cache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\n"
                        "Referrer-Policy: no-referrer\r\n"
                        "Content-Security-Policy: default-src 'none'; %s; img-src data:; connect-src 'self'; "
                        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                        "%s\r\n",
                        code, http_phrase(code), type, body_bytes, script_status_html_policy,
                        code == 405 ? "Allow: GET, HEAD\r\n" : "");
}
