/* The heap of expiries; see cache_expiry.h. */
#include "common/cache_expiry.h"

static void put_at(struct shard *shard, uint32_t place, uint32_t number)
{
    cell_set(&shard->expiries[place], number);
    cell_set(&unit_entry(shard, number)->expiry_place, place);
}

static int64_t time_of(struct shard *shard, uint32_t number)
{
    return (int64_t)wide_get(&unit_entry(shard, number)->expires_ns);
}

static uint32_t rise(struct shard *shard, uint32_t place, uint32_t number)
{
    int64_t expires_ns = time_of(shard, number);
    while (place > 0) {
        uint32_t above = cell_get(&shard->expiries[(place - 1) / 2]);
        if (time_of(shard, above) <= expires_ns)
            break;
        put_at(shard, place, above);
        place = (place - 1) / 2;
    }
    put_at(shard, place, number);
    return place;
}

static void sink(struct shard *shard, uint32_t place, uint32_t number, uint32_t entries)
{
    int64_t expires_ns = time_of(shard, number);
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= entries)
            break;
        uint32_t below = cell_get(&shard->expiries[child]);
        if (child + 1 < entries) {
            uint32_t other = cell_get(&shard->expiries[child + 1]);
            if (time_of(shard, other) < time_of(shard, below)) {
                below = other;
                child++;
            }
        }
        if (time_of(shard, below) >= expires_ns)
            break;
        put_at(shard, place, below);
        place = child;
    }
    put_at(shard, place, number);
}

void expiry_add(struct shard *shard, uint32_t number, uint32_t entries)
{
    (void)rise(shard, entries - 1, number);
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
    uint32_t last = cell_get(&shard->expiries[entries]);
    sink(shard, rise(shard, place, last), last, entries);
}

void expiry_move(struct shard *shard, uint32_t number, uint32_t entries)
{
    uint32_t place = cell_get(&unit_entry(shard, number)->expiry_place);
    if (place >= entries) {
        shard->broken = true;
        return;
    }
    sink(shard, rise(shard, place, number), number, entries);
}
