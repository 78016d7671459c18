/* HTTP on the loop; see web.h. */
#include "worker/web.h"

#include "common/clock.h"
#include "common/units.h"
#include "worker/allow.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    IDLE_CONNECTIONS_MAX = 64, /* kept for later */
    HEADER_LINE_MAX = 8192,
};

enum phase { PHASE_NEW, PHASE_LOOKING_UP, PHASE_UNDER_WAY, PHASE_DONE };

struct web_transfer {
    struct web *web;
    void (*done)(void *owner);
    void *owner;
    enum phase phase;
    struct lookup lookup;
    CURL *easy; /* NULL: none yet, or no more */
    struct curl_slist *headers;
    struct curl_slist *addresses; /* as CURLOPT_RESOLVE has it */
    char *url;
    char *request_body;
    size_t request_bytes;
    bool has_body;
    char method[WEB_METHOD_MAX + 1];
    char host[256]; /* a name or an address, the latter without brackets */
    uint16_t port;
    enum allow allow;
    bool tls;
    char origin[256 + 16];  /* the first "https host:port" that was asked; empty before */
    struct web_host *asked; /* NULL: not counted, or no more */
    int64_t due_ns;
    unsigned redirects;
    uint64_t response_bytes;
    struct buffer body;
    struct buffer head;
    long status;
    bool failed;
    char words[CURL_ERROR_SIZE]; /* libcurl's */
    char refusal[128];           /* why what came was not taken; empty: it was */
    char problem[WEB_PROBLEM_MAX];
};

static void start(struct web_transfer *transfer);

/* Ends */

static void finish(struct web_transfer *transfer)
{
    transfer->phase = PHASE_DONE;
    transfer->done(transfer->owner);
}

static void fail(struct web_transfer *transfer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct web_transfer *transfer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(transfer->problem, sizeof transfer->problem, format, arguments);
    va_end(arguments);
    transfer->failed = true;
    finish(transfer);
}

static void leave_easy(struct web_transfer *transfer)
{
    const struct libraries *libraries = transfer->web->libraries;
    if (!transfer->easy)
        return;
    (void)libraries->multi_remove_handle(transfer->web->multi, transfer->easy);
    libraries->easy_cleanup(transfer->easy);
    libraries->slist_free_all(transfer->addresses);
    transfer->easy = NULL;
    transfer->addresses = NULL;
}

static void forget_answer(struct web_transfer *transfer)
{
    transfer->web->held_bytes -= transfer->body.size;
    buffer_clear(&transfer->body);
    buffer_clear(&transfer->head);
}

/* Hosts and their breakers */

static struct web_host *find_host(struct web *web, const char *name)
{
    struct web_host *oldest = NULL;
    for (size_t i = 0; i < WEB_HOSTS_MAX; i++) {
        struct web_host *host = &web->hosts[i];
        if (strcmp(host->name, name) == 0)
            return host;
        if (host->asking == 0 && (!oldest || host->used_ns < oldest->used_ns))
            oldest = host;
    }
    if (oldest) {
        *oldest = (struct web_host){ .used_ns = 0 };
        (void)snprintf(oldest->name, sizeof oldest->name, "%s", name);
    }
    return oldest;
}

/* False where the breaker is open: the transfer has failed. */
static bool ask_breaker(struct web_transfer *transfer)
{
    struct web *web = transfer->web;
    int64_t now_ns = clock_now_ns();
    char name[sizeof web->hosts[0].name], text[UNITS_TEXT_MAX];
    (void)snprintf(name, sizeof name, "%s:%u", transfer->host, transfer->port);
    struct web_host *host = find_host(web, name);
    if (!host)
        return true;
    if (!breaker_admit(&host->breaker, web->config.failures, now_ns)) {
        fail(transfer,
             "%s has failed %u times in a row: it is left alone for %s at a time (http.breaker_pause)", name,
             host->breaker.failures, units_format_duration(web->config.pause_ns, text));
        return false;
    }
    host->used_ns = now_ns;
    host->asking++;
    transfer->asked = host;
    return true;
}

static void tell_breaker(struct web_transfer *transfer, bool known, bool well)
{
    struct web_host *host = transfer->asked;
    if (!host)
        return;
    transfer->asked = NULL;
    host->asking--;
    if (!known)
        breaker_leave(&host->breaker);
    else if (well)
        breaker_succeed(&host->breaker);
    else
        breaker_fail(&host->breaker, clock_now_ns(), transfer->web->config.pause_ns);
}

/* What comes */

