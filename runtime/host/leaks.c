/* Leak suspects of a consumer; see leaks.h. */
#include "host/leaks.h"
