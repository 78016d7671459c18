/* The configuration reader: any text as a configuration file gives a configuration or at least one problem.
 */
#include "host/config.h"

#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROBLEMS_MAX = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    char *environment[] = { NULL };
    struct buffer problems;
    if (fd < 0)
        fd = memfd_create("moonrabbit.lua", MFD_CLOEXEC);
    MUST(fd >= 0 && ftruncate(fd, 0) == 0);
    MUST(pwrite(fd, data, size, 0) == (ssize_t)size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct config_source source = { .file = path, .environment = environment };
    buffer_init(&problems, PROBLEMS_MAX);
    struct config *config = config_load(&source, &problems);
    MUST((config != NULL) == (problems.size == 0));
    MUST(problems.size == 0 || problems.data[problems.size - 1] == '\n' || problems.size < PROBLEMS_MAX);
    if (config)
        config_free(config);
    buffer_clear(&problems);
    return 0;
}
