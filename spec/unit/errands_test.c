/* Errands without a connection: where they go to, when they are due, and what becomes of those that fail. The
 * publisher's answers are given by hand. */
#include "host/errands.h"

#include "common/clock.h"

#include "tools.h"

enum { ENVELOPE_BYTES = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES };

struct scene {
    struct ev_loop *loop;
    struct broker_config broker;
    struct outlet outlet;
    struct ledger ledger;
    struct consumer_config config;
    struct errands errands;
    struct delivery *delivery;
    enum errand immovable;
};

static char queue[] = "orders";
static char dead_letter[] = "orders.dead";

static void on_immovable(void *owner, struct delivery *delivery, enum errand errand)
{
    struct scene *scene = owner;
    scene->immovable = errand;
    ledger_settle(&scene->ledger, delivery, SETTLE_REQUEUE, 0);
}

static const struct errands_events events = { .immovable = on_immovable };

static int open_scene(void **state)
{
    struct error error;
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->loop = ev_loop_new(EVFLAG_AUTO);
    scene->config = (struct consumer_config){ .name = queue, .queue = queue, .dead_letter = dead_letter };
    scene->errands = (struct errands){ .outlet = &scene->outlet,
                                       .ledger = &scene->ledger,
                                       .config = &scene->config,
                                       .events = &events,
                                       .owner = scene,
                                       .host = "host" };
    assert_true(outlet_init(&scene->outlet, scene->loop, &scene->broker, &error));
    assert_true(ledger_init(&scene->ledger, 1, &error));
    scene->delivery = ledger_arrive(&scene->ledger, 1);
    assert_true(delivery_reserve(scene->delivery, ENVELOPE_BYTES));
    scene->delivery->frame_bytes = ENVELOPE_BYTES;
    scene->delivery->attributes_bytes = 0;
    ledger_hold(&scene->ledger, scene->delivery);
    *state = scene;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;
    if (scene->delivery->state == DELIVERY_PUBLISHING)
        errands_abandon(&scene->errands, scene->delivery);
    ledger_clear(&scene->ledger);
    outlet_clear(&scene->outlet);
    ev_loop_destroy(scene->loop);
    free(scene);
    return 0;
}

/* As if the queue had been declared, and the broker had answered so. */
static void fail_move(struct scene *scene, uint16_t failure)
{
    struct parcel *parcel = &scene->delivery->parcel;
    ledger_unpark(&scene->ledger, scene->delivery);
    parcel->failure = failure;
    parcel->done(parcel);
}

static void a_dead_letter_goes_where_it_was_begun_for(void **state)
{
    struct scene *scene = *state;
    assert_true(errands_bury(&scene->errands, scene->delivery, "error", BYTES("")));
    struct consumer_config reloaded = { .queue = queue };
    scene->errands.config = &reloaded;
    errands_turn(&scene->errands, 1);
    assert_true(scene->delivery->parked);
    struct topology_entry *entry = &scene->outlet.topology.entries[0];
    *entry = (struct topology_entry){ .name = "orders.dead", .good_until_ns = INT64_MAX };
    fail_move(scene, 312);
    assert_text(entry->name, ""); /* it is asked for again */
    assert_true(scene->delivery->parked);
}

static void what_waits_for_an_answer_needs_no_timer(void **state)
{
    struct scene *scene = *state;
    assert_true(errands_bury(&scene->errands, scene->delivery, "error", BYTES("")));
    errands_turn(&scene->errands, 1);
    fail_move(scene, PARCEL_REFUSED);
    int64_t due_ns = errands_due_ns(&scene->errands);
    assert_true(due_ns < INT64_MAX);
    errands_turn(&scene->errands, due_ns);
    assert_true(errands_due_ns(&scene->errands) == INT64_MAX);
}

/* Also one that is begun when the turn's look is over. */
static void what_has_begun_is_looked_at_at_once(void **state)
{
    struct scene *scene = *state;
    errands_turn(&scene->errands, 1);
    assert_true(errands_bury(&scene->errands, scene->delivery, "error", BYTES("")));
    assert_int_equal(errands_due_ns(&scene->errands), 0);
    errands_turn(&scene->errands, 2);
    assert_true(errands_due_ns(&scene->errands) == INT64_MAX);
}

static void what_was_postponed_is_not_looked_at_before_it_is_due(void **state)
{
    struct scene *scene = *state;
    assert_true(errands_bury(&scene->errands, scene->delivery, "error", BYTES("")));
    errands_turn(&scene->errands, 1);
    fail_move(scene, 312);
    int64_t due_ns = errands_due_ns(&scene->errands);
    assert_int_equal(due_ns, scene->delivery->due_ns);
    errands_turn(&scene->errands, due_ns - 1);
    assert_int_equal(scene->errands.look_ns, due_ns);
    assert_int_equal(scene->delivery->due_ns, due_ns);
    errands_turn(&scene->errands, due_ns);
    assert_int_equal(scene->delivery->due_ns, 0); /* its queue is asked for */
    assert_int_equal(scene->errands.look_ns, 0);
}

static void what_never_fits_is_told(void **state)
{
    struct scene *scene = *state;
    assert_true(errands_retry(&scene->errands, scene->delivery, CLOCK_NS_PER_SECOND));
    fail_move(scene, PARCEL_TOO_LARGE);
    assert_int_equal(scene->immovable, ERRAND_RETRY);
    assert_int_equal(scene->delivery->state, DELIVERY_SETTLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dead_letter_goes_where_it_was_begun_for, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(what_waits_for_an_answer_needs_no_timer, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(what_has_begun_is_looked_at_at_once, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(what_was_postponed_is_not_looked_at_before_it_is_due, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(what_never_fits_is_told, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
