/* SPDX-License-Identifier: MIT */
/* What bench/load is asked for, and what it holds while it runs. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <getopt.h>

#include "common.h"
#include "wire.h"

/* bench/README.md says what they mean. */
struct options {
    const char *mode;
    int         nchan; /* paths of nchan's, not those of docs/http.md */
    uint16_t    port;
    int         pid; /* of the server */
    unsigned    readers, streams, publishers;
    unsigned    data_len; /* of an event */
    unsigned    stalled;  /* per cent of readers that never read */
    unsigned    prefill;  /* KiB published before anything is measured */
    unsigned    cuts;     /* connections cut in mode reconnect */
    double      rate;     /* events a second in modes paced, reconnect */
    double      seconds, warmup;
};

enum {
    SCRATCH = 1 << 18,
    TURN = 512,
    OPENING_MAX = 64, /* connections under way at once */
    ID_MAX = 64,
    STALLED_RCVBUF = 2048, /* a reader that never reads looks like one far */
    STALLED_MSS = 1448,    /* away: loopback would buffer 2.6 MB for it */
    PATIENCE_S = 10,       /* without an event, what is missing is lost */
    COMPLAINTS = 5
};

#define READER_TAG (UINT64_C(1) << 32)

struct reader {
    enum { CLOSED, CONNECTING, CONNECTED, IN_HEAD, IN_BODY, STALLED } state;
    int           fd;
    unsigned      stream;
    bool          stalls; /* it reads the head of the answer, and no more */
    bool          chunked;
    struct chunks chunks;
    char         *rest; /* the start of a head or event, rest yet to come */
    size_t        rest_len, rest_cap;
    uint32_t     *next; /* per publisher: the number it must see next */
    char          last_id[ID_MAX];
};

struct publisher {
    int       fd;
    unsigned  number;
    bool      waiting;   /* for the answer to its request */
    uint32_t  remaining; /* readers that have not had its latest event */
    uint32_t *next;      /* per stream: the number of its next event */
    uint64_t *sent_ns;   /* of the latest 256 events, by number */
    char      in[4096];
    size_t    in_len;
};

struct load {
    struct options    opt;
    int               epoll;
    struct reader    *readers;
    struct publisher *publishers;
    uint32_t         *audience; /* readers of each stream that read */
    char              scratch[SCRATCH];

    enum publishing { HOLD, CLOSED_LOOP, BURST } publishing;
    bool     timing;  /* each delivery's delay goes to `delays` */
    bool     holding; /* who is connected does not subscribe yet */
    unsigned opening; /* connections that have no 200 yet */
    uint64_t opened;
    uint64_t published, expected, delivered;
    uint64_t last_ns; /* when the latest event came */
    uint64_t wrong;
    float   *delays; /* ms */
    size_t   delay_count, delay_cap;
    uint32_t random;
};

/* ---- Options ------------------------------------------------------------ */

static const struct option long_options[] = {
    {"mode", required_argument, NULL, 'm'},
    {"nchan", no_argument, NULL, 'n'},
    {"port", required_argument, NULL, 'p'},
    {"pid", required_argument, NULL, 'P'},
    {"readers", required_argument, NULL, 'r'},
    {"streams", required_argument, NULL, 's'},
    {"publishers", required_argument, NULL, 'w'},
    {"data", required_argument, NULL, 'd'},
    {"stalled", required_argument, NULL, 'S'},
    {"prefill", required_argument, NULL, 'f'},
    {"cuts", required_argument, NULL, 'c'},
    {"rate", required_argument, NULL, 'R'},
    {"seconds", required_argument, NULL, 't'},
    {"warmup", required_argument, NULL, 'u'},
    {NULL, 0, NULL, 0}};

static inline void set_number(struct options *opt, int name, double value)
{
    unsigned whole = (unsigned)value;

    switch (name) {
    case 'p': opt->port = (uint16_t)whole; break;
    case 'P': opt->pid = (int)whole; break;
    case 'r': opt->readers = whole; break;
    case 's': opt->streams = whole; break;
    case 'w': opt->publishers = whole; break;
    case 'd': opt->data_len = whole; break;
    case 'S': opt->stalled = whole; break;
    case 'f': opt->prefill = whole; break;
    case 'c': opt->cuts = whole; break;
    case 'R': opt->rate = value; break;
    case 't': opt->seconds = value; break;
    case 'u': opt->warmup = value; break;
    default: die("usage: see bench/README.md");
    }
}

static inline void read_options(struct options *opt, int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (name == 'm')
            opt->mode = optarg;
        else if (name == 'n')
            opt->nchan = 1;
        else
            set_number(opt, name, optarg != NULL ? atof(optarg) : 0);
    }
    if (opt->port == 0 || opt->publishers == 0 || opt->publishers > 100 ||
        opt->streams == 0 || opt->streams > 10000 ||
        opt->data_len < PAYLOAD_HEAD || opt->data_len > PAYLOAD_MAX)
        die("an option is missing or out of its range");
}

#endif