static size_t on_body(char *data, size_t one, size_t size, void *owner)
{
    struct web_transfer *transfer = owner;
    struct web *web = transfer->web;
    char most[UNITS_TEXT_MAX];
    (void)one;
    if (size > transfer->response_bytes - transfer->body.size) {
        (void)snprintf(transfer->refusal, sizeof transfer->refusal,
                       "the answer is larger than max_response (%s)",
                       units_format_size((int64_t)transfer->response_bytes, most));
        return 0;
    }
    if (size > web->config.held_bytes - web->held_bytes || !buffer_append(&transfer->body, data, size)) {
        (void)snprintf(transfer->refusal, sizeof transfer->refusal,
                       "the answers under way take more than limits.memory together");
        return 0;
    }
    web->held_bytes += size;
    return size;
}

/* A status line begins a new head: those before it were of interim responses. */
static size_t on_header(char *data, size_t one, size_t size, void *owner)
{
    struct web_transfer *transfer = owner;
    (void)one;
    if (size > 5 && memcmp(data, "HTTP/", 5) == 0)
        buffer_reset(&transfer->head);
    if (buffer_append(&transfer->head, data, size))
        return size;
    (void)snprintf(transfer->refusal, sizeof transfer->refusal, "the headers of the answer are too large");
    return 0;
}

