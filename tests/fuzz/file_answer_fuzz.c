/* file_answer_fuzz - Range and dates: ranges stay within the file and together are no longer than it is. */
#include "http/date.h"
#include "http/file_answer.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t length = size - 2;
    char *exact = malloc (length ? length : 1);
    must (exact);
    memcpy (exact, data + 2, length);
    uint64_t file = data[0] == 255 ? INT64_MAX : data[0];
    struct slice text = slice_of (exact, length);
    static const struct slice names[] = {{"Range", 5}, {"If-Range", 8}, {"If-Modified-Since", 17}};
    struct header header = {names[data[1] % 3], text};
    struct file_answer answer;
    file_answer_decide ((struct headers){&header, 1}, file, 1571000000, &answer);
    must ((answer.status == 206) == (answer.count > 0) && answer.count <= HTTP_RANGES_MAX);
    uint64_t total = 0;
    for (size_t index = 0; index < answer.count; index++)
    {
        must (answer.ranges[index].length > 0 && answer.ranges[index].first < file);
        must (answer.ranges[index].length <= file - answer.ranges[index].first);
        total += answer.ranges[index].length;
    }
    must (total <= file);
    int64_t seconds;
    if (http_date_read (text, &seconds))
    {
        char again[HTTP_DATE_BYTES];
        http_date_write (seconds, again);
        must (strlen (again) == HTTP_DATE_BYTES - 1);
    }
    free (exact);
    return 0;
}
