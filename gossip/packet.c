/* packet.c - see packet.h. */
#include "packet.h"

#include <stdio.h>

enum
{
    HEAD_BYTES = 3,       /* an array's head with a count of 16 bits, written last */
    HEAD_VALUES = 2,      /* version and sender */
    VALUES_MAX = 1 << 14, /* elements of a packet that we read */
    MESSAGE_BYTES_MIN = 2,
};

static const enum message_type types[PACKET_KINDS] = {
    [PACKET_PING] = MESSAGE_swim_ping,     [PACKET_PING_REQUEST] = MESSAGE_swim_ping_request,
    [PACKET_ACK] = MESSAGE_swim_ack,       [PACKET_NACK] = MESSAGE_swim_nack,
    [PACKET_MEMBER] = MESSAGE_swim_member, [PACKET_VERDICT] = MESSAGE_swim_verdict,
    [PACKET_SYNC] = MESSAGE_swim_sync,     [PACKET_TABLE] = MESSAGE_swim_table,
};

/* --------------------------------------------------------------------------------------------------------- writing */

void packet_begin (struct packet *packet, struct slice sender)
{
    char *at = packet->bytes + HEAD_BYTES;
    size_t length = sender.len > PACKET_SENDER_MAX ? PACKET_SENDER_MAX : sender.len;
    *at++ = PACKET_VERSION;
    *at++ = (char) 0xd9;
    *at++ = (char) length;
    memcpy (at, sender.at, length);
    packet->length = (size_t) (at - packet->bytes) + length;
    packet->values = HEAD_VALUES;
}

size_t packet_item (enum packet_kind kind, const union message_fields *fields, char out[PACKET_ITEM_MAX])
{
    char body[PACKET_BODY_MAX];
    struct message_error error;
    size_t length = message_encode (types[kind], fields, body, sizeof body, &error);
    char *at = out;
    *at++ = (char) kind;
    *at++ = (char) (length > UINT8_MAX ? 0xc5 : 0xc4);
    if (length > UINT8_MAX)
        *at++ = (char) (length >> 8);
    *at++ = (char) length;
    memcpy (at, body, length);
    return (size_t) (at - out) + length;
}

bool packet_add_item (struct packet *packet, struct slice item)
{
    if (item.len > sizeof packet->bytes - packet->length || packet->values + 2 > VALUES_MAX)
        return false;
    memcpy (packet->bytes + packet->length, item.at, item.len);
    packet->length += item.len;
    packet->values += 2;
    return true;
}

bool packet_add (struct packet *packet, enum packet_kind kind, const union message_fields *fields)
{
    char item[PACKET_ITEM_MAX];
    return packet_add_item (packet, slice_of (item, packet_item (kind, fields, item)));
}

struct slice packet_end (struct packet *packet)
{
    packet->bytes[0] = (char) 0xdc;
    packet->bytes[1] = (char) (packet->values >> 8);
    packet->bytes[2] = (char) packet->values;
    return slice_of (packet->bytes, packet->length);
}

/* --------------------------------------------------------------------------------------------------------- reading */

static int refuse (struct message_error *error, const char *what)
{
    snprintf (error->text, sizeof error->text, "gossip packet: %s", what);
    return -1;
}

static bool read_pair (struct cursor *cursor, uint64_t *kind, struct slice *body)
{
    return cursor_uint (cursor, PACKET_KINDS - 1, kind) == CURSOR_OK && *kind != 0 &&
           cursor_bytes (cursor, CURSOR_BIN, PACKET_BODY_MAX, body) == CURSOR_OK;
}

int packet_open (struct packet_reader *reader, struct slice bytes, struct message_error *error)
{
    struct cursor cursor = cursor_of (bytes);
    uint64_t values, version;
    if (cursor_array (&cursor, VALUES_MAX, 1, &values) != CURSOR_OK || values < HEAD_VALUES || values % 2)
        return refuse (error, "no array of an even number of values");
    if (cursor_uint (&cursor, UINT32_MAX, &version) != CURSOR_OK || version != PACKET_VERSION)
        return refuse (error, "another version of the protocol");
    if (cursor_bytes (&cursor, CURSOR_STR, PACKET_SENDER_MAX, &reader->sender) != CURSOR_OK || !reader->sender.len)
        return refuse (error, "no sender");
    reader->cursor = cursor;
    reader->left = (size_t) (values - HEAD_VALUES) / 2;
    for (size_t index = 0; index < reader->left; index++)
    {
        uint64_t kind;
        struct slice body;
        if (!read_pair (&cursor, &kind, &body))
            return refuse (error, "cut off, or a message of an unknown kind or length");
    }
    return cursor_left (&cursor) ? refuse (error, "bytes behind the last message") : 0;
}

int packet_next (struct packet_reader *reader, enum packet_kind *kind, union message_fields *fields,
                 struct message_error *error)
{
    if (reader->left == 0)
        return 0;
    reader->left--;
    uint64_t number;
    struct slice body;
    if (!read_pair (&reader->cursor, &number, &body))
        return refuse (error, "cut off");
    *kind = (enum packet_kind) number;
    static struct header *const no_headers = NULL; /* no gossip message has any */
    return message_decode (types[number], body, fields, no_headers, error) < 0 ? -1 : 1;
}
