/* Hides the passwords of URLs in whatever people or other processes may see: messages, log lines, the
 * process's own arguments. Pure. It hides too much rather than too little: what stands between the first ':'
 * after "://" and the last '@' is the password, however wrong the URL is; where there is no '@', a port that
 * is no number is one, too. */
#ifndef COMMON_REDACT_H
#define COMMON_REDACT_H

#include "common/buffer.h"

#include <stdbool.h>

/* Takes the next password off the front of `rest`; false where there is none left. */
bool redact_next(struct slice *rest, struct slice *ret_password);

/* Appends the text with each password as "***". */
bool redact_append(struct buffer *buffer, struct slice text);

/* Overwrites each password in place, byte by byte, so that the text keeps its length. */
void redact_overwrite(char *text);

#endif
