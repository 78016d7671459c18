/* The fields of a message's headers as JSON, and whether they can be that. Pure. */
#ifndef HOST_JSON_FIELDS_H
#define HOST_JSON_FIELDS_H

#include "common/buffer.h"
#include "common/fields.h"

#include <stdbool.h>

/* Appends a field as a value. What JSON has no value for is null, and so is what nests too deep; texts that
 * are no UTF-8 have U+FFFD where it is broken. Failure is the buffer's `failed`. */
void json_fields_put(struct buffer *to, const struct field *field);
/* A table's entries as an object. */
void json_fields_put_table(struct buffer *to, struct slice entries);

/* Whether nothing of the table is lost in JSON that is read into doubles and bytes: its texts are UTF-8, its
 * numbers finite, and it can be read to its end. */
bool json_fields_hold(struct slice entries);

#endif
