/* What is wrong at the moment, one alarm for each kind: the monitor raises and clears them, the log tells of
 * each at most once a minute while it is raised, and the status listener shows them. Pure. */
#ifndef HOST_ALARMS_H
#define HOST_ALARMS_H

#include <stdbool.h>
#include <stdint.h>

enum alarm_kind {
    /* of the program */
    ALARM_MEMORY,
    ALARM_DESCRIPTORS,
    ALARM_SOCKETS,
    ALARM_PROCESSES,
    ALARM_CHANNELS,
    ALARM_CACHE,
    ALARM_BLOCKED,
    /* of a consumer */
    ALARM_UNSETTLED,
    ALARM_LEAK,
    ALARM_DEAD_LETTERS,
    ALARM_QUEUE_FULL,
    ALARM_KINDS,
};

enum { ALARM_TEXT_MAX = 1024 };

struct alarm {
    bool raised;
    int64_t since_ns;          /* valid when raised; monotonic */
    int64_t told_ns;           /* when the log was to tell of it last; 0: never */
    char text[ALARM_TEXT_MAX]; /* valid when raised: a sentence, cut where longer */
};

struct alarms {
    struct alarm of[ALARM_KINDS];
};

/* "memory", "queue_full", ...: as status and metrics name it. */
const char *alarm_name(enum alarm_kind kind);

/* Raises it, or renews its text; true where the log should tell of it now. */
bool alarm_raise(struct alarms *alarms, enum alarm_kind kind, int64_t now_ns, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void alarm_clear(struct alarms *alarms, enum alarm_kind kind);
bool alarm_is_raised(const struct alarms *alarms, enum alarm_kind kind);

#endif
