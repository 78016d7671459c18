/* What grows for ever; see growth.h. */
#include "worker/growth.h"

#include <string.h>

enum {
    SPAN = 6,           /* looks back that are judged */
    STEADY_LOOKS = 3,   /* of them, at least */
    ENTRIES_LEAST = 24, /* in all, between the first and the last of them */
    BYTES_LEAST = 4096,
    /* and so much more for each message that is under way: */
    ENTRIES_AT_ONCE = 1,
    BYTES_AT_ONCE = 128,
};

static const double entries_per_message_least = 0.002;
static const double bytes_per_message_least = 0.5;

/* The last stretch has to be as steep as those before it, but for chance; and no stretch much flatter than
 * all of them together: what jumps about goes up from look to look at times, but not in step. */
static const double slowed_down = 0.75, slowed_down_roughly = 0.6;
static const double uneven = 0.5, uneven_roughly = 1.0 / 3;

typedef uint64_t (*measure)(const struct growth_point *point);

static uint64_t entries_of(const struct growth_point *point)
{
    return point->entries;
}

static uint64_t inner_of(const struct growth_point *point)
{
    return point->inner;
}

static uint64_t bytes_of(const struct growth_point *point)
{
    return point->bytes;
}

uint64_t growth_apart(uint64_t messages)
{
    return messages < 4 ? 1 : messages / 4;
}

void growth_add(struct growth_series *series, const struct growth_point *point)
{
    if (series->count > 0) {
        struct growth_point *last = &series->points[series->count - 1];
        if (point->messages < last->messages + growth_apart(last->messages)) {
            *last = *point;
            return;
        }
    }
    if (series->count == GROWTH_POINTS)
        memmove(series->points, series->points + 1, sizeof series->points[0] * --series->count);
    series->points[series->count++] = *point;
}

/* For each message between two looks; negative where it shrank. */
static double rate(measure of, const struct growth_point *from, const struct growth_point *to)
{
    return ((double)of(to) - (double)of(from)) / (double)(to->messages - from->messages);
}

static bool is_rising(measure of, const struct growth_point *points, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        if (of(&points[i]) <= of(&points[i - 1]))
            return false;
    }
    return true;
}

/* What is asked of a series. */
struct question {
    const struct growth_point *points;
    unsigned count;
    enum growth_proof proof;
    bool roughly;
};

static bool is_even(measure of, const struct question *question)
{
    const struct growth_point *points = question->points;
    unsigned count = question->count;
    const struct growth_point *last = &points[count - 1];
    double least = question->roughly ? slowed_down_roughly : slowed_down;
    double flat = rate(of, &points[0], last) * (question->roughly ? uneven_roughly : uneven);
    for (unsigned i = 1; i < count; i++) {
        if (rate(of, &points[i - 1], &points[i]) < flat)
            return false;
    }
    return rate(of, last - 1, last) >= rate(of, &points[0], last - 1) * least;
}

static bool grows(measure of, const struct question *question, uint64_t least, double rate_least)
{
    const struct growth_point *points = question->points;
    unsigned count = question->count;
    const struct growth_point *last = &points[count - 1];
    return is_rising(of, points, count) && of(last) - of(&points[0]) >= least &&
           rate(of, &points[0], last) >= rate_least &&
           (question->proof == GROWTH_PRESSED || is_even(of, question));
}

/* The looks that are judged, and how many they are. */
static unsigned latest(const struct growth_series *series, enum growth_proof proof,
                       const struct growth_point **ret_first)
{
    unsigned count = proof == GROWTH_STEADY && series->count > SPAN ? SPAN : series->count;
    *ret_first = series->points + (series->count - count);
    return count;
}

/* Where bytes alone would prove it, few entries are enough to say what the bytes are. */
static enum growth_what what_grows(const struct question *question, unsigned at_once)
{
    uint64_t least = BYTES_LEAST + (uint64_t)at_once * BYTES_AT_ONCE;
    bool bytes = grows(bytes_of, question, least, bytes_per_message_least);
    least = (question->proof == GROWTH_STEADY && !bytes ? ENTRIES_LEAST : 1) +
            (uint64_t)at_once * ENTRIES_AT_ONCE;
    if (grows(entries_of, question, least, entries_per_message_least))
        return GROWTH_ENTRIES;
    if (grows(inner_of, question, least, entries_per_message_least))
        return GROWTH_INNER;
    return bytes ? GROWTH_BYTES : GROWTH_NONE;
}

struct growth growth_judge(const struct growth_series *series, enum growth_proof proof, unsigned at_once)
{
    const struct growth_point *first;
    struct growth growth = { .what = GROWTH_NONE };
    unsigned count = latest(series, proof, &first);
    if (count < (proof == GROWTH_STEADY ? STEADY_LOOKS : 2))
        return growth;
    const struct question question = {
        .points = first,
        .count = count,
        .proof = proof,
        .roughly = series->rough,
    };
    growth.what = what_grows(&question, at_once);
    if (growth.what == GROWTH_NONE)
        return growth;
    const struct growth_point *last = &first[count - 1];
    double bytes = rate(bytes_of, first, last);
    growth.bytes_per_message = bytes > 0 ? bytes : 0;
    if (growth.what == GROWTH_ENTRIES)
        growth.entries_per_message = rate(entries_of, first, last);
    else if (growth.what == GROWTH_INNER)
        growth.entries_per_message = rate(inner_of, first, last);
    return growth;
}
