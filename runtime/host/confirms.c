/* Bookkeeping of publisher confirms; see confirms.h. */
#include "host/confirms.h"

#include <assert.h>

static struct confirm *at(struct confirms *confirms, uint64_t number)
{
    return &confirms->ring[number % CONFIRMS_MAX];
}

void confirms_reset(struct confirms *confirms)
{
    confirms->first = confirms->next = 1;
    confirms->open = 0;
    confirms->bytes = 0;
}

bool confirms_have_room(const struct confirms *confirms)
{
    return confirms->next - confirms->first < CONFIRMS_MAX && confirms->bytes < CONFIRMS_BYTES_MAX;
}

void confirms_add(struct confirms *confirms, struct parcel *parcel, size_t offset, size_t bytes)
{
    assert(confirms->next - confirms->first < CONFIRMS_MAX);
    *at(confirms, confirms->next++) =
        (struct confirm){ .parcel = parcel, .offset = offset, .bytes = bytes, .open = true };
    confirms->open++;
    confirms->bytes += bytes;
}

bool confirms_take(struct confirms *confirms, uint64_t number, bool multiple, struct confirm *ret)
{
    if (number < confirms->first || number >= confirms->next)
        return false;
    uint64_t taken = multiple ? confirms->first : number;
    while (taken < number && !at(confirms, taken)->open)
        taken++;
    struct confirm *confirm = at(confirms, taken);
    if (!confirm->open)
        return false;
    *ret = *confirm;
    confirm->open = false;
    confirms->open--;
    confirms->bytes -= confirm->bytes;
    while (confirms->first < confirms->next && !at(confirms, confirms->first)->open)
        confirms->first++;
    return true;
}

struct confirm *confirms_before(struct confirms *confirms, uint64_t *number)
{
    while (*number > confirms->first) {
        struct confirm *confirm = at(confirms, --*number);
        if (confirm->open)
            return confirm;
    }
    return NULL;
}

void confirms_forget(struct confirms *confirms, const struct parcel *parcel)
{
    uint64_t number = confirms->next;
    struct confirm *confirm;
    while ((confirm = confirms_before(confirms, &number))) {
        if (confirm->parcel == parcel)
            confirm->parcel = NULL;
    }
}
