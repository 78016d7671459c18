/* Writing JSON into a buffer, for other programs. Texts may hold any bytes: what is no UTF-8 becomes U+FFFD,
 * and nothing in them ends the quotes. Commas come by themselves: a value is told from the first of its
 * object or array by what stands before it. Failure is the buffer's `failed`. Pure. */
#ifndef HOST_JSON_H
#define HOST_JSON_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Values. */
void json_put_text(struct buffer *to, struct slice text);
void json_put_quoted(struct buffer *to, struct slice text); /* a piece of it, cut between characters */
void json_put_base64(struct buffer *to, struct slice bytes);
void json_put_number(struct buffer *to, double number); /* null where it is not finite */

/* The shortest decimal digits that give this number again; it is finite. */
void json_put_digits(struct buffer *to, double number);

/* An object or an array: as the next element of an array, or as a member where it has a name. */
void json_open(struct buffer *to, const char *name, char bracket);
void json_close(struct buffer *to, char bracket);

/* Begins a member, or, where the name is NULL, the next element of an array; its value follows. */
void json_name(struct buffer *to, const char *name);

/* Whole members. */
void json_text(struct buffer *to, const char *name, const char *text); /* NULL: null */
void json_slice(struct buffer *to, const char *name, struct slice text);
void json_unsigned(struct buffer *to, const char *name, uint64_t number);
void json_integer(struct buffer *to, const char *name, int64_t number);
void json_double(struct buffer *to, const char *name, double number);
void json_boolean(struct buffer *to, const char *name, bool value);
void json_null(struct buffer *to, const char *name);
void json_seconds(struct buffer *to, const char *name, int64_t nanoseconds);

#endif
