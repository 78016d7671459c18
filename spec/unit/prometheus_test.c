/* Prometheus' text format: labels of any bytes, and histograms that add up. */
#include "host/status/prometheus.h"

#include <math.h>

#include "tools.h"

enum { ROOM = 16384 };

static const struct prometheus_label none[PROMETHEUS_LABELS_MAX] = { { 0 } };

static void assert_written(struct buffer *written, const char *wanted)
{
    assert_false(written->failed);
    assert_bytes((struct slice){ written->data, written->size }, slice_of(wanted));
    buffer_clear(written);
}

static void test_a_family(void **state)
{
    (void)state;
    struct buffer to;
    buffer_init(&to, ROOM);
    const struct prometheus_label labels[PROMETHEUS_LABELS_MAX] = { { "a", "1" },
                                                                    { "left_out", NULL },
                                                                    { "b", "" } };
    prometheus_family(&to, "x_total", "counter", "Things.");
    prometheus_sample(&to, "x_total", "", none, 12);
    prometheus_sample(&to, "x_total", "", labels, 0.5);
    prometheus_sample(&to, "x_total", "", labels, (double)NAN);
    assert_written(
        &to, "# HELP x_total Things.\n# TYPE x_total counter\nx_total 12\nx_total{a=\"1\",b=\"\"} 0.5\n");
}

static void test_labels_of_any_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *written;
    } cases[] = {
        { "plain", "plain" },
        { "a\"b", "a\\\"b" },
        { "a\\b", "a\\\\b" },
        { "a\nb", "a\\nb" },
        { "\xc3\xa4", "\xc3\xa4" },
        { "\xc3", "\xef\xbf\xbd" },
        { "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\\\n\"", "\\\\\\n\\\"" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buffer to, wanted;
        buffer_init(&to, ROOM);
        buffer_init(&wanted, ROOM);
        const struct prometheus_label labels[PROMETHEUS_LABELS_MAX] = { { "l", cases[i].value } };
        prometheus_sample(&to, "x", "", labels, 1);
        assert_true(buffer_printf(&wanted, "x{l=\"%s\"} 1\n", cases[i].written));
        assert_bytes((struct slice){ to.data, to.size }, (struct slice){ wanted.data, wanted.size });
        buffer_clear(&to);
        buffer_clear(&wanted);
    }
}

static void test_a_histogram(void **state)
{
    (void)state;
    struct histogram histogram = { 0 };
    struct buffer to;
    buffer_init(&to, ROOM);
    const struct prometheus_label labels[PROMETHEUS_LABELS_MAX] = { { "a", "1" } };
    histogram_add(&histogram, 10000);
    histogram_add(&histogram, 90000);
    histogram_add(&histogram, INT64_C(60000000000));
    prometheus_histogram(&to, "x_seconds", labels, &histogram);
    assert_true(buffer_append(&to, "", 1));
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"1e-05\"} 1\n");
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"5e-05\"} 1\n");
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"0.0001\"} 2\n");
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"2.5\"} 2\n");
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"30\"} 2\n");
    assert_contains(to.data, "x_seconds_bucket{a=\"1\",le=\"+Inf\"} 3\n"
                             "x_seconds_sum{a=\"1\"} 60.0001\n"
                             "x_seconds_count{a=\"1\"} 3\n");
    buffer_clear(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_family),
        cmocka_unit_test(test_labels_of_any_bytes),
        cmocka_unit_test(test_a_histogram),
    };
    return cmocka_run_group_tests_name("prometheus", tests, NULL, NULL);
}
