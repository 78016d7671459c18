/* Requests to the status listener: what is taken for one lies within the bytes, and is one as well when it
 * comes in pieces; what was broken stays so. */
#include "host/status/http.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request request;
    const struct slice whole = { .data = (const char *)data, .size = size };
    enum http_next last = HTTP_MORE;
    for (struct slice piece = { .data = whole.data }; piece.size <= size && last == HTTP_MORE; piece.size++) {
        last = http_next(piece, &request);
        if (last != HTTP_REQUEST)
            continue;
        MUST(request.path.data >= piece.data);
        MUST(request.path.data + request.path.size <= piece.data + piece.size);
        MUST(request.host.size == 0 || (request.host.data >= piece.data &&
                                        request.host.data + request.host.size <= piece.data + piece.size));
        if (http_host_is_local(request.host, "box"))
            MUST(!memchr(request.host.data, '\n', request.host.size));
        MUST(memchr(request.path.data, '?', request.path.size) == NULL);
    }
    MUST(http_next(whole, &request) == last);
    return 0;
}
