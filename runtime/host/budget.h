/* How many messages may still be settled: --max-messages, exactly, over all consumers of the program.
 *
 * A place is taken before a delivery is given to a worker, and returned where it comes back unsettled; so
 * what is at work and what is settled never exceed the limit together. */
#ifndef HOST_BUDGET_H
#define HOST_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
    uint64_t limit; /* 0: no end */
    uint64_t taken; /* settled, or at work */
    uint64_t settled;
};

static inline bool budget_take(struct budget *budget)
{
    if (budget->limit && budget->taken >= budget->limit)
        return false;
    budget->taken++;
    return true;
}

static inline void budget_return(struct budget *budget)
{
    budget->taken--;
}

static inline void budget_settle(struct budget *budget)
{
    budget->settled++;
}

static inline bool budget_is_spent(const struct budget *budget)
{
    return budget->limit && budget->settled >= budget->limit;
}

#endif
