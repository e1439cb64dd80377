/* SPDX-License-Identifier: MIT */
/* position.c - the file in which a reader keeps how far it got. */
#include "position.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "http.h"
#include "text.h"

enum {
    SAVE_MS = 250, /* between two writes: each waits for the disk           */
    MAX_BYTES = 64 * 1024 * 1024
};

void position_init(position *p, const char *path)
{
    *p = (position){.path = path};
    if (path != NULL && (sse_buffer_new(MAX_BYTES, &p->bytes) < 0 ||
                         sse_buffer_new(MAX_BYTES, &p->spare) < 0))
        exit(fail("out of memory"));
}

void position_free(position *p)
{
    sse_buffer_free(p->bytes);
    sse_buffer_free(p->spare);
    *p = (position){0};
}

/* ---- Reading ------------------------------------------------------------- */

/* Reads the file. Returns 1; 0 when there is none; -1 after a complaint. */
static int read_file(const char *path, text *out)
{
    FILE  *file = fopen(path, "rb");
    char   part[4096];
    size_t n;
    int    failed;

    if (file == NULL && errno == ENOENT)
        return 0;
    if (file == NULL) {
        fail("cannot read '%s': %s", path, strerror(errno));
        return -1;
    }
    while (out->len < MAX_BYTES && (n = fread(part, 1, sizeof(part), file)) > 0)
        text_add(out, part, n);
    failed = ferror(file);
    fclose(file);
    if (failed)
        fail("cannot read '%s'", path);
    return failed ? -1 : 1;
}

int position_load(position *p, sse_client *client)
{
    text saved = {0};
    int  found, rc = SSE_OK;

    if (p->path == NULL)
        return EXIT_OK;
    found = read_file(p->path, &saved);
    if (found > 0)
        rc = sse_client_import(client, saved.data, saved.len);
    text_free(&saved);
    if (found < 0)
        return EXIT_FAILED;
    if (rc == SSE_ERR_INVAL)
        return fail("'%s' holds no position in this URL's stream", p->path);
    if (rc < 0)
        return fail("cannot use '%s': %s", p->path, sse_strerror(rc));
    position_take(p, client);
    return position_save(p, true);
}

/* ---- Writing ------------------------------------------------------------- */

static bool is_same(const sse_buffer *a, const sse_buffer *b)
{
    size_t len = sse_buffer_size(a);

    return len == sse_buffer_size(b) &&
           memcmp(sse_buffer_data(a), sse_buffer_data(b), len) == 0;
}

void position_take(position *p, sse_client *client)
{
    sse_buffer *old = p->bytes;

    if (p->path == NULL)
        return;
    sse_buffer_clear(p->spare);
    if (sse_client_export(client, p->spare) < 0)
        exit(fail("cannot save the position: out of memory"));
    if (is_same(p->spare, old))
        return;
    p->bytes = p->spare;
    p->spare = old;
    p->changed = true;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Writes a file that is on the disk when this returns 0. */
static int write_file(const char *path, const sse_buffer *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc;

    if (fd < 0)
        return -1;
    rc = write_all(fd, sse_buffer_data(bytes), sse_buffer_size(bytes));
    if (rc == 0)
        rc = fsync(fd);
    if (close(fd) < 0)
        rc = -1;
    return rc;
}

/* At any moment the file is the old one or the new one, and whole. */
static int replace_file(const position *p)
{
    text beside = {0};
    int  rc;

    text_add_string(&beside, p->path);
    text_add_string(&beside, ".tmp");
    rc = write_file(beside.data, p->bytes);
    if (rc == 0)
        rc = rename(beside.data, p->path);
    if (rc < 0) {
        fail("cannot write '%s': %s", p->path, strerror(errno));
        unlink(beside.data);
    }
    text_free(&beside);
    return rc == 0 ? EXIT_OK : EXIT_FAILED;
}

int position_save(position *p, bool now)
{
    if (!p->changed || (!now && now_ms() - p->saved_ms < SAVE_MS))
        return EXIT_OK;
    p->changed = false;
    p->saved_ms = now_ms();
    return replace_file(p);
}

int position_wait_ms(const position *p)
{
    int64_t left = p->saved_ms + SAVE_MS - now_ms();

    if (!p->changed)
        return -1;
    return left > 0 ? (int)left : 0;
}
