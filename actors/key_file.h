/* key_file.h - the registered key in the data folder: written whole or not at all, readable by its owner alone. */
#pragma once

#include "messages/slice.h"

#include <stdint.h>
#include <sys/types.h>

/* Each returns -1 on failure; key_file_error() then says why. The file is small and touched once in an agent's life, so
 * that the few milliseconds that a disk may take are spent on the caller's thread. */

/* Writes the DER bytes, atomically: a temporary file, synced, renamed. Mode 0600. */
int key_file_write (const char *folder, struct slice der);

/* Reads them. Returns the length, 0 when there is no such file. */
ssize_t key_file_read (const char *folder, uint8_t *der, size_t size);

/* Removes the file; that it is not there is a success. */
int key_file_remove (const char *folder);

/* The last failure in words: of this thread, from errno. */
const char *key_file_error (void);
