/* Runs a fuzz target without a fuzzer: its seeds, each as it is and in some hundred changed forms, the same
 * in every run. Prints TAP.
 *
 *     build/release/fuzz/wire_fuzz spec/fuzz/seeds/wire_fuzz */
#include "fuzz.h"

#include <dirent.h>
#include <unistd.h>

enum { FORMS = 400, INPUT_MAX = 256 * 1024 };

static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static size_t random_below(size_t bound)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * UINT64_C(0x2545f4914f6cdd1d)) >> 32) % bound;
}

static void run_on(const char *bytes, size_t size)
{
    /* Memory of its own, so that AddressSanitizer sees the first byte read past the end. */
    uint8_t *exact = malloc(size > 0 ? size : 1);
    MUST(exact);
    if (size > 0)
        memcpy(exact, bytes, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

/* One small change; returns the new size. */
static size_t change(char *bytes, size_t size)
{
    static const char telling[] = { 0, 1, 2, 4, 8, 127, -128, -1 };
    size_t at = size > 0 ? random_below(size) : 0;
    size_t run = size - at > 0 ? 1 + random_below(size - at < 16 ? size - at : 16) : 0;
    switch (random_below(6)) {
    case 0: /* a bit */
        if (size > 0)
            bytes[at] = (char)(bytes[at] ^ (1 << random_below(8)));
        return size;
    case 1: /* a byte */
        if (size > 0)
            bytes[at] = random_below(2) ? telling[random_below(sizeof telling)] : (char)random_below(256);
        return size;
    case 2: /* the end cut off */
        return at;
    case 3: /* a run left out */
        memmove(bytes + at, bytes + at + run, size - at - run);
        return size - run;
    default: /* a run twice */
        if (size + run > INPUT_MAX)
            return size;
        memmove(bytes + at + run, bytes + at, size - at);
        return size + run;
    }
}

static void run_forms_of(const char *seed, size_t seed_size)
{
    char *bytes = malloc(INPUT_MAX);
    MUST(bytes);
    run_on(seed, seed_size);
    for (int i = 0; i < FORMS; i++) {
        size_t size = seed_size;
        memcpy(bytes, seed, seed_size);
        for (size_t changes = 1 + random_below(6); changes > 0; changes--)
            size = change(bytes, size);
        run_on(bytes, size);
    }
    free(bytes);
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(INPUT_MAX);
    MUST(file && bytes);
    size_t size = fread(bytes, 1, INPUT_MAX, file);
    MUST(!ferror(file));
    (void)fclose(file);
    run_forms_of(bytes, size);
    free(bytes);
}

int main(int count, char **words)
{
    struct dirent **entries = NULL;
    int seeds = 0;
    if (count != 2) {
        (void)fprintf(stderr, "usage: %s DIRECTORY-OF-SEEDS\n", words[0]);
        return 2;
    }
    /* In one order everywhere: the changes depend on it. */
    int found = scandir(words[1], &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        char path[1024];
        if (entries[i]->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", words[1], entries[i]->d_name);
            run_file(path);
            printf("ok %d - %s\n", ++seeds, entries[i]->d_name);
            (void)fflush(stdout);
        }
        free(entries[i]);
    }
    free((void *)entries);
    run_on("", 0);
    printf("%s %d - nothing\n1..%d\n", seeds > 0 ? "ok" : "not ok", seeds + 1, seeds + 1);
    return seeds > 0 ? 0 : 1;
}
