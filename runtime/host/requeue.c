/* Memory of messages that went back to the queue; see requeue.h. */
#include "host/requeue.h"

#include "common/wire.h"

#include <stdlib.h>
#include <string.h>

bool requeue_init(struct requeue_memory *memory, struct error *error)
{
    *memory = (struct requeue_memory){ 0 };
    memory->entries = calloc(REQUEUE_ENTRIES, sizeof *memory->entries);
    memory->buckets = calloc(REQUEUE_ENTRIES, sizeof *memory->buckets);
    if (memory->entries && memory->buckets)
        return true;
    requeue_clear(memory);
    return error_set(error, ERROR_FAILED, "no memory to count requeues");
}

void requeue_clear(struct requeue_memory *memory)
{
    free(memory->entries);
    free(memory->buckets);
    *memory = (struct requeue_memory){ 0 };
}

/* FNV-1a over words: no defence against forged collisions is needed, as one only ends a loop sooner. */
static uint64_t mix(uint64_t hash, struct slice bytes)
{
    const uint64_t prime = UINT64_C(0x100000001b3);
    size_t i = 0;
    for (; i + sizeof hash <= bytes.size; i += sizeof hash) {
        uint64_t word;
        memcpy(&word, bytes.data + i, sizeof word);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 29;
    }
    for (; i < bytes.size; i++)
        hash = (hash ^ (unsigned char)bytes.data[i]) * prime;
    return hash ^ bytes.size;
}

uint64_t requeue_fingerprint(struct slice attributes, struct slice body)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct wire_attribute attribute;
    while (wire_take_attribute(&attributes, &attribute) == WIRE_FRAME) {
        if (attribute.id != WIRE_CONSUMER_TAG && attribute.id != WIRE_HEADERS)
            hash = mix(hash ^ attribute.id, attribute.value);
    }
    hash = mix(hash, body);
    return hash ^ hash >> 32;
}

static uint32_t *bucket_of(const struct requeue_memory *memory, uint64_t fingerprint)
{
    return &memory->buckets[fingerprint & (REQUEUE_ENTRIES - 1)];
}

/* Unlinks the entry with this number (index + 1) from its bucket. */
static void forget(struct requeue_memory *memory, uint32_t number)
{
    struct requeue_entry *entry = &memory->entries[number - 1];
    uint32_t *link = bucket_of(memory, entry->fingerprint);
    while (*link != number)
        link = &memory->entries[*link - 1].next;
    *link = entry->next;
    entry->attempt = 0;
    memory->count--;
}

void requeue_remember(struct requeue_memory *memory, uint64_t fingerprint, uint32_t attempt)
{
    uint32_t number = memory->cursor + 1;
    memory->cursor = number % REQUEUE_ENTRIES;
    struct requeue_entry *entry = &memory->entries[number - 1];
    if (entry->attempt)
        forget(memory, number);
    uint32_t *bucket = bucket_of(memory, fingerprint);
    *entry = (struct requeue_entry){ .fingerprint = fingerprint, .attempt = attempt, .next = *bucket };
    *bucket = number;
    memory->count++;
}

uint32_t requeue_count(const struct requeue_memory *memory, uint64_t fingerprint)
{
    uint32_t count = 0;
    for (uint32_t number = *bucket_of(memory, fingerprint); number; number = memory->entries[number - 1].next)
        count += memory->entries[number - 1].fingerprint == fingerprint;
    return count;
}

uint32_t requeue_recall(struct requeue_memory *memory, uint64_t fingerprint)
{
    for (uint32_t number = *bucket_of(memory, fingerprint); number;
         number = memory->entries[number - 1].next) {
        const struct requeue_entry *entry = &memory->entries[number - 1];
        if (entry->fingerprint == fingerprint) {
            uint32_t attempt = entry->attempt;
            forget(memory, number);
            return attempt;
        }
    }
    return 0;
}
