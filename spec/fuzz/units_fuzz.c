/* Sizes and durations as people write them: what is taken has a value that is told back. */
#include "common/units.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[UNITS_TEXT_MAX];
    int64_t value = -1;
    int64_t again = -1;
    const char *words = (const char *)data;
    if (units_parse_size(words, size, &value)) {
        MUST(value >= 0);
        MUST(strlen(units_format_size(value, text)) < UNITS_TEXT_MAX);
    }
    if (units_parse_duration(words, size, &value)) {
        MUST(value >= 0);
        MUST(strlen(units_format_duration(value, text)) < UNITS_TEXT_MAX);
        MUST(units_parse_duration(words, size, &again) && again == value);
    }
    if (size == sizeof value) {
        double seconds;
        memcpy(&value, data, sizeof value);
        memcpy(&seconds, data, sizeof seconds);
        (void)units_format_size(value, text);
        (void)units_format_duration(value, text);
        if (units_from_seconds(seconds, &value))
            MUST(value >= 0);
        MUST(strlen(units_format_duration(units_from_number(seconds * 1e9), text)) < UNITS_TEXT_MAX);
        MUST(strlen(units_format_size(units_from_number(seconds), text)) < UNITS_TEXT_MAX);
    }
    return 0;
}