/* The last word on an address, whatever led to it. */
static curl_socket_t on_open(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct web_transfer *transfer = owner;
    (void)purpose;
    if (transfer->allow != ALLOW_EXACT && allow_is_private(&address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Redirects */

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* As browsers do it: who is told to look elsewhere asks there by GET, but for 307 and 308. */
static void change_method(struct web_transfer *transfer)
{
    bool post = strcmp(transfer->method, "POST") == 0;
    bool head = strcmp(transfer->method, "HEAD") == 0;
    if (!(transfer->status == 303 && !head) &&
        !((transfer->status == 301 || transfer->status == 302) && post))
        return;
    (void)snprintf(transfer->method, sizeof transfer->method, "GET");
    transfer->has_body = false;
}

/* What says how to answer, and not who asks. Any other header may be a secret: keys to an API are sent under
 * all sorts of names. */
static bool is_for_anybody(const char *line)
{
    static const char *const names[] = {
        "accept",           "accept-charset",   "accept-encoding", "accept-language", "cache-control",
        "content-encoding", "content-language", "content-type",    "pragma",          "range",
        "user-agent",
    };
    size_t size = strcspn(line, ":;");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (size == strlen(names[i]) && strncasecmp(line, names[i], size) == 0)
            return true;
    }
    return false;
}

/* Another host, another port of it, or the same without TLS, is told nothing that was meant for the first. */
static void drop_secrets(struct web_transfer *transfer)
{
    const struct libraries *libraries = transfer->web->libraries;
    struct curl_slist *kept = NULL;
    for (const struct curl_slist *line = transfer->headers; line; line = line->next) {
        struct curl_slist *more =
            is_for_anybody(line->data) ? libraries->slist_append(kept, line->data) : kept;
        kept = more ? more : kept;
    }
    libraries->slist_free_all(transfer->headers);
    transfer->headers = kept;
}

static void follow(struct web_transfer *transfer, char *url)
{
    leave_easy(transfer);
    forget_answer(transfer);
    free(transfer->url);
    transfer->url = url;
    transfer->redirects--;
    change_method(transfer);
    transfer->phase = PHASE_NEW;
    start(transfer);
}

static void answered(struct web_transfer *transfer)
{
    const struct libraries *libraries = transfer->web->libraries;
    const char *next = NULL;
    (void)libraries->easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
    if (is_redirect(transfer->status))
        (void)libraries->easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &next);
    tell_breaker(transfer, true, transfer->status < 500);
    char *url = next && transfer->redirects > 0 ? strdup(next) : NULL;
    if (url)
        follow(transfer, url);
    else if (next)
        fail(transfer, "%s: it redirects more often than `redirects` allows, at last to %.200s",
             transfer->host, next);
    else
        finish(transfer);
}

static void ended(struct web_transfer *transfer, CURLcode code)
{
    if (code == CURLE_OK) {
        answered(transfer);
        return;
    }
    const char *words = *transfer->words ? transfer->words : transfer->web->libraries->easy_strerror(code);
    tell_breaker(transfer, !*transfer->refusal, false);
    fail(transfer, "%s:%u: %s", transfer->host, transfer->port,
         *transfer->refusal ? transfer->refusal : words);
}

/* The loop */

static void look_for_ends(struct web *web)
{
    const CURLMsg *message;
    int left;
    while ((message = web->libraries->multi_info_read(web->multi, &left))) {
        struct web_transfer *transfer = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)web->libraries->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        if (transfer)
            ended(transfer, code);
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct web *web = timer->data;
    int running;
    (void)loop;
    (void)events;
    (void)web->libraries->multi_socket_action(web->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    look_for_ends(web);
}

static void on_socket(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct web *web = watcher->data;
    int running;
    int action = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)loop;
    (void)web->libraries->multi_socket_action(web->multi, watcher->fd, action, &running);
    look_for_ends(web);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *assigned)
{
    struct web *web = owner;
    ev_io *watcher = assigned;
    (void)easy;
    if (watcher)
        ev_io_stop(web->loop, watcher);
    if (what == CURL_POLL_REMOVE) {
        free(watcher);
        return 0;
    }
    if (!watcher && !(watcher = calloc(1, sizeof *watcher)))
        return -1;
    ev_io_init(watcher, on_socket, fd,
               (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    watcher->data = web;
    ev_io_start(web->loop, watcher);
    (void)web->libraries->multi_assign(web->multi, fd, watcher);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *owner)
{
    struct web *web = owner;
    (void)multi;
    ev_timer_stop(web->loop, &web->timer);
    if (ms < 0)
        return 0;
    ev_now_update(web->loop);
    ev_timer_set(&web->timer, (double)ms / 1e3, 0);
    ev_timer_start(web->loop, &web->timer);
    return 0;
}

/* Beginnings */

static bool means_a_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

static void set_method(const struct web_transfer *transfer)
{
    const struct libraries *libraries = transfer->web->libraries;
    CURL *easy = transfer->easy;
    if (transfer->has_body || means_a_body(transfer->method)) {
        curl_off_t bytes = transfer->has_body ? (curl_off_t)transfer->request_bytes : 0;
        (void)libraries->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, bytes);
        (void)libraries->easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->request_body);
    } else if (strcmp(transfer->method, "HEAD") == 0) {
        (void)libraries->easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    (void)libraries->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, transfer->method);
}

static void set_options(struct web_transfer *transfer, int64_t left_ns)
{
    const struct web *web = transfer->web;
    const struct libraries *libraries = web->libraries;
    CURL *easy = transfer->easy;
    const struct {
        CURLoption option;
        const void *value;
    } pointers[] = {
        { CURLOPT_URL, transfer->url },
        { CURLOPT_PRIVATE, transfer },
        { CURLOPT_ERRORBUFFER, transfer->words },
        { CURLOPT_HTTPHEADER, transfer->headers },
        { CURLOPT_RESOLVE, transfer->addresses },
        { CURLOPT_PROTOCOLS_STR, "http,https" },
        { CURLOPT_PROXY, "" },
        { CURLOPT_USERAGENT, "moonrabbit/" MOONRABBIT_VERSION },
        { CURLOPT_CAINFO, web->config.authorities },
        { CURLOPT_CAPATH, NULL },
        { CURLOPT_WRITEDATA, transfer },
        { CURLOPT_HEADERDATA, transfer },
        { CURLOPT_OPENSOCKETDATA, transfer },
    };
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
        (void)libraries->easy_setopt(easy, pointers[i].option, pointers[i].value);
    (void)libraries->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)libraries->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)libraries->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    (void)libraries->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)libraries->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    (void)libraries->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left_ns / CLOCK_NS_PER_MS + 1));
    (void)libraries->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(left_ns / CLOCK_NS_PER_MS + 1));
    set_method(transfer);
}

/* libcurl takes over; its addresses are known. */
static void connect_to(struct web_transfer *transfer)
{
    struct web *web = transfer->web;
    int64_t left_ns = transfer->due_ns - clock_now_ns();
    if (left_ns <= 0) {
        tell_breaker(transfer, true, false);
        fail(transfer, "%s:%u: the timeout was over before it was asked", transfer->host, transfer->port);
        return;
    }
    transfer->easy = web->libraries->easy_init();
    transfer->phase = PHASE_UNDER_WAY;
    *transfer->words = *transfer->refusal = '\0';
    if (transfer->easy)
        set_options(transfer, left_ns);
    if (!transfer->easy || web->libraries->multi_add_handle(web->multi, transfer->easy) != CURLM_OK) {
        tell_breaker(transfer, false, false);
        fail(transfer, "there is no memory for another request");
    }
}

