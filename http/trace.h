/* trace.h - W3C Trace Context: the trace id of a request. */
#pragma once

#include "messages/message.h"

/* Reads the trace id out of a traceparent value (version 00 or later). False when it is malformed or all zero. */
bool trace_from_parent (struct slice value, uint8_t trace[TRACE_BYTES]);

/* Writes the id as 32 lower-case hexadecimal digits, no NUL. */
void trace_to_hex (const uint8_t trace[TRACE_BYTES], char out[2 * TRACE_BYTES]);

/* Reads 32 hexadecimal digits. */
bool trace_from_hex (struct slice hex, uint8_t trace[TRACE_BYTES]);
