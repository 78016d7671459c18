/* Leak suspects of a consumer; see leaks.h. */
#include "host/leaks.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t log_again_ns = 600 * CLOCK_NS_PER_SECOND;

/* Characters that move a cursor, and broken ones, become question marks. */
static void copy_text(char *to, size_t most, struct slice text)
{
    size_t size = 0;
    unsigned code;
    for (size_t i = 0; i < text.size;) {
        size_t length = utf8_length(text.data + i, text.size - i);
        bool fit = length > 0 && !utf8_is_control(text.data + i, length, &code);
        size_t wanted = fit ? length : 1;
        if (wanted > most - size)
            break;
        memcpy(to + size, fit ? text.data + i : "?", wanted);
        size += wanted;
        i += length > 0 ? length : 1;
    }
    to[size] = '\0';
}

static struct leak_suspect *find(struct leaks *leaks, const char *path)
{
    for (unsigned i = 0; i < leaks->count; i++) {
        if (strcmp(leaks->suspects[i].path, path) == 0)
            return &leaks->suspects[i];
    }
    return NULL;
}

/* A free place, or that of the one told longest ago. */
static struct leak_suspect *make_room(struct leaks *leaks)
{
    if (leaks->count < LEAKS_MAX)
        return &leaks->suspects[leaks->count++];
    struct leak_suspect *oldest = &leaks->suspects[0];
    for (unsigned i = 1; i < LEAKS_MAX; i++) {
        if (leaks->suspects[i].found_ns < oldest->found_ns)
            oldest = &leaks->suspects[i];
    }
    return oldest;
}

struct leak_suspect *leaks_add(struct leaks *leaks, unsigned lane, const struct wire_leak *leak,
                               const struct leak_names *names, int64_t now_ns, bool *ret_new)
{
    char path[LEAK_PATH_MAX + 1];
    copy_text(path, LEAK_PATH_MAX, names->path);
    struct leak_suspect *suspect = find(leaks, path);
    *ret_new = !suspect;
    leaks->told++;
    if (!suspect) {
        suspect = make_room(leaks);
        *suspect = (struct leak_suspect){ 0 };
        memcpy(suspect->path, path, sizeof path);
    }
    copy_text(suspect->kind, LEAK_KIND_MAX, names->kind);
    copy_text(suspect->sample, LEAK_SAMPLE_MAX, names->sample);
    suspect->entries = leak->entries;
    suspect->entries_per_message = leak->entries_per_message;
    suspect->bytes = leak->bytes;
    suspect->bytes_per_message = leak->bytes_per_message;
    suspect->lane = lane;
    suspect->found_ns = now_ns;
    return suspect;
}

/* As many digits as tell something. */
static void format_rate(double rate, char text[32])
{
    int digits = rate >= 0.95 ? 1 : rate >= 0.095 ? 2 : 3;
    (void)snprintf(text, 32, "%.*f", digits, rate < 1e15 ? rate : 1e15);
}

const char *leaks_describe(const struct leak_suspect *suspect, char line[LEAK_LINE_MAX])
{
    char entries[32], bytes[32];
    format_rate(suspect->entries_per_message, entries);
    (void)snprintf(bytes, sizeof bytes, "%.0f",
                   suspect->bytes_per_message < 1e15 ? suspect->bytes_per_message : 1e15);
    if (suspect->entries_per_message > 0)
        (void)snprintf(line, LEAK_LINE_MAX,
                       "%s, %s, %" PRIu64 " entries, +%s per message, +%s bytes per message", suspect->path,
                       suspect->kind, suspect->entries, entries, bytes);
    else
        (void)snprintf(line, LEAK_LINE_MAX, "%s, %s, %" PRIu64 " bytes, +%s bytes per message", suspect->path,
                       suspect->kind, suspect->bytes, bytes);
    return line;
}

void leaks_take(struct leaks *leaks, const char *consumer, unsigned lane, const struct wire_leak *leak,
                const struct leak_names *names)
{
    char line[LEAK_LINE_MAX], share[32];
    bool is_new;
    int64_t now_ns = clock_now_ns();
    struct leak_suspect *suspect = leaks_add(leaks, lane, leak, names, now_ns, &is_new);
    if (!is_new && now_ns - suspect->logged_ns < log_again_ns)
        return;
    suspect->logged_ns = now_ns;
    (void)snprintf(share, sizeof share, "%.2f%%", leak->share < 1 ? leak->share * 100 : 100.0);
    log_warning(log_message("this grows with every message"), log_text("leak", leaks_describe(suspect, line)),
                log_text("consumer", consumer), log_unsigned("worker", lane + 1),
                log_text("sample", *suspect->sample ? suspect->sample : NULL),
                log_text("looking_took", share));
}
