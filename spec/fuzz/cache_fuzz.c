/* The cache's region, as a worker that is not trusted leaves it: the input is a run of commands, each either
 * writes a word anywhere but into the lock, or is an operation. No operation crashes, loops, or gives more
 * than could be there; and when what is damaged was emptied, everything works again. */
#include "common/cache.h"

#include "common/cache_layout.h"

#include "fuzz.h"

enum { COMMAND_BYTES = 8, KEYS = 24, MEMORY = 64 * 1024, ENTRIES = 16, COMMANDS_MAX = 200 };

#define TTL_NS INT64_C(1000000000000)

static struct cache cache;
static struct cache space;
static char *pristine;
static struct buffer value;

static struct slice key_of(unsigned number)
{
    static const char keys[] = "abcdefghijklmnopqrstuvwxyz and some more, so that a key takes another unit";
    return (struct slice){ keys + number % KEYS, number % 5 ? 1 : sizeof keys - 1 - number % KEYS };
}

static void put(struct cache *at, unsigned key, size_t size)
{
    static char bytes[4096];
    const struct slice slice = { bytes, size % sizeof bytes };
    (void)cache_put(at, CACHE_SET, key_of(key), CACHE_STRING, slice, TTL_NS);
}

static void open_once(void)
{
    struct error error;
    int fd = -1;
    const struct cache_config config = { .memory_bytes = MEMORY, .entries = ENTRIES, .ttl_ns = TTL_NS };
    if (pristine)
        return;
    MUST(cache_create(&cache, &config, &fd, &error));
    struct slice name = { "space", 5 };
    MUST(cache_open_space(&cache, name, 4, &space, &error));
    for (unsigned i = 0; i < KEYS; i++) {
        put(&cache, i, i * 40);
        put(&space, i, i * 9);
    }
    buffer_init(&value, MEMORY);
    pristine = malloc(cache.size_bytes);
    MUST(pristine);
    memcpy(pristine, cache.header, cache.size_bytes);
}

/* The words of the region, in the order in which they are worth writing. */
static void write_word(unsigned at, uint32_t word)
{
    char *head = (char *)cache.process->shards[0].head;
    char *end = (char *)cache.header + cache.size_bytes;
    size_t offset = sizeof(struct cache_lock) + (size_t)at * sizeof word;
    if (offset + sizeof word <= (size_t)(end - head))
        memcpy(head + offset, &word, sizeof word);
}

static void look_at_all(void)
{
    struct cache_stats stats;
    struct error error;
    buffer_reset(&value);
    (void)cache_keys(&cache, (struct slice){ .size = 0 }, SIZE_MAX, &value);
    cache_read_stats(&cache, &stats);
    MUST(stats.entries <= stats.capacity_entries && stats.bytes <= stats.capacity_bytes);
    (void)cache_check(&cache, &error);
}

static void operate(unsigned kind, unsigned key, size_t size)
{
    struct cache *at = kind & 16 ? &space : &cache;
    enum cache_type type;
    double number;
    int64_t ttl_ns;
    buffer_reset(&value);
    switch (kind & 15) {
    case 0:
        (void)cache_delete(at, key_of(key));
        break;
    case 1:
        (void)cache_expire(at, key_of(key), (int64_t)size);
        break;
    case 2:
        (void)cache_ttl(at, key_of(key), &ttl_ns);
        break;
    case 3:
        (void)cache_increment(at, key_of(key), 1, &(double){ 0 }, TTL_NS, &number);
        break;
    case 4:
        cache_clear(at, (struct slice){ "a", key % 2 });
        break;
    case 5:
        look_at_all();
        break;
    case 6:
    case 7:
    case 8:
        put(at, key, size);
        break;
    default:
        (void)cache_get(at, key_of(key), &value, &type);
    }
    MUST(value.size <= MEMORY);
}

static void must_work_again(void)
{
    struct error error;
    enum cache_type type;
    (void)cache_check(&cache, &error);
    cache_clear(&cache, (struct slice){ .size = 0 });
    MUST(cache_put(&cache, CACHE_SET, key_of(1), CACHE_STRING, key_of(5), TTL_NS) == CACHE_OK);
    buffer_reset(&value);
    MUST(cache_get(&cache, key_of(1), &value, &type) == CACHE_OK && value.size == key_of(5).size);
    MUST(cache_check(&cache, &error));
}

/* A command: u8 kind, u8 key, u16 place or size, u32 word. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_once();
    memcpy(cache.header, pristine, cache.size_bytes);
    for (int i = 0; i < COMMANDS_MAX && size >= COMMAND_BYTES; i++) {
        uint16_t place;
        uint32_t word;
        memcpy(&place, data + 2, sizeof place);
        memcpy(&word, data + 4, sizeof word);
        if (data[0] & 128)
            write_word(place, word);
        else
            operate(data[0], data[1], place);
        data += COMMAND_BYTES;
        size -= COMMAND_BYTES;
    }
    must_work_again();
    return 0;
}
