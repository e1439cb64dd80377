/* SPDX-License-Identifier: MIT */
/* contract_service.c - sse-contract-service: opens streams for a test harness
 * and sends it what they tell, by the protocol of LaunchDarkly's
 * sse-contract-tests (its docs/service_spec.md).
 *
 *     GET /                what it can do
 *     POST /               opens a stream
 *     POST /streams/N      {"command":"restart"}
 *     DELETE /streams/N    closes it
 *     DELETE /             ends the program */
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define FOLDER "/streams/"
#define MAX_BODY_BYTES (64u << 20)

static const char about[] =
    "{\"name\":\"libsse\",\"capabilities\":[\"bom\",\"comments\",\"headers\","
    "\"post\",\"report\",\"last-event-id\",\"read-timeout\",\"restart\","
    "\"server-directed-shutdown-request\"]}";

typedef struct place {
    struct place *next;
    unsigned long number;
    stream       *stream;
} place;

/* Used on the loop's thread alone. */
static sse_loop     *loop;
static place        *places;
static unsigned long last_number;

static void answer(sse_request *r, int status, const char *body)
{
    const char *type = *body ? "application/json" : "text/plain";

    sse_request_respond(r, status, type, strlen(type), body, strlen(body));
}

static void refuse(sse_request *r, int rc)
{
    char body[200];

    snprintf(body, sizeof(body), "{\"error\":\"%s\"}", sse_strerror(rc));
    answer(r, rc == SSE_ERR_INVAL ? 400 : 503, body);
}

/* ---- Streams ------------------------------------------------------------- */

static void keep(stream *s)
{
    place *p = malloc(sizeof(*p));

    if (!p)
        abort();
    *p = (place){places, ++last_number, s};
    places = p;
}

/* The link to the stream that the path names, or NULL. */
static place **find(const char *path, size_t len)
{
    size_t        skip = sizeof(FOLDER) - 1;
    char          digits[12] = "";
    unsigned long number;

    if (len <= skip || len - skip >= sizeof(digits) ||
        memcmp(path, FOLDER, skip) != 0)
        return NULL;
    memcpy(digits, path + skip, len - skip);
    if (strspn(digits, "0123456789") != len - skip)
        return NULL;
    number = strtoul(digits, NULL, 10);
    for (place **link = &places; *link; link = &(*link)->next)
        if ((*link)->number == number)
            return link;
    return NULL;
}

static void forget(place **link)
{
    place *p = *link;

    *link = p->next;
    stream_free(p->stream);
    free(p);
}

/* ---- Requests ------------------------------------------------------------ */

static cJSON *parse_body(sse_request *r)
{
    size_t      len;
    const char *body = sse_request_body(r, &len);
    cJSON      *json = cJSON_ParseWithLength(body, len);

    if (cJSON_IsObject(json))
        return json;
    cJSON_Delete(json);
    return NULL;
}

static void create(sse_request *r)
{
    cJSON  *params = parse_body(r);
    stream *s = NULL;
    int     rc = params ? stream_new(loop, params, &s) : SSE_ERR_INVAL;
    char    where[40];

    cJSON_Delete(params);
    if (rc < 0) {
        refuse(r, rc);
        return;
    }
    keep(s);
    snprintf(where, sizeof(where), FOLDER "%lu", last_number);
    sse_request_add_header(r, "Location", 8, where, strlen(where));
    answer(r, 201, "");
}

static void command(sse_request *r, stream *s)
{
    cJSON      *json = parse_body(r);
    const char *word =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "command"));
    bool restart = word && strcmp(word, "restart") == 0;

    if (restart)
        stream_restart(s);
    answer(r, restart ? 202 : 400, restart ? "" : "{\"error\":\"command\"}");
    cJSON_Delete(json);
}

static void serve_root(sse_request *r, const char *method)
{
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        answer(r, 200, about);
    } else if (strcmp(method, "POST") == 0) {
        create(r);
    } else if (strcmp(method, "DELETE") == 0) {
        answer(r, 204, "");
        sse_loop_stop(loop); /* what is answered is still sent */
    } else {
        answer(r, 405, "{\"error\":\"method\"}");
    }
}

static void serve(sse_request *r, void *unused)
{
    const char *method = sse_request_method(r);
    size_t      len;
    const char *path = sse_request_path(r, &len);
    place     **link;

    (void)unused;
    if (len == 1) {
        serve_root(r, method);
        return;
    }
    link = find(path, len);
    if (!link) {
        answer(r, 404, "{\"error\":\"no such stream\"}");
    } else if (strcmp(method, "POST") == 0) {
        command(r, (*link)->stream);
    } else if (strcmp(method, "DELETE") == 0) {
        forget(link);
        answer(r, 204, "");
    } else {
        answer(r, 405, "{\"error\":\"method\"}");
    }
}

/* ---- The program --------------------------------------------------------- */

static void stop(int signal_number)
{
    (void)signal_number;
    sse_loop_stop(loop);
}

static void usage(void)
{
    fputs("usage: sse-contract-service [--port N]\n", stderr);
    exit(2);
}

static uint32_t parse_port(int argc, char **argv)
{
    char         *end;
    unsigned long port;

    if (argc == 1)
        return 8000;
    if (argc != 3 || strcmp(argv[1], "--port") != 0)
        usage();
    port = strtoul(argv[2], &end, 10);
    if (argv[2][0] < '0' || argv[2][0] > '9' || *end || port > 65535)
        usage();
    return (uint32_t)port;
}

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "sse-contract-service: %s: %s\n", what, sse_strerror(rc));
    exit(1);
}

static void run(uint32_t port)
{
    const sse_server_options opts = {.size = sizeof(opts),
                                     .max_body_bytes = MAX_BODY_BYTES};
    sse_hub                 *hub;
    sse_server              *server;
    int                      rc;

    must(sse_hub_new(NULL, &hub), "hub");
    must(sse_loop_new(&loop), "loop");
    must(sse_server_new(loop, hub, &opts, &server), "server");
    must(sse_server_on_request(server, serve, NULL), "server");
    rc = sse_server_listen(server, "127.0.0.1", 9, port, &port);
    must(rc, sse_server_error_detail(server));
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    printf("listening on http://127.0.0.1:%u\n", (unsigned)port);
    fflush(stdout);

    must(sse_loop_run(loop), "loop");
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* it ends already, and the loop with it */
    while (places)
        forget(&places);
    stream_wait_all();
    sse_server_free(server);
    sse_loop_free(loop);
    sse_hub_free(hub);
}

int main(int argc, char **argv)
{
    uint32_t port = parse_port(argc, argv);

    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    run(port);
    curl_global_cleanup();
    return 0;
}
