/* Room for recursion; see stack.h. */
#include "worker/stack.h"

#include <stddef.h>
#include <sys/resource.h>

/* Linux keeps 128 MiB free below a process's stack, whatever its limit was when it started; some of them are
 * for the random offset that the stack begins with, and for the environment. */
#define STACK_BYTES ((rlim_t)112 * 1024 * 1024)

struct stack_room stack_reserve(void)
{
    const char *here = __builtin_frame_address(0);
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) < 0)
        return (struct stack_room){ NULL, NULL };
    limit.rlim_cur = limit.rlim_max < STACK_BYTES ? limit.rlim_max : STACK_BYTES;
    if (setrlimit(RLIMIT_STACK, &limit) < 0)
        return (struct stack_room){ NULL, NULL };
    return (struct stack_room){
        .trip_below = here - limit.rlim_cur / 8,
        .refuse_below = here - limit.rlim_cur / 4 * 3,
    };
}
