/* Taking and freeing units of a worker's shelf; see shelf_places.h. */
#include "host/shelf_places.h"

/* Bit i of what is returned: units i to i + length - 1 are free. */
static uint64_t find_runs(uint64_t taken, unsigned length)
{
    uint64_t runs = ~taken;
    unsigned found = 1;
    while (found < length && runs != 0) {
        unsigned more = length - found < found ? length - found : found;
        runs &= runs >> more;
        found += more;
    }
    return runs;
}

static uint64_t run_of(unsigned first, unsigned length)
{
    return (length == SHELF_UNITS ? UINT64_MAX : (UINT64_C(1) << length) - 1) << first;
}

bool shelf_places_take(struct shelf_places *places, size_t bytes, uint64_t seq, uint32_t *ret_at)
{
    if (bytes == 0 || bytes > SHELF_BYTES)
        return false;
    unsigned length = (unsigned)((bytes - 1) / SHELF_UNIT_BYTES + 1);
    uint64_t runs = find_runs(places->taken, length);
    if (runs == 0)
        return false;
    unsigned first = (unsigned)__builtin_ctzll(runs);
    places->taken |= run_of(first, length);
    places->firsts |= UINT64_C(1) << first;
    places->owners[first] = seq;
    places->lengths[first] = (uint8_t)length;
    if (first + length > places->touched)
        places->touched = first + length;
    *ret_at = first * SHELF_UNIT_BYTES;
    return true;
}

void shelf_places_free_taken(struct shelf_places *places, uint64_t seq)
{
    for (uint64_t left = places->firsts; left != 0; left &= left - 1) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        if (places->owners[first] == seq) {
            places->taken &= ~run_of(first, places->lengths[first]);
            places->firsts &= ~(UINT64_C(1) << first);
            return;
        }
    }
}
