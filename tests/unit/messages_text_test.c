/* messages_text_test - the two forms that people and programs see: complete, harmless to a terminal, without secrets.
 */
#include "messages_sample.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum
{
    LINE_MAX_BYTES = 64 * 1024,
};

static void assert_text (enum message_type type, const union message_fields *fields, const char *expected)
{
    static char line[LINE_MAX_BYTES];
    size_t length = message_text (type, fields, line, sizeof line);
    assert_string_equal (line, expected);
    assert_int_equal (length, strlen (expected));
}

static void assert_json (enum message_type type, const union message_fields *fields, const char *expected)
{
    char *json = message_json (type, fields);
    assert_non_null (json);
    assert_string_equal (json, expected);
    free (json);
}

static const struct header request_headers[] = {
    {SLICE ("Host"), SLICE ("agent:9001")},
    {SLICE ("X-Registry-Auth"), SLICE ("eyJwYXNzd29yZCI6InMifQ==")},
    {SLICE ("user-agent"), SLICE ("docker \"client\"")},
};

static const union message_fields request = {.request = {.method = SLICE ("POST"),
                                                         .target = SLICE ("/build?t=a:1&remote=https://u:p@host/&rm=1"),
                                                         .framing = FRAMING_LENGTH,
                                                         .length = UINT64_MAX,
                                                         .hijackable = true,
                                                         .source = SLICE ("10.0.0.7:51234"),
                                                         .authority = SLICE ("agent:9001"),
                                                         .window = 262144,
                                                         .client = ACTOR_ingress,
                                                         .headers = {request_headers, 3}}};

static const union message_fields no_trailers = {.end = {.trailers = {NULL, 0}}};

static void a_message_is_one_line (void **state)
{
    (void) state;
    assert_text (MESSAGE_request, &request,
                 "method=\"POST\" target=\"/build?t=a:1&remote=<17 bytes>&rm=1\" framing=1 length=18446744073709551615 "
                 "upgrade=\"\" hijackable=true source=\"10.0.0.7:51234\" authority=\"agent:9001\" window=262144 "
                 "client=1 node=\"\" "
                 "headers=[Host: \"agent:9001\", "
                 "X-Registry-Auth: <24 bytes>, user-agent: \"docker \\x22client\\x22\"]");
    assert_text (MESSAGE_end, &no_trailers, "trailers=[]");
    assert_text (MESSAGE_inspect, NULL, "");
    assert_text (MESSAGE_NONE, NULL, "");
    assert_text (MESSAGE_COUNT, NULL, "");
}

static void a_message_is_a_json_object (void **state)
{
    (void) state;
    assert_json (
        MESSAGE_request, &request,
        "{\"method\":\"POST\",\"target\":\"/build?t=a:1&remote=<17 bytes>&rm=1\",\"framing\":1,"
        "\"length\":\"18446744073709551615\",\"upgrade\":\"\",\"hijackable\":true,\"source\":\"10.0.0.7:51234\","
        "\"authority\":\"agent:9001\","
        "\"window\":262144,\"client\":1,\"node\":\"\",\"headers\":[[\"Host\",\"agent:9001\"],[\"X-Registry-Auth\",\"<"
        "24 bytes>\"],"
        "[\"user-agent\",\"docker \\\"client\\\"\"]]}");
    assert_json (MESSAGE_end, &no_trailers, "{\"trailers\":[]}");
    assert_json (MESSAGE_inspect, NULL, "{}");
    assert_json (MESSAGE_COUNT, NULL, "{}");
    union message_fields fields = {.response = {.length = INT64_MAX}};
    char *json = message_json (MESSAGE_response, &fields);
    assert_non_null (strstr (json, "\"length\":9223372036854775807,"));
    free (json);
}

/* ------------------------------------------------------------------------------------------------------- secrets */

static void headers_are_shown_by_an_allow_list (void **state)
{
    (void) state;
    static const char *const shown[] = {"host",
                                        "HOST",
                                        "User-Agent",
                                        "Content-Type",
                                        "Content-Length",
                                        "Date",
                                        "Server",
                                        "Api-Version",
                                        "Ostype",
                                        "Docker-Experimental",
                                        "Builder-Version",
                                        "Swarm",
                                        "Connection",
                                        "Upgrade",
                                        "traceparent",
                                        "X-PortainerAgent-Target",
                                        "X-PortainerAgent-ManagerOperation",
                                        "Portainer-Agent",
                                        "Shoal-Trace",
                                        "Shoal-Version",
                                        "Shoal-Missing-Nodes",
                                        "ETag",
                                        "Last-Modified"};
    static const char *const hidden[] = {"Authorization",
                                         "Proxy-Authorization",
                                         "Cookie",
                                         "Set-Cookie",
                                         "X-Registry-Auth",
                                         "X-Registry-Config",
                                         "X-PortainerAgent-Signature",
                                         "X-PortainerAgent-PublicKey",
                                         "X-PortainerAgent-SA-Token",
                                         "X-PortainerAgent-EdgeID",
                                         "Location",
                                         "Referer",
                                         "X-Anything",
                                         "",
                                         "hos",
                                         "hostx",
                                         "Shoal-Secret",
                                         "Portainer-Agent-Secret",
                                         "X-Docker-Container-Path-Stat"};
    for (size_t index = 0; index < sizeof shown / sizeof *shown; index++)
        if (!header_is_public (slice_from (shown[index])))
            fail_msg ("%s is hidden", shown[index]);
    for (size_t index = 0; index < sizeof hidden / sizeof *hidden; index++)
        if (header_is_public (slice_from (hidden[index])))
            fail_msg ("%s is shown", hidden[index]);
}

