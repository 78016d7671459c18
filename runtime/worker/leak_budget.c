/* Saving and spending time; see leak_budget.h. */
#include "worker/leak_budget.h"

void leak_budget_open(struct leak_budget *budget, int64_t now_ns)
{
    *budget =
        (struct leak_budget){ .began_ns = now_ns, .counted_ns = now_ns, .saved_ns = LEAK_BUDGET_START_NS };
}

int64_t leak_budget_room_ns(struct leak_budget *budget, int64_t now_ns)
{
    budget->saved_ns += (now_ns - budget->counted_ns) / LEAK_BUDGET_SHARE;
    budget->counted_ns = now_ns;
    if (budget->saved_ns > LEAK_BUDGET_SAVINGS_NS)
        budget->saved_ns = LEAK_BUDGET_SAVINGS_NS;
    return budget->saved_ns;
}

void leak_budget_spend(struct leak_budget *budget, int64_t took_ns)
{
    budget->saved_ns -= took_ns;
    budget->spent_ns += took_ns;
}

double leak_budget_share(const struct leak_budget *budget, int64_t now_ns)
{
    int64_t alive_ns = now_ns - budget->began_ns;
    return alive_ns > 0 ? (double)budget->spent_ns / (double)alive_ns : 0;
}
