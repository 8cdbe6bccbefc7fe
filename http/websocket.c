/* websocket.c - see websocket.h.
 *
 * libwslay reads and writes the frames: lengths, masks, no fragmented and no long control frames. What a frame means
 * for the messages is looked at here.
 */
#include "websocket.h"

#include "utf8_text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <wslay/wslay.h>

enum
{
    KEY_BYTES = 24,     /* base64 of 16 bytes */
    KEY_RAW_BYTES = 16, /* RFC 6455 section 4.1 */
    SHA1_BYTES = 20,
    CODE_BYTES = 2,
};

struct websocket
{
    wslay_frame_context_ptr frames;
    struct slice input; /* what is left of the piece in hand */
    char *out;          /* where the frame that is written goes */

    bool within_frame, within_message, is_text;
    uint64_t offset;       /* of the frame in progress: payload bytes so far */
    bool over;             /* CLOSE or ERROR was said */
    struct utf8_text text; /* of the message in progress */
    char control[WEBSOCKET_CONTROL_MAX];
    size_t control_length;
    unsigned code;
    const char *error;
};

/* ------------------------------------------------------------------------------------------------------- handshake */

static bool key_is_valid (struct slice key)
{
    unsigned char raw[KEY_BYTES];
    return key.len == KEY_BYTES && memchr (key.at, '=', KEY_BYTES) == key.at + KEY_BYTES - 2 &&
           key.at[KEY_BYTES - 1] == '=' &&
           EVP_DecodeBlock (raw, (const unsigned char *) key.at, KEY_BYTES) == KEY_RAW_BYTES + 2;
}

/* Whether one of the comma-separated protocols is websocket. */
static bool asks_for_websocket (struct slice upgrade)
{
    while (upgrade.len)
    {
        const char *comma = memchr (upgrade.at, ',', upgrade.len);
        size_t length = comma ? (size_t) (comma - upgrade.at) : upgrade.len;
        struct slice protocol = slice_of (upgrade.at, length);
        while (protocol.len && (protocol.at[0] == ' ' || protocol.at[0] == '\t'))
            protocol = slice_skip (protocol, 1);
        while (protocol.len && (protocol.at[protocol.len - 1] == ' ' || protocol.at[protocol.len - 1] == '\t'))
            protocol.len--;
        if (slice_equal_nocase (protocol, SLICE ("websocket")))
            return true;
        upgrade = slice_skip (upgrade, comma ? length + 1 : length);
    }
    return false;
}

const char *websocket_handshake_error (const struct message_request *request)
{
    if (!asks_for_websocket (request->upgrade))
        return "this is a WebSocket: ask with Connection: Upgrade and Upgrade: websocket";
    if (request->framing != FRAMING_NONE)
        return "a WebSocket handshake has no body";
    if (!slice_equal (headers_find (request->headers, SLICE ("Sec-WebSocket-Version")), SLICE ("13")))
        return "Sec-WebSocket-Version must be 13";
    if (!key_is_valid (headers_find (request->headers, SLICE ("Sec-WebSocket-Key"))))
        return "Sec-WebSocket-Key must be 16 bytes in base64";
    return NULL;
}

bool websocket_accept (struct slice key, char accept[WEBSOCKET_ACCEPT_BYTES])
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */
    char text[KEY_BYTES + sizeof magic - 1];
    unsigned char digest[SHA1_BYTES], encoded[WEBSOCKET_ACCEPT_BYTES + 1];
    if (key.len != KEY_BYTES)
        return false;
    memcpy (text, key.at, KEY_BYTES);
    memcpy (text + KEY_BYTES, magic, sizeof magic - 1);
    if (!EVP_Digest (text, sizeof text, digest, NULL, EVP_sha1 (), NULL))
        return false;
    EVP_EncodeBlock (encoded, digest, sizeof digest);
    memcpy (accept, encoded, WEBSOCKET_ACCEPT_BYTES);
    return true;
}

bool websocket_is_same_origin (struct slice origin, struct slice host)
{
    const char *scheme_end = memmem (origin.at, origin.len, "://", 3);
    if (!scheme_end)
        return false;
    return slice_equal_nocase (slice_skip (origin, (size_t) (scheme_end - origin.at) + 3), host);
}

/* -------------------------------------------------------------------------------------------------- begin and end */

