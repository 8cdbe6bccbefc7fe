/* packet.h - the bytes of a gossip packet.
 *
 *   packet   msgpack array: [VERSION, sender (str), kind, body (bin), kind, body (bin), ...]
 *   kind     a number of enum packet_kind, which keeps its meaning when the catalog grows
 *   body     the message of that type, as message_encode() writes it
 *
 * A packet is checked from end to end before anything in it is acted on: version, count, kinds and lengths. Bodies are
 * decoded one by one as they are read. Nothing here allocates.
 */
#pragma once

#include "messages/cursor.h"
#include "messages/message.h"

enum
{
    PACKET_VERSION = 1,
    PACKET_BYTES_MAX = 16 * 1024,          /* bytes that we write into one packet; SWIM_PACKET_MAX is what we read */
    PACKET_BODY_MAX = 1024,                /* bytes of one body: more than the longest swim_member */
    PACKET_ITEM_MAX = 4 + PACKET_BODY_MAX, /* bytes of a kind and its body */
    PACKET_SENDER_MAX = 64,                /* bytes of a sender's id */
};

/* Numbers on the wire: they are never given another meaning. */
enum packet_kind
{
    PACKET_PING = 1,
    PACKET_PING_REQUEST = 2,
    PACKET_ACK = 3,
    PACKET_NACK = 4,
    PACKET_MEMBER = 5,
    PACKET_VERDICT = 6,
    PACKET_SYNC = 7,
    PACKET_TABLE = 8,
    PACKET_KINDS,
};

/* A packet that is being written. */
struct packet
{
    size_t length;   /* bytes written */
    uint16_t values; /* elements of the array */
    char bytes[PACKET_BYTES_MAX];
};

/* Begins a packet. sender is at most PACKET_SENDER_MAX bytes. */
void packet_begin (struct packet *packet, struct slice sender);

/* Appends a message. Returns false, and leaves the packet as it was, when it does not fit. */
bool packet_add (struct packet *packet, enum packet_kind kind, const union message_fields *fields);

/* Writes kind and body to out, in the form that packet_add_item() appends. Returns the bytes written. */
size_t packet_item (enum packet_kind kind, const union message_fields *fields, char out[PACKET_ITEM_MAX]);
bool packet_add_item (struct packet *packet, struct slice item);

/* The finished packet; the bytes are the packet's own. */
struct slice packet_end (struct packet *packet);

/* A packet that is being read. */
struct packet_reader
{
    struct slice sender;  /* points into the packet */
    struct cursor cursor; /* at the next message */
    size_t left;          /* messages to come */
};

/* Checks the whole packet's structure. Returns 0, or -1 with *error filled. */
int packet_open (struct packet_reader *reader, struct slice bytes, struct message_error *error);

/* Reads the next message. Returns 1, 0 at the end, or -1 with *error filled. Slices point into the packet. */
int packet_next (struct packet_reader *reader, enum packet_kind *kind, union message_fields *fields,
                 struct message_error *error);
