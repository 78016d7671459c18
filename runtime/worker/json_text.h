/* JSON as a format of tree.h: how tables that a handler publishes are written.
 *
 * Not by cjson, which knows 14 digits of a number and would silently change an id of 15: here a number is
 * read back as the one it was. Texts are passed on byte by byte, as cjson does. */
#ifndef WORKER_JSON_TEXT_H
#define WORKER_JSON_TEXT_H

#include "worker/tree.h"

extern const struct tree_format json_text_format;

#endif
