/* libcurl and c-ares, loaded by who needs them and no earlier: workers whose handlers may use http, and the
 * doctor. They and what they bring along (TLS, HTTP/2, compression) take some MiB, and are code that a worker
 * without a network should not have in it.
 *
 * What is used of them are these functions, under their own names without the prefix. */
#ifndef COMMON_LIBRARIES_H
#define COMMON_LIBRARIES_H

#include "common/error.h"

#include <stdbool.h>

#define CURL_DISABLE_TYPECHECK
#include <ares.h>
#include <curl/curl.h>

struct libraries {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *easy_init;
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_url) *url;
    __typeof__(curl_url_cleanup) *url_cleanup;
    __typeof__(curl_url_get) *url_get;
    __typeof__(curl_url_set) *url_set;
    __typeof__(curl_free) *free;
    __typeof__(curl_multi_init) *multi_init;
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    __typeof__(curl_multi_add_handle) *multi_add_handle;
    __typeof__(curl_multi_remove_handle) *multi_remove_handle;
    __typeof__(curl_multi_socket_action) *multi_socket_action;
    __typeof__(curl_multi_info_read) *multi_info_read;
    __typeof__(curl_multi_assign) *multi_assign;
    __typeof__(curl_multi_cleanup) *multi_cleanup;
    /* NULL where only libcurl was asked for */
    __typeof__(ares_library_init) *ares_library_init;
    __typeof__(ares_init_options) *ares_init_options;
    __typeof__(ares_getaddrinfo) *ares_getaddrinfo;
    __typeof__(ares_freeaddrinfo) *ares_freeaddrinfo;
    __typeof__(ares_process_fd) *ares_process_fd;
    __typeof__(ares_timeout) *ares_timeout;
    __typeof__(ares_strerror) *ares_strerror;
    __typeof__(ares_destroy) *ares_destroy;
};

enum libraries_wanted { LIBRARIES_CURL, LIBRARIES_CURL_AND_CARES };

/* Loads and initialises them for good, once in a process; NULL with error where they are not there: what
 * needs them is `purpose`. */
const struct libraries *libraries_load(enum libraries_wanted wanted, const char *purpose,
                                       struct error *error);

#endif
