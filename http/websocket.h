/* websocket.h - the server's side of a WebSocket: handshake, frames in, frames out (RFC 6455).
 *
 * Sans-I/O, on libwslay's frames. No extension and no subprotocol is spoken. Messages are never held: a message is
 * handed out in pieces as it comes, however long it is, and memory is some 5 KiB a connection.
 *
 *     websocket_next ─DATA, PING, PONG─▶ again ─MORE─▶ (more bytes) ... ─CLOSE or ERROR─▶ write a close frame, end
 */
#pragma once

#include "messages/message.h"

enum
{
    WEBSOCKET_ACCEPT_BYTES = 28, /* length of Sec-WebSocket-Accept */
    WEBSOCKET_HEADER_MAX = 10,   /* bytes before the payload of a frame of a server */
    WEBSOCKET_CONTROL_MAX = 125, /* payload of a ping, pong or close frame (RFC 6455 section 5.5) */
    WEBSOCKET_REASON_MAX = 123,  /* of them, the reason of a close frame */
    WEBSOCKET_CLOSE_FRAME_MAX = 2 + WEBSOCKET_CONTROL_MAX,
};

/* Codes of close frames (RFC 6455 section 7.4.1). */
enum websocket_code
{
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_NO_CODE = 1005, /* stands for a close frame without a code; never written */
    WEBSOCKET_NOT_TEXT = 1007,
    WEBSOCKET_FAILED = 1011, /* the server met an unexpected condition */
};

enum websocket_opcode
{
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_PING_FRAME = 9,
    WEBSOCKET_PONG_FRAME = 10,
};

enum websocket_event
{
    WEBSOCKET_MORE, /* all input was used */
    WEBSOCKET_DATA, /* a piece of a text or binary message */
    WEBSOCKET_PING, /* to be answered with a pong of the same payload */
    WEBSOCKET_PONG,
    WEBSOCKET_CLOSE, /* websocket_code() says with which code; nothing that follows counts */
    WEBSOCKET_ERROR, /* the client broke the protocol: websocket_code() says what to close with, websocket_error() why
                      */
};

/* ------------------------------------------------------------------------------------------------------- handshake */

/* Checks the head of a request for a WebSocket (RFC 6455 section 4.2.1). Returns NULL, or what is wrong with it, in
 * words; static storage. */
const char *websocket_handshake_error (const struct message_request *request);

/* Computes Sec-WebSocket-Accept of a valid Sec-WebSocket-Key; no NUL. Returns false when OpenSSL cannot. */
bool websocket_accept (struct slice key, char accept[WEBSOCKET_ACCEPT_BYTES]);

/* Whether the page that asks (Origin, such as `https://host:port`) comes from the host that is asked. */
bool websocket_is_same_origin (struct slice origin, struct slice host);

/* ---------------------------------------------------------------------------------------------------------- frames */

struct websocket;

/* NULL when there is no memory. */
struct websocket *websocket_new (void);
void websocket_destroy (struct websocket **websocket);

/* Takes from the input up to the next event. *payload is valid until the next call. Text is checked to be UTF-8, across
 * pieces and fragments. After CLOSE or ERROR all input is thrown away. */
enum websocket_event websocket_next (struct websocket *websocket, struct slice *input, struct slice *payload);

unsigned websocket_code (const struct websocket *websocket);
const char *websocket_error (const struct websocket *websocket);

/* The length of a frame with so many bytes of payload. */
size_t websocket_frame_bytes (size_t payload);

/* Writes a whole frame to out, which has room for websocket_frame_bytes (payload.len). Returns that length. */
size_t websocket_write (struct websocket *websocket, enum websocket_opcode opcode, struct slice payload, char *out);

/* Writes a close frame to out, which has room for WEBSOCKET_CLOSE_FRAME_MAX bytes. Of the reason goes what is UTF-8,
 * up to the last character that fits. Returns the frame's length. */
size_t websocket_write_close (struct websocket *websocket, unsigned code, struct slice reason, char *out);
