/* http_trace_test - trace ids from traceparent (W3C Trace Context, section 3.2) and in hexadecimal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/trace.h"

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define REST "-00f067aa0ba902b7-01"

static const uint8_t s_id[TRACE_BYTES] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                          0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};

static void reads_the_trace_id (void **state)
{
    (void) state;
    static const char *const good[] = {
        "00-" ID REST,     "00-" ID "-00f067aa0ba902b7-00",
        "01-" ID REST,     "cc-" ID REST "-what-a-later-version-appends",
        "fe-" ID REST "-",
    };
    for (size_t row = 0; row < sizeof good / sizeof *good; row++)
    {
        uint8_t trace[TRACE_BYTES] = {0};
        if (!trace_from_parent (slice_from (good[row]), trace))
            fail_msg ("refused: %s", good[row]);
        assert_memory_equal (trace, s_id, TRACE_BYTES);
    }
}

static void refuses_what_is_malformed (void **state)
{
    (void) state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" ID,
        "00-" ID "-00f067aa0ba902b7-0",       /* a digit short */
        "00-" ID "-00f067aa0ba902b7-01-more", /* version 00 has nothing more */
        "ff-" ID REST,                        /* a version that does not exist */
        "0g-" ID REST,
        "00_" ID REST, /* separators */
        "00-" ID "_00f067aa0ba902b7-01",
        "00-" ID "-00f067aa0ba902b7_01",
        "00-00000000000000000000000000000000" REST, /* all zero means no trace */
        "00-4BF92F3577B34DA6A3CE929D0E0E4736" REST, /* upper case is not allowed */
        "00-4bf92f3577b34da6a3ce929d0e0e473x" REST,
        " 00-" ID REST,
        "00-4bf92f3577b34da6a3ce929d0e0e47360" REST,           /* a digit too many */
        "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", /* another system's form */
    };
    static const uint8_t before[TRACE_BYTES] = {7};
    for (size_t row = 0; row < sizeof bad / sizeof *bad; row++)
    {
        uint8_t trace[TRACE_BYTES] = {7};
        if (trace_from_parent (slice_from (bad[row]), trace))
            fail_msg ("taken: %s", bad[row]);
        assert_memory_equal (trace, before, TRACE_BYTES);
    }
    uint8_t trace[TRACE_BYTES];
    assert_false (trace_from_parent (slice_of (NULL, 0), trace)); /* no such header */
}

/* A slice ends where it ends, whatever follows in memory. */
static void looks_at_nothing_behind_the_value (void **state)
{
    (void) state;
    uint8_t trace[TRACE_BYTES];
    for (size_t length = 0; length < 55; length++)
        assert_false (trace_from_parent (slice_of ("00-" ID REST, length), trace));
    assert_true (trace_from_parent (slice_of ("00-" ID REST "garbage", 55), trace));
}

static void hexadecimal_both_ways (void **state)
{
    (void) state;
    char hex[2 * TRACE_BYTES + 1] = {0};
    hex[2 * TRACE_BYTES] = '!';
    trace_to_hex (s_id, hex);
    assert_memory_equal (hex, ID "!", sizeof hex); /* and no NUL behind it */
    for (unsigned byte = 0; byte < 256; byte++)
    {
        uint8_t in[TRACE_BYTES], out[TRACE_BYTES] = {0};
        memset (in, (int) byte, sizeof in);
        trace_to_hex (in, hex);
        assert_true (trace_from_hex (slice_of (hex, 2 * TRACE_BYTES), out));
        assert_memory_equal (in, out, TRACE_BYTES);
    }
    uint8_t trace[TRACE_BYTES];
    assert_false (trace_from_hex (slice_of (ID, 31), trace));
    assert_false (trace_from_hex (SLICE (ID "0"), trace));
    assert_false (trace_from_hex (SLICE ("4bf92f3577b34da6-3ce929d0e0e4736"), trace));
    assert_false (trace_from_hex (slice_of (NULL, 0), trace));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_the_trace_id),
        cmocka_unit_test (refuses_what_is_malformed),
        cmocka_unit_test (looks_at_nothing_behind_the_value),
        cmocka_unit_test (hexadecimal_both_ways),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
