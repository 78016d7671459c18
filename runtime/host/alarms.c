/* Raising and clearing alarms; see alarms.h. */
#include "host/alarms.h"

#include "common/clock.h"

#include <stdarg.h>
#include <stdio.h>

static const int64_t tell_interval_ns = 60 * CLOCK_NS_PER_SECOND;

const char *alarm_name(enum alarm_kind kind)
{
    static const char *const names[ALARM_KINDS] = {
        [ALARM_MEMORY] = "memory",
        [ALARM_DESCRIPTORS] = "descriptors",
        [ALARM_SOCKETS] = "sockets",
        [ALARM_PROCESSES] = "processes",
        [ALARM_CHANNELS] = "channels",
        [ALARM_CACHE] = "cache",
        [ALARM_BLOCKED] = "blocked",
        [ALARM_UNSETTLED] = "unsettled",
        [ALARM_LEAK] = "leak",
        [ALARM_DEAD_LETTERS] = "dead_letters",
        [ALARM_QUEUE_FULL] = "queue_full",
    };
    return names[kind];
}

bool alarm_raise(struct alarms *alarms, enum alarm_kind kind, int64_t now_ns, const char *format, ...)
{
    struct alarm *alarm = &alarms->of[kind];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(alarm->text, sizeof alarm->text, format, arguments);
    va_end(arguments);
    if (!alarm->raised)
        alarm->since_ns = now_ns;
    alarm->raised = true;
    if (alarm->told_ns && now_ns - alarm->told_ns < tell_interval_ns)
        return false;
    alarm->told_ns = now_ns;
    return true;
}

void alarm_clear(struct alarms *alarms, enum alarm_kind kind)
{
    alarms->of[kind].raised = false;
}

bool alarm_is_raised(const struct alarms *alarms, enum alarm_kind kind)
{
    return alarms->of[kind].raised;
}