static ssize_t give_input (uint8_t *buffer, size_t length, int flags, void *self)
{
    (void) flags;
    struct websocket *websocket = self;
    if (websocket->input.len < length)
        length = websocket->input.len;
    if (length == 0)
        return -1; /* nothing now */
    memcpy (buffer, websocket->input.at, length);
    websocket->input = slice_skip (websocket->input, length);
    return (ssize_t) length;
}

static ssize_t take_output (const uint8_t *bytes, size_t length, int flags, void *self)
{
    (void) flags;
    struct websocket *websocket = self;
    memcpy (websocket->out, bytes, length);
    websocket->out += length;
    return (ssize_t) length;
}

struct websocket *websocket_new (void)
{
    static const struct wslay_frame_callbacks callbacks = {.send_callback = take_output, .recv_callback = give_input};
    struct websocket *websocket = calloc (1, sizeof *websocket);
    if (websocket && wslay_frame_context_init (&websocket->frames, &callbacks, websocket) != 0)
    {
        free (websocket);
        websocket = NULL;
    }
    return websocket;
}

void websocket_destroy (struct websocket **websocket_p)
{
    struct websocket *websocket = *websocket_p;
    if (!websocket)
        return;
    wslay_frame_context_free (websocket->frames);
    free (websocket);
    *websocket_p = NULL;
}

/* ------------------------------------------------------------------------------------------------------ frames in */

static enum websocket_event fail (struct websocket *websocket, unsigned code, const char *error)
{
    websocket->over = true;
    websocket->code = code;
    websocket->error = error;
    return WEBSOCKET_ERROR;
}

/* What is wrong with a frame that begins, or NULL. */
static const char *frame_error (const struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    if (frame->rsv)
        return "a reserved bit is set, and no extension was agreed on";
    if (!frame->mask)
        return "a client must mask its frames";
    switch (frame->opcode)
    {
    case WSLAY_TEXT_FRAME:
    case WSLAY_BINARY_FRAME:
        return websocket->within_message ? "a message begins within another" : NULL;
    case WSLAY_CONTINUATION_FRAME:
        return websocket->within_message ? NULL : "a continuation without a message";
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return NULL;
    default:
        return "the opcode is reserved";
    }
}