/* "host:port:address,address", as libcurl takes it; false where no address may be asked. */
static bool keep_addresses(struct web_transfer *transfer, const struct resolved *resolved)
{
    char text[512 + RESOLVER_ADDRESSES_MAX * 64];
    unsigned kept = 0;
    size_t size = (size_t)snprintf(text, sizeof text, "+%s:%u", transfer->host, transfer->port);
    for (unsigned i = 0; i < resolved->count; i++) {
        if (resolved->addresses[i].is_private && transfer->allow != ALLOW_EXACT)
            continue;
        size += (size_t)snprintf(text + size, sizeof text - size, "%c%s", kept == 0 ? ':' : ',',
                                 resolved->addresses[i].text);
        kept++;
    }
    if (kept == 0)
        return false;
    transfer->addresses = transfer->web->libraries->slist_append(NULL, text);
    return transfer->addresses != NULL;
}

static void looked_up(struct lookup *lookup, const struct resolved *resolved, const char *problem)
{
    struct web_transfer *transfer =
        (struct web_transfer *)((char *)lookup - offsetof(struct web_transfer, lookup));
    if (!resolved) {
        tell_breaker(transfer, true, false);
        fail(transfer, "%s: its address cannot be found: %s", transfer->host, problem);
    } else if (!keep_addresses(transfer, resolved)) {
        tell_breaker(transfer, false, false);
        fail(transfer,
             "%s has only addresses in private networks, which a wildcard of http.allow does not mean: list "
             "it "
             "by its name",
             transfer->host);
    } else {
        connect_to(transfer);
    }
}

