/* Field tables: every kind of value, cut at every byte, nested, and with lengths that lie. */
#include "common/fields.h"

#include "tools.h"

static const struct {
    const char *what;
    struct slice bytes;
    enum field_kind kind;
    int64_t integer;
    double number;
    const char *text;
} values[] = {
    { "void", INIT_BYTES("V"), .kind = FIELD_VOID },
    { "false", INIT_BYTES("t\0"), .kind = FIELD_BOOLEAN, .integer = 0 },
    { "true", INIT_BYTES("t\1"), .kind = FIELD_BOOLEAN, .integer = 1 },
    { "true as some send it", INIT_BYTES("t\xff"), .kind = FIELD_BOOLEAN, .integer = 1 },
    { "i8", INIT_BYTES("b\x7f"), .kind = FIELD_INTEGER, .integer = 127 },
    { "negative i8", INIT_BYTES("b\x80"), .kind = FIELD_INTEGER, .integer = -128 },
    { "u8", INIT_BYTES("B\xff"), .kind = FIELD_INTEGER, .integer = 255 },
    { "i16", INIT_BYTES("s\x7f\xff"), .kind = FIELD_INTEGER, .integer = 32767 },
    { "negative i16", INIT_BYTES("s\x80\x00"), .kind = FIELD_INTEGER, .integer = -32768 },
    { "u16", INIT_BYTES("u\xff\xfe"), .kind = FIELD_INTEGER, .integer = 65534 },
    { "i32", INIT_BYTES("I\x01\x02\x03\x04"), .kind = FIELD_INTEGER, .integer = 0x01020304 },
    { "negative i32", INIT_BYTES("I\xff\xff\xff\xff"), .kind = FIELD_INTEGER, .integer = -1 },
    { "u32", INIT_BYTES("i\xff\xff\xff\xff"), .kind = FIELD_INTEGER, .integer = UINT32_MAX },
    { "i64", INIT_BYTES("l\x7f\xff\xff\xff\xff\xff\xff\xff"), .kind = FIELD_INTEGER, .integer = INT64_MAX },
    { "least i64", INIT_BYTES("l\x80\0\0\0\0\0\0\0"), .kind = FIELD_INTEGER, .integer = INT64_MIN },
    { "u64 that fits", INIT_BYTES("L\x7f\xff\xff\xff\xff\xff\xff\xff"), .kind = FIELD_INTEGER,
      .integer = INT64_MAX },
    { "u64 that does not", INIT_BYTES("L\x80\0\0\0\0\0\0\0"), .kind = FIELD_UNSIGNED, .integer = INT64_MIN },
    { "largest u64", INIT_BYTES("L\xff\xff\xff\xff\xff\xff\xff\xff"), .kind = FIELD_UNSIGNED, .integer = -1 },
    { "float", INIT_BYTES("f\x3f\xc0\0\0"), .kind = FIELD_DOUBLE, .number = 1.5 },
    { "double", INIT_BYTES("d\xc0\x09\x21\xfb\x54\x44\x2d\x18"), .kind = FIELD_DOUBLE,
      .number = -3.141592653589793 },
    { "decimal", INIT_BYTES("D\x02\x00\x00\x30\x39"), .kind = FIELD_DOUBLE, .number = 123.45 },
    { "negative decimal", INIT_BYTES("D\x01\xff\xff\xff\xf1"), .kind = FIELD_DOUBLE, .number = -1.5 },
    { "decimal of no places", INIT_BYTES("D\x00\x00\x00\x00\x07"), .kind = FIELD_DOUBLE, .number = 7 },
    { "decimal of all places", INIT_BYTES("D\xff\x00\x00\x00\x00"), .kind = FIELD_DOUBLE, .number = 0 },
    { "timestamp", INIT_BYTES("T\0\0\0\0\x65\x92\x00\x80"), .kind = FIELD_TIMESTAMP, .integer = 0x65920080 },
    { "text", INIT_BYTES("S\0\0\0\4hare"), .kind = FIELD_BYTES, .text = "hare" },
    { "empty text", INIT_BYTES("S\0\0\0\0"), .kind = FIELD_BYTES, .text = "" },
    { "binary", INIT_BYTES("x\0\0\0\2\x01\xff"), .kind = FIELD_BYTES, .text = "\x01\xff" },
    { "table", INIT_BYTES("F\0\0\0\3\1aV"), .kind = FIELD_TABLE, .text = "\1aV" },
    { "empty table", INIT_BYTES("F\0\0\0\0"), .kind = FIELD_TABLE, .text = "" },
    { "array", INIT_BYTES("A\0\0\0\2VV"), .kind = FIELD_ARRAY, .text = "VV" },
};

