/* actors_beneath_test - nothing outside of a folder can be opened, by the kernel's resolution and by the walk by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/beneath.h"
#include "actors/ensure.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum
{
    RACE_TIME = 700, /* ms for each race */
};

/* A folder `in` with files, beside it a folder `out` with a secret. */
static char s_folder[64];
static int s_in;

static void make (const char *path, const char *content)
{
    int fd = openat (s_in, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    ensure (fd >= 0 && write (fd, content, strlen (content)) == (ssize_t) strlen (content));
    close (fd);
}

static void link_to (const char *path, const char *target)
{
    ensure (symlinkat (target, s_in, path) == 0);
}

static int set_up (void **state)
{
    (void) state;
    strcpy (s_folder, "/tmp/shoal-test-XXXXXX");
    ensure (mkdtemp (s_folder) != NULL);
    char path[128], outside[128];
    snprintf (path, sizeof path, "%s/in", s_folder);
    snprintf (outside, sizeof outside, "%s/out", s_folder);
    ensure (mkdir (path, 0755) == 0 && mkdir (outside, 0755) == 0);
    s_in = open (path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    ensure (s_in >= 0);
    make ("../out/secret", "secret");
    make ("file", "file");
    ensure (mkdirat (s_in, "a", 0755) == 0 && mkdirat (s_in, "a/b", 0755) == 0);
    make ("a/b/deep", "deep");
    make ("secret", "mine");
    link_to ("to_file", "file");
    link_to ("a/up", "../file");
    link_to ("a/b/up", "../../a/b/deep");
    link_to ("to_folder", "a/b");
    link_to ("slash", "a/b/");
    link_to ("dangling", "missing");
    link_to ("loop", "loop");
    link_to ("out_relative", "../out");
    link_to ("out_deep", "a/b/../../../out/secret");
    link_to ("out_chain", "out_relative");
    link_to ("absolute", outside);
    link_to ("root", "/");
    link_to ("absolute_in", "/a/b/deep");
    link_to ("proc", "/proc/self/root");
    link_to ("self_slash", "file/");
    return 0;
}

static int remove_entry (const char *path, const struct stat *information, int kind, struct FTW *position)
{
    (void) information, (void) kind, (void) position;
    return remove (path);
}

static int tear_down (void **state)
{
    (void) state;
    close (s_in);
    nftw (s_folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* The content of the file, or the error's name. */
static const char *content_of (const struct beneath *beneath, const char *path)
{
    static char text[64];
    int fd = beneath_open (beneath, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return strerrorname_np (errno);
    ssize_t length = read (fd, text, sizeof text - 1);
    close (fd);
    if (length < 0)
        return strerrorname_np (errno);
    text[length] = '\0';
    return text;
}

/* What is not resolved is refused; with which error may depend on who resolves. */
static const struct
{
    const char *path, *strict, *rooted; /* "-": any error */
} s_paths[] = {
    {"file", "file", "file"},
    {"/file", "file", "file"},
    {"//a//b/./deep", "deep", "deep"},
    {"to_file", "file", "file"},
    {"a/up", "file", "file"},
    {"a/b/up", "deep", "deep"},
    {"to_folder/deep", "deep", "deep"},
    {"to_folder/up", "deep", "deep"},
    {"slash/deep", "deep", "deep"},
    {"a/../file", "file", "file"},
    {"a/b/../../file", "file", "file"},
    {"to_folder/../b/deep", "deep", "deep"},
    {"missing", "ENOENT", "ENOENT"},
    {"missing/x", "ENOENT", "ENOENT"},
    {"dangling", "ENOENT", "ENOENT"},
    {"file/x", "ENOTDIR", "ENOTDIR"},
    {"file/", "ENOTDIR", "ENOTDIR"},
    {"self_slash", "ENOTDIR", "ENOTDIR"},
    {"loop", "ELOOP", "ELOOP"},
    {"loop/x", "ELOOP", "ELOOP"},
    {"a", "EISDIR", "EISDIR"},
    {"", "EISDIR", "EISDIR"},
    {"/", "EISDIR", "EISDIR"},
    /* Out, in all ways. */
    {"..", "EXDEV", "EISDIR"},
    {"../out/secret", "EXDEV", "-"},
    {"../in/file", "EXDEV", "-"},
    {"a/../../out/secret", "EXDEV", "-"},
    {"../secret", "EXDEV", "mine"}, /* above the root is the root */
    {"../../../../secret", "EXDEV", "mine"},
    {"out_relative/secret", "EXDEV", "-"},
    {"out_deep", "EXDEV", "-"},
    {"out_chain/secret", "EXDEV", "-"},
    {"absolute/secret", "EXDEV", "-"},
    {"absolute_in", "EXDEV", "deep"},
    {"root/file", "EXDEV", "file"},
    {"root/etc/passwd", "EXDEV", "-"},
    {"root/../../etc/passwd", "EXDEV", "-"},
    {"proc/etc/passwd", "EXDEV", "-"},
};

static void expect_paths (enum beneath_scope scope, bool walk)
{
    struct beneath beneath = {s_in, scope, walk};
    for (size_t row = 0; row < sizeof s_paths / sizeof *s_paths; row++)
    {
        const char *wanted = scope == BENEATH_STRICT ? s_paths[row].strict : s_paths[row].rooted,
                   *content = content_of (&beneath, s_paths[row].path);
        if (wanted[0] == '-' ? content[0] != 'E' : strcmp (content, wanted) != 0)
            fail_msg ("%s, scope %d, walk %d: %s instead of %s", s_paths[row].path, scope, walk, content, wanted);
    }
}

static void resolves_paths (void **state)
{
    (void) state;
    if (!beneath_kernel_resolves ())
        print_message ("SKIPPED: no openat2() here; only the walk by hand is tested\n");
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
    {
        expect_paths (BENEATH_STRICT, walk);
        expect_paths (BENEATH_ROOTED, walk);
    }
}

static void does_not_follow_magic_links (void **state)
{
    (void) state;
    int proc = open ("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true (proc >= 0);
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
        for (int scope = BENEATH_STRICT; scope <= BENEATH_ROOTED; scope++)
        {
            struct beneath beneath = {proc, (enum beneath_scope) scope, walk};
            char path[64];
            snprintf (path, sizeof path, "fd/%d", s_in);
            assert_int_equal (beneath_open (&beneath, "root/etc", O_PATH), -1);
            assert_int_equal (beneath_open (&beneath, "cwd", O_PATH | O_DIRECTORY), -1);
            assert_int_equal (beneath_open (&beneath, path, O_PATH), -1);
            int fd = beneath_open (&beneath, "status", O_RDONLY);
            assert_true (fd >= 0);
            close (fd);
        }
    close (proc);
}

static void knows_its_limits (void **state)
{
    (void) state;
    char path[2 * PATH_MAX];
    memset (path, 'n', sizeof path);
    path[NAME_MAX + 1] = '\0';
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
    {
        struct beneath beneath = {s_in, BENEATH_STRICT, walk};
        char name[NAME_MAX + 1];
        path[NAME_MAX + 1] = '\0';
        assert_string_equal (content_of (&beneath, path), "ENAMETOOLONG");
        assert_int_equal (beneath_open_parent (&beneath, path, name), -1);
        assert_int_equal (errno, ENAMETOOLONG);
        path[NAME_MAX + 1] = 'n';
        path[sizeof path - 1] = '\0';
        assert_string_equal (content_of (&beneath, path), "ENAMETOOLONG");
        assert_int_equal (beneath_make_folders (&beneath, path), -1);
        assert_int_equal (errno, ENAMETOOLONG);
        /* As many folders as there may be, and one more for the walk. */
        char deep[2 * (BENEATH_DEPTH_MAX + 2) + 1] = "";
        for (int level = 0; level < BENEATH_DEPTH_MAX + (walk ? 0 : 2); level++)
            strcat (deep, "d/");
        int fd = beneath_make_folders (&beneath, deep);
        assert_true (fd >= 0);
        close (fd);
    }
    struct beneath by_hand = {s_in, BENEATH_STRICT, true};
    char deep[2 * (BENEATH_DEPTH_MAX + 2) + 1] = "";
    for (int level = 0; level < BENEATH_DEPTH_MAX + 2; level++)
        strcat (deep, "d/");
    if (beneath_kernel_resolves ())
        assert_string_equal (content_of (&by_hand, deep), "ENAMETOOLONG");
}

static void opens_parents (void **state)
{
    (void) state;
    static const struct
    {
        const char *path, *name, *error; /* one of them */
    } rows[] = {
        {"file", "file", NULL},
        {"/a/b/deep", "deep", NULL},
        {"a/b/", "b", NULL},
        {"a/b/.", "b", NULL},
        {"a/./b//.//", "b", NULL},
        {"to_folder", "to_folder", NULL},
        {"absolute", "absolute", NULL},
        {"to_folder/missing", "missing", NULL},
        {"", NULL, "EINVAL"},
        {"/", NULL, "EINVAL"},
        {"./", NULL, "EINVAL"},
        {"a/..", NULL, "EINVAL"},
        {"..", NULL, "EINVAL"},
        {"absolute/x", NULL, "EXDEV"},
        {"../out/secret", NULL, "EXDEV"},
        {"missing/x", NULL, "ENOENT"},
        {"file/x", NULL, "ENOTDIR"},
    };
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
        for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        {
            struct beneath beneath = {s_in, BENEATH_STRICT, walk};
            char name[NAME_MAX + 1];
            int fd = beneath_open_parent (&beneath, rows[row].path, name);
            const char *error = fd < 0 ? strerrorname_np (errno) : "";
            if ((fd < 0) != (rows[row].error != NULL) || strcmp (error, fd < 0 ? rows[row].error : "") != 0)
                fail_msg ("%s, walk %d: %s", rows[row].path, walk, error);
            if (fd < 0)
                continue;
            assert_string_equal (name, rows[row].name);
            close (fd);
        }
}

static void makes_folders_only_beneath (void **state)
{
    (void) state;
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
    {
        struct beneath beneath = {s_in, BENEATH_STRICT, walk};
        char path[64];
        struct stat status;
        for (int turn = 0; turn < 2; turn++) /* once made, once found */
        {
            snprintf (path, sizeof path, "/new%d/to_be//made/", walk);
            int fd = beneath_make_folders (&beneath, path);
            assert_true (fd >= 0 && fstat (fd, &status) == 0 && S_ISDIR (status.st_mode));
            close (fd);
        }
        int fd = beneath_make_folders (&beneath, "to_folder/under_a_link");
        assert_true (fd >= 0);
        close (fd);
        assert_int_equal (fstatat (s_in, "a/b/under_a_link", &status, 0), 0);
        static const char *const refused[] = {"out_relative/x", "absolute/x",    "../out/x", "file/x",
                                              "dangling/x",     "out_chain/x/y", "file"};
        for (size_t row = 0; row < sizeof refused / sizeof *refused; row++)
            assert_int_equal (beneath_make_folders (&beneath, refused[row]), -1);
        assert_int_equal (fstatat (s_in, "../out/x", &status, 0), -1);
    }
}

static void knows_the_root (void **state)
{
    (void) state;
    static const char *const roots[] = {"", "/", "//", ".", "./", "/./.", "/./"};
    static const char *const others[] = {"a", "/a", "..", "/..", "./a", ".a", "..."};
    for (size_t row = 0; row < sizeof roots / sizeof *roots; row++)
        assert_true (beneath_is_root (roots[row]));
    for (size_t row = 0; row < sizeof others / sizeof *others; row++)
        assert_false (beneath_is_root (others[row]));
}

/* --------------------------------------------------------------------------------------------------------------- races
 */

static atomic_bool s_over;
static atomic_uint s_swaps;

static void *swap (void *kind)
{
    for (; !atomic_load (&s_over); atomic_fetch_add (&s_swaps, 1))
        if (*(const int *) kind == 0)
            ensure (renameat2 (s_in, "swapped", s_in, "trap", RENAME_EXCHANGE) == 0);
        else if (*(const int *) kind == 1)
            ensure (renameat2 (s_in, "swapped_file", s_in, "trap_file", RENAME_EXCHANGE) == 0);
        else
        {
            /* The folder moves out of the tree and back, so that `..` of it is elsewhere meanwhile. */
            ensure (renameat (s_in, "swapped", s_in, "../out/moved") == 0);
            ensure (renameat (s_in, "../out/moved", s_in, "swapped") == 0);
        }
    return NULL;
}

static bool time_is_left (const struct timespec *begin)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000 < RACE_TIME;
}

static void race (enum beneath_scope scope, bool walk, int kind)
{
    struct beneath beneath = {s_in, scope, walk};
    struct timespec begin;
    pthread_t thread;
    atomic_store (&s_over, false);
    atomic_store (&s_swaps, 0);
    ensure (pthread_create (&thread, NULL, swap, &kind) == 0);
    clock_gettime (CLOCK_MONOTONIC, &begin);
    unsigned found = 0, refused = 0, secrets = 0;
    while (time_is_left (&begin))
    {
        static const char *const paths[] = {"swapped_file", "swapped/secret", "swapped/inner/../secret",
                                            "swapped/inner/../../swapped/secret", "swapped/inner/../../out/secret"};
        for (size_t row = 0; row < sizeof paths / sizeof *paths; row++)
        {
            const char *content = content_of (&beneath, paths[row]);
            secrets += strcmp (content, "secret") == 0;
            found += strcmp (content, "mine") == 0;
            refused += content[0] == 'E';
        }
        char name[NAME_MAX + 1];
        int fd = beneath_open_parent (&beneath, "swapped/secret", name);
        struct stat status;
        if (fd >= 0)
            secrets += fstatat (fd, name, &status, 0) == 0 && status.st_size == (off_t) strlen ("secret");
        if (fd >= 0)
            close (fd);
        /* Not while the folder is away: it would be made anew. */
        fd = kind == 0 ? beneath_make_folders (&beneath, "swapped/made") : -1;
        if (fd >= 0)
            close (fd);
    }
    atomic_store (&s_over, true);
    pthread_join (thread, NULL);
    struct stat status;
    assert_int_equal (secrets, 0);
    assert_int_equal (fstatat (s_in, "../out/made", &status, 0), -1);
    assert_true (found > 0 && refused > 0 && atomic_load (&s_swaps) > 10);
}

static void wins_races (void **state)
{
    (void) state;
    ensure (mkdirat (s_in, "swapped", 0755) == 0 && mkdirat (s_in, "swapped/inner", 0755) == 0);
    make ("swapped/secret", "mine");
    link_to ("trap", "../out");
    make ("swapped_file", "mine");
    link_to ("trap_file", "../out/secret");
    for (int walk = !beneath_kernel_resolves (); walk < 2; walk++)
        for (int kind = 0; kind < 3; kind++)
        {
            race (BENEATH_STRICT, walk, kind);
            if (kind == 0) /* leave the folder where it belongs, and the link beside it */
            {
                struct stat status;
                if (fstatat (s_in, "swapped", &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK (status.st_mode))
                    ensure (renameat2 (s_in, "swapped", s_in, "trap", RENAME_EXCHANGE) == 0);
            }
        }
}

static void closes_what_it_opened (void **state)
{
    (void) state;
    int before = dup (s_in);
    for (int walk = 0; walk < 2; walk++)
        for (size_t row = 0; row < sizeof s_paths / sizeof *s_paths; row++)
        {
            struct beneath beneath = {s_in, BENEATH_STRICT, walk};
            content_of (&beneath, s_paths[row].path);
        }
    int after = dup (s_in);
    assert_int_equal (after, before + 1);
    close (before);
    close (after);
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, set_up, tear_down)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (resolves_paths),        TEST (does_not_follow_magic_links), TEST (knows_its_limits),
        TEST (opens_parents),         TEST (makes_folders_only_beneath),  TEST (wins_races),
        TEST (closes_what_it_opened), cmocka_unit_test (knows_the_root),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
