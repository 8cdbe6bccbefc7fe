/* messages_catalog_test - names, rows and docs of the catalog, and finding headers. */
#include "messages/message.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void types_are_found_by_name (void **state)
{
    (void) state;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        assert_int_equal (message_type_from_name (slice_from (message_type_name (type))), type);
    assert_string_equal (message_type_name (MESSAGE_request), "request");
    assert_string_equal (message_type_name (MESSAGE_NONE), "none");
    assert_string_equal (message_type_name (MESSAGE_COUNT), "?");
    assert_string_equal (message_type_name ((enum message_type) - 1), "?");
    static const struct slice strange[] = {
        SLICE ("none"), SLICE (""), SLICE ("reques"), SLICE ("requests"), SLICE ("Request"), SLICE ("request\0"), {0}};
    for (size_t index = 0; index < sizeof strange / sizeof *strange; index++)
        assert_int_equal (message_type_from_name (strange[index]), MESSAGE_NONE);
}

static void actors_are_found_by_name (void **state)
{
    (void) state;
    for (enum actor_id actor = ACTOR_NONE + 1; actor < ACTOR_COUNT; actor++)
    {
        assert_int_equal (actor_from_name (slice_from (actor_name (actor))), actor);
        assert_true (strlen (actor_doc (actor)) > 0);
    }
    assert_string_equal (actor_name (ACTOR_ingress), "ingress");
    assert_string_equal (actor_name (ACTOR_NONE), "none");
    assert_string_equal (actor_name (ACTOR_COUNT), "?");
    assert_string_equal (actor_name ((enum actor_id) - 1), "?");
    assert_string_equal (actor_doc (ACTOR_COUNT), "");
    assert_int_equal (actor_from_name (SLICE ("none")), ACTOR_NONE);
    assert_int_equal (actor_from_name (SLICE ("Ingress")), ACTOR_NONE);
    assert_int_equal (actor_from_name ((struct slice){0}), ACTOR_NONE);
}

static void rows_describe_the_structs (void **state)
{
    (void) state;
    assert_null (message_info (MESSAGE_NONE));
    assert_null (message_info (MESSAGE_COUNT));
    assert_null (message_info ((enum message_type) - 1));
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
    {
        const struct message_info *info = message_info (type);
        size_t end = 0;
        assert_true (strlen (info->doc) > 0);
        assert_int_equal (message_has_body (type), info->field_count > 0);
        assert_int_equal (message_has_payload (type), info->payload);
        for (size_t index = 0; index < info->field_count; index++)
        {
            static const size_t sizes[] = {sizeof (uint64_t), sizeof (bool), sizeof (struct slice),
                                           sizeof (struct headers)};
            const struct field_info *field = &info->fields[index];
            assert_true (strlen (field->doc) > 0);
            assert_true (field->offset >= end);
            end = field->offset + sizes[field->kind];
            assert_true (end <= sizeof (union message_fields));
        }
    }
    const struct message_info *info = message_info (MESSAGE_request);
    assert_string_equal (info->fields[1].name, "target");
    assert_int_equal (info->fields[1].kind, FIELD_TEXT);
    assert_int_equal (info->fields[1].secrecy, FIELD_QUERY);
    assert_int_equal (info->fields[1].limit, 131072);
    assert_int_equal (info->fields[1].offset, offsetof (struct message_request, target));
}

static void bodies_and_payloads_are_known (void **state)
{
    (void) state;
    assert_true (message_has_body (MESSAGE_request));
    assert_false (message_has_payload (MESSAGE_request));
    assert_false (message_has_body (MESSAGE_body));
    assert_true (message_has_payload (MESSAGE_body));
    assert_false (message_has_body (MESSAGE_inspect));
    assert_false (message_has_body (MESSAGE_NONE));
    assert_false (message_has_payload (MESSAGE_NONE));
    assert_false (message_has_body (MESSAGE_COUNT));
    assert_false (message_has_payload (MESSAGE_COUNT));
}

static void headers_are_found_in_any_case (void **state)
{
    (void) state;
    static const struct header list[] = {{SLICE ("Host"), SLICE ("a")},
                                         {SLICE ("Empty"), {0}},
                                         {SLICE ("HOST"), SLICE ("b")},
                                         {{0}, SLICE ("nameless")}};
    struct headers headers = {list, sizeof list / sizeof *list};
    assert_true (slice_equal (headers_find (headers, SLICE ("hOsT")), SLICE ("a")));
    assert_null (headers_find (headers, SLICE ("hos")).at);
    assert_null (headers_find (headers, SLICE ("hosts")).at);
    assert_non_null (headers_find (headers, SLICE ("empty")).at);
    assert_int_equal (headers_find (headers, SLICE ("empty")).len, 0);
    assert_true (slice_equal (headers_find (headers, SLICE ("")), SLICE ("nameless")));
    assert_null (headers_find ((struct headers){0}, SLICE ("host")).at);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (types_are_found_by_name),       cmocka_unit_test (actors_are_found_by_name),
        cmocka_unit_test (rows_describe_the_structs),     cmocka_unit_test (bodies_and_payloads_are_known),
        cmocka_unit_test (headers_are_found_in_any_case),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
