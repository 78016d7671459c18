/* The folder of a handler script, out of which its modules are read, and nothing from anywhere else.
 *
 * The folder is the one in which the script's file really lies: where the path given is a symbolic link, its
 * target's. It stays the same for as long as the process lives, whatever becomes of the path. Below it no
 * symbolic link is followed and no ".." climbs out: each part of a path is opened by itself. Knows no Lua. */
#ifndef WORKER_FOLDER_H
#define WORKER_FOLDER_H

#include "common/buffer.h"
#include "common/error.h"

#include <stdbool.h>

enum { FOLDER_FILE_BYTES_MAX = 1024 * 1024 }; /* of one script; a larger one is data, not a script */

struct folder {
    int fd;
    char *prefix; /* the folder as the user wrote it, with its slash: "handlers/", or "" */
    char *script; /* the name that the script's file really has in it */
};

/* Opens the folder of `script`; false with error. */
bool folder_open(struct folder *folder, const char *script, struct error *error);
void folder_close(struct folder *folder);

enum folder_read { FOLDER_READ, FOLDER_MISSING, FOLDER_REFUSED };

/* Reads the file at `path`, relative to the folder, into `content` (initialised here; the caller clears it in
 * any case). FOLDER_MISSING: there is no such file. FOLDER_REFUSED: there is, with error. */
enum folder_read folder_read(const struct folder *folder, const char *path, struct buffer *content,
                             struct error *error);

/* Reads the script itself; `name`, for errors, is how the user wrote it. As folder_read, `content` is to be
 * cleared. */
bool folder_read_script(const struct folder *folder, const char *name, struct buffer *content,
                        struct error *error);

#endif
