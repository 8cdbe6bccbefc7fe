/* actors_key_file_test - the registered key on disk: whole or not at all, the owner's alone, no link followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/key_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char s_folder[] = "/tmp/shoal-test-XXXXXX";
static char s_file[64], s_temporary[80];

static int make_folder (void **state)
{
    (void) state;
    strcpy (s_folder + sizeof s_folder - 7, "XXXXXX");
    if (!mkdtemp (s_folder))
        return -1;
    snprintf (s_file, sizeof s_file, "%s/registered_key.der", s_folder);
    snprintf (s_temporary, sizeof s_temporary, "%s.new", s_file);
    return 0;
}

static int drop_folder (void **state)
{
    (void) state;
    rmdir (s_temporary); /* whichever it is */
    unlink (s_temporary);
    rmdir (s_file);
    unlink (s_file);
    return rmdir (s_folder);
}

static size_t entries (void)
{
    DIR *folder = opendir (s_folder);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir (folder));)
        count += entry->d_name[0] != '.';
    closedir (folder);
    return count;
}

static void expect_key (const char *text)
{
    uint8_t der[200];
    assert_int_equal (key_file_read (s_folder, der, sizeof der), strlen (text));
    assert_memory_equal (der, text, strlen (text));
}

static void is_read_as_it_was_written (void **state)
{
    (void) state;
    uint8_t der[200];
    assert_int_equal (key_file_read (s_folder, der, sizeof der), 0);
    assert_int_equal (key_file_write (s_folder, slice_of ("0\0key\n", 6)), 0);
    assert_int_equal (key_file_read (s_folder, der, sizeof der), 6);
    assert_memory_equal (der, "0\0key\n", 6);
    assert_int_equal (entries (), 1);
    /* A shorter one replaces it wholly. */
    assert_int_equal (key_file_write (s_folder, SLICE ("b")), 0);
    expect_key ("b");
    assert_int_equal (entries (), 1);
}

static void is_the_owners_alone (void **state)
{
    (void) state;
    struct stat status;
    mode_t mask = umask (0);
    assert_int_equal (key_file_write (s_folder, SLICE ("key")), 0);
    umask (mask);
    assert_int_equal (stat (s_file, &status), 0);
    assert_int_equal (status.st_mode & 07777, 0600);
}

static void is_removed (void **state)
{
    (void) state;
    uint8_t der[8];
    assert_int_equal (key_file_remove (s_folder), 0); /* it is not there */
    assert_int_equal (key_file_write (s_folder, SLICE ("key")), 0);
    assert_int_equal (key_file_remove (s_folder), 0);
    assert_int_equal (key_file_read (s_folder, der, sizeof der), 0);
    assert_int_equal (entries (), 0);
}

/* What an agent left that was killed while it wrote does not matter. */
static void an_old_temporary_file_is_replaced (void **state)
{
    (void) state;
    int fd = open (s_temporary, O_WRONLY | O_CREAT, 0600);
    assert_true (fd >= 0 && write (fd, "half of a key that is longer", 28) == 28);
    close (fd);
    assert_int_equal (key_file_write (s_folder, SLICE ("key")), 0);
    expect_key ("key");
    assert_int_equal (entries (), 1);
}

/* When it cannot be written the old one stays, and nothing else is left. */
static void a_failure_leaves_the_old_one (void **state)
{
    (void) state;
    assert_int_equal (key_file_write (s_folder, SLICE ("old")), 0);
    assert_int_equal (mkdir (s_temporary, 0700), 0); /* in its way, for root too */
    assert_int_equal (key_file_write (s_folder, SLICE ("new")), -1);
    assert_string_equal (key_file_error (), strerror (EISDIR));
    expect_key ("old");
    rmdir (s_temporary);
    assert_int_equal (entries (), 1);
}

static void a_rename_that_fails_leaves_nothing (void **state)
{
    (void) state;
    assert_int_equal (mkdir (s_file, 0700), 0);
    assert_int_equal (key_file_write (s_folder, SLICE ("new")), -1);
    assert_string_equal (key_file_error (), strerror (EISDIR));
    assert_int_equal (entries (), 1);
}

/* Who may write to the folder shall not have other files read or overwritten by root. */
static void no_link_is_followed (void **state)
{
    (void) state;
    char target[80], bytes[8];
    uint8_t der[8];
    snprintf (target, sizeof target, "%s-target", s_folder);
    int fd = open (target, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true (fd >= 0 && write (fd, "precious", 8) == 8);
    assert_int_equal (symlink (target, s_file), 0);
    assert_int_equal (symlink (target, s_temporary), 0);
    assert_int_equal (key_file_read (s_folder, der, sizeof der), -1);
    assert_string_equal (key_file_error (), strerror (ELOOP));
    assert_int_equal (key_file_write (s_folder, SLICE ("key")), -1);
    assert_int_equal (pread (fd, bytes, sizeof bytes, 0), 8);
    assert_memory_equal (bytes, "precious", 8);
    close (fd);
    unlink (target);
}

static void a_missing_folder_is_no_key_and_no_place_for_one (void **state)
{
    (void) state;
    uint8_t der[8];
    char missing[80], path[PATH_MAX + 10];
    snprintf (missing, sizeof missing, "%s/none", s_folder);
    assert_int_equal (key_file_read (missing, der, sizeof der), 0);
    assert_int_equal (key_file_remove (missing), 0);
    assert_int_equal (key_file_write (missing, SLICE ("key")), -1);
    assert_string_equal (key_file_error (), strerror (ENOENT));
    assert_int_equal (key_file_read ("/dev/null", der, sizeof der), 0); /* not even a folder */

    memset (path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal (key_file_read (path, der, sizeof der), -1);
    assert_string_equal (key_file_error (), strerror (ENAMETOOLONG));
    assert_int_equal (key_file_write (path, SLICE ("key")), -1);
    assert_int_equal (key_file_remove (path), -1);
}

/* A file that is longer than any key fills the buffer, and no more. */
static void reads_no_more_than_fits (void **state)
{
    (void) state;
    uint8_t der[5] = {0, 0, 0, 0, 9};
    assert_int_equal (key_file_write (s_folder, SLICE ("0123456789")), 0);
    assert_int_equal (key_file_read (s_folder, der, 4), 4);
    assert_memory_equal (der, "0123", 4);
    assert_int_equal (der[4], 9);
}

int main (void)
{
#define TEST(name) cmocka_unit_test_setup_teardown (name, make_folder, drop_folder)
    const struct CMUnitTest tests[] = {
        TEST (is_read_as_it_was_written),
        TEST (is_the_owners_alone),
        TEST (is_removed),
        TEST (an_old_temporary_file_is_replaced),
        TEST (a_failure_leaves_the_old_one),
        TEST (a_rename_that_fails_leaves_nothing),
        TEST (no_link_is_followed),
        TEST (a_missing_folder_is_no_key_and_no_place_for_one),
        TEST (reads_no_more_than_fits),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
