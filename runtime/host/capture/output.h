/* Where captured lines go: a file, standard output, or whatever else a path names.
 *
 * A file is written beside its place and moved there when it is whole, so that at any time the path has what
 * it had before, or all of the new. What is no file (a pipe, a device) is written to as it is. */
#ifndef HOST_CAPTURE_OUTPUT_H
#define HOST_CAPTURE_OUTPUT_H

#include "common/buffer.h"
#include "common/error.h"

#include <limits.h>
#include <stdbool.h>

enum { OUTPUT_CHUNK_BYTES = 64 * 1024 }; /* that one write takes, or more */

struct output {
    int fd;
    const char *name;          /* for people; borrowed, or a constant */
    char place[PATH_MAX];      /* of the file in the end; empty: it is none */
    char unfinished[PATH_MAX]; /* where it is until then; empty: it is moved, or none */
    struct buffer waiting;
};

/* `path`: NULL or "-" is standard output. output_close must follow either way. */
bool output_open(struct output *output, const char *path, struct error *error);

/* Takes over what is in `text`, which is empty then; it may wait for more. */
bool output_write(struct output *output, struct buffer *text, struct error *error);
/* Writes what waits. */
bool output_flush(struct output *output, struct error *error);

/* All is written: it reaches its place. */
bool output_finish(struct output *output, struct error *error);

/* Takes away what is not finished. */
void output_close(struct output *output);

#endif
