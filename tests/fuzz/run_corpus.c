/* run_corpus - runs a fuzz target over the files of a folder, so that the corpus is an ordinary test without libFuzzer.
 *
 * usage: NAME_fuzz FOLDER. Each input lies in a heap block of exactly its size, so that a sanitizer sees a read past
 * it. A missing or empty folder is a failure: a test that runs nothing proves nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static int run_file (const char *folder, const char *name)
{
    char path[4096];
    snprintf (path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen (path, "rb");
    if (!file)
        return perror (path), -1;
    fseek (file, 0, SEEK_END);
    long size = ftell (file);
    rewind (file);
    uint8_t *data = malloc (size > 0 ? (size_t) size : 1);
    size_t length = data ? fread (data, 1, (size_t) size, file) : 0;
    fclose (file);
    /* An exact block: the byte after an empty input must be out of bounds too. */
    uint8_t *exact = realloc (data, length ? length : 1);
    LLVMFuzzerTestOneInput (length ? exact : exact + 1, length);
    free (exact);
    return 0;
}

int main (int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir (argv[1]) : NULL;
    if (!folder)
        return fprintf (stderr, "run_corpus: cannot read the corpus folder '%s'\n", argc == 2 ? argv[1] : ""), 1;
    int files = 0, failed = 0;
    for (struct dirent *entry; (entry = readdir (folder));)
        if (entry->d_name[0] != '.')
            failed |= run_file (argv[1], entry->d_name) < 0, files++;
    closedir (folder);
    printf ("%d inputs\n", files);
    return failed || files == 0;
}
