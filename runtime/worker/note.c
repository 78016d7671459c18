/* Texts of bounded length; see note.h. */
#include "worker/note.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void note_append(struct note *note, struct slice text)
{
    size_t room = sizeof note->text - note->size;
    size_t size = text.size < room ? text.size : room;
    if (size > 0)
        memcpy(note->text + note->size, text.data, size);
    note->size += size;
}

void note_text(struct note *note, const char *text)
{
    note_append(note, slice_of(text));
}

void note_printf(struct note *note, const char *format, ...)
{
    size_t room = sizeof note->text - note->size;
    if (room == 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(note->text + note->size, room, format, arguments);
    va_end(arguments);
    /* The last byte of the room went to a NUL. */
    if (size > 0)
        note->size += (size_t)size < room ? (size_t)size : room - 1;
}

struct slice note_slice(const struct note *note)
{
    return (struct slice){ .data = note->text, .size = note->size };
}
