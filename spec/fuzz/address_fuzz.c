/* Broker URLs: whatever is taken for one has a host and a port, and no name for people holds its password. */
#include "host/amqp/address.h"

#include "common/redact.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct address address = { 0 };
    struct error error = { 0 };
    char *url = fuzz_text(data, size);
    if (address_parse(&address, url, &error)) {
        MUST(address.host[0] != '\0');
        MUST(address.port > 0 && address.port <= 65535);
        MUST(address.user && address.password && address.vhost);
        MUST(strlen(address.name) < ADDRESS_NAME_MAX);
        address_forget_password(&address);
        address_clear(&address);
    } else {
        MUST(error.text[0] != '\0');
    }
    free(url);
    return 0;
}