static void assert_field(const struct field *field, size_t i)
{
    assert_int_equal(field->kind, values[i].kind);
    assert_true(field->integer == values[i].integer);
    assert_memory_equal(&field->number, &values[i].number, sizeof field->number);
    assert_bytes(field->bytes, slice_of(values[i].text ? values[i].text : ""));
}

static void test_every_kind_in_an_array(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        char *exact = exact_copy(values[i].bytes.data, values[i].bytes.size);
        struct slice rest = { exact, values[i].bytes.size };
        struct field field;
        assert_int_equal(fields_next_value(&rest, &field), FIELDS_ONE);
        assert_field(&field, i);
        assert_int_equal(fields_next_value(&rest, &field), FIELDS_DONE);
        free(exact);
    }
}

static struct slice named(const char *name, struct slice value, struct buffer *buffer)
{
    char length = (char)strlen(name);
    (void)buffer_append(buffer, &length, 1);
    (void)buffer_append_text(buffer, name);
    (void)buffer_append(buffer, value.data, value.size);
    return (struct slice){ .data = buffer->data, .size = buffer->size };
}

static void test_every_kind_in_one_table(void **state)
{
    (void)state;
    struct buffer buffer;
    struct slice table = { 0 };
    buffer_init(&buffer, 4096);
    for (size_t i = 0; i < COUNT_OF(values); i++)
        table = named(values[i].what, values[i].bytes, &buffer);
    struct slice name;
    struct field field;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        assert_int_equal(fields_next_entry(&table, &name, &field), FIELDS_ONE);
        assert_bytes(name, slice_of(values[i].what));
        assert_field(&field, i);
    }
    assert_int_equal(fields_next_entry(&table, &name, &field), FIELDS_DONE);
    buffer_clear(&buffer);
}

/* Cut at every byte: broken, nothing read past the cut, and the caller's field and name as they were. */
static void test_every_kind_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct buffer buffer;
        buffer_init(&buffer, 4096);
        struct slice whole = named("name", values[i].bytes, &buffer);
        for (size_t size = 1; size < whole.size; size++) {
            struct slice name = BYTES("as it was");
            struct field field = { .kind = FIELD_ARRAY, .integer = 42 };
            char *cut = exact_copy(whole.data, size);
            struct slice rest = { cut, size };
            assert_int_equal(fields_next_entry(&rest, &name, &field), FIELDS_BROKEN);
            assert_slice(name, "as it was");
            assert_true(field.kind == FIELD_ARRAY && field.integer == 42);
            free(cut);
        }
        buffer_clear(&buffer);
    }
}

static void test_values_that_are_none(void **state)
{
    (void)state;
    static const struct slice broken[] = {
        INIT_BYTES("\0"),
        INIT_BYTES("z"),
        INIT_BYTES("Z\0\0\0\0"),
        INIT_BYTES("S\0\0\0\5hare"),
        INIT_BYTES("S\xff\xff\xff\xffhare"),
        INIT_BYTES("x\x7f\xff\xff\xff"),
        INIT_BYTES("F\x80\0\0\0"),
        INIT_BYTES("A\0\1\0\0VV"),
    };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        struct field field = { .integer = 42 };
        char *exact = exact_copy(broken[i].data, broken[i].size);
        struct slice rest = { exact, broken[i].size };
        assert_int_equal(fields_next_value(&rest, &field), FIELDS_BROKEN);
        assert_int_equal(field.integer, 42);
        free(exact);
    }
}

