/* Memory that nobody has at the moment, of allocators of our own: in a build with AddressSanitizer, who
 * touches it is told so, as with malloc; in others this is nothing.
 *
 * Whole words of 8 bytes are marked. What is given back to the system has to be touchable again: the
 * sanitizer does not know when other memory lies in its place. */
#ifndef COMMON_UNTOUCHABLE_H
#define COMMON_UNTOUCHABLE_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNTOUCHABLE_IS_CHECKED true
#elif defined(__has_feature)
#define UNTOUCHABLE_IS_CHECKED __has_feature(address_sanitizer)
#else
#define UNTOUCHABLE_IS_CHECKED false
#endif

/* Of the sanitizer, which has no part in other builds. */
void __asan_poison_memory_region(const volatile void *memory, size_t bytes);
void __asan_unpoison_memory_region(const volatile void *memory, size_t bytes);
int __asan_address_is_poisoned(const volatile void *place);

static inline void untouchable_set(const void *memory, size_t bytes)
{
    if (UNTOUCHABLE_IS_CHECKED)
        __asan_poison_memory_region(memory, bytes);
}

static inline void untouchable_end(const void *memory, size_t bytes)
{
    if (UNTOUCHABLE_IS_CHECKED)
        __asan_unpoison_memory_region(memory, bytes);
}

/* For tests. */
static inline bool untouchable_is(const void *place)
{
    return UNTOUCHABLE_IS_CHECKED && __asan_address_is_poisoned(place);
}

#endif
