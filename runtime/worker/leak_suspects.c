/* From growth to suspects; see leak_suspects.h. */
#include "worker/leak_suspects.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIKE = 4,          /* names of one table that grow: from so many on it is the table that does */
    STALE_PART = 4,     /* what was not looked at behind this part of all messages is not judged, */
    FRESH_PART = 5,     /* and what was not in the last such part is not acquitted */
    PRESSED_SHARE = 10, /* under a tenth of the largest growth it is not what filled the state */
};

/* Of one place: its own growth, and what it is told as. */
struct finding {
    struct growth growth;
    uint32_t told_as;   /* the place whose suspect it is; valid where something grows */
    unsigned below;     /* fields of it that grow by themselves */
    struct suspect sum; /* of all that is told as this place */
};

/* Whether it was looked at after so many messages. */
static bool is_known(const struct place *place, uint64_t messages)
{
    const struct growth_series *series = &place->series;
    return series->count > 0 && series->points[series->count - 1].messages >= messages;
}

static bool grows(const struct finding *finding)
{
    return finding->growth.what != GROWTH_NONE;
}

static void judge(const struct places *places, enum growth_proof proof, uint64_t messages,
                  struct finding *findings)
{
    for (uint32_t id = 0; id < places->count; id++) {
        const struct place *place = &places->list[id];
        if (proof == GROWTH_PRESSED ||
            (messages >= place->innocent && is_known(place, messages / STALE_PART)))
            findings[id].growth = growth_judge(&place->series, proof, places->at_once);
        findings[id].told_as = id;
    }
}

/* The nearest place above whose entries become more: what is in them does by that alone. */
static bool find_cause(const struct places *places, const struct finding *findings, uint32_t id,
                       uint32_t *ret_cause)
{
    while (id != 0) {
        id = places->list[id].parent;
        if (findings[id].growth.what == GROWTH_ENTRIES || findings[id].growth.what == GROWTH_INNER) {
            *ret_cause = id;
            return true;
        }
    }
    return false;
}

static void attribute(const struct places *places, struct finding *findings, uint32_t id)
{
    const struct place *place = &places->list[id];
    uint32_t cause;
    if (place->chained && findings[id].growth.what != GROWTH_ENTRIES &&
        places->list[place->chain].parent != 0)
        findings[id].told_as = places->list[place->chain].parent;
    else if (find_cause(places, findings, id, &cause))
        findings[id].told_as = cause;
    else if (place->kind == PLACE_FIELD)
        findings[place->parent].below++;
}

/* Where a place is told as another, which may be told as a third. */
static uint32_t resolve(const struct finding *findings, uint32_t id)
{
    for (int i = 0; i < PLACE_DEPTH_MAX && findings[id].told_as != id; i++)
        id = findings[id].told_as;
    return id;
}

/* LuaJIT keeps whole numbers as an array where at least half of its places are taken. */
static bool is_array(const struct place_figures *figures)
{
    return figures->array_entries * 2 > figures->entries && figures->array_end <= figures->array_entries * 2;
}

static const char *kind_of(const struct place *place, enum growth_what what)
{
    if (place->now.is_string)
        return "string";
    if (what == GROWTH_INNER)
        return place->chained ? "linked list" : "nested tables";
    return is_array(&place->now) ? "array" : "table";
}

/* The growth of place `id` is a part of that of `to`. Entries of what is in entries are not counted twice. */
static void add(const struct places *places, struct finding *findings, uint32_t id, uint32_t to)
{
    const struct place *place = &places->list[id];
    const struct growth *growth = &findings[id].growth;
    const struct growth_point *last = &place->series.points[place->series.count - 1];
    struct suspect *sum = &findings[to].sum;
    sum->place = to;
    sum->bytes += last->bytes;
    sum->bytes_per_message += growth->bytes_per_message;
    if (id != to && grows(&findings[to]))
        return;
    sum->entries += growth->what == GROWTH_INNER ? last->inner : last->entries;
    sum->entries_per_message += growth->entries_per_message;
    if (id == to)
        sum->kind = kind_of(place, growth->what);
    else if (!sum->kind)
        sum->kind = place->chained ? "linked list" : "nested tables";
}

static int by_bytes(const void *one, const void *other)
{
    double a = ((const struct suspect *)one)->bytes_per_message;
    double b = ((const struct suspect *)other)->bytes_per_message;
    return (a < b) - (a > b);
}

/* The root is no variable: what grows there is told by nobody. */
static unsigned collect(const struct places *places, const struct finding *findings,
                        struct suspect suspects[SUSPECTS_MAX])
{
    unsigned count = 0;
    for (uint32_t id = 1; id < places->count; id++) {
        const struct suspect *sum = &findings[id].sum;
        if (!sum->kind)
            continue;
        if (count < SUSPECTS_MAX)
            suspects[count++] = *sum;
        else if (sum->bytes_per_message > suspects[count - 1].bytes_per_message)
            suspects[count - 1] = *sum;
        qsort(suspects, count, sizeof *suspects, by_bytes);
    }
    return count;
}

static unsigned without_small_ones(const struct suspect *suspects, unsigned count)
{
    while (count > 1 && suspects[count - 1].bytes_per_message * PRESSED_SHARE < suspects[0].bytes_per_message)
        count--;
    return count;
}

unsigned suspects_find(const struct places *places, enum growth_proof proof, uint64_t messages,
                       struct suspect suspects[SUSPECTS_MAX])
{
    struct finding *findings = calloc(places->count, sizeof *findings);
    if (!findings)
        return 0;
    judge(places, proof, messages, findings);
    for (uint32_t id = 1; id < places->count; id++) {
        if (grows(&findings[id]))
            attribute(places, findings, id);
    }
    for (uint32_t id = 1; id < places->count; id++) {
        uint32_t parent = places->list[id].parent;
        if (grows(&findings[id]) && findings[id].told_as == id && places->list[id].kind == PLACE_FIELD &&
            findings[parent].below >= ALIKE)
            findings[id].told_as = parent;
    }
    for (uint32_t id = 1; id < places->count; id++) {
        if (grows(&findings[id]))
            add(places, findings, id, resolve(findings, id));
    }
    unsigned count = collect(places, findings, suspects);
    free(findings);
    return proof == GROWTH_PRESSED ? without_small_ones(suspects, count) : count;
}

void suspects_acquit(struct places *places, uint64_t messages)
{
    for (uint32_t id = 0; id < places->count; id++) {
        struct place *place = &places->list[id];
        if (is_known(place, messages - messages / FRESH_PART) && messages > place->innocent &&
            growth_judge(&place->series, GROWTH_STEADY, places->at_once).what == GROWTH_NONE)
            place->innocent = messages;
    }
}
