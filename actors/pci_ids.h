/* pci_ids.h - names of PCI vendors and devices, in the list that distributions ship as pci.ids.
 *
 * Its lines: `8086  Intel Corporation` for a vendor, then one tab, `1237  440FX …` for each of its devices; two tabs
 * for subsystems; `#` for comments; at the end come classes, which begin with `C `.
 */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

/* Finds the names; empty where the list has none. They are parts of the list. */
void pci_ids_find (struct slice list, unsigned vendor, unsigned device, struct slice *vendor_name,
                   struct slice *device_name);

/* Reads vendor and device out of a modalias: `pci:v00008086d00001237sv…`. */
bool pci_ids_of_modalias (struct slice modalias, unsigned *vendor, unsigned *device);
