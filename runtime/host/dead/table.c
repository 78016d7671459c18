/* The table of dead letters; see table.h. */
#include "host/dead/table.h"

#include "common/units.h"
#include "host/dead/text.h"

#include <inttypes.h>
#include <string.h>

enum {
    GAP = 2, /* blanks between columns */
    LEAST_LAST_WIDTH = 10,
    NAME_WIDTH_MAX = 40, /* of an id or a queue; longer ones are cut */
};

enum column { ID, REASON, ATTEMPTS, AGE, SIZE, QUEUE, ERROR, COLUMNS };

static const struct {
    const char *headline;
    bool right; /* numbers stand below each other by their last digit */
} columns[COLUMNS] = {
    [ID] = { "ID", false },       [REASON] = { "REASON", false }, [ATTEMPTS] = { "ATTEMPTS", true },
    [AGE] = { "AGE", true },      [SIZE] = { "SIZE", true },      [QUEUE] = { "QUEUE", false },
    [ERROR] = { "ERROR", false },
};

static void end_cell(struct table *table)
{
    (void)buffer_append(&table->cells, "", 1);
}

void table_init(struct table *table)
{
    *table = (struct table){ .rows = 1 };
    buffer_init(&table->cells, TABLE_BYTES_MAX);
    for (size_t i = 0; i < COLUMNS; i++) {
        (void)buffer_append_text(&table->cells, columns[i].headline);
        end_cell(table);
    }
}

void table_clear(struct table *table)
{
    buffer_clear(&table->cells);
}

/* What nobody knows is a dash. */
static void add_text(struct table *table, struct slice text)
{
    if (text.size == 0)
        (void)buffer_append_text(&table->cells, "-");
    text_put(&table->cells, text, false);
    end_cell(table);
}

static void add_number(struct table *table, int64_t number)
{
    if (number < 0)
        (void)buffer_append_text(&table->cells, "-");
    else
        (void)buffer_printf(&table->cells, "%" PRId64, number);
    end_cell(table);
}

static void add_age(struct table *table, const struct dead_letter *letter, int64_t now)
{
    if (letter->died_at < 0)
        (void)buffer_append_text(&table->cells, "-");
    else
        text_put_age(&table->cells, now > letter->died_at ? now - letter->died_at : 0);
    end_cell(table);
}

bool table_add(struct table *table, const struct dead_letter *letter, int64_t now)
{
    char size[UNITS_TEXT_MAX];
    uint64_t bytes = letter->cut_bytes >= 0 ? (uint64_t)letter->cut_bytes : letter->body_bytes;
    add_text(table, letter->id);
    add_text(table, letter->reason);
    add_number(table, letter->attempts);
    add_age(table, letter, now);
    add_text(table, slice_of(units_format_size((int64_t)(bytes < INT64_MAX ? bytes : INT64_MAX), size)));
    add_text(table, letter->queue);
    add_text(table, text_first_line(letter->error));
    table->rows++;
    return !table->cells.failed;
}

static struct slice next_cell(const char **cursor)
{
    struct slice cell = slice_of(*cursor);
    *cursor += cell.size + 1;
    return cell;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void measure(const struct table *table, size_t width, size_t widths[COLUMNS])
{
    const char *cursor = table->cells.data;
    memset(widths, 0, COLUMNS * sizeof widths[0]);
    for (size_t i = 0; i < table->rows * COLUMNS; i++) {
        size_t wanted = text_width(next_cell(&cursor));
        if (wanted > widths[i % COLUMNS])
            widths[i % COLUMNS] = wanted;
    }
    size_t before = 0;
    for (size_t i = 0; i < ERROR; i++) {
        if (width > 0)
            widths[i] = least(widths[i], NAME_WIDTH_MAX);
        before += widths[i] + GAP;
    }
    if (width > 0)
        widths[ERROR] = width > before + LEAST_LAST_WIDTH ? width - before : LEAST_LAST_WIDTH;
}

static void print_blanks(size_t count, FILE *to)
{
    (void)fprintf(to, "%*s", (int)count, "");
}

/* A cell that is too long ends in an ellipsis. */
static void print_cell(struct slice cell, size_t column, size_t width, FILE *to)
{
    size_t has = text_width(cell);
    if (has > width) {
        size_t bytes = text_bytes_in(cell, width - 1);
        (void)fprintf(to, "%.*s\xe2\x80\xa6", (int)bytes, cell.data);
        has = width;
    } else {
        if (columns[column].right)
            print_blanks(width - has, to);
        (void)fwrite(cell.data, 1, cell.size, to);
    }
    if (column != ERROR)
        print_blanks(GAP + (columns[column].right ? 0 : width - has), to);
}

void table_print(const struct table *table, size_t width, FILE *to)
{
    size_t widths[COLUMNS];
    const char *cursor = table->cells.data;
    measure(table, width, widths);
    for (size_t row = 0; row < table->rows; row++) {
        for (size_t column = 0; column < COLUMNS; column++)
            print_cell(next_cell(&cursor), column, widths[column], to);
        (void)fputc('\n', to);
    }
}
