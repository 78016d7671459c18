/* Problems and numbers; see cli_words.h. */
#include "cli_words.h"

#include "common/redact.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool cli_complain(struct buffer *problems, const char *before, const char *word, const char *after)
{
    (void)buffer_append_text(problems, before);
    (void)redact_append(problems, slice_of(word));
    (void)buffer_append_text(problems, after);
    (void)buffer_append_text(problems, "\n");
    return false;
}

void cli_take_count(const char *option, const char *value, uint32_t most, uint32_t *ret_count,
                    struct buffer *problems)
{
    char before[64], after[64];
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (isdigit((unsigned char)*value) && *end == '\0' && errno == 0 && number >= 1 && number <= (long)most) {
        *ret_count = (uint32_t)number;
        return;
    }
    (void)snprintf(before, sizeof before, "%s is \"", option);
    (void)snprintf(after, sizeof after, "\": give a whole number from 1 to %u", (unsigned)most);
    (void)cli_complain(problems, before, value, after);
}
