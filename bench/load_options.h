/* SPDX-License-Identifier: MIT */
/* The options of bench/load; bench/README.md says what they mean. */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <getopt.h>

#include "common.h"
#include "wire.h"

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