static void test_every_byte_as_a_kind(void **state)
{
    (void)state;
    static const char known[] = "tbBsuIilLfdDTSxFAV";
    for (unsigned kind = 0; kind < 256; kind++) {
        char bytes[16] = { (char)kind };
        struct slice rest = { bytes, sizeof bytes };
        struct field field;
        bool is_known = kind != 0 && strchr(known, (char)kind);
        assert_int_equal(fields_next_value(&rest, &field), is_known ? FIELDS_ONE : FIELDS_BROKEN);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct slice name;
    struct field field;
    struct slice empty_name = BYTES("\0V");
    assert_int_equal(fields_next_entry(&empty_name, &name, &field), FIELDS_ONE);
    assert_int_equal(name.size, 0);
    char bytes[257];
    memset(bytes, 'n', sizeof bytes);
    bytes[0] = (char)255;
    bytes[256] = 'V';
    struct slice long_name = { bytes, sizeof bytes };
    assert_int_equal(fields_next_entry(&long_name, &name, &field), FIELDS_ONE);
    assert_int_equal(name.size, 255);
    struct slice lying_name = BYTES("\5hareV");
    assert_int_equal(fields_next_entry(&lying_name, &name, &field), FIELDS_BROKEN);
    struct slice nothing = { 0 };
    assert_int_equal(fields_next_entry(&nothing, &name, &field), FIELDS_DONE);
    assert_int_equal(fields_next_value(&nothing, &field), FIELDS_DONE);
}

/* Tables in arrays in tables, deeper than any reader goes: taking one off the front costs no stack. */
static void test_nesting(void **state)
{
    (void)state;
    enum { LEVELS = 1000, LEVEL_BYTES = 5 };
    char bytes[LEVELS * LEVEL_BYTES];
    for (size_t level = 0; level < LEVELS; level++) {
        size_t inner = (LEVELS - level - 1) * LEVEL_BYTES;
        const char head[LEVEL_BYTES] = { 'A', 0, 0, (char)(inner >> 8), (char)inner };
        memcpy(bytes + level * LEVEL_BYTES, head, sizeof head);
    }
    struct slice rest = { bytes, sizeof bytes };
    struct field field;
    unsigned depth = 0;
    for (; fields_next_value(&rest, &field) == FIELDS_ONE; depth++) {
        assert_int_equal(field.kind, FIELD_ARRAY);
        assert_int_equal(rest.size, 0);
        rest = field.bytes;
    }
    assert_int_equal(depth, LEVELS);
}

/* The length of what is inside may not reach past what is outside. */
static void test_inner_lengths_that_lie(void **state)
{
    (void)state;
    struct slice outer = BYTES("F\0\0\0\x09\1aS\0\0\0\4harebell");
    struct slice name;
    struct field table, inner;
    assert_int_equal(fields_next_value(&outer, &table), FIELDS_ONE);
    assert_int_equal(table.kind, FIELD_TABLE);
    assert_int_equal(fields_next_entry(&table.bytes, &name, &inner), FIELDS_BROKEN);
}

static void walk(struct slice rest, bool is_table, unsigned depth, const char *begin, const char *end)
{
    struct slice name = { 0 };
    struct field field;
    while ((is_table ? fields_next_entry(&rest, &name, &field) : fields_next_value(&rest, &field)) ==
           FIELDS_ONE) {
        assert_true(rest.data >= begin && rest.data + rest.size <= end);
        if (name.size > 0)
            assert_true(name.data >= begin && name.data + name.size <= end);
        if (field.bytes.size > 0)
            assert_true(field.bytes.data >= begin && field.bytes.data + field.bytes.size <= end);
        if ((field.kind == FIELD_TABLE || field.kind == FIELD_ARRAY) && depth < FIELDS_DEPTH_MAX)
            walk(field.bytes, field.kind == FIELD_TABLE, depth + 1, begin, end);
    }
}

static void test_garbage(void **state)
{
    (void)state;
    static const char alphabet[] = "tbBsuIilLfdDTSxFAV\0\0\0\0\0\0\0\1\2\3\4\5\6\7";
    struct random random = { 11 };
    for (unsigned round = 0; round < 50000; round++) {
        char bytes[128];
        size_t size = random_below(&random, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = alphabet[random_below(&random, sizeof alphabet)];
        char *exact = exact_copy(bytes, size);
        walk((struct slice){ exact, size }, round & 1, 0, exact, exact + size);
        free(exact);
    }
}

static const struct {
    int64_t value;
    struct slice bytes;
} integers[] = {
    { 0, INIT_BYTES("I\0\0\0\0") },
    { -1, INIT_BYTES("I\xff\xff\xff\xff") },
    { INT32_MAX, INIT_BYTES("I\x7f\xff\xff\xff") },
    { INT32_MIN, INIT_BYTES("I\x80\0\0\0") },
    { INT64_C(1) << 31, INIT_BYTES("l\0\0\0\0\x80\0\0\0") },
    { -(INT64_C(1) << 31) - 1, INIT_BYTES("l\xff\xff\xff\xff\x7f\xff\xff\xff") },
    { INT64_MAX, INIT_BYTES("l\x7f\xff\xff\xff\xff\xff\xff\xff") },
    { INT64_MIN, INIT_BYTES("l\x80\0\0\0\0\0\0\0") },
};

static void test_integers_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        struct buffer to;
        buffer_init(&to, 64);
        fields_put_integer(&to, integers[i].value);
        assert_bytes((struct slice){ to.data, to.size }, integers[i].bytes);
        buffer_clear(&to);
    }
}

