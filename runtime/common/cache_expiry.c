/* The heap of expiries; see cache_expiry.h. */
#include "common/cache_expiry.h"

/* What is at a place, by value. */
struct known {
    int64_t expires_ns;
    uint32_t number;
};

static struct known known_at(const struct shard *shard, uint32_t place)
{
    const struct shard_expiry *expiry = &shard->expiries[place];
    return (struct known){ .expires_ns = (int64_t)wide_get(&expiry->known_ns),
                           .number = cell_get(&expiry->number) };
}

static void put_at(struct shard *shard, uint32_t place, struct known known)
{
    wide_set(&shard->expiries[place].known_ns, (uint64_t)known.expires_ns);
    cell_set(&shard->expiries[place].number, known.number);
    cell_set(&unit_entry(shard, known.number)->expiry_place, place);
}

static int64_t time_of(struct shard *shard, uint32_t number)
{
    return (int64_t)wide_get(&unit_entry(shard, number)->expires_ns);
}

/* Where it comes to, on its way up from `place`. */
static uint32_t rise(struct shard *shard, uint32_t place, struct known known)
{
    while (place > 0) {
        const struct known above = known_at(shard, (place - 1) / 2);
        if (above.expires_ns <= known.expires_ns)
            break;
        put_at(shard, place, above);
        place = (place - 1) / 2;
    }
    put_at(shard, place, known);
    return place;
}

static void sink(struct shard *shard, uint32_t place, struct known known, uint32_t entries)
{
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= entries)
            break;
        struct known below = known_at(shard, child);
        if (child + 1 < entries && known_at(shard, child + 1).expires_ns < below.expires_ns)
            below = known_at(shard, ++child);
        if (below.expires_ns >= known.expires_ns)
            break;
        put_at(shard, place, below);
        place = child;
    }
    put_at(shard, place, known);
}

void expiry_add(struct shard *shard, uint32_t number, uint32_t entries)
{
    (void)rise(shard, entries - 1, (struct known){ .expires_ns = time_of(shard, number), .number = number });
}

void expiry_remove(struct shard *shard, uint32_t number, uint32_t entries)
{
    uint32_t place = cell_get(&unit_entry(shard, number)->expiry_place);
    if (place > entries) {
        shard->broken = true;
        return;
    }
    if (place == entries)
        return;
    const struct known last = known_at(shard, entries);
    sink(shard, rise(shard, place, last), last, entries);
}

void expiry_move(struct shard *shard, uint32_t number, uint32_t entries)
{
    uint32_t place = cell_get(&unit_entry(shard, number)->expiry_place);
    int64_t expires_ns = time_of(shard, number);
    if (place >= entries) {
        shard->broken = true;
        return;
    }
    if (expires_ns < known_at(shard, place).expires_ns)
        (void)rise(shard, place, (struct known){ .expires_ns = expires_ns, .number = number });
}

int64_t expiry_earliest_ns(const struct shard *shard, uint32_t entries)
{
    return entries > 0 ? known_at(shard, 0).expires_ns : INT64_MAX;
}

uint32_t expiry_first(struct shard *shard, uint32_t entries)
{
    for (;;) {
        struct known first = known_at(shard, 0);
        int64_t expires_ns = time_of(shard, first.number);
        if (expires_ns <= first.expires_ns || !shard_goes_on(shard))
            return first.number;
        first.expires_ns = expires_ns;
        sink(shard, 0, first, entries);
    }
}