static char *part_of(const struct libraries *libraries, CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    return libraries->url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

/* Takes host and port out of the URL; false where it is none that is spoken here. */
static bool read_parts(struct web_transfer *transfer, CURLU *url)
{
    const struct libraries *libraries = transfer->web->libraries;
    char *scheme = part_of(libraries, url, CURLUPART_SCHEME, 0);
    char *host = part_of(libraries, url, CURLUPART_HOST, 0);
    char *port = part_of(libraries, url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    bool spoken = scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    bool whole = spoken && host && port && strlen(host) < sizeof transfer->host && !strchr(host, '%');
    if (whole) {
        char *end;
        size_t size = strlen(host);
        bool bracketed = host[0] == '[' && host[size - 1] == ']';
        (void)snprintf(transfer->host, sizeof transfer->host, "%.*s", (int)(size - (bracketed ? 2 : 0)),
                       host + (bracketed ? 1 : 0));
        for (char *c = transfer->host; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        transfer->port = (uint16_t)strtoul(port, &end, 10);
        transfer->tls = strcmp(scheme, "https") == 0;
    }
    libraries->free(scheme);
    libraries->free(host);
    libraries->free(port);
    return whole;
}

static bool read_url(struct web_transfer *transfer)
{
    const struct libraries *libraries = transfer->web->libraries;
    CURLU *url = libraries->url();
    bool read = url && libraries->url_set(url, CURLUPART_URL, transfer->url, 0) == CURLUE_OK &&
                read_parts(transfer, url);
    libraries->url_cleanup(url);
    return read;
}

static enum allow find_allow(const struct web_transfer *transfer)
{
    struct slice rest = transfer->web->config.attributes;
    struct wire_attribute attribute;
    enum allow best = ALLOW_NOT;
    while (wire_take_attribute(&rest, &attribute) == WIRE_FRAME) {
        if (attribute.id != WIRE_HTTP_ALLOW)
            continue;
        enum allow allow = allow_match(attribute.value, slice_of(transfer->host), transfer->port);
        best = allow > best ? allow : best;
    }
    return best;
}

/* Before libcurl is given the headers. */
static void note_origin(struct web_transfer *transfer)
{
    char here[sizeof transfer->origin];
    (void)snprintf(here, sizeof here, "%s %s:%u", transfer->tls ? "https" : "http", transfer->host,
                   transfer->port);
    if (!*transfer->origin)
        memcpy(transfer->origin, here, sizeof here);
    else if (strcmp(here, transfer->origin) != 0)
        drop_secrets(transfer);
}

static bool is_address(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void start(struct web_transfer *transfer)
{
    if (!read_url(transfer)) {
        fail(transfer, "\"%.200s\" is no URL that can be asked: give http://HOST/PATH or https://HOST/PATH",
             transfer->url);
        return;
    }
    transfer->allow = find_allow(transfer);
    if (transfer->allow == ALLOW_NOT) {
        fail(transfer, "%s:%u is not in http.allow, so no handler of this consumer may ask it",
             transfer->host, transfer->port);
        return;
    }
    if (!ask_breaker(transfer))
        return;
    note_origin(transfer);
    transfer->phase = PHASE_LOOKING_UP;
    if (is_address(transfer->host))
        connect_to(transfer);
    else
        resolver_find(&transfer->web->resolver, transfer->host, &transfer->lookup);
}

/* Transfers */

static bool add_header(struct web_transfer *transfer, const char *line)
{
    struct curl_slist *more = transfer->web->libraries->slist_append(transfer->headers, line);
    if (more)
        transfer->headers = more;
    return more != NULL;
}

static bool keep_request(struct web_transfer *transfer, const struct web_request *request)
{
    (void)snprintf(transfer->method, sizeof transfer->method, "%s", request->method);
    transfer->url = strdup(request->url);
    transfer->has_body = request->has_body;
    transfer->request_bytes = request->body.size;
    transfer->request_body = malloc(request->body.size + 1);
    if (!transfer->url || !transfer->request_body)
        return false;
    if (request->body.size > 0)
        memcpy(transfer->request_body, request->body.data, request->body.size);
    /* Bodies are sent without asking first, and no form is promised where nobody said so. */
    if (!add_header(transfer, "Expect:") || !add_header(transfer, "Content-Type:"))
        return false;
    for (unsigned i = 0; i < request->header_count; i++) {
        if (!add_header(transfer, request->headers[i]))
            return false;
    }
    return true;
}

struct web_transfer *web_new(struct web *web, const struct web_request *request, void (*done)(void *owner),
                             void *owner)
{
    struct web_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return NULL;
    transfer->web = web;
    transfer->done = done;
    transfer->owner = owner;
    transfer->lookup.done = looked_up;
    transfer->due_ns = clock_now_ns() + request->timeout_ns;
    transfer->redirects = request->redirects;
    transfer->response_bytes = request->response_bytes;
    buffer_init(&transfer->body, (size_t)request->response_bytes);
    buffer_init(&transfer->head, WEB_HEADER_BYTES);
    if (keep_request(transfer, request))
        return transfer;
    web_free(transfer);
    return NULL;
}

void web_start(struct web_transfer *transfer)
{
    start(transfer);
}

struct web_answer web_answer(const struct web_transfer *transfer)
{
    if (transfer->phase != PHASE_DONE)
        return (struct web_answer){ .problem = "its timeout is over" };
    return (struct web_answer){
        .problem = transfer->failed ? transfer->problem : NULL,
        .status = transfer->status,
        .headers = { .data = transfer->head.data, .size = transfer->head.size },
        .body = { .data = transfer->body.data, .size = transfer->body.size },
    };
}

void web_free(struct web_transfer *transfer)
{
    if (!transfer)
        return;
    if (transfer->phase == PHASE_LOOKING_UP)
        resolver_cancel(&transfer->web->resolver, &transfer->lookup);
    tell_breaker(transfer, false, false);
    leave_easy(transfer);
    forget_answer(transfer);
    transfer->web->libraries->slist_free_all(transfer->headers);
    free(transfer->url);
    free(transfer->request_body);
    free(transfer);
}

/* Life */

bool web_open(struct web *web, const struct web_config *config, struct ev_loop *loop, struct error *error)
{
    const struct libraries *libraries = libraries_load(LIBRARIES_CURL_AND_CARES, "http.allow", error);
    if (!libraries)
        return false;
    *web = (struct web){ .libraries = libraries, .config = *config, .loop = loop };
    if (access(config->authorities, R_OK) < 0)
        return error_set(error, ERROR_FAILED, "http.ca: %s cannot be read", config->authorities);
    ev_init(&web->timer, on_timer);
    web->timer.data = web;
    web->multi = libraries->multi_init();
    if (!web->multi)
        return error_set(error, ERROR_FAILED, "libcurl has no memory");
    (void)libraries->multi_setopt(web->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    (void)libraries->multi_setopt(web->multi, CURLMOPT_SOCKETDATA, web);
    (void)libraries->multi_setopt(web->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    (void)libraries->multi_setopt(web->multi, CURLMOPT_TIMERDATA, web);
    (void)libraries->multi_setopt(web->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)config->per_host);
    (void)libraries->multi_setopt(web->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)config->concurrency);
    (void)libraries->multi_setopt(
        web->multi, CURLMOPT_MAXCONNECTS,
        (long)(config->concurrency < IDLE_CONNECTIONS_MAX ? config->concurrency : IDLE_CONNECTIONS_MAX));
    return resolver_open(&web->resolver, libraries, loop, error);
}

void web_close(struct web *web)
{
    if (!web->libraries)
        return;
    resolver_close(&web->resolver);
    if (web->multi)
        (void)web->libraries->multi_cleanup(web->multi);
    ev_timer_stop(web->loop, &web->timer);
    *web = (struct web){ .libraries = NULL };
}
