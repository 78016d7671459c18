/* Writing Prometheus' text format; see prometheus.h. */
#include "host/status/prometheus.h"

#include "common/utf8.h"
#include "host/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void prometheus_family(struct buffer *to, const char *name, const char *type, const char *help)
{
    (void)buffer_printf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* The format knows three escapes, and wants UTF-8. */
static void put_value(struct buffer *to, const char *value)
{
    static const char broken[] = "\xef\xbf\xbd";
    size_t size = strlen(value);
    for (size_t i = 0, length; i<size; i += length> 0 ? length : 1) {
        length = utf8_length(value + i, size - i);
        if (length == 0)
            (void)buffer_append_text(to, broken);
        else if (value[i] == '\n')
            (void)buffer_append_text(to, "\\n");
        else if (value[i] == '\\' || value[i] == '"')
            (void)buffer_printf(to, "\\%c", value[i]);
        else
            (void)buffer_append(to, value + i, length);
    }
}

static void put_labels(struct buffer *to, const struct prometheus_label labels[PROMETHEUS_LABELS_MAX])
{
    bool any = false;
    for (int i = 0; i < PROMETHEUS_LABELS_MAX && labels[i].name; i++) {
        if (!labels[i].value)
            continue;
        (void)buffer_printf(to, "%s%s=\"", any ? "," : "{", labels[i].name);
        put_value(to, labels[i].value);
        (void)buffer_append_text(to, "\"");
        any = true;
    }
    if (any)
        (void)buffer_append_text(to, "}");
}

void prometheus_sample(struct buffer *to, const char *name, const char *suffix,
                       const struct prometheus_label labels[PROMETHEUS_LABELS_MAX], double value)
{
    if (!isfinite(value))
        return;
    (void)buffer_printf(to, "%s%s", name, suffix);
    put_labels(to, labels);
    (void)buffer_append_text(to, " ");
    json_put_digits(to, value);
    (void)buffer_append_text(to, "\n");
}

void prometheus_histogram(struct buffer *to, const char *name,
                          const struct prometheus_label labels[PROMETHEUS_LABELS_MAX],
                          const struct histogram *histogram)
{
    struct prometheus_label all[PROMETHEUS_LABELS_MAX] = { labels[0], labels[1], labels[2] };
    unsigned place = 0;
    uint64_t count = 0;
    while (place + 1 < PROMETHEUS_LABELS_MAX && all[place].name)
        place++;
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        char bound[32] = "+Inf";
        if (i < HISTOGRAM_BOUNDS)
            (void)snprintf(bound, sizeof bound, "%g", (double)histogram_bounds_ns[i] / 1e9);
        count += histogram->counts[i];
        all[place] = (struct prometheus_label){ "le", bound };
        prometheus_sample(to, name, "_bucket", all, (double)count);
    }
    prometheus_sample(to, name, "_sum", labels, (double)histogram->sum_ns / 1e9);
    prometheus_sample(to, name, "_count", labels, (double)histogram->count);
}
