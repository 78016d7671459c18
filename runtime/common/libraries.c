/* Loading libcurl and c-ares; see libraries.h. */
#include "common/libraries.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

struct symbol {
    const char *name;
    size_t offset; /* in struct libraries */
};

#define CURL_SYMBOL(name)                                                                                    \
    {                                                                                                        \
        "curl_" #name, offsetof(struct libraries, name)                                                      \
    }
#define ARES_SYMBOL(name)                                                                                    \
    {                                                                                                        \
#name, offsetof(struct libraries, name)                                                              \
    }

static const struct symbol curl_symbols[] = {
    CURL_SYMBOL(global_init),
    CURL_SYMBOL(easy_init),
    CURL_SYMBOL(easy_setopt),
    CURL_SYMBOL(easy_getinfo),
    CURL_SYMBOL(easy_perform),
    CURL_SYMBOL(easy_cleanup),
    CURL_SYMBOL(easy_strerror),
    CURL_SYMBOL(slist_append),
    CURL_SYMBOL(slist_free_all),
    CURL_SYMBOL(url),
    CURL_SYMBOL(url_cleanup),
    CURL_SYMBOL(url_get),
    CURL_SYMBOL(url_set),
    CURL_SYMBOL(free),
    CURL_SYMBOL(multi_init),
    CURL_SYMBOL(multi_setopt),
    CURL_SYMBOL(multi_add_handle),
    CURL_SYMBOL(multi_remove_handle),
    CURL_SYMBOL(multi_socket_action),
    CURL_SYMBOL(multi_info_read),
    CURL_SYMBOL(multi_assign),
    CURL_SYMBOL(multi_cleanup),
    { NULL, 0 },
};

static const struct symbol ares_symbols[] = {
    ARES_SYMBOL(ares_library_init), ARES_SYMBOL(ares_init_options), ARES_SYMBOL(ares_getaddrinfo),
    ARES_SYMBOL(ares_freeaddrinfo), ARES_SYMBOL(ares_process_fd),   ARES_SYMBOL(ares_timeout),
    ARES_SYMBOL(ares_strerror),     ARES_SYMBOL(ares_destroy),      { NULL, 0 },
};

static struct libraries loaded;

static bool load(const char *file, const char *package, const struct symbol *symbols, const char *purpose,
                 struct error *error)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return error_set(error, ERROR_FAILED,
                         "%s needs the library %s (Debian: %s), which cannot be loaded: %s", purpose, file,
                         package, dlerror());
    for (; symbols->name; symbols++) {
        void *function = dlsym(library, symbols->name);
        if (!function)
            return error_set(error, ERROR_FAILED, "the library %s is too old: it has no %s", file,
                             symbols->name);
        memcpy((char *)&loaded + symbols->offset, &function, sizeof function);
    }
    return true;
}

const struct libraries *libraries_load(enum libraries_wanted wanted, const char *purpose, struct error *error)
{
    bool cares = wanted == LIBRARIES_CURL_AND_CARES;
    if (!load("libcurl.so.4", "libcurl4", curl_symbols, purpose, error) ||
        (cares && !load("libcares.so.2", "libc-ares2", ares_symbols, purpose, error)))
        return NULL;
    if (loaded.global_init(CURL_GLOBAL_ALL) != 0 ||
        (cares && loaded.ares_library_init(ARES_LIB_INIT_ALL) != 0)) {
        (void)error_set(error, ERROR_FAILED, "libcurl or c-ares does not start");
        return NULL;
    }
    return &loaded;
}
