/* actors_pci_ids_test - names of PCI devices in a list as distributions ship it, and numbers in a modalias. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/pci_ids.h"

static const char s_list[] = "#\tList of PCI ID's\n"
                             "\n"
                             "0010  Allied Telesis, Inc\n"
                             "\t8139  AT-2500TX V3 Ethernet\n"
                             "# nv: a comment between\n"
                             "1af4  Red Hat, Inc.\n"
                             "\t1000  Virtio network device\n"
                             "\t\t1af4 0001  a subsystem\n"
                             "\t1af4  a device with its vendor's number\n"
                             "8086  Intel Corporation\n"
                             "\t1237  440FX - 82441FX PMC [Natoma]\n"
                             "\t 999  malformed\n"
                             "\tABCD  upper case\n"
                             "C 01  Mass storage controller\n"
                             "\t00  SCSI storage controller\n"
                             "ffff  Illegal Vendor ID";

static void finds_names (void **state)
{
    (void) state;
    static const struct
    {
        unsigned vendor, device;
        const char *vendor_name, *device_name;
    } rows[] = {
        {0x8086, 0x1237, "Intel Corporation", "440FX - 82441FX PMC [Natoma]"},
        {0x8086, 0xabcd, "Intel Corporation", "upper case"},
        {0x8086, 0x1000, "Intel Corporation", ""}, /* another vendor's */
        {0x8086, 0x0000, "Intel Corporation", ""}, /* a class */
        {0x1af4, 0x1000, "Red Hat, Inc.", "Virtio network device"},
        {0x1af4, 0x0001, "Red Hat, Inc.", ""}, /* a subsystem */
        {0x1af4, 0x1af4, "Red Hat, Inc.", "a device with its vendor's number"},
        {0x0010, 0x8139, "Allied Telesis, Inc", "AT-2500TX V3 Ethernet"},
        {0x8139, 0x0001, "", ""}, /* a device is no vendor */
        {0xffff, 0x0001, "Illegal Vendor ID", ""},
        {0x18086, 0x1237, "", ""}, /* more than four digits */
        {0x0c01, 0x0000, "", ""},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct slice vendor, device;
        pci_ids_find (SLICE (s_list), rows[row].vendor, rows[row].device, &vendor, &device);
        if (!slice_equal (vendor, slice_from (rows[row].vendor_name)) ||
            !slice_equal (device, slice_from (rows[row].device_name)))
            fail_msg ("%x %x: %.*s, %.*s", rows[row].vendor, rows[row].device, (int) vendor.len, vendor.at,
                      (int) device.len, device.at);
    }
    struct slice vendor, device;
    pci_ids_find (SLICE (""), 1, 1, &vendor, &device);
    assert_int_equal (vendor.len + device.len, 0);
}

static void reads_numbers (void **state)
{
    (void) state;
    unsigned vendor, device;
    assert_true (
        pci_ids_of_modalias (SLICE ("pci:v00008086d00001237sv00001AF4sd00001100bc06sc00i00"), &vendor, &device));
    assert_int_equal (vendor, 0x8086);
    assert_int_equal (device, 0x1237);
    assert_true (pci_ids_of_modalias (SLICE ("pci:vABCDEF01d0000abcd"), &vendor, &device));
    assert_int_equal (vendor, 0xabcdef01);
    assert_int_equal (device, 0xabcd);
    static const char *const wrong[] = {"",
                                        "pci:",
                                        "usb:v00008086d00001237",
                                        "pci:v00008086d0000123",
                                        "pci:v00008086x00001237",
                                        "pci:v0000808gd00001237",
                                        "pci:v00008086d0000123 "};
    for (size_t row = 0; row < sizeof wrong / sizeof *wrong; row++)
        assert_false (pci_ids_of_modalias (slice_from (wrong[row]), &vendor, &device));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (finds_names),
        cmocka_unit_test (reads_numbers),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
