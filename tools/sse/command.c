/* SPDX-License-Identifier: MIT */
/* command.c - complaints, help and operands, the same for all subcommands. */
#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void complain(const char *format, va_list args)
{
    fputs("sse: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(format, args);
    va_end(args);
    return EXIT_FAILED;
}

int usage_error(const command *cmd, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(format, args);
    va_end(args);
    fprintf(stderr, "%.*s\nTry 'sse %s --help'.\n",
            (int)strcspn(cmd->usage, "\n"), cmd->usage, cmd->name);
    return EXIT_USAGE;
}

int other_option(const command *cmd, int opt, char **argv)
{
    const char *last = argv[optind - 1];

    if (opt == 'h') {
        fputs(cmd->usage, stdout);
        return EXIT_OK;
    }
    if (opt == ':')
        return usage_error(cmd, "option '%s' needs a value", last);
    if (optopt == 0)
        return usage_error(cmd, "unknown option '%s'", last);
    if (strncmp(last, "--", 2) == 0)
        return usage_error(cmd, "option '%s' takes no value", last);
    return usage_error(cmd, "unknown option '-%c'", optopt);
}

const char *only_operand(const command *cmd, int argc, char **argv)
{
    if (optind == argc - 1)
        return argv[optind];
    if (optind == argc)
        usage_error(cmd, "%s needs a URL", cmd->name);
    else
        usage_error(cmd, "unexpected operand '%s'", argv[optind + 1]);
    return NULL;
}

long read_number(const char *text, long max)
{
    char *end;
    long  number;

    if (*text < '0' || *text > '9') /* strtol would take " 1" and "-1" */
        return -1;
    errno = 0;
    number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number <= max ? number : -1;
}
