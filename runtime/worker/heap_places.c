/* The named places of a heap; see heap_places.h. */
#include "worker/heap_places.h"

#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
    INDEX_SIZE = 2 * PLACES_MAX, /* a power of two */
    CAPACITY_FIRST = 64,
    SAMPLE_KEY_MAX = 40, /* bytes of one key */
};

static const struct slice more = { .data = "\xe2\x80\xa6", .size = 3 }; /* an ellipsis */

bool places_init(struct places *places)
{
    *places = (struct places){
        .list = calloc(CAPACITY_FIRST, sizeof *places->list),
        .index = calloc(INDEX_SIZE, sizeof *places->index),
        .capacity = CAPACITY_FIRST,
        .count = 1,
    };
    if (places->list && places->index)
        return true;
    places_clear(places);
    return false;
}

void places_clear(struct places *places)
{
    free(places->list);
    free(places->index);
    *places = (struct places){ 0 };
}

static struct slice cut(struct slice text, size_t most)
{
    return (struct slice){ .data = text.data, .size = text.size < most ? text.size : most };
}

static uint32_t hash_bytes(uint32_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        hash = (hash ^ (unsigned char)bytes.data[i]) * UINT32_C(16777619);
    return hash;
}

static uint32_t hash_label(uint32_t parent, const struct place_label *label)
{
    uint32_t hash = UINT32_C(2166136261) ^ parent * UINT32_C(0x9e3779b1);
    hash = (hash ^ (uint32_t)label->kind) * UINT32_C(16777619);
    hash = (hash ^ (uint32_t)label->line) * UINT32_C(16777619);
    return hash_bytes(hash_bytes(hash, label->name), label->source);
}

static bool has_text(const char *text, struct slice wanted)
{
    return strlen(text) == wanted.size && (wanted.size == 0 || memcmp(text, wanted.data, wanted.size) == 0);
}

static bool has_label(const struct place *place, const struct place_label *label)
{
    return place->kind == label->kind && place->line == label->line && has_text(place->name, label->name) &&
           has_text(place->source, label->source);
}

/* The slot of this place below `parent`, or the free one where it belongs. */
static uint32_t *find(const struct places *places, uint32_t parent, const struct place_label *label,
                      uint32_t hash)
{
    for (uint32_t slot = hash % INDEX_SIZE;; slot = (slot + 1) % INDEX_SIZE) {
        uint32_t id = places->index[slot];
        if (id == 0)
            return &places->index[slot];
        const struct place *place = &places->list[id];
        if (place->hash == hash && place->parent == parent && has_label(place, label))
            return &places->index[slot];
    }
}

/* The topmost place from here upwards that has the label already; 0: none has. */
static uint32_t find_above(const struct places *places, uint32_t id, const struct place_label *label)
{
    uint32_t found = 0;
    for (; id != 0; id = places->list[id].parent) {
        if (has_label(&places->list[id], label))
            found = id;
    }
    return found;
}

static bool make_room(struct places *places)
{
    if (places->count == PLACES_MAX)
        return false;
    if (places->count < places->capacity)
        return true;
    struct place *larger = realloc(places->list, 2 * (size_t)places->capacity * sizeof *larger);
    if (!larger)
        return false;
    places->list = larger;
    places->capacity *= 2;
    return true;
}

static uint32_t add(struct places *places, uint32_t parent, const struct place_label *label, uint32_t hash)
{
    uint32_t id = places->count++;
    struct place *place = &places->list[id];
    *place = (struct place){
        .kind = label->kind,
        .parent = parent,
        .depth = places->list[parent].depth + 1,
        .hash = hash,
        .line = label->line,
    };
    if (label->name.size > 0)
        memcpy(place->name, label->name.data, label->name.size);
    if (label->source.size > 0)
        memcpy(place->source, label->source.data, label->source.size);
    places->list[parent].fields += label->kind == PLACE_FIELD;
    return id;
}

static void mark_chain(struct place *place, uint32_t top)
{
    if (!place->chained || top < place->chain)
        place->chain = top;
    place->chained = true;
}

uint32_t places_below(struct places *places, uint32_t parent, const struct place_label *wanted)
{
    struct place_label label = *wanted;
    label.name = cut(wanted->name, PLACE_NAME_MAX);
    label.source = cut(wanted->source, PLACE_SOURCE_MAX);
    uint32_t hash = hash_label(parent, &label);
    uint32_t *slot = find(places, parent, &label, hash);
    if (*slot != 0)
        return *slot;
    uint32_t top = label.kind >= PLACE_FIELD || label.kind == PLACE_UPVALUE || label.kind == PLACE_LOCAL
                       ? find_above(places, parent, &label)
                       : 0;
    if (top != 0) {
        mark_chain(&places->list[parent], top);
        return parent;
    }
    if (label.kind == PLACE_FIELD && places->list[parent].fields == PLACE_FIELDS_MAX) {
        places->list[parent].collection = true;
        return parent;
    }
    if (places->list[parent].depth == PLACE_DEPTH_MAX || !make_room(places))
        return parent;
    return *slot = add(places, parent, &label, hash);
}

