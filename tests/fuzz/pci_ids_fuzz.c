/* pci_ids_fuzz - the list of PCI names and modaliases: names lie within the list, on one line. */
#include "actors/pci_ids.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    char *exact = malloc (size ? size : 1);
    must (exact);
    memcpy (exact, data, size);
    struct slice list = slice_of (exact, size), names[2];
    unsigned vendor = 0x8086, device = 0x1237;
    pci_ids_find (list, vendor, device, &names[0], &names[1]);
    for (int index = 0; index < 2; index++)
        if (names[index].len)
        {
            must_be_within (names[index], exact, size);
            must (!memchr (names[index].at, '\n', names[index].len));
        }
    must (names[1].len == 0 || names[0].len == 0 || names[0].at < names[1].at);
    pci_ids_of_modalias (list, &vendor, &device);
    free (exact);
    return 0;
}
