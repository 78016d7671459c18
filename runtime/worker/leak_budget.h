/* What looking for leaks may cost: a little less than a hundredth of the time that the worker has lived, and
 * a tenth of a millisecond more, for the first look of its life: so less than a hundredth when it first has
 * anything to tell. What is not used is saved up to a bound, for the looks at a larger heap. Pure. */
#ifndef WORKER_LEAK_BUDGET_H
#define WORKER_LEAK_BUDGET_H

#include <stdint.h>

#define LEAK_BUDGET_START_NS   INT64_C(100000)
#define LEAK_BUDGET_SAVINGS_NS INT64_C(100000000) /* no more is saved */

/* One part in so many: how long a look takes is foreseen, not known. AddressSanitizer makes looks ten times
 * as long, and messages hardly: where it checks, all is to be looked at that is otherwise. */
#ifdef __SANITIZE_ADDRESS__
enum { LEAK_BUDGET_SHARE = 10 };
#else
enum { LEAK_BUDGET_SHARE = 120 };
#endif

struct leak_budget {
    int64_t began_ns;   /* the worker */
    int64_t counted_ns; /* until when time is in `saved_ns` */
    int64_t saved_ns;   /* what may be spent */
    int64_t spent_ns;   /* since the worker began */
};

void leak_budget_open(struct leak_budget *budget, int64_t now_ns);

/* What may be spent now; negative where a look took longer than it was allowed to. */
int64_t leak_budget_room_ns(struct leak_budget *budget, int64_t now_ns);

void leak_budget_spend(struct leak_budget *budget, int64_t took_ns);

/* Of its life until now. */
double leak_budget_share(const struct leak_budget *budget, int64_t now_ns);

#endif
