/* The one error convention: a function that can fail takes a `struct error *` as its last parameter and
 * returns false (or NULL) after filling it with a sentence that says what, where and what to do.
 * The one who knows fills it; it is passed up unchanged and printed once, at the top. */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include <stdbool.h>

/* The codes are the program's exit codes. */
enum error_code {
    ERROR_NONE = 0,
    ERROR_FAILED = 1, /* the world refused while running: broker, system, worker */
    ERROR_USAGE = 2,  /* wrong usage or configuration: found without asking anybody else */
};

enum { ERROR_TEXT_BYTES = 1024 };

struct error {
    enum error_code code;
    char text[ERROR_TEXT_BYTES]; /* one line without control characters; cut where longer */
};

/* Fills `error` and returns false, so that `return error_set(...)` reads as the refusal that it is. */
bool error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, and ends the sentence with the text of the errno value given. */
bool error_set_errno(struct error *error, enum error_code code, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<words>: " before the text that is there: the caller's where to the callee's what. Returns false. */
bool error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