static void assert_target (const char *target, const char *expected)
{
    union message_fields fields = {.request = {.target = slice_from (target)}};
    char line[512], wanted[512];
    message_text (MESSAGE_request, &fields, line, sizeof line);
    snprintf (wanted, sizeof wanted, "method=\"\" target=\"%s\" framing=0 ", expected);
    line[strlen (wanted) < sizeof line ? strlen (wanted) : 0] = '\0';
    assert_string_equal (line, wanted);

    char *text = message_json (MESSAGE_request, &fields);
    json_t *json = json_loads (text, 0, NULL);
    assert_non_null (json);
    assert_string_equal (json_string_value (json_object_get (json, "target")), expected);
    json_decref (json);
    free (text);
}

static void query_values_are_shown_by_an_allow_list (void **state)
{
    (void) state;
    assert_target ("", "");
    assert_target ("/", "/");
    assert_target ("/a/b%20c", "/a/b%20c");
    assert_target ("/a?", "/a?");
    assert_target ("?", "?");
    assert_target ("/a?all=1", "/a?all=1");
    assert_target ("/a?all", "/a?all");
    assert_target ("/a?all=", "/a?all=");
    assert_target ("/a?&&all=1&", "/a?&&all=1&");
    assert_target ("/a?platform=linux/amd64&detachKeys=ctrl-p,ctrl-q&since=1.5",
                   "/a?platform=linux/amd64&detachKeys=ctrl-p,ctrl-q&since=1.5");
    assert_target ("/a?token=abc", "/a?token=<3 bytes>");
    assert_target ("/a?filters={}&all=1", "/a?filters=<2 bytes>&all=1");
    assert_target ("/a?fromImage=x&tag=1", "/a?fromImage=<1 bytes>&tag=1");
    assert_target ("/a?ALL=1", "/a?ALL=<1 bytes>");
    assert_target ("/a?%61ll=1", "/a?%61ll=<1 bytes>");
    assert_target ("/a?all2=1", "/a?all2=<1 bytes>");
    /* What stands alone may be the secret. */
    assert_target ("/a?c2VjcmV0", "/a?<8 bytes>");
    assert_target ("/a?c2VjcmV0=", "/a?<9 bytes>");
    assert_target ("/a?c2VjcmV==&all=1", "/a?<9 bytes>&all=1");
    assert_target ("/a?=secret", "/a?=<6 bytes>");
    /* A public name is no hiding place. */
    assert_target ("/a?all=1;token=abc", "/a?all=1;token=<3 bytes>");
    assert_target ("/a?all=1?token=abc", "/a?all=<11 bytes>");
    assert_target ("/a?all=1%26token%3Dabc", "/a?all=<15 bytes>");
    assert_target ("/a?all=1=abc", "/a?all=<5 bytes>");
    assert_target ("/a?all=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                   "/a?all=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_target ("/a?all=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "/a?all=<65 bytes>");
    assert_target ("/a#token=abc", "/a#token=<3 bytes>");
}

static void secrets_are_in_neither_form (void **state)
{
    (void) state;
    static const char secret[] = "qZ7secretZq";
    static const char *const names[] = {"Authorization",
                                        "Cookie",
                                        "X-Registry-Auth",
                                        "X-Registry-Config",
                                        "X-PortainerAgent-Signature",
                                        "X-PortainerAgent-PublicKey",
                                        "Location",
                                        "X-Other"};
    struct header list[8];
    for (size_t index = 0; index < 8; index++)
        list[index] = (struct header){slice_from (names[index]), SLICE ("qZ7secretZq")};
    union message_fields fields = {
        .request = {.target = SLICE ("/a?token=qZ7secretZq&filters=qZ7secretZq&qZ7secretZq&qZ7secretZq="),
                    .headers = {list, 8}}};
    char line[4096];
    message_text (MESSAGE_request, &fields, line, sizeof line);
    assert_null (strstr (line, secret));
    assert_non_null (strstr (line, "X-Other: <11 bytes>"));
    char *json = message_json (MESSAGE_request, &fields);
    assert_null (strstr (json, secret));
    assert_non_null (strstr (json, "[\"X-Other\",\"<11 bytes>\"]"));
    free (json);
}

/* ------------------------------------------------------------------------------------------------------- escaping */

static void assert_reason (struct slice reason, const char *text, const char *json)
{
    union message_fields fields = {.abort = {.reason = reason}};
    char expected[512];
    snprintf (expected, sizeof expected, "reason=\"%s\"", text);
    assert_text (MESSAGE_abort, &fields, expected);
    snprintf (expected, sizeof expected, "{\"reason\":\"%s\"}", json);
    assert_json (MESSAGE_abort, &fields, expected);
}

static void nothing_reaches_the_terminal_unescaped (void **state)
{
    (void) state;
    assert_reason (SLICE ("plain ~text!"), "plain ~text!", "plain ~text!");
    assert_reason (SLICE ("\x1b[2J\r\n\t\x07"), "\\x1b[2J\\x0d\\x0a\\x09\\x07", "\\u001B[2J\\r\\n\\t\\u0007");
    assert_reason (SLICE ("a\0b"), "a\\x00b", "a\\u0000b");
    assert_reason (SLICE ("\"\\"), "\\x22\\x5c", "\\\"\\\\");
    assert_reason (SLICE ("\x7f"), "\\x7f", "\x7f");
    assert_reason (SLICE ("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f", "gr\\u00FC\\u00DF");
    assert_reason (SLICE ("\xe2\x82\xac \xf0\x9f\x90\x9f"), "\xe2\x82\xac \xf0\x9f\x90\x9f", "\\u20AC \\uD83D\\uDC1F");
    /* C1 control (CSI), right-to-left override, line separator, byte order mark */
    assert_reason (SLICE ("\xc2\x9b"), "\\xc2\\x9b", "\\u009B");
    assert_reason (SLICE ("\xe2\x80\xae"), "\\xe2\\x80\\xae", "\\u202E");
    assert_reason (SLICE ("\xe2\x80\xa8"), "\\xe2\\x80\\xa8", "\\u2028");
    assert_reason (SLICE ("\xef\xbb\xbf"), "\\xef\\xbb\\xbf", "\\uFEFF");
    /* No UTF-8: lone bytes, overlong forms, surrogates, above U+10FFFF, cut characters */
    assert_reason (SLICE ("a\x80z"), "a\\x80z", "a\\\\x80z");
    assert_reason (SLICE ("\xff\xfe"), "\\xff\\xfe", "\\\\xff\\\\xfe");
    assert_reason (SLICE ("\xc0\xaf"), "\\xc0\\xaf", "\\\\xc0\\\\xaf");
    assert_reason (SLICE ("\xe0\x80\xaf"), "\\xe0\\x80\\xaf", "\\\\xe0\\\\x80\\\\xaf");
    assert_reason (SLICE ("\xf0\x80\x80\xaf"), "\\xf0\\x80\\x80\\xaf", "\\\\xf0\\\\x80\\\\x80\\\\xaf");
    assert_reason (SLICE ("\xed\xa0\x80"), "\\xed\\xa0\\x80", "\\\\xed\\\\xa0\\\\x80");
    assert_reason (SLICE ("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80");
    assert_reason (SLICE ("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80", "\\\\xf5\\\\x80\\\\x80\\\\x80");
    assert_reason (SLICE ("\xe2\x82"), "\\xe2\\x82", "\\\\xe2\\\\x82");
    assert_reason (SLICE ("\xc3\xc3\xbc"), "\\xc3\xc3\xbc", "\\\\xc3\\u00FC");
}

static void header_names_are_escaped_too (void **state)
{
    (void) state;
    static const struct header list[] = {{SLICE ("x: \"y\", z\x1b\xff"), SLICE ("1")}, {{0}, {0}}};
    union message_fields fields = {.end = {.trailers = {list, 2}}};
    assert_text (MESSAGE_end, &fields,
                 "trailers=[x\\x3a\\x20\\x22y\\x22\\x2c\\x20z\\x1b\\xff: <1 bytes>, : <0 bytes>]");
    assert_json (MESSAGE_end, &fields,
                 "{\"trailers\":[[\"x: \\\"y\\\", z\\u001B\\\\xff\",\"<1 bytes>\"],[\"\",\"<0 bytes>\"]]}");
}

/* -------------------------------------------------------------------------------------------------------- cutting */

/* Whether text may end before index: not within \xNN, within a character, or within <N bytes>. */
static bool is_boundary (const char *text, size_t index)
{
    for (size_t back = 1; back <= 3 && back <= index; back++)
        if (text[index - back] == '\\')
            return false;
    if (((uint8_t) text[index] & 0xc0) == 0x80)
        return false;
    const char *open = memrchr (text, '<', index), *close = memrchr (text, '>', index);
    return !open || (close && close > open);
}

static void a_line_is_cut_between_characters (void **state)
{
    (void) state;
    static const struct header list[] = {{SLICE ("Cookie\x01"), SLICE ("hidden")},
                                         {SLICE ("Host"), SLICE ("\xe2\x82\xac\x1b\xc2\x9b")}};
    union message_fields fields = {.request = {.method = SLICE ("G\"\xf0\x9f\x90\x9f\x80"),
                                               .target = SLICE ("/\x07?token=abc&all=1&x=y"),
                                               .length = 123456789,
                                               .headers = {list, 2}}};
    char full[1024];
    size_t length = message_text (MESSAGE_request, &fields, full, sizeof full);
    for (size_t size = 0; size <= length + 2; size++)
    {
        char *line = malloc (size ? size : 1);
        assert_non_null (line);
        size_t written = message_text (MESSAGE_request, &fields, line, size);
        if (size > length)
            assert_string_equal (line, full);
        else if (size >= 4)
        {
            assert_in_range (written, size > 20 ? size - 20 : 3, size - 1);
            assert_int_equal (line[written], '\0');
            assert_string_equal (line + written - 3, "...");
            assert_memory_equal (line, full, written - 3);
            if (!is_boundary (full, written - 3))
                fail_msg ("cut in the middle: %s", line);
        }
        else
        {
            assert_int_equal (written, size ? size - 1 : 0);
            if (size)
                assert_memory_equal (line, &"..."[3 - written], size);
        }
        free (line);
    }
}

/* ------------------------------------------------------------------------------------------------- every message */

static void every_message_has_both_forms (void **state)
{
    (void) state;
    static char line[LINE_MAX_BYTES];
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (enum sample_shape shape = 0; shape < SAMPLE_SHAPES; shape++)
            for (uint64_t seed = 1; seed <= (shape == SAMPLE_RANDOM ? 10 : 1); seed++)
            {
                const struct message_info *info = message_info (type);
                struct sample *sample = sample_new (type, shape, seed);
                size_t length = message_text (type, &sample->fields, line, sizeof line);
                assert_true (length < sizeof line && line[length] == '\0');
                for (size_t index = 0; index < length; index++)
                    if ((uint8_t) line[index] < 0x20 || (uint8_t) line[index] == 0x7f)
                        fail_msg ("%s: byte %02x in the line", info->name, (uint8_t) line[index]);

                char *text = message_json (type, &sample->fields);
                assert_non_null (text);
                json_error_t error;
                json_t *json = json_loads (text, JSON_ALLOW_NUL, &error);
                if (!json)
                    fail_msg ("%s: %s", info->name, error.text);
                assert_int_equal (json_object_size (json), info->field_count);
                for (size_t index = 0; index < info->field_count; index++)
                    assert_non_null (json_object_get (json, info->fields[index].name));
                json_decref (json);
                free (text);
                sample_destroy (&sample);
            }
}

/* ------------------------------------------------------------------------------------------------- without memory */

static size_t allocations_left;

static void *failing_malloc (size_t size)
{
    return allocations_left ? allocations_left--, malloc (size) : NULL;
}

static void without_memory_there_is_no_json (void **state)
{
    (void) state;
    json_malloc_t usual_malloc;
    json_free_t usual_free;
    json_get_alloc_funcs (&usual_malloc, &usual_free);
    char *whole = message_json (MESSAGE_request, &request), *json = NULL;
    json_set_alloc_funcs (failing_malloc, free);
    size_t count = 0;
    while (!json && count < 10000)
    {
        allocations_left = count++;
        json = message_json (MESSAGE_request, &request);
    }
    json_set_alloc_funcs (usual_malloc, usual_free);
    assert_true (count > 20);
    assert_string_equal (json, whole);
    free (json);
    free (whole);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (a_message_is_one_line),
        cmocka_unit_test (a_message_is_a_json_object),
        cmocka_unit_test (headers_are_shown_by_an_allow_list),
        cmocka_unit_test (query_values_are_shown_by_an_allow_list),
        cmocka_unit_test (secrets_are_in_neither_form),
        cmocka_unit_test (nothing_reaches_the_terminal_unescaped),
        cmocka_unit_test (header_names_are_escaped_too),
        cmocka_unit_test (a_line_is_cut_between_characters),
        cmocka_unit_test (every_message_has_both_forms),
        cmocka_unit_test (without_memory_there_is_no_json),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
