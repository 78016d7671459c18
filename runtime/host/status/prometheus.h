/* Prometheus' text format, version 0.0.4: families, each with its help and its type, and their samples.
 * Labels may hold any bytes. Failure is the buffer's `failed`. Pure. */
#ifndef HOST_STATUS_PROMETHEUS_H
#define HOST_STATUS_PROMETHEUS_H

#include "common/buffer.h"
#include "host/histogram.h"

struct prometheus_label {
    const char *name;
    const char *value; /* NULL: there is no such label */
};

enum { PROMETHEUS_LABELS_MAX = 4 }; /* of one sample; fewer end with { 0 } */

/* Begins a family; `type` is "counter", "gauge", "histogram" or "summary". */
void prometheus_family(struct buffer *to, const char *name, const char *type, const char *help);

/* `suffix` is what the type adds to the name: "_sum", or "". A value that is no number is not written: it is
 * not known. */
void prometheus_sample(struct buffer *to, const char *name, const char *suffix,
                       const struct prometheus_label labels[PROMETHEUS_LABELS_MAX], double value);

/* All samples of a histogram, in seconds; at most three labels, to which it adds `le`. */
void prometheus_histogram(struct buffer *to, const char *name,
                          const struct prometheus_label labels[PROMETHEUS_LABELS_MAX],
                          const struct histogram *histogram);

#endif
