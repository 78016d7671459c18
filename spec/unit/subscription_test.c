/* A subscription without a connection: which deliveries are of the channel that it has. Where it stands is
 * set by hand. */
#include "host/subscription.h"

#include "tools.h"

struct scene {
    struct ev_loop *loop;
    struct broker_config broker_config;
    struct broker broker;
    struct consumer_config config;
    struct subscription subscription;
    unsigned contents;
    unsigned resets;
};

static char queue[] = "orders";

static void on_content(void *owner, const struct event *event)
{
    (void)event;
    ((struct scene *)owner)->contents++;
}

static void on_reset(void *owner)
{
    ((struct scene *)owner)->resets++;
}

static const struct subscription_events events = { .content = on_content, .reset = on_reset };

static int open_scene(void **state)
{
    struct error error;
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->loop = ev_loop_new(EVFLAG_AUTO);
    scene->config = (struct consumer_config){ .name = queue, .queue = queue };
    assert_true(broker_init(&scene->broker, scene->loop, &scene->broker_config, "consuming", 1, &error));
    assert_true(
        subscription_init(&scene->subscription, &scene->broker, &scene->config, &events, scene, &error));
    scene->subscription.channel_open = scene->subscription.consumed_once = true;
    scene->subscription.state = SUBSCRIPTION_CONSUMING;
    *state = scene;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;
    subscription_clear(&scene->subscription);
    broker_clear(&scene->broker);
    ev_loop_destroy(scene->loop);
    free(scene);
    return 0;
}

static void tell(struct scene *scene, enum event_kind kind)
{
    const struct broker_listener *listener = &scene->broker.channels[scene->subscription.channel - 1];
    const struct event event = { .kind = kind, .channel = scene->subscription.channel, .tag = 1 };
    listener->event(listener->owner, &event);
}

/* How many of the frames of one delivery its owner sees. */
static unsigned deliver(struct scene *scene)
{
    unsigned before = scene->contents;
    tell(scene, EVENT_DELIVER);
    tell(scene, EVENT_HEADER);
    tell(scene, EVENT_BODY);
    return scene->contents - before;
}

static void test_deliveries_of_an_open_channel_are_taken(void **state)
{
    static const enum subscription_state states[] = { SUBSCRIPTION_SUBSCRIBING, SUBSCRIPTION_CONSUMING,
                                                      SUBSCRIPTION_CANCELLING };
    struct scene *scene = *state;
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        scene->subscription.state = states[i];
        assert_int_equal(deliver(scene), 3);
    }
}

/* A cancelled consumer has its channel still. */
static void test_deliveries_before_a_cancel_by_the_broker_are_taken(void **state)
{
    struct scene *scene = *state;
    scene->subscription.state = SUBSCRIPTION_WAITING;
    assert_int_equal(deliver(scene), 3);
}

/* They were taken, and settled by their tags on the channel that followed, where such a tag is another
 * message. */
static void test_deliveries_behind_the_close_of_their_channel_are_dropped(void **state)
{
    struct scene *scene = *state;
    tell(scene, EVENT_CHANNEL_CLOSED);
    assert_int_equal(scene->resets, 1);
    assert_int_equal(deliver(scene), 0);
    scene->subscription.channel_open = true;
    scene->subscription.state = SUBSCRIPTION_OPENING;
    assert_int_equal(deliver(scene), 0);
    scene->subscription.state = SUBSCRIPTION_CONSUMING;
    assert_int_equal(deliver(scene), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, open_scene, close_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(deliveries_of_an_open_channel_are_taken),
        TEST(deliveries_before_a_cancel_by_the_broker_are_taken),
        TEST(deliveries_behind_the_close_of_their_channel_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
