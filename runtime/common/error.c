/* Filling and extending an error's sentence; see error.h for the convention. */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a broker or a script said may hold anything: it forges no line and steers no terminal. */
static bool refuse_in_one_line(struct error *error)
{
    for (char *c = error->text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    }
    return false;
}

bool error_set(struct error *error, enum error_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return refuse_in_one_line(error);
}

bool error_set_errno(struct error *error, enum error_code code, int number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->text);
    char scratch[128];
    (void)snprintf(error->text + used, sizeof error->text - used, ": %s",
                   strerror_r(number, scratch, sizeof scratch));
    return refuse_in_one_line(error);
}

bool error_prefix(struct error *error, const char *format, ...)
{
    char inner[sizeof error->text];
    memcpy(inner, error->text, sizeof inner);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->text);
    (void)snprintf(error->text + used, sizeof error->text - used, ": %.*s", (int)(sizeof error->text - used),
                   inner);
    return refuse_in_one_line(error);
}
