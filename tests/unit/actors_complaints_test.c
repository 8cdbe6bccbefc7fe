/* actors_complaints_test - one line for each address, and not one for each attempt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/complaints.h"

#include <stdio.h>

static void complains_once (void **state)
{
    (void) state;
    static struct complaints complaints;
    assert_true (complaint_due (&complaints, "a", 5, 0));
    assert_false (complaint_due (&complaints, "a", 6, 0));
    assert_false (complaint_due (&complaints, "a", 1000000, 0));
    assert_true (complaint_due (&complaints, "b", 7, 0));
    complaint_over (&complaints, "a");
    assert_true (complaint_due (&complaints, "a", 1000001, 0));
    assert_false (complaint_due (&complaints, "b", 1000001, 0));
    complaint_over (&complaints, "never heard of");
}

static void is_patient (void **state)
{
    (void) state;
    static struct complaints complaints;
    assert_false (complaint_due (&complaints, "a", 1000, 500));
    assert_false (complaint_due (&complaints, "a", 1499, 500));
    assert_true (complaint_due (&complaints, "a", 1500, 500));
    assert_false (complaint_due (&complaints, "a", 1501, 500));
    complaint_over (&complaints, "a");
    assert_false (complaint_due (&complaints, "a", 2000, 500)); /* begins anew */
    assert_true (complaint_due (&complaints, "a", 2500, 500));
}

static void forgets_the_oldest (void **state)
{
    (void) state;
    static struct complaints complaints;
    char address[16];
    for (int number = 0; number < COMPLAINTS_MAX + 1; number++)
    {
        snprintf (address, sizeof address, "%d", number);
        assert_true (complaint_due (&complaints, address, 1, 0));
    }
    assert_false (complaint_due (&complaints, "1", 1, 0));
    assert_true (complaint_due (&complaints, "0", 1, 0));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (complains_once),
        cmocka_unit_test (is_patient),
        cmocka_unit_test (forgets_the_oldest),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
