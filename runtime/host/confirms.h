/* The window of one publishing channel: which publications were sent and not heard of, by the numbers that
 * the broker counts on a channel in confirm mode.
 *
 * Confirms come for one number or for all up to one, and in any order; the window slides over what is
 * settled. Its bounds, in count and bytes, are what a broker that has stopped reading can make the host hold.
 * Pure. */
#ifndef HOST_CONFIRMS_H
#define HOST_CONFIRMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIRMS_MAX = 512, /* a power of two */
    /* A publication goes out while less than this is unconfirmed; a larger one so goes alone. */
    CONFIRMS_BYTES_MAX = 128 * 1024,
};

struct parcel;

struct confirm {
    struct parcel *parcel; /* NULL: its owner has gone */
    size_t offset;         /* of the publication in the parcel */
    size_t bytes;
    bool open;
};

struct confirms {
    struct confirm ring[CONFIRMS_MAX]; /* number n is at n modulo CONFIRMS_MAX */
    uint64_t first;                    /* the lowest number that may be open; numbers begin with 1 */
    uint64_t next;                     /* the number of the publication that is sent next */
    unsigned open;
    size_t bytes; /* of all that are open */
};

void confirms_reset(struct confirms *confirms); /* a new channel: nothing was sent on it */

bool confirms_have_room(const struct confirms *confirms);
/* There must be room. */
void confirms_add(struct confirms *confirms, struct parcel *parcel, size_t offset, size_t bytes);

/* Takes out the lowest open one that this confirm covers; false where none is left. A number that was never
 * sent covers nothing. */
bool confirms_take(struct confirms *confirms, uint64_t number, bool multiple, struct confirm *ret);

/* Visits what is open, the latest first: begin with *number = confirms->next; NULL at the end. */
struct confirm *confirms_before(struct confirms *confirms, uint64_t *number);

void confirms_forget(struct confirms *confirms, const struct parcel *parcel);

#endif
