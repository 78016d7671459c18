/* A text of bounded length that is being put together: an error, a reason, a log message. What does not fit
 * is cut, never an error, and nothing is allocated, so that a note can be written when memory is short. */
#ifndef WORKER_NOTE_H
#define WORKER_NOTE_H

#include "common/buffer.h"
#include "common/wire.h"

#include <stddef.h>

struct note {
    char text[WIRE_TEXT_MAX]; /* not NUL-terminated */
    size_t size;
};

void note_append(struct note *note, struct slice text);
void note_text(struct note *note, const char *text);
void note_printf(struct note *note, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is in it, borrowed until the next append. */
struct slice note_slice(const struct note *note);

#endif