void places_begin(struct places *places)
{
    for (uint32_t id = 0; id < places->count; id++) {
        places->list[id].now = (struct place_figures){ 0 };
        places->list[id].sample_bytes = 0;
    }
}

uint64_t places_bytes(const struct places *places)
{
    uint64_t bytes = 0;
    for (uint32_t id = 0; id < places->count; id++)
        bytes += places->list[id].now.bytes;
    return bytes;
}

static bool is_large(const struct place *place)
{
    return place->large || (place->now.cut && place->series.count == 0);
}

uint32_t places_holder(const struct places *places, uint32_t id)
{
    const struct place *place = &places->list[id];
    uint32_t above = place->chained ? places->list[place->chain].parent : 0;
    return above != 0 ? above : id;
}

uint64_t places_most_held(const struct places *places)
{
    uint64_t most = 0;
    for (uint32_t id = 0; id < places->count; id++) {
        const struct place *place = &places->list[id];
        if (!is_large(place) && place->now.held > most)
            most = place->now.held;
    }
    return most;
}

static bool lacks_rest(const struct place *place)
{
    return place->now.cut && !is_large(place);
}

/* The holder of all that was cut; 0 where there are several, or none. */
static uint32_t holder_of_rest(const struct places *places)
{
    uint32_t holder = 0;
    for (uint32_t id = 1; id < places->count; id++) {
        if (!lacks_rest(&places->list[id]))
            continue;
        if (holder != 0 && places_holder(places, id) != holder)
            return 0;
        holder = places_holder(places, id);
    }
    return holder;
}

static bool is_part_of(const struct places *places, uint32_t id, uint32_t holder)
{
    const struct place *place = &places->list[id];
    return (lacks_rest(place) || place->chained) && !is_large(place) && place->series.count > 0 &&
           places_holder(places, id) == holder;
}

static const struct growth_point *last_point(const struct place *place)
{
    return &place->series.points[place->series.count - 1];
}

/* It has grown as much since the last walk as all that has the same holder. */
static void grow(struct place *place, double times, uint64_t messages)
{
    const struct growth_point *last = last_point(place);
    place->now.inner = place->now.objects = (uint64_t)((double)last->inner * times);
    place->now.bytes = (uint64_t)((double)last->bytes * times);
    place->now.messages = messages;
    place->now.cut = false;
    place->series.rough = true;
}

void places_add_rest(struct places *places, const struct places_rest *rest)
{
    uint32_t holder = holder_of_rest(places);
    uint64_t before = 0, now = rest->bytes;
    for (uint32_t id = 1; id < places->count && holder != 0; id++) {
        if (is_part_of(places, id, holder)) {
            before += last_point(&places->list[id])->bytes;
            now += places->list[id].now.bytes;
        }
    }
    if (now < rest->grown_bytes / 2)
        return;
    for (uint32_t id = 1; id < places->count && before > 0; id++) {
        if (is_part_of(places, id, holder))
            grow(&places->list[id], (double)now / (double)before, rest->messages);
    }
}

bool places_are_cut(const struct places *places)
{
    for (uint32_t id = 0; id < places->count; id++) {
        if (places->list[id].now.cut)
            return true;
    }
    return false;
}

uint64_t place_inner(const struct place *place)
{
    return place->chained ? place->now.objects : place->now.inner;
}

static void add_point(struct place *place, uint64_t messages)
{
    const struct growth_series *series = &place->series;
    const struct growth_point point = {
        .messages = place->now.messages > 0 ? place->now.messages : messages,
        .entries = place->now.entries,
        .inner = place_inner(place),
        .bytes = place->now.bytes,
    };
    uint64_t last = series->count > 0 ? series->points[series->count - 1].messages : 0;
    /* A place that this state has not had yet has no series yet. */
    if (point.messages >= last && (series->count > 0 || point.bytes > 0))
        growth_add(&place->series, &point);
}

void places_end(struct places *places, uint64_t messages, bool collected)
{
    for (uint32_t id = 0; id < places->count; id++) {
        struct place *place = &places->list[id];
        place->large = is_large(place) && place->now.cut;
        if (!place->now.cut && (collected || !place->now.weak))
            add_point(place, messages);
    }
}

