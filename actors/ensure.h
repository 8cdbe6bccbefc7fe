/* ensure.h - an assertion that stays on in release: for mistakes of ours, never for what comes from outside. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define ensure(condition)                                                                                              \
    do                                                                                                                 \
    {                                                                                                                  \
        if (__builtin_expect (!(condition), 0))                                                                        \
        {                                                                                                              \
            fprintf (stderr, "shoal: bug at %s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);               \
            abort ();                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Memory that must be there: without it the agent ends, as the kernel would end it anyway. */
static inline void *must (void *memory)
{
    ensure (memory != NULL);
    return memory;
}
