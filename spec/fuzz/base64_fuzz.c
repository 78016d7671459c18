/* Base64 of strangers: what is taken is told back as the same bytes. */
#include "common/base64.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer bytes, text, again;
    buffer_init(&bytes, size);
    buffer_init(&text, 2 * size + 4);
    buffer_init(&again, size);
    if (base64_decode(fuzz_input(data, size), &bytes)) {
        base64_encode((struct slice){ .data = bytes.data, .size = bytes.size }, &text);
        MUST(base64_decode((struct slice){ .data = text.data, .size = text.size }, &again));
        MUST(slice_same((struct slice){ .data = bytes.data, .size = bytes.size },
                        (struct slice){ .data = again.data, .size = again.size }));
    }
    buffer_clear(&bytes);
    buffer_clear(&text);
    buffer_clear(&again);
    return 0;
}