/* Codes that may be on the wire (RFC 6455 section 7.4, and the registry that it founded). */
static bool code_is_valid (unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum websocket_event on_close (struct websocket *websocket, struct slice *payload)
{
    struct slice body = slice_of (websocket->control, websocket->control_length);
    struct utf8_text text = {.count = 0};
    size_t dropped = 0;
    websocket->over = true;
    websocket->code = WEBSOCKET_NO_CODE;
    *payload = SLICE ("");
    if (body.len == 0)
        return WEBSOCKET_CLOSE;
    if (body.len < CODE_BYTES)
        return fail (websocket, WEBSOCKET_PROTOCOL_ERROR, "a close frame with half a code");
    unsigned code = (unsigned) (uint8_t) body.at[0] << 8 | (uint8_t) body.at[1];
    if (!code_is_valid (code))
        return fail (websocket, WEBSOCKET_PROTOCOL_ERROR, "a close frame with a code that is none");
    *payload = slice_skip (body, CODE_BYTES);
    utf8_text_filter (&text, *payload, NULL, &dropped);
    if (dropped || !utf8_text_is_complete (&text))
        return fail (websocket, WEBSOCKET_NOT_TEXT, "the reason of a close frame is not UTF-8");
    websocket->code = code;
    return WEBSOCKET_CLOSE;
}

/* A piece of a control frame; complete: its last. */
static enum websocket_event on_control (struct websocket *websocket, const struct wslay_frame_iocb *frame,
                                        bool complete, struct slice *payload)
{
    memcpy (websocket->control + websocket->control_length, frame->data, frame->data_length);
    websocket->control_length += frame->data_length;
    if (!complete)
        return WEBSOCKET_MORE;
    if (frame->opcode == WSLAY_CONNECTION_CLOSE)
        return on_close (websocket, payload);
    *payload = slice_of (websocket->control, websocket->control_length);
    return frame->opcode == WSLAY_PING ? WEBSOCKET_PING : WEBSOCKET_PONG;
}

/* A piece of a message; complete: the last of its frame. */
static enum websocket_event on_data (struct websocket *websocket, const struct wslay_frame_iocb *frame, bool complete,
                                     struct slice *payload)
{
    bool last = complete && frame->fin;
    *payload = slice_of ((const char *) frame->data, frame->data_length);
    if (websocket->is_text)
    {
        size_t dropped = 0;
        utf8_text_filter (&websocket->text, *payload, NULL, &dropped);
        if (dropped || (last && !utf8_text_is_complete (&websocket->text)))
            return fail (websocket, WEBSOCKET_NOT_TEXT, "a text message is not UTF-8; send a binary one");
    }
    websocket->within_message = !last;
    return payload->len ? WEBSOCKET_DATA : WEBSOCKET_MORE;
}

static enum websocket_event on_piece (struct websocket *websocket, const struct wslay_frame_iocb *frame,
                                      struct slice *payload)
{
    bool control = wslay_is_ctrl_frame (frame->opcode);
    if (!websocket->within_frame)
    {
        const char *error = frame_error (websocket, frame);
        if (error)
            return fail (websocket, WEBSOCKET_PROTOCOL_ERROR, error);
        websocket->within_frame = true;
        websocket->offset = 0;
        websocket->control_length = 0;
        if (!control && frame->opcode != WSLAY_CONTINUATION_FRAME)
        {
            websocket->is_text = frame->opcode == WSLAY_TEXT_FRAME;
            websocket->text = (struct utf8_text){.count = 0};
        }
    }
    websocket->offset += frame->data_length;
    bool complete = websocket->offset == frame->payload_length;
    websocket->within_frame = !complete;
    return control ? on_control (websocket, frame, complete, payload) : on_data (websocket, frame, complete, payload);
}

enum websocket_event websocket_next (struct websocket *websocket, struct slice *input, struct slice *payload)
{
    enum websocket_event event = WEBSOCKET_MORE;
    websocket->input = *input;
    *payload = SLICE ("");
    while (event == WEBSOCKET_MORE && !websocket->over)
    {
        struct wslay_frame_iocb frame;
        ssize_t length = wslay_frame_recv (websocket->frames, &frame);
        if (length >= 0)
            event = on_piece (websocket, &frame, payload);
        else if (length != WSLAY_ERR_WANT_READ)
            event = fail (
                websocket, WEBSOCKET_PROTOCOL_ERROR,
                "a control frame is fragmented or longer than 125 bytes, or a length is not in its shortest form");
        else if (websocket->input.len == 0)
            break;
    }
    *input = websocket->over ? SLICE ("") : websocket->input;
    if (event == WEBSOCKET_ERROR)
        *payload = SLICE ("");
    return event;
}

unsigned websocket_code (const struct websocket *websocket)
{
    return websocket->code;
}

const char *websocket_error (const struct websocket *websocket)
{
    return websocket->error;
}

/* ----------------------------------------------------------------------------------------------------- frames out */

size_t websocket_frame_bytes (size_t payload)
{
    return payload + (payload <= WEBSOCKET_CONTROL_MAX ? 2 : payload <= UINT16_MAX ? 4 : WEBSOCKET_HEADER_MAX);
}

size_t websocket_write (struct websocket *websocket, enum websocket_opcode opcode, struct slice payload, char *out)
{
    struct wslay_frame_iocb frame = {.fin = 1,
                                     .opcode = (uint8_t) opcode,
                                     .payload_length = payload.len,
                                     .data = (const uint8_t *) payload.at,
                                     .data_length = payload.len};
    websocket->out = out;
    wslay_frame_send (websocket->frames, &frame);
    return (size_t) (websocket->out - out);
}

size_t websocket_write_close (struct websocket *websocket, unsigned code, struct slice reason, char *out)
{
    char body[WEBSOCKET_CONTROL_MAX] = {(char) (code >> 8), (char) code}, text[256 + UTF8_TEXT_HELD_MAX];
    struct utf8_text state = {.count = 0};
    size_t length = 0, dropped = 0;
    if (code != WEBSOCKET_NO_CODE)
    {
        if (reason.len > 256)
            reason.len = 256;
        length = utf8_text_filter (&state, reason, text, &dropped);
        length = utf8_text_cut (slice_of (text, length), WEBSOCKET_REASON_MAX);
        memcpy (body + CODE_BYTES, text, length);
        length += CODE_BYTES;
    }
    return websocket_write (websocket, (enum websocket_opcode) WSLAY_CONNECTION_CLOSE, slice_of (body, length), out);
}
