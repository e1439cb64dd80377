/* SPDX-License-Identifier: MIT */
/* main.c - sse-server: a hub over HTTP, and a page that shows it at work. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "sse.h"

extern const char   sse_page_html[];
extern const size_t sse_page_html_len;

typedef struct settings {
    const char *host, *origin, *text, *store;
    uint32_t    port, rate;
    uint32_t    heartbeat_ms, log_events, log_bytes;
} settings;

static sse_loop *loop; /* for the signal handler */

static void on_signal(int number)
{
    (void)number;
    sse_loop_stop(loop);
}

static const char usage[] =
    "usage: sse-server [options]\n"
    "  --host ADDRESS      listen there (127.0.0.1)\n"
    "  --port N            0 picks a free one (8080)\n"
    "  --store memory:     where streams are kept (memory:)\n"
    "  --heartbeat-ms N    between bytes to an idle reader (15000)\n"
    "  --log-events N      kept for each stream (10000)\n"
    "  --log-bytes N       kept for each stream (4194304)\n"
    "  --allow-origin O    let pages of this origin read; * for all\n"
    "  --text FILE         what the demo page streams (a licence text)\n"
    "  --rate N            its words a second (20)\n"
    "  --help, --version\n";

static uint32_t number(const char *name, const char *text, uint32_t max)
{
    char         *end;
    unsigned long value = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end || value > max) {
        fprintf(stderr, "sse-server: --%s takes a number up to %u\n", name,
                max);
        exit(2);
    }
    return (uint32_t)value;
}

static void parse(int argc, char **argv, settings *s)
{
    static const struct option longs[] = {
        {"host", 1, 0, 'h'},         {"port", 1, 0, 'p'},
        {"store", 1, 0, 's'},        {"heartbeat-ms", 1, 0, 'b'},
        {"log-events", 1, 0, 'e'},   {"log-bytes", 1, 0, 'y'},
        {"allow-origin", 1, 0, 'o'}, {"text", 1, 0, 't'},
        {"rate", 1, 0, 'r'},         {"help", 0, 0, '?'},
        {"version", 0, 0, 'v'},      {0, 0, 0, 0}};
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'h': s->host = optarg; break;
        case 'p': s->port = number("port", optarg, 65535); break;
        case 's': s->store = optarg; break;
        case 'b': s->heartbeat_ms = number("heartbeat-ms", optarg, 86400000);
            break;
        case 'e': s->log_events = number("log-events", optarg, 1u << 24);
            break;
        case 'y': s->log_bytes = number("log-bytes", optarg, 1u << 30); break;
        case 'o': s->origin = optarg; break;
        case 't': s->text = optarg; break;
        case 'r': s->rate = number("rate", optarg, 100000); break;
        case 'v': printf("sse-server %s\n", sse_version()); exit(0);
        default: {
            int asked = optopt == 0 && strcmp(argv[optind - 1], "--help") == 0;

            fputs(usage, asked ? stdout : stderr);
            exit(asked ? 0 : 2);
        }
        }
    }
    if (optind < argc || strcmp(s->store, "memory:") != 0) {
        fprintf(stderr, "sse-server: %s\n",
                optind < argc ? "it takes options only: see --help"
                              : "--store takes memory:");
        exit(2);
    }
}

/* ---- The page and its streams ---- */

static void respond(sse_request *r, int status, const char *type,
                    const char *body, size_t len)
{
    sse_request_respond(r, status, type, strlen(type), body, len);
}

static void start_demo(sse_request *r, demo *d)
{
    char        answer[400];
    size_t      len;
    const char *body = sse_request_body(r, &len);
    int         rc = demo_start(d, demo_rate(d, body, len), answer,
                                sizeof(answer));

    respond(r, rc == SSE_OK ? 201 : rc == SSE_ERR_LIMIT ? 429 : 500,
            "application/json", answer, strlen(answer));
}

static void on_request(sse_request *r, void *user)
{
    size_t      len;
    const char *path = sse_request_path(r, &len);
    const char *method = sse_request_method(r);
    int         get = !strcmp(method, "GET") || !strcmp(method, "HEAD");

    if (len == 1 && path[0] == '/' && get)
        respond(r, 200, "text/html; charset=utf-8", sse_page_html,
                sse_page_html_len);
    else if (len == 11 && !memcmp(path, "/demo/start", 11) &&
             !strcmp(method, "POST"))
        start_demo(r, user);
}

/* ---- Running ---- */

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "sse-server: %s: %s\n", what, why);
    return 1;
}

static int serve(const settings *s, sse_server *server)
{
    uint32_t port;
    int      rc = sse_server_listen(server, s->host, strlen(s->host), s->port,
                                    &port);

    if (rc < 0)
        return fail("cannot listen", rc == SSE_ERR_IO
                                         ? sse_server_error_detail(server)
                                         : sse_strerror(rc));
    printf(strchr(s->host, ':') ? "listening on http://[%s]:%u\n"
                                : "listening on http://%s:%u\n",
           s->host, port);
    fflush(stdout);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    rc = sse_loop_run(loop);
    return rc < 0 ? fail("the loop ended", sse_strerror(rc)) : 0;
}

static int run(const settings *s, sse_hub *hub)
{
    sse_server *server = NULL;
    demo       *d = NULL;
    int         rc, status = 1;

    if ((rc = sse_loop_new(&loop)) < 0 ||
        (rc = sse_server_new(loop, hub, NULL, &server)) < 0 ||
        (s->origin && (rc = sse_server_add_origin(server, s->origin,
                                                  strlen(s->origin))) < 0))
        fail("cannot start", sse_strerror(rc));
    else if (!(d = demo_new(hub, s->text, s->rate)))
        fail("cannot read", s->text);
    else {
        sse_server_on_request(server, on_request, d);
        status = serve(s, server);
    }
    demo_free(d);
    sse_server_free(server);
    sse_loop_free(loop);
    return status;
}

int main(int argc, char **argv)
{
    settings s = {.host = "127.0.0.1",
                  .port = 8080,
                  .store = "memory:",
                  .text = "/usr/share/common-licenses/GPL-3",
                  .rate = 20};
    sse_hub_options opts = {.size = sizeof(opts)};
    sse_hub        *hub;
    int             rc;

    parse(argc, argv, &s);
    opts.heartbeat_ms = s.heartbeat_ms;
    opts.log_events = s.log_events;
    opts.log_bytes = s.log_bytes;
    if ((rc = sse_hub_new(&opts, &hub)) < 0)
        return fail("cannot start", sse_strerror(rc));
    rc = run(&s, hub);
    sse_hub_free(hub);
    return rc;
}
