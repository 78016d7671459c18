/* The publishing side as a whole; see outlet.h. */
#include "host/outlet.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPLAINTS_PER_SECOND = 1 };

struct loose {
    struct parcel parcel;
    struct outlet *outlet;
    struct loose *previous;
    struct loose *next;
    char consumer[64]; /* cut where longer */
    size_t size;
    char content[];
};

bool outlet_init(struct outlet *outlet, struct ev_loop *loop, const struct broker_config *config,
                 struct error *error)
{
    outlet->complaints.per_second = COMPLAINTS_PER_SECOND;
    return broker_init(&outlet->broker, loop, config, "publishing", OUTLET_CHANNELS, error) &&
           publisher_init(&outlet->moves, &outlet->broker, error) &&
           publisher_init(&outlet->messages, &outlet->broker, error) &&
           topology_init(&outlet->topology, &outlet->broker, error);
}

static void unlink_loose(struct loose *loose)
{
    struct outlet *outlet = loose->outlet;
    *(loose->previous ? &loose->previous->next : &outlet->loose) = loose->next;
    if (loose->next)
        loose->next->previous = loose->previous;
    outlet->loose_bytes -= loose->size;
    outlet->loose_count--;
}

void outlet_clear(struct outlet *outlet)
{
    if (outlet->loose_count > 0)
        log_error(
            log_message("messages of setup or teardown were not confirmed before the end, and may be lost"),
            log_unsigned("messages", outlet->loose_count));
    while (outlet->loose) {
        struct loose *loose = outlet->loose;
        publisher_withdraw(&outlet->messages, &loose->parcel);
        unlink_loose(loose);
        free(loose);
    }
    publisher_clear(&outlet->moves);
    publisher_clear(&outlet->messages);
    topology_clear(&outlet->topology);
    broker_clear(&outlet->broker);
}

static void tell_lost(struct outlet *outlet, const char *consumer, struct slice reason)
{
    if (limiter_pass(&outlet->complaints, clock_now_ns()))
        log_error(log_message("what setup or teardown published is lost"), log_text("consumer", consumer),
                  log_bytes("reason", reason.data, reason.size),
                  log_suppressed(limiter_take_held_back(&outlet->complaints)));
}

static void on_loose_done(struct parcel *parcel)
{
    enum { TEXT_MAX = 1024 };
    struct loose *loose = parcel->owner;
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    if (parcel->failure) {
        parcel_describe_failure(parcel, &text);
        tell_lost(loose->outlet, loose->consumer, (struct slice){ .data = text.data, .size = text.size });
    }
    buffer_clear(&text);
    unlink_loose(loose);
    free(loose);
}

void outlet_publish_loose(struct outlet *outlet, const char *consumer, struct slice publication)
{
    if (outlet->muted)
        return;
    bool fits = outlet->loose_count < OUTLET_LOOSE_MAX && publication.size <= OUTLET_LOOSE_BYTES_MAX &&
                outlet->loose_bytes <= OUTLET_LOOSE_BYTES_MAX - publication.size;
    struct loose *loose = fits ? malloc(sizeof *loose + publication.size) : NULL;
    if (!loose) {
        tell_lost(outlet, consumer, slice_of("too much of it waits for the broker"));
        return;
    }
    *loose = (struct loose){ .outlet = outlet, .next = outlet->loose, .size = publication.size };
    (void)snprintf(loose->consumer, sizeof loose->consumer, "%s", consumer);
    memcpy(loose->content, publication.data, publication.size);
    loose->parcel = (struct parcel){
        .done = on_loose_done, .owner = loose, .content = loose->content, .content_bytes = loose->size
    };
    if (loose->next)
        loose->next->previous = loose;
    outlet->loose = loose;
    outlet->loose_bytes += loose->size;
    outlet->loose_count++;
    publisher_post(&outlet->messages, &loose->parcel);
}

void outlet_turn(struct outlet *outlet)
{
    publisher_turn(&outlet->moves);
    publisher_turn(&outlet->messages);
    broker_turn(&outlet->broker);
}

struct publisher_counts outlet_counts(const struct outlet *outlet)
{
    const struct publisher_counts *one = &outlet->moves.counts, *other = &outlet->messages.counts;
    return (struct publisher_counts){ .published = one->published + other->published,
                                      .confirmed = one->confirmed + other->confirmed,
                                      .refused = one->refused + other->refused,
                                      .returned = one->returned + other->returned };
}

unsigned outlet_unconfirmed(const struct outlet *outlet)
{
    return outlet->moves.confirms.open + outlet->messages.confirms.open;
}

bool outlet_is_empty(const struct outlet *outlet)
{
    return publisher_is_empty(&outlet->moves) && publisher_is_empty(&outlet->messages);
}
