/* HTTP by libcurl; see http.h. */
#include "doctor/http.h"

#include "common/clock.h"
#include "common/libraries.h"
#include "common/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char system_authorities[] = "/etc/ssl/certs/ca-certificates.crt";

struct http {
    const struct libraries *curl;
    const struct broker_config *config;
    CURL *easy;
    char *base; /* the URL without user and password, and without a slash at its end */
    struct buffer body;
    char reason[CURL_ERROR_SIZE];
};

/* Opening */

static size_t take_body(char *data, size_t size, size_t count, void *owner)
{
    struct http *http = owner;
    return buffer_append(&http->body, data, size * count) ? size * count : 0;
}

static bool set(struct http *http, CURLoption option, long value)
{
    return http->curl->easy_setopt(http->easy, option, value) == CURLE_OK;
}

static bool set_text(struct http *http, CURLoption option, const char *text)
{
    return http->curl->easy_setopt(http->easy, option, text) == CURLE_OK;
}

/* Both times are whole milliseconds of at least 10: the configuration sees to that. */
static bool set_bounds(struct http *http)
{
    const struct broker_config *config = http->config;
    return set(http, CURLOPT_CONNECTTIMEOUT_MS, (long)(config->connection_timeout_ns / CLOCK_NS_PER_MS)) &&
           set(http, CURLOPT_TIMEOUT_MS, (long)(config->io_timeout_ns / CLOCK_NS_PER_MS)) &&
           set(http, CURLOPT_NOSIGNAL, 1) && set(http, CURLOPT_FOLLOWLOCATION, 0) &&
           set_text(http, CURLOPT_PROTOCOLS_STR, "http,https") && set_text(http, CURLOPT_PROXY, "") &&
           set(http, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC) &&
           set_text(http, CURLOPT_USERAGENT, "moonrabbit/" MOONRABBIT_VERSION);
}

static bool set_tls(struct http *http)
{
    const struct tls_config *tls = &http->config->tls;
    return set(http, CURLOPT_SSL_VERIFYPEER, tls->verify) &&
           set(http, CURLOPT_SSL_VERIFYHOST, tls->verify ? 2 : 0) &&
           set_text(http, CURLOPT_CAINFO, tls->ca ? tls->ca : system_authorities);
}

static bool set_receiver(struct http *http)
{
    return http->curl->easy_setopt(http->easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           http->curl->easy_setopt(http->easy, CURLOPT_WRITEDATA, http) == CURLE_OK &&
           http->curl->easy_setopt(http->easy, CURLOPT_ERRORBUFFER, http->reason) == CURLE_OK;
}

/* The library copies it, and ours is overwritten. */
static bool move_secret(struct http *http, CURLU *url, CURLUPart part, CURLoption option)
{
    char *text = NULL;
    if (http->curl->url_get(url, part, &text, CURLU_URLDECODE) != CURLUE_OK)
        return true;
    bool moved = set_text(http, option, text) && http->curl->url_set(url, part, NULL, 0) == CURLUE_OK;
    explicit_bzero(text, strlen(text));
    http->curl->free(text);
    return moved;
}

static bool take_base(struct http *http, CURLU *url)
{
    char *text = NULL;
    if (http->curl->url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
        return false;
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '/')
        length--;
    http->base = strndup(text, length);
    http->curl->free(text);
    return http->base && length <= HTTP_NAME_MAX;
}

static bool take_url(struct http *http)
{
    CURLU *url = http->curl->url();
    bool taken = url && http->curl->url_set(url, CURLUPART_URL, http->config->management, 0) == CURLUE_OK &&
                 move_secret(http, url, CURLUPART_USER, CURLOPT_USERNAME) &&
                 move_secret(http, url, CURLUPART_PASSWORD, CURLOPT_PASSWORD) && take_base(http, url);
    http->curl->url_cleanup(url);
    return taken;
}

struct http *http_open(const struct broker_config *config, struct error *error)
{
    struct http *http = calloc(1, sizeof *http);
    if (!http) {
        error_set(error, ERROR_FAILED, "no memory to ask the management URL");
        return NULL;
    }
    http->config = config;
    buffer_init(&http->body, HTTP_BODY_BYTES_MAX);
    http->curl = libraries_load(LIBRARIES_CURL, "the management URL", error);
    if (!http->curl)
        goto failed;
    http->easy = http->curl->easy_init();
    if (http->easy && set_bounds(http) && set_tls(http) && set_receiver(http) && take_url(http))
        return http;
    error_set(
        error, ERROR_USAGE,
        "broker.management must be http://user:password@host:port (https:// for TLS; special characters "
        "as %%XX)");
failed:
    http_close(http);
    return NULL;
}

void http_close(struct http *http)
{
    if (!http)
        return;
    if (http->curl && http->easy)
        http->curl->easy_cleanup(http->easy);
    buffer_clear(&http->body);
    free(http->base);
    free(http);
}

const char *http_name(const struct http *http)
{
    return http->base;
}

/* Asking */

static const char *advice_for(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
        return "is the management plugin enabled (rabbitmq-plugins enable rabbitmq_management), and is the "
               "port "
               "right (15672 as a rule, 15671 with https://)?";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "check the host name";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return "set broker.tls.ca to the file of the authority that signed its certificate, and use a name "
               "in the "
               "URL that it has";
    default:
        return "is this RabbitMQ's management (http:// at port 15672 as a rule, https:// at 15671)?";
    }
}

static bool refuse(const struct http *http, CURLcode code, struct error *error)
{
    char timeout[UNITS_TEXT_MAX];
    if (code == CURLE_OPERATION_TIMEDOUT)
        return error_set(error, ERROR_FAILED, "management %s: no answer within %s (broker.io_timeout); %s",
                         http->base, units_format_duration(http->config->io_timeout_ns, timeout),
                         advice_for(code));
    return error_set(error, ERROR_FAILED, "management %s: %s; %s", http->base,
                     *http->reason ? http->reason : http->curl->easy_strerror(code), advice_for(code));
}

static enum http_answer refuse_size(const struct http *http, const char *path, struct error *error)
{
    char size[UNITS_TEXT_MAX];
    (void)error_set(error, ERROR_FAILED, "management %s: the answer to %s is larger than %s", http->base,
                    path, units_format_size(HTTP_BODY_BYTES_MAX, size));
    return HTTP_TOO_LARGE;
}

enum http_answer http_get(struct http *http, const char *path, long *ret_status, struct slice *ret_body,
                          struct error *error)
{
    char url[HTTP_NAME_MAX + HTTP_PATH_MAX + 1];
    int length = snprintf(url, sizeof url, "%s%s", http->base, path);
    buffer_reset(&http->body);
    *http->reason = '\0';
    if (length < 0 || (size_t)length >= sizeof url || !set_text(http, CURLOPT_URL, url)) {
        (void)error_set(error, ERROR_FAILED, "management %s: the path %s is too long", http->base, path);
        return HTTP_FAILED;
    }
    CURLcode code = http->curl->easy_perform(http->easy);
    if (http->body.failed)
        return refuse_size(http, path, error);
    if (code != CURLE_OK) {
        (void)refuse(http, code, error);
        return HTTP_FAILED;
    }
    (void)http->curl->easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, ret_status);
    *ret_body = (struct slice){ .data = http->body.data, .size = http->body.size };
    return HTTP_ANSWERED;
}
