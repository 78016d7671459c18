/* Dead letters as a table, a row each; its rows are kept until their widths are known. Pure but for printing.
 */
#ifndef HOST_DEAD_TABLE_H
#define HOST_DEAD_TABLE_H

#include "common/buffer.h"
#include "host/dead/dead_letter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_BYTES_MAX = 256 * 1024 * 1024 };

struct table {
    struct buffer cells; /* each ends with a NUL */
    size_t rows;
};

void table_init(struct table *table); /* with its headline */
void table_clear(struct table *table);

/* `now`: seconds since 1970. False where there is no memory for it. */
bool table_add(struct table *table, const struct dead_letter *letter, int64_t now);

/* `width`: columns of the terminal, to which the last one is cut; 0: it is not. */
void table_print(const struct table *table, size_t width, FILE *to);

#endif