void places_stay(struct places *places, uint64_t messages)
{
    for (uint32_t id = 0; id < places->count; id++) {
        struct growth_series *series = &places->list[id].series;
        if (series->count == 0)
            continue;
        struct growth_point point = series->points[series->count - 1];
        point.messages = messages;
        growth_add(series, &point);
    }
}

void places_forget(struct places *places)
{
    for (uint32_t id = 0; id < places->count; id++) {
        places->list[id].series.count = 0;
        places->list[id].series.rough = false;
        places->list[id].large = false;
    }
}

/* Texts that strangers chose, fit to be printed. Cut where a character is whole. */
static size_t quote(struct slice text, char *to, size_t room)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size;) {
        char escaped[UTF8_QUOTED_MAX + 1];
        size_t length = utf8_length(text.data + i, text.size - i);
        bool plain = text.data[i] == '"' || text.data[i] == '\\';
        struct slice quoted = plain ? (struct slice){ .data = text.data + i, .size = 1 }
                                    : utf8_quoted(text.data + i, length, escaped);
        if (quoted.size > room - size)
            break;
        memcpy(to + size, quoted.data, quoted.size);
        size += quoted.size;
        i += length > 0 ? length : 1;
    }
    return size;
}

static void append_sample(struct place *place, struct slice text)
{
    memcpy(place->sample + place->sample_bytes, text.data, text.size);
    place->sample_bytes += text.size;
}

void place_add_sample(struct place *place, struct slice key)
{
    static const struct slice comma = { .data = ", ", .size = 2 };
    size_t room = sizeof place->sample - place->sample_bytes;
    if (room < comma.size + SAMPLE_KEY_MAX + more.size)
        return;
    if (place->sample_bytes > 0)
        append_sample(place, comma);
    bool whole = key.size <= SAMPLE_KEY_MAX;
    place->sample_bytes +=
        quote(cut(key, SAMPLE_KEY_MAX), place->sample + place->sample_bytes, SAMPLE_KEY_MAX);
    if (!whole)
        append_sample(place, more);
}

static void note_quoted(struct note *note, const char *text)
{
    char quoted[PLACE_SOURCE_MAX];
    note_append(note, (struct slice){ .data = quoted, .size = quote(slice_of(text), quoted, sizeof quoted) });
}

static const char *below_folder(const char *source, struct slice folder)
{
    size_t size = folder.size < PLACE_SOURCE_MAX ? folder.size : 0;
    return size > 0 && strncmp(source, folder.data, size) == 0 ? source + size : source;
}

static void describe_variable(const struct place *place, const char *what, struct slice folder,
                              struct note *note)
{
    note_printf(note, "%s '", what);
    note_quoted(note, place->name);
    note_text(note, "' of ");
    note_quoted(note, below_folder(place->source, folder));
    if (place->line > 0)
        note_printf(note, ":%d", place->line);
}

static void describe_field(const struct place *place, bool joined, struct note *note)
{
    bool identifier = place->name[strcspn(place->name, "-.:/ ")] == '\0';
    note_text(note, joined ? "" : " ");
    note_text(note, identifier ? "." : "[\"");
    note_quoted(note, place->name);
    note_text(note, identifier ? "" : "\"]");
}

/* One label; `joined`: a field is written right behind the field above it. */
static void describe_label(const struct place *place, bool joined, struct slice folder, struct note *note)
{
    switch (place->kind) {
    case PLACE_MODULE:
        note_text(note, "module ");
        note_quoted(note, place->name);
        break;
    case PLACE_GLOBAL:
        note_text(note, "global '");
        note_quoted(note, place->name);
        note_text(note, "'");
        break;
    case PLACE_UPVALUE:
        describe_variable(place, "upvalue", folder, note);
        break;
    case PLACE_LOCAL:
        describe_variable(place, "local", folder, note);
        break;
    case PLACE_FIELD:
        describe_field(place, joined, note);
        break;
    case PLACE_METATABLE:
        note_text(note, " metatable");
        break;
    case PLACE_ENVIRONMENT:
        note_text(note, " environment");
        break;
    case PLACE_REGISTRY:
    case PLACE_ROOT:
    default:
        note_text(note, "registry");
        break;
    }
}

void places_describe(const struct places *places, uint32_t id, struct slice folder, struct note *note)
{
    uint32_t chain[PLACE_DEPTH_MAX + 1];
    unsigned count = 0;
    do {
        chain[count++] = id;
        id = places->list[id].parent;
    } while (places->list[chain[count - 1]].kind >= PLACE_FIELD && chain[count - 1] != 0);
    bool joined = false;
    while (count > 0) {
        const struct place *place = &places->list[chain[--count]];
        describe_label(place, joined, folder, note);
        joined = place->kind == PLACE_FIELD;
    }
}
