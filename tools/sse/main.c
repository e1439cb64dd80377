/* SPDX-License-Identifier: MIT */
/* main.c - the `sse` command: event streams for people at a terminal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "sse.h"

static const command *const commands[] = {
    &cat_command, &parse_command, &pub_command, &ls_command, &stop_command,
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void print_usage(FILE *to)
{
    fputs("Usage: sse COMMAND [OPTION]... [URL]\n\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-7s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n"
          "  -h, --help     this text; after a command, that command's\n"
          "      --version  the version\n"
          "\n"
          "Exit status: 0 done, 1 it failed, 2 it was called wrongly.\n",
          to);
}

static const command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* A full disk shows when the last of the output is written. A reader that has
 * gone away has had what it wanted. */
static int finish(int status)
{
    if (fflush(stdout) == 0 || status != EXIT_OK)
        return status;
    return errno == EPIPE ? EXIT_FAILED
                          : fail("cannot write: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    const char    *name = argc > 1 ? argv[1] : "";
    const command *cmd = find(name);

    if (cmd != NULL)
        return finish(cmd->run(argc - 1, argv + 1));

    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
        print_usage(stdout);
        return finish(EXIT_OK);
    }
    if (strcmp(name, "--version") == 0) {
        printf("sse %s\n", sse_version());
        return finish(EXIT_OK);
    }
    if (argc > 1)
        fail("unknown %s '%s'", *name == '-' ? "option" : "command", name);
    print_usage(stderr);
    return EXIT_USAGE;
}
