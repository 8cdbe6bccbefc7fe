/* swim_fuzz - packets into a machine that knows two members. The input is a sequence of: time that passes (one byte, in
 * 10 ms), length (two bytes), packet.
 *
 * Whatever comes, the machine stays within its limits, never sends an unreadable packet, and goes on ticking.
 */
#include "gossip/packet.h"
#include "gossip/swim.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void check (bool holds, const char *what)
{
    if (holds)
        return;
    fprintf (stderr, "swim_fuzz: %s\n", what);
    abort ();
}

static uint32_t nonce; /* of the latest ping that was sent */

static void on_send (void *context, const char *address, uint16_t port, struct slice bytes)
{
    (void) context;
    check (address[0] && strlen (address) <= 64 && port, "a packet to nowhere");
    check (bytes.len <= SWIM_PACKET_MAX, "a packet that is too long");
    struct packet_reader reader;
    struct message_error error;
    enum packet_kind kind;
    union message_fields fields;
    check (packet_open (&reader, bytes, &error) == 0, "an unreadable packet");
    int result;
    while ((result = packet_next (&reader, &kind, &fields, &error)) > 0)
        if (kind == PACKET_PING)
            nonce = (uint32_t) fields.swim_ping.nonce;
    check (result == 0, "an unreadable message");
}

static void on_changed (void *context, const struct swim_member *member)
{
    (void) context;
    check (member->identity.id[0] && strcmp (member->identity.id, "own") != 0, "a report of nobody or of ourselves");
}

static void befriend (struct swim *swim, const char *id, const char *address, uint64_t now)
{
    struct packet packet;
    packet_begin (&packet, slice_from (id));
    packet_add (&packet, PACKET_MEMBER,
                &(union message_fields){.swim_member = {.id = slice_from (id),
                                                        .instance = 100,
                                                        .address = slice_from (address),
                                                        .port = 9001,
                                                        .gossip_port = 7946}});
    swim_receive (swim, address, packet_end (&packet), now);
    packet_begin (&packet, slice_from (id));
    packet_add (&packet, PACKET_ACK, &(union message_fields){.swim_ack = {.nonce = nonce}});
    swim_receive (swim, address, packet_end (&packet), now);
}

static void check_members (const struct swim *swim)
{
    size_t count = swim_count (swim);
    check (count >= 1 && count <= SWIM_MEMBERS_MAX, "too many members, or none");
    check (strcmp (swim_at (swim, 0)->identity.id, "own") == 0, "the first member is not the own one");
    for (size_t index = 1; index < count; index++)
    {
        enum swim_state state = swim_at (swim, index)->state;
        check (state == SWIM_JOINING || state == SWIM_ALIVE || state == SWIM_SUSPECT, "a tombstone is listed");
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct swim_parameters parameters = swim_standard ();
    static const struct swim_identity own = {
        .id = "own", .instance = 100, .address = "10.0.0.1", .port = 9001, .gossip_port = 7946};
    static const struct swim_callbacks callbacks = {.send = on_send, .changed = on_changed};
    uint64_t now = 1000;
    struct swim *swim = swim_new (&parameters, &own, &callbacks, NULL, now, 1);
    befriend (swim, "a", "10.0.0.2", now);
    befriend (swim, "b", "10.0.0.3", now);
    while (size >= 3)
    {
        uint64_t end = now + data[0] * UINT64_C (10);
        size_t length = (size_t) data[1] << 8 | data[2];
        data += 3;
        size -= 3;
        length = length < size ? length : size;
        for (uint64_t due = swim_tick (swim, now); due <= end; due = swim_tick (swim, now))
        {
            check (due > now, "a tick that does not pass");
            now = due;
        }
        now = end;
        /* A block of its own, so that a sanitizer sees a read past the packet. */
        char *block = malloc (length ? length : 1);
        check (block != NULL, "no memory");
        memcpy (block, data, length);
        swim_receive (swim, "10.0.0.9", slice_of (length ? block : block + 1, length), now);
        free (block);
        data += length;
        size -= length;
    }
    swim_tick (swim, now);
    check_members (swim);
    swim_leave (swim, now);
    swim_tick (swim, now);
    swim_destroy (&swim);
    return 0;
}
