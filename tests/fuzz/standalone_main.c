/* SPDX-License-Identifier: MIT */
/* standalone_main.c - runs a fuzz target over the files, and the files of the
 * directories, that its arguments name. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_count;

static void give_up(const char *path)
{
    perror(path);
    exit(1);
}

/* The input is given in memory of just its size, so that a sanitizer sees a
 * read past its end. */
static void run_file(const char *path, size_t size)
{
    FILE    *file = fopen(path, "rb");
    uint8_t *data = malloc(size > 0 ? size : 1);

    if (!file || !data || fread(data, 1, size, file) != size)
        give_up(path);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    run_count++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
    DIR           *dir = opendir(path);
    struct dirent *entry;
    char           name[4096];

    if (!dir)
        give_up(path);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        run_path(name);
    }
    closedir(dir);
}

static void run_path(const char *path)
{
    struct stat info;

    if (stat(path, &info) != 0)
        give_up(path);
    if (S_ISDIR(info.st_mode))
        run_directory(path);
    else
        run_file(path, (size_t)info.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%d inputs\n", run_count);
    return run_count > 0 ? 0 : 1;
}
