/* Entries of http.allow against hosts: what matches has the entry's end, and no wildcard lets an address in.
 */
#include "worker/allow.h"

#include "fuzz.h"

#include <strings.h>

/* The first two bytes are the port; a blank parts the entry from the host. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint16_t port = (uint16_t)(data[0] << 8 | data[1]);
    struct slice entry = fuzz_input(data + 2, size - 2);
    const char *blank = memchr(entry.data, ' ', entry.size);
    if (!blank)
        return 0;
    struct slice host = { .data = blank + 1, .size = (size_t)(entry.data + entry.size - blank - 1) };
    entry.size = (size_t)(blank - entry.data);
    enum allow allow = allow_match(entry, host, port);
    if (allow == ALLOW_NOT)
        return 0;
    const char *colon = memrchr(entry.data, ':', entry.size);
    MUST(colon && port > 0 && host.size > 0);
    size_t name = (size_t)(colon - entry.data);
    if (allow == ALLOW_EXACT) {
        MUST(name == host.size || name == host.size + 2);
    } else {
        MUST(entry.data[0] == '*' && name >= 3 && host.size >= name);
        MUST(strncasecmp(host.data + host.size - (name - 1), entry.data + 1, name - 1) == 0);
        MUST(!memchr(host.data, ':', host.size));
    }
    return 0;
}
