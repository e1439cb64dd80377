/* SPDX-License-Identifier: MIT */
/* command.h - what the subcommands of `sse` are, and how they speak. */
#ifndef SSE_TOOL_COMMAND_H
#define SSE_TOOL_COMMAND_H

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef struct command {
    const char *name;
    const char *summary; /* for the list of commands                        */
    const char *usage;   /* what --help prints                              */
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand         */
} command;

extern const command parse_command;
extern const command cat_command;
extern const command pub_command;
extern const command ls_command;
extern const command stop_command;

/* Prints "sse: sentence" on standard error. Returns EXIT_FAILED. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the same, and where to read how `cmd` is used. Returns EXIT_USAGE. */
int usage_error(const command *cmd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What to do with a result of getopt_long() that is no option of `cmd`: help
 * for 'h', otherwise a complaint. Returns the exit code. */
int other_option(const command *cmd, int opt, char **argv);

/* The one operand that must be left, a URL; NULL after a complaint. */
const char *only_operand(const command *cmd, int argc, char **argv);

/* Reads a whole number of 0 to `max`. Returns -1 when `text` is none. */
long read_number(const char *text, long max);

#endif