static void test_a_table_written(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, 1024);
    fields_put_name(&to, slice_of("n"));
    fields_put_void(&to);
    fields_put_name(&to, slice_of(""));
    fields_put_boolean(&to, true);
    fields_put_name(&to, slice_of("a"));
    size_t array = fields_begin_array(&to);
    fields_put_double(&to, -3.141592653589793);
    size_t table = fields_begin_table(&to);
    fields_put_name(&to, slice_of("s"));
    fields_put_bytes(&to, slice_of("hare"));
    fields_end(&to, table);
    fields_end(&to, array);
    fields_put_name(&to, slice_of("t"));
    fields_put_timestamp(&to, 0x65920080);
    assert_false(to.failed);
    assert_slice(((struct slice){ to.data, to.size }),
                 "\1nV\0t\1\1aA\0\0\0\x19\x64\xc0\x09\x21\xfb\x54\x44\x2d\x18"
                 "F\0\0\0\x0b\1sS\0\0\0\4hare\1tT\0\0\0\0\x65\x92\x00\x80");
    buffer_clear(&to);
}

/* Whatever the bound, what is there is a beginning of the whole, and nothing is written past it. */
static void test_writing_up_to_every_bound(void **state)
{
    (void)state;
    for (size_t bound = 0; bound < 40; bound++) {
        struct buffer to;
        buffer_init(&to, bound);
        fields_put_name(&to, slice_of("list"));
        size_t mark = fields_begin_array(&to);
        fields_put_bytes(&to, slice_of("a text"));
        fields_put_integer(&to, 5);
        fields_end(&to, mark);
        assert_int_equal(to.failed, bound < 26);
        assert_true(to.size <= bound);
        buffer_clear(&to);
    }
}

static void test_a_name_too_long_to_write(void **state)
{
    (void)state;
    char name[256];
    struct buffer to;
    memset(name, 'n', sizeof name);
    buffer_init(&to, 1024);
    fields_put_name(&to, (struct slice){ name, 255 });
    assert_false(to.failed);
    fields_put_name(&to, (struct slice){ name, 256 });
    assert_true(to.failed);
    buffer_clear(&to);
}

static void test_finding(void **state)
{
    (void)state;
    struct field field = { .integer = 42 };
    const struct slice table = BYTES("\1aI\0\0\0\1\1bI\0\0\0\2\1bI\0\0\0\3\1cz");
    assert_false(fields_find(table, "c", &field));
    assert_false(fields_find(table, "d", &field));
    assert_int_equal(field.integer, 42);
    assert_true(fields_find(table, "b", &field));
    assert_int_equal(field.integer, 2);
}

static void test_soundness(void **state)
{
    (void)state;
    assert_true(fields_are_sound(BYTES("")));
    assert_false(fields_are_sound(BYTES("\1aS\0\0\0\4har")));
    assert_false(fields_are_sound(BYTES("\1aF\0\0\0\x09\1aS\0\0\0\4hare")));
    for (unsigned depth = 1; depth <= FIELDS_DEPTH_MAX; depth++) {
        size_t marks[FIELDS_DEPTH_MAX];
        struct buffer buffer;
        buffer_init(&buffer, 1024);
        fields_put_name(&buffer, slice_of("a"));
        for (unsigned i = 0; i < depth; i++)
            marks[i] = fields_begin_array(&buffer);
        for (unsigned i = depth; i-- > 0;)
            fields_end(&buffer, marks[i]);
        assert_int_equal(fields_are_sound((struct slice){ buffer.data, buffer.size }),
                         depth < FIELDS_DEPTH_MAX);
        buffer_clear(&buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_in_an_array),
        cmocka_unit_test(test_every_kind_in_one_table),
        cmocka_unit_test(test_every_kind_cut_at_every_byte),
        cmocka_unit_test(test_values_that_are_none),
        cmocka_unit_test(test_every_byte_as_a_kind),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_inner_lengths_that_lie),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_integers_written),
        cmocka_unit_test(test_a_table_written),
        cmocka_unit_test(test_writing_up_to_every_bound),
        cmocka_unit_test(test_a_name_too_long_to_write),
        cmocka_unit_test(test_finding),
        cmocka_unit_test(test_soundness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
