/* Reading modules out of the script's folder, and nothing from outside of it; see worker/folder.h. */
#include "worker/folder.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char top[64];
    char script[128];
};

static void write_file(const struct place *place, const char *path, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", place->top, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(const struct place *place, const char *path)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", place->top, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static void make_link(const struct place *place, const char *target, const char *path)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", place->top, path);
    assert_int_equal(symlink(target, full), 0);
}

static int set_up(void **context)
{
    static struct place place;
    place = (struct place){ .top = "/tmp/moonrabbit-folder-XXXXXX" };
    assert_non_null(mkdtemp(place.top));
    (void)snprintf(place.script, sizeof place.script, "%s/handlers/orders.lua", place.top);
    write_file(&place, "secret.lua", "secret");
    make_folder(&place, "handlers");
    make_folder(&place, "handlers/lib");
    make_folder(&place, "handlers/lib/deep");
    write_file(&place, "handlers/orders.lua", "orders");
    write_file(&place, "handlers/util.lua", "util");
    write_file(&place, "handlers/empty.lua", "");
    write_file(&place, "handlers/lib/deep/tax.lua", "tax");
    make_link(&place, "../secret.lua", "handlers/out.lua");
    make_link(&place, "..", "handlers/up");
    make_link(&place, "lib", "handlers/linked");
    make_link(&place, "nowhere", "handlers/dangling.lua");
    *context = &place;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int tear_down(void **context)
{
    const struct place *place = *context;
    return nftw(place->top, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct {
    const char *path;
    const char *content; /* NULL: not to be had */
} cases[] = {
    { "util.lua", "util" },
    { "empty.lua", "" },
    { "lib/deep/tax.lua", "tax" },
    { "missing.lua", NULL },
    { "lib/missing/x.lua", NULL },
    { "util.lua/x.lua", NULL },
    { "lib", NULL },
    { "../secret.lua", NULL },
    { "lib/../../secret.lua", NULL },
    { "out.lua", NULL },
    { "up/secret.lua", NULL },
    { "up/handlers/util.lua", NULL },
    { "linked/deep/tax.lua", NULL },
    { "dangling.lua", NULL },
    { "/etc/hostname", NULL },
    { "..", NULL },
};

static void check(const struct folder *folder, const char *path, const char *expected)
{
    struct buffer content;
    struct error error = { .text = "" };
    enum folder_read read = folder_read(folder, path, &content, &error);
    if ((read == FOLDER_READ) != (expected != NULL))
        fail_msg("%s: %d, %s", path, (int)read, error.text);
    if (expected) {
        assert_int_equal(content.size, strlen(expected));
        assert_true(content.size == 0 || memcmp(content.data, expected, content.size) == 0);
    }
    if (read == FOLDER_REFUSED)
        assert_non_null(strstr(error.text, path));
    buffer_clear(&content);
}

static void what_lies_in_the_folder_is_read_and_nothing_else(void **context)
{
    const struct place *place = *context;
    struct folder folder;
    struct error error;
    assert_true(folder_open(&folder, place->script, &error));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(&folder, cases[i].path, cases[i].content);
    folder_close(&folder);
}

static void a_name_too_long_is_refused(void **context)
{
    const struct place *place = *context;
    char path[300];
    struct folder folder;
    struct error error;
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_true(folder_open(&folder, place->script, &error));
    struct buffer content;
    assert_int_equal(folder_read(&folder, path, &content, &error), FOLDER_REFUSED);
    assert_non_null(strstr(error.text, "File name too long"));
    buffer_clear(&content);
    folder_close(&folder);
}

static void no_descriptor_is_left_open(void **context)
{
    const struct place *place = *context;
    int before = dup(STDIN_FILENO);
    struct folder folder;
    struct error error;
    assert_int_equal(close(before), 0);
    for (int round = 0; round < 3; round++) {
        assert_true(folder_open(&folder, place->script, &error));
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check(&folder, cases[i].path, cases[i].content);
        folder_close(&folder);
    }
    int after = dup(STDIN_FILENO);
    assert_int_equal(after, before);
    assert_int_equal(close(after), 0);
}

static void a_script_that_is_not_there(void **context)
{
    const struct place *place = *context;
    char path[256];
    struct folder folder;
    struct error error;
    (void)snprintf(path, sizeof path, "%s/handlers/nope.lua", place->top);
    assert_false(folder_open(&folder, path, &error));
    assert_non_null(strstr(error.text, "cannot read the handler"));
    folder_close(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_in_the_folder_is_read_and_nothing_else),
        cmocka_unit_test(a_name_too_long_is_refused),
        cmocka_unit_test(no_descriptor_is_left_open),
        cmocka_unit_test(a_script_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
