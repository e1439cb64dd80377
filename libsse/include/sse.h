/* sse.h - event streams that reach their readers whole, in order and once.
 *
 * Rules that hold for every function here:
 *
 *   Errors   a negative result is an sse_err; 0 or more is success. Two are not
 *            named each time: SSE_ERR_NOMEM, and SSE_ERR_FORKED, which hubs,
 *            what belongs to them, and clients return in a child process.
 *   Objects  x_new() makes one and leaves *out NULL when it fails; x_free()
 *            ends it, in any state and in any order; x_free(NULL) does nothing.
 *   Inputs   are read during the call and never kept, unless a comment says
 *            so. Strings are a pointer and a length; they need no NUL.
 *   Outputs  come last. Memory behind them belongs to the object, and is good
 *            until the next call on that object.
 *   Options  are structs whose first field says how much of them the caller
 *            knows. Zero in any field means the default; NULL means all
 *            defaults. They grow at the end only.
 *   Threads  use an object from one thread at a time; different objects are
 *            independent. "Any thread" marks the exceptions: such a call may
 *            be made at any time, whatever other threads do with the object,
 *            except free it.
 *   Units    are in the names: _ms, _bytes, _count.
 */
#ifndef SSE_H
#define SSE_H

#include <stddef.h>
#include <stdint.h>

#ifndef SSE_API /* binding generators define it away */
#define SSE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SSE_VERSION_MAJOR 0
#define SSE_VERSION_MINOR 1
#define SSE_VERSION_PATCH 0

/* In an option field, "none" or "never" where zero would mean the default. */
#define SSE_NEVER 0xffffffffu

/* ---- Errors, version, memory ------------------------------------------- */

typedef enum sse_err {
    SSE_OK            = 0,
    SSE_ERR_NOMEM     = -1,  /* an allocation failed                        */
    SSE_ERR_INVAL     = -2,  /* an argument breaks a documented rule        */
    SSE_ERR_LIMIT     = -3,  /* a limit on how many is reached: try later   */
    SSE_ERR_TOO_BIG   = -4,  /* a limit on how large is passed: send less   */
    SSE_ERR_NOT_FOUND = -5,  /* there is no such stream                     */
    SSE_ERR_EXISTS    = -6,  /* an active stream has that id                */
    SSE_ERR_ENDED     = -7,  /* the stream has its terminal event           */
    SSE_ERR_CURSOR    = -8,  /* the text is not a cursor                    */
    SSE_ERR_UTF8      = -9,  /* the text is not UTF-8                       */
    SSE_ERR_TIMEOUT   = -10, /* the time given passed first                 */
    SSE_ERR_DENIED    = -11, /* the authorize hook said no                  */
    SSE_ERR_CLOSED    = -12, /* the object is closing; only free() is left  */
    SSE_ERR_IO        = -13, /* the system refused; see the error detail    */
    SSE_ERR_FORKED    = -14, /* the object was made before fork()           */
    SSE_ERR_STORE     = -15  /* the store cannot be reached, or refused     */
} sse_err;

/* A short English sentence for a code, never NULL. Static text. Any thread. */
SSE_API const char *sse_strerror(int err);

/* The library's version, "0.1.0". Static text. Any thread. */
SSE_API const char *sse_version(void);

/* Replaces malloc, realloc and free for the whole library. Call it before
 * anything else, or never. All three or none (NULL restores the C library's).
 * Returns SSE_OK or SSE_ERR_INVAL. */
SSE_API int sse_set_allocator(void *(*malloc_fn)(size_t),
                              void *(*realloc_fn)(void *, size_t),
                              void (*free_fn)(void *));

/* ---- Buffers ------------------------------------------------------------ */

/* Growing bytes that the caller owns: what encoders, listings and metrics
 * write into. It is created with a ceiling; 0 means 64 MiB. */
typedef struct sse_buffer sse_buffer;

SSE_API int         sse_buffer_new(size_t max_bytes, sse_buffer **out);
SSE_API void        sse_buffer_free(sse_buffer *buf);
SSE_API void        sse_buffer_clear(sse_buffer *buf);
SSE_API const char *sse_buffer_data(const sse_buffer *buf); /* never NULL */
SSE_API size_t      sse_buffer_size(const sse_buffer *buf);

/* ---- Event stream parser ------------------------------------------------ */

/* Turns the bytes of a text/event-stream body into events, by the rules of
 * the HTML standard, section 9.2.6. It does no I/O and reads no clock.
 *
 *     sse_parser_feed(p, data, len);
 *     while ((rc = sse_parser_next(p, &item)) > 0)
 *         deliver(item);
 */
typedef struct sse_parser sse_parser;

/* Flags of sse_parser_options. */
#define SSE_PARSER_COMMENTS 1u /* report comments too                       */
#define SSE_PARSER_RETRY    2u /* report retry fields too                   */

typedef struct sse_parser_options {
    uint32_t size;            /* sizeof(sse_parser_options)                 */
    uint32_t flags;           /* SSE_PARSER_*                               */
    uint64_t max_line_bytes;  /* 0: 16 MiB                                  */
    uint64_t max_event_bytes; /* all data of one event; 0: 16 MiB           */
} sse_parser_options;

typedef enum sse_item_kind {
    SSE_ITEM_EVENT   = 1, /* type, data and id                              */
    SSE_ITEM_COMMENT = 2, /* data: the text after the colon, as it was      */
    SSE_ITEM_RETRY   = 3  /* retry_ms                                       */
} sse_item_kind;

/* What the parser found. Strings are valid UTF-8 (each broken sequence has
 * become U+FFFD), without a NUL behind them. */
typedef struct sse_item {
    uint32_t    kind;     /* an sse_item_kind                               */
    uint32_t    reserved;
    const char *type;     /* "message" when the stream gave none            */
    size_t      type_len;
    const char *data;
    size_t      data_len;
    const char *id;       /* the last event id; "" before one is set        */
    size_t      id_len;
    int64_t     retry_ms; /* -1 unless kind is SSE_ITEM_RETRY               */
} sse_item;

/* Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_INVAL. */
SSE_API int  sse_parser_new(const sse_parser_options *opts, sse_parser **out);
SSE_API void sse_parser_free(sse_parser *p);

/* Hands over the next bytes of the body. They are not copied while whole
 * lines are taken from them: keep them unchanged until sse_parser_next()
 * has returned 0, and drain it so before feeding more. Returns SSE_OK,
 * SSE_ERR_NOMEM, SSE_ERR_INVAL when the last feed was not drained, or the
 * error that ended the parser. */
SSE_API int sse_parser_feed(sse_parser *p, const void *data, size_t len);

/* Returns 1 and sets `*out`; 0 when it needs more input; SSE_ERR_NOMEM; or
 * SSE_ERR_TOO_BIG when a line or an event passes its limit. Errors are final:
 * from then on every call on `p` returns the same one. */
SSE_API int sse_parser_next(sse_parser *p, const sse_item **out);

/* The id that the next request must send: that of the last block that a blank
 * line ended, with or without data. Length 0 means send none. */
SSE_API const char *sse_parser_last_event_id(const sse_parser *p,
                                             size_t           *out_len);

/* Starts a new body: forgets unfinished input, keeps the last event id. With
 * `id` not NULL, that becomes the last event id. Returns SSE_OK,
 * SSE_ERR_NOMEM, or SSE_ERR_INVAL for an id with CR, LF or NUL. */
SSE_API int sse_parser_reset(sse_parser *p, const char *id, size_t id_len);

/* ---- Event stream encoder ----------------------------------------------- */

/* Each appends one block to `buf`. Data may hold CR, LF and CRLF: each ends a
 * line, so that a reader gets LF in its place. A type or id with CR, LF or NUL
 * is SSE_ERR_INVAL; text that is not UTF-8 is SSE_ERR_UTF8; a full buffer is
 * SSE_ERR_TOO_BIG; `buf` is then as it was. */

/* `type` of length 0 or "message" and `id` of length 0 are left out. */
SSE_API int sse_encode_event(sse_buffer *buf, const char *type, size_t type_len,
                             const char *data, size_t data_len, const char *id,
                             size_t id_len);
SSE_API int sse_encode_comment(sse_buffer *buf, const char *text, size_t len);
SSE_API int sse_encode_retry(sse_buffer *buf, uint32_t retry_ms);

/* ---- Hub ---------------------------------------------------------------- */

/* One per process, as a rule: streams, their logs, their subscribers and
 * timers. Functions on a hub may be called from any thread. A hub runs one
 * thread of its own, for time, with all signals blocked; no user code runs on
 * it. Children (streams, subscribers, queues, servers) keep the hub alive:
 * the last one freed ends it. */
typedef struct sse_hub sse_hub;

typedef enum sse_id_format {
    SSE_ID_TAGGED = 0, /* "42-9f3a1c2b": a cursor proves its log            */
    SSE_ID_PLAIN  = 1  /* "42": a re-created stream goes unnoticed          */
} sse_id_format;

typedef enum sse_heartbeat {
    SSE_HEARTBEAT_COMMENT = 0, /* ": heartbeat"                             */
    SSE_HEARTBEAT_EVENT   = 1, /* "event: heartbeat", for EventSource       */
    SSE_HEARTBEAT_LINE    = 2  /* the comment without a blank line behind it,
                                * which some clients take for an event      */
} sse_heartbeat;

/* What happens when a reader is so slow that events it has not had would
 * leave the log. */
typedef enum sse_slow_policy {
    SSE_SLOW_GAP        = 0, /* it gets a gap event and goes on             */
    SSE_SLOW_DISCONNECT = 1, /* its subscription ends; it may come back     */
    SSE_SLOW_BLOCK      = 2  /* the producer waits, block_timeout_ms at most*/
} sse_slow_policy;

/* What happens to a producer that nobody reads. */
typedef enum sse_unread_policy {
    SSE_UNREAD_CONTINUE     = 0, /* it goes on                              */
    SSE_UNREAD_CANCEL       = 1, /* it is asked to stop at once             */
    SSE_UNREAD_CANCEL_AFTER = 2  /* ... after unread_ms without a reader    */
} sse_unread_policy;

typedef struct sse_hub_options {
    uint32_t size;                 /* sizeof(sse_hub_options)               */
    uint32_t flags;                /* reserved, must be 0                   */
    uint32_t max_streams;          /* kept, ended ones too; 0: 100000       */
    uint32_t max_streams_per_user; /* active ones; 0: 1000                  */
    uint32_t max_subscribers;      /* 0: 100000                             */
    uint32_t max_event_bytes;      /* data of one event; 0: 1 MiB           */
    uint32_t log_events;           /* 0: 10000                              */
    uint32_t log_bytes;            /* 0: 4 MiB                              */
    uint32_t log_age_ms;           /* whatever the policies; 0: 1 h         */
    uint32_t channel_events;       /* log_events of channels; 0: 1000       */
    uint32_t stream_ttl_ms;        /* without an event; 0: 1 h              */
    uint32_t completion_ttl_ms;    /* kept after the end; 0: 5 min          */
    uint32_t heartbeat_ms;         /* without a byte; 0: 15 s; SSE_NEVER    */
    uint32_t heartbeat;            /* an sse_heartbeat                      */
    uint32_t retry_ms;             /* told to readers; 0: 1 s; SSE_NEVER    */
    uint32_t id_format;            /* an sse_id_format                      */
    uint32_t slow_policy;          /* an sse_slow_policy                    */
    uint32_t block_timeout_ms;     /* 0: 5 s                                */
    uint32_t unread_policy;        /* an sse_unread_policy                  */
    uint32_t unread_ms;            /* 0: 30 s                               */
    uint32_t stop_grace_ms;        /* from a stop to a forced end; 0: 5 s   */
    uint32_t reserved;             /* must be 0                             */
} sse_hub_options;

/* Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL or SSE_ERR_IO. */
SSE_API int  sse_hub_new(const sse_hub_options *opts, sse_hub **out);
SSE_API void sse_hub_free(sse_hub *hub);

/* Asks the producer of a stream to stop: its queue gets SSE_NOTE_STOP, and if
 * it has not ended the stream within stop_grace_ms, or has no queue, the hub
 * ends it as cancelled. A stop of an ended stream does nothing, nor does one
 * of a channel without a queue. Returns SSE_OK or SSE_ERR_NOT_FOUND. */
SSE_API int sse_hub_stop(sse_hub *hub, const char *id, size_t id_len);

/* Forgets a stream and ends its subscriptions. Returns SSE_OK or
 * SSE_ERR_NOT_FOUND. Any thread. */
SSE_API int sse_hub_remove(sse_hub *hub, const char *id, size_t id_len);

/* What other hubs write comes here a moment later. With this it is here before
 * one asks: waits for the store, if the stream is another hub's and active.
 * Returns SSE_OK, also where there is no such stream or the store is away, or
 * SSE_ERR_NOMEM, SSE_ERR_LIMIT, or SSE_ERR_STORE when it does not answer. Any
 * thread. */
SSE_API int sse_hub_refresh(sse_hub *hub, const char *id, size_t id_len);

/* Writes the hub's metrics in the Prometheus text format 0.0.4. Returns SSE_OK,
 * or SSE_ERR_TOO_BIG for a full buffer, which is then as it was. Any thread. */
SSE_API int sse_hub_metrics(sse_hub *hub, sse_buffer *out);

/* ---- Store -------------------------------------------------------------- */

typedef struct sse_queue sse_queue; /* see below */

/* With a store, streams outlive the process and are seen by every hub on the
 * same store. A stream made here is written here alone: its readers on this hub
 * wait for nobody, and the store follows as fast as it can, from a bounded
 * memory while it is away. Streams of other hubs are fetched when somebody asks
 * for them. Calls that must ask the store then wait for its answer, up to
 * command_ms: sse_stream_new, sse_stream_open, sse_subscriber_new, sse_list_new,
 * sse_hub_stop, sse_hub_remove, sse_hub_refresh, sse_hub_settle, and appends to
 * a stream with SSE_STREAM_SHARED; they return SSE_ERR_STORE when it gives none. */
typedef struct sse_store_options {
    uint32_t size;        /* sizeof(sse_store_options)                      */
    uint32_t flags;       /* reserved, must be 0                            */
    uint32_t start_ms;    /* to wait for the first contact; 0: 1 s          */
    uint32_t command_ms;  /* for the store's answer; 0: 5 s                 */
    uint32_t linger_ms;   /* collects events before they are sent; 0: none  */
    uint32_t lease_ms;    /* of a producer; renewed at a third; 0: 10 s     */
    uint32_t sweep_ms;    /* looks for orphans; 0: 30 s; SSE_NEVER          */
    uint32_t idle_ms;     /* keeps a fetched stream nobody reads; 0: 30 s   */
} sse_store_options;

/* Opens the store that a URL names: "redis://user:password@host:port/db",
 * "rediss://", "unix:///path", "redis+sentinel://host,host/name"; "memory:" is
 * none. Before the first stream. A store that cannot be reached is tried again
 * for ever. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_IO, SSE_ERR_INVAL for a URL
 * that is none or a hub that has a stream, or SSE_ERR_STORE when the store
 * refuses for good (a wrong password). */
SSE_API int sse_hub_set_store(sse_hub *hub, const char *url, size_t len,
                              const sse_store_options *opts);

/* Why the store was refused, or cannot be reached now; "" when all is well.
 * Good until the next call of this function. One thread at a time. */
SSE_API const char *sse_hub_store_error(sse_hub *hub);

/* Streams whose producer went silent are told to this queue: SSE_NOTE_ORPHAN.
 * Without one on any hub, they are ended as failed. NULL unsets it. Returns
 * SSE_OK, or SSE_ERR_INVAL for a queue of another hub. */
SSE_API int sse_hub_set_guardian(sse_hub *hub, sse_queue *q);

/* Answers SSE_NOTE_ORPHAN: the stream ends with `state` as for
 * sse_stream_end(), or, with SSE_STATE_ACTIVE, its job still runs: it is asked
 * about again. Returns SSE_OK, SSE_ERR_NOT_FOUND when it is no orphan any more,
 * or the errors of sse_stream_end(). Any thread. */
SSE_API int sse_hub_settle(sse_hub *hub, const char *id, size_t id_len,
                           int state, const char *type, size_t type_len,
                           const char *data, size_t data_len);

/* Waits until the store has what the streams made here owe it, so that the
 * process may end: sse_hub_free() does it by itself, for 2 s at most, when the
 * last child is freed. A `timeout_ms` below 0 is for ever. Returns SSE_OK, at
 * once without a store; SSE_ERR_TIMEOUT; SSE_ERR_STORE when the store has never
 * been reached. Any thread. */
SSE_API int sse_hub_flush(sse_hub *hub, int64_t timeout_ms);

/* ---- Streams ------------------------------------------------------------ */

/* A handle on one stream of a hub. The stream lives in the hub; freeing the
 * handle ends nothing. */
typedef struct sse_stream sse_stream;

typedef enum sse_state {
    SSE_STATE_ACTIVE    = 0,
    SSE_STATE_COMPLETED = 1,
    SSE_STATE_FAILED    = 2,
    SSE_STATE_CANCELLED = 3,
    SSE_STATE_ORPHANED  = 4, /* its producer went silent                    */
    SSE_STATE_EXPIRED   = 5  /* it outlived its time to live                */
} sse_state;

/* "active", "completed", ...; static text; "unknown" for other numbers. */
SSE_API const char *sse_state_name(int state);

/* Flags of sse_stream_options. */
#define SSE_STREAM_CHANNEL 1u /* many writers, no terminal event            */
#define SSE_STREAM_SHARED 2u  /* with a store: any hub may append; channels
                               * are so too                                 */

typedef struct sse_stream_options {
    uint32_t size;          /* sizeof(sse_stream_options)                   */
    uint32_t flags;         /* SSE_STREAM_*                                 */
    uint64_t key;           /* comes back in notes about this stream        */
    uint32_t log_events;    /* these seven: 0 means the hub's               */
    uint32_t log_bytes;
    uint32_t log_age_ms;
    uint32_t slow_policy_set;   /* 1: use slow_policy, not the hub's        */
    uint32_t slow_policy;
    uint32_t unread_policy_set; /* 1: use unread_policy, not the hub's      */
    uint32_t unread_policy;
    uint32_t unread_ms;
} sse_stream_options;

/* The name an event got. A plain value; it never grows. */
typedef struct sse_event_id {
    uint64_t seq;      /* 1 for the first event of a stream                 */
    uint32_t tag;      /* FNV-1a of the stored event                        */
    uint32_t text_len;
    char     text[32]; /* as on the wire, with a NUL                        */
} sse_event_id;

/* Creates a stream. `id` is 1 to 255 bytes out of A-Z a-z 0-9 . _ ~ : @ + - ;
 * of length 0, the hub makes up one that nobody guesses. An id whose stream
 * has ended may be used again: a new stream takes its place, and its log
 * starts anew. `producer`, which may be NULL, is the queue that is told when
 * the stream must stop. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL,
 * SSE_ERR_EXISTS, SSE_ERR_LIMIT or SSE_ERR_IO. */
SSE_API int sse_stream_new(sse_hub *hub, const char *id, size_t id_len,
                           sse_queue *producer, const sse_stream_options *opts,
                           sse_stream **out);

/* Finds a stream. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_NOT_FOUND or, with a
 * store, SSE_ERR_LIMIT when max_streams leaves no place for another hub's. */
SSE_API int  sse_stream_open(sse_hub *hub, const char *id, size_t id_len,
                             sse_stream **out);
SSE_API void sse_stream_free(sse_stream *s);

/* Who owns it, what it is, and anything else, as JSON text: shown in listings
 * and never read by libsse. Length 0 clears one. At most 255, 255 and 16384
 * bytes of UTF-8. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_TOO_BIG, SSE_ERR_UTF8
 * or, for an owner, SSE_ERR_LIMIT when it has max_streams_per_user active
 * streams, SSE_ERR_NOT_FOUND when the stream was forgotten. */
SSE_API int sse_stream_set_owner(sse_stream *s, const char *owner, size_t len);
SSE_API int sse_stream_set_kind(sse_stream *s, const char *kind, size_t len);
SSE_API int sse_stream_set_metadata(sse_stream *s, const char *json, size_t len);

/* Appends one event. `type` of length 0 means "message". `data` is UTF-8 text.
 * `out` may be NULL. With SSE_SLOW_BLOCK it may wait, block_timeout_ms at
 * most. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL for a type with CR, LF or
 * NUL, SSE_ERR_UTF8, SSE_ERR_TOO_BIG, SSE_ERR_ENDED or SSE_ERR_NOT_FOUND when
 * the stream was forgotten. Any thread. */
SSE_API int sse_stream_append(sse_stream *s, const char *type, size_t type_len,
                              const char *data, size_t data_len,
                              sse_event_id *out);

/* Appends `count` events of one type in one step: all or none. Their data
 * stands end to end in `data`, `sizes[i]` bytes for the i-th. `out` gets the
 * id of the last one. Errors as above, and SSE_ERR_INVAL for none of them or
 * sizes that do not add up to `data_len`. Any thread. */
SSE_API int sse_stream_append_batch(sse_stream *s, const char *type,
                                    size_t type_len, const char *data,
                                    size_t data_len, const uint32_t *sizes,
                                    size_t count, sse_event_id *out);

/* Appends the terminal event and sets the state, in one step. `state` is
 * SSE_STATE_COMPLETED, FAILED or CANCELLED; `type` of length 0 is the state's
 * name. Errors as for append; SSE_ERR_INVAL for a channel. Any thread. */
SSE_API int sse_stream_end(sse_stream *s, int state, const char *type,
                           size_t type_len, const char *data, size_t data_len,
                           sse_event_id *out);

/* A stream as it is now. */
typedef struct sse_stream_info {
    uint32_t    state;            /* an sse_state                           */
    uint32_t    flags;            /* SSE_STREAM_*                           */
    const char *id;
    size_t      id_len;
    const char *owner;
    size_t      owner_len;
    const char *kind;
    size_t      kind_len;
    const char *metadata;
    size_t      metadata_len;
    int64_t     created_ms;       /* since 1970                             */
    int64_t     active_ms;        /* its last event, since 1970             */
    int64_t     ended_ms;         /* 0 while it is active                   */
    uint64_t    first_seq;        /* the oldest event kept                  */
    uint64_t    last_seq;         /* 0 before the first                     */
    uint64_t    log_bytes;
    uint64_t    subscriber_count;
    uint64_t    stop_requested;   /* 1 after a stop                         */
} sse_stream_info;

/* Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_NOT_FOUND. */
SSE_API int sse_stream_get_info(sse_stream *s, const sse_stream_info **out);

/* The streams of one owner (of all owners, with length 0), as they were when
 * the list was made. sse_list_next() returns 1, or 0 after the last. */
typedef struct sse_list sse_list;

SSE_API int  sse_list_new(sse_hub *hub, const char *owner, size_t owner_len,
                          sse_list **out);
SSE_API int  sse_list_next(sse_list *list, const sse_stream_info **out);
SSE_API void sse_list_free(sse_list *list);

/* ---- Queue: the one door out of a hub ----------------------------------- */

/* Everything a hub has to tell a host program comes through a queue: bytes for
 * a subscriber, the end of a subscription, a request to stop. The host sleeps
 * on the queue's descriptor in its own event loop, and drains in batches:
 *
 *     while ((n = sse_queue_drain(q, 0, &batch)) > 0)
 *         for (size_t i = 0; i < batch->note_count; i++)
 *             handle(&batch->notes[i], batch->data);
 *
 * The wake-up fires when an empty queue gets its first note, and not again
 * until a drain has returned 0: drain until then, or come back by yourself. */

typedef struct sse_queue_options {
    uint32_t size;            /* sizeof(sse_queue_options)                  */
    uint32_t flags;           /* reserved, must be 0                        */
    uint32_t max_note_bytes;  /* for one subscriber in a drain; 0: 64 KiB   */
    uint32_t max_batch_bytes; /* of all notes in a drain; 0: 256 KiB        */
} sse_queue_options;

typedef enum sse_note_kind {
    SSE_NOTE_BYTES = 1, /* event stream bytes for subscriber `key`          */
    SSE_NOTE_END   = 2, /* subscriber `key` has had its last byte; `reason` */
    SSE_NOTE_STOP  = 3, /* the producer of stream `key` must stop; `reason` */
    SSE_NOTE_WAKE  = 4, /* sse_queue_wake() was called                      */
    SSE_NOTE_ORPHAN = 5 /* its bytes: the stream, as JSON, as in a listing  */
} sse_note_kind;

typedef enum sse_reason {
    SSE_REASON_NONE      = 0,
    SSE_REASON_ENDED     = 1, /* the stream's terminal event was delivered  */
    SSE_REASON_LAGGED    = 2, /* SSE_SLOW_DISCONNECT                        */
    SSE_REASON_REMOVED   = 3, /* the stream was forgotten or has expired    */
    SSE_REASON_REQUESTED = 4, /* somebody asked for the stop                */
    SSE_REASON_UNREAD    = 5, /* nobody reads                               */
    SSE_REASON_SHUTDOWN  = 6  /* the program is about to end                */
} sse_reason;

typedef struct sse_note {
    uint32_t kind;   /* an sse_note_kind                                    */
    uint32_t reason; /* an sse_reason                                       */
    uint64_t key;    /* the subscriber's or the stream's                    */
    uint64_t offset; /* of its bytes in the batch's data                    */
    uint64_t len;
} sse_note;

typedef struct sse_batch {
    const sse_note *notes;
    size_t          note_count;
    const char     *data;     /* the bytes of all notes, end to end         */
    size_t          data_len;
} sse_batch;

/* Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_INVAL. */
SSE_API int sse_queue_new(sse_hub *hub, const sse_queue_options *opts,
                          sse_queue **out);

/* Ends its subscriptions. Once it has returned, no wake-up is under way. */
SSE_API void sse_queue_free(sse_queue *q);

/* The eventfd that becomes readable on a wake-up. The queue reads and closes
 * it; the host only waits on it. A drain that returns 0 makes it unreadable.
 * Returns the descriptor, or SSE_ERR_IO. */
SSE_API int sse_queue_fd(sse_queue *q);

/* Calls `wake(user)` instead, from any thread, which must only signal: no
 * call into libsse. Set it before the first subscriber. NULL unsets it. */
SSE_API int sse_queue_on_wake(sse_queue *q, void (*wake)(void *user),
                              void *user);

/* Takes what there is, `max_notes` at most (0: 256). Never blocks. Returns the
 * number of notes, 0 when it is empty and armed again, SSE_ERR_NOMEM or
 * SSE_ERR_FORKED. */
SSE_API int sse_queue_drain(sse_queue *q, uint32_t max_notes,
                            const sse_batch **out);

/* Blocks until a drain would give something: SSE_OK; or for `timeout_ms`:
 * SSE_ERR_TIMEOUT. A negative time-out waits for ever. SSE_ERR_IO where the
 * queue can have no descriptor. */
SSE_API int sse_queue_wait(sse_queue *q, int64_t timeout_ms);

/* Makes the next drain give SSE_NOTE_WAKE. Any thread. */
SSE_API void sse_queue_wake(sse_queue *q);

/* The host is going to drain: no wake-up until a drain has returned 0. Before
 * an append on the thread of its event loop, when it has asked that loop for a
 * turn, this saves it a wake-up by itself. Any thread. */
SSE_API void sse_queue_hush(sse_queue *q);

/* ---- Subscribers -------------------------------------------------------- */

/* A reader: a cursor into a log, and a queue to deliver to. What it gets are
 * bytes ready for the body of an HTTP response. */
typedef struct sse_subscriber sse_subscriber;

/* Flags of sse_subscriber_options. */
#define SSE_SUBSCRIBER_HOLD 1u /* after each note with bytes, wait for
                                * sse_subscriber_next(): back-pressure      */

typedef struct sse_subscriber_options {
    uint32_t size;         /* sizeof(sse_subscriber_options)                */
    uint32_t flags;        /* SSE_SUBSCRIBER_*                              */
    uint64_t key;          /* comes back in its notes                       */
    uint32_t heartbeat_ms; /* 0: the hub's; SSE_NEVER                       */
    uint32_t retry_ms;     /* 0: the hub's; SSE_NEVER                       */
} sse_subscriber_options;

/* Subscribes from `cursor`: an event id as the stream gave it, "0" or length 0
 * for the start, "$" for only what is new. Returns SSE_OK; SSE_ERR_CURSOR;
 * SSE_ERR_ENDED when the cursor is that of the terminal event, so that nothing
 * will ever come (HTTP 204); SSE_ERR_NOT_FOUND when the stream was forgotten;
 * SSE_ERR_LIMIT; SSE_ERR_NOMEM or SSE_ERR_INVAL. */
SSE_API int  sse_subscriber_new(sse_stream *s, sse_queue *q, const char *cursor,
                                size_t                        cursor_len,
                                const sse_subscriber_options *opts,
                                sse_subscriber              **out);
SSE_API void sse_subscriber_free(sse_subscriber *sub);

/* The bytes of the last note have been written: the next may come. Only with
 * SSE_SUBSCRIBER_HOLD. Any thread. */
SSE_API void sse_subscriber_next(sse_subscriber *sub);

/* ---- Event loop --------------------------------------------------------- */

/* Runs servers and clients on one thread. Hooks run on it, on no other. */
typedef struct sse_loop sse_loop;

/* Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_IO. */
SSE_API int  sse_loop_new(sse_loop **out);
SSE_API void sse_loop_free(sse_loop *loop); /* not during sse_loop_run()    */

/* Runs until everything on the loop is closed. Returns SSE_OK, SSE_ERR_INVAL
 * when it runs already, or SSE_ERR_IO when the system refused to go on. */
SSE_API int sse_loop_run(sse_loop *loop);

/* Runs the loop on a thread of its own instead, with all signals blocked, for
 * as long as anybody holds the loop. For loops of clients: servers are not made
 * or freed while it runs. Returns SSE_OK, SSE_ERR_INVAL when it runs already,
 * or SSE_ERR_IO. */
SSE_API int sse_loop_start(sse_loop *loop);

/* Closes every client on the loop, and every server as sse_server_close() does;
 * a second call ends them at once. Any thread, and safe in a signal handler,
 * which is set back before the loop is freed. */
SSE_API void sse_loop_stop(sse_loop *loop);

/* ---- HTTP server -------------------------------------------------------- */

/* Serves a hub over HTTP/1.1: server-sent events and long poll, as docs/http.md
 * says. Several servers may share a loop, a hub, or neither. */
typedef struct sse_server sse_server;

typedef struct sse_server_options {
    uint32_t size;                     /* sizeof(sse_server_options)        */
    uint32_t flags;                    /* reserved, must be 0               */
    uint32_t max_connections;          /* 0: 100000                         */
    uint32_t max_connections_per_user; /* with an authorize hook; 0: 1000   */
    uint32_t max_head_bytes;           /* at most 80 KiB; 0: 16 KiB         */
    uint32_t max_body_bytes;           /* 0: 16 MiB                         */
    uint32_t head_timeout_ms;          /* to send a head; 0: 10 s           */
    uint32_t body_timeout_ms;          /* without a body byte; 0: 30 s      */
    uint32_t idle_timeout_ms;          /* between requests; 0: 60 s         */
    uint32_t unacked_timeout_ms;       /* reader takes no byte; 0: 30 s     */
    uint32_t poll_timeout_ms;          /* long poll; 0: 25 s                */
    uint32_t shutdown_ms;              /* deadline of a close; 0: 10 s      */
} sse_server_options;

/* Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_INVAL. */
SSE_API int  sse_server_new(sse_loop *loop, sse_hub *hub,
                            const sse_server_options *opts, sse_server **out);
SSE_API void sse_server_free(sse_server *s); /* cuts its connections        */

/* Paths begin with this; "/api/stream" unless set. Returns SSE_OK,
 * SSE_ERR_NOMEM, SSE_ERR_TOO_BIG past 4096 bytes, or SSE_ERR_INVAL. Before
 * listen. */
SSE_API int sse_server_set_prefix(sse_server *s, const char *prefix,
                                  size_t len);

/* Lets pages of one more origin ("https://app.example") read the answers;
 * "*" lets all. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_TOO_BIG past 64 KiB of
 * them, or SSE_ERR_INVAL. */
SSE_API int sse_server_add_origin(sse_server *s, const char *origin,
                                  size_t len);

/* Binds and listens, once; port 0 picks a free one; `out_port` may be NULL.
 * Returns SSE_OK, SSE_ERR_INVAL for a host that is no IP address or name, or a
 * port that is none, SSE_ERR_IO, or SSE_ERR_CLOSED after a close. */
SSE_API int sse_server_listen(sse_server *s, const char *host, size_t host_len,
                              uint32_t port, uint32_t *out_port);

/* Begins an orderly end: no new connections; producers on queues of the whole
 * hub are told SSE_REASON_SHUTDOWN; readers get a `retry` with jitter and a complete
 * response; after shutdown_ms at most, everything is closed. Any thread. */
SSE_API void sse_server_close(sse_server *s);

/* What the system said, after SSE_ERR_IO. Never NULL. */
SSE_API const char *sse_server_error_detail(const sse_server *s);

/* One request, alive during the hook that got it. */
typedef struct sse_request sse_request;

/* Each gives text of the request, "" where there is none. Query is what stands
 * behind the "?"; header names compare without regard to case. */
SSE_API const char *sse_request_method(const sse_request *r);
SSE_API const char *sse_request_path(const sse_request *r, size_t *out_len);
SSE_API const char *sse_request_query(const sse_request *r, size_t *out_len);
SSE_API const char *sse_request_header(const sse_request *r, const char *name,
                                       size_t name_len, size_t *out_len);
SSE_API const char *sse_request_body(const sse_request *r, size_t *out_len);

/* The value of a query parameter, decoded; "" where there is none. Good until
 * the next call on the request. */
SSE_API const char *sse_request_query_value(sse_request *r, const char *name,
                                            size_t name_len, size_t *out_len);

/* Says who asks, for the owner rule and the limits per user. In an authorize
 * hook. Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_TOO_BIG past 255 bytes. */
SSE_API int sse_request_set_user(sse_request *r, const char *user, size_t len);

/* Adds a header to the answer, before it is given. Returns SSE_OK,
 * SSE_ERR_NOMEM, SSE_ERR_TOO_BIG past 16 KiB of them, or SSE_ERR_INVAL for a
 * name or value with a line end, or after the answer. */
SSE_API int sse_request_add_header(sse_request *r, const char *name,
                                   size_t name_len, const char *value,
                                   size_t value_len);

/* Answers. In a request hook, or later if it was held; once. Returns SSE_OK, or
 * SSE_ERR_INVAL for a status out of 200 to 599, a body with 204, a type with a
 * line end, or a request that has been answered. */
SSE_API int sse_request_respond(sse_request *r, int status, const char *type,
                                size_t type_len, const char *body,
                                size_t body_len);

/* Keeps the request past its hook, to be answered later, on the loop's thread.
 * If its caller goes away first, or the server is closed, `gone(r, user)` is
 * called instead, and the request is no more. In a request hook. Returns
 * SSE_OK, or SSE_ERR_INVAL when it has been answered, or is held already. */
SSE_API int sse_request_hold(sse_request *r,
                             void (*gone)(sse_request *r, void *user),
                             void *user);

/* Answers with a stream, from the cursor that the request names, as a GET of
 * the stream would. Returns SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_INVAL for a
 * stream of another hub or a request that has been answered. */
SSE_API int sse_request_respond_stream(sse_request *r, sse_stream *s);

typedef enum sse_verb {
    SSE_VERB_CREATE  = 1,
    SSE_VERB_READ    = 2, /* subscribe, poll                                */
    SSE_VERB_APPEND  = 3, /* events, complete, fail                         */
    SSE_VERB_STOP    = 4,
    SSE_VERB_RECOVER = 5,
    SSE_VERB_LIST    = 6,
    SSE_VERB_REMOVE  = 7,
    SSE_VERB_METRICS = 8
} sse_verb;

/* Decides who may do what. `id` is the stream's, of length 0 where the request
 * names none. 0 lets it pass, negative refuses it (403, or 401 when the hook
 * returns SSE_ERR_DENIED and added a WWW-Authenticate header). A stream whose
 * owner is not the user set by sse_request_set_user() answers 404 then. */
SSE_API int sse_server_on_authorize(sse_server *s,
                                    int (*hook)(sse_request *r, int verb,
                                                const char *id, size_t id_len,
                                                void *user),
                                    void *user);

/* Takes the requests outside the prefix, /metrics and /health. One that is
 * not answered when the hook returns gets 404. */
SSE_API int sse_server_on_request(sse_server *s,
                                  void (*hook)(sse_request *r, void *user),
                                  void *user);

/* ---- Client ------------------------------------------------------------- */

/* Follows one URL until its stream ends: parses it, comes back with the last
 * event id when the connection is lost, delivers no event twice, and tells
 * what is missing. The network is served on the thread that runs the client's
 * loop; functions of a client may be called from any thread.
 *
 *     sse_loop_new(&loop);
 *     sse_loop_start(loop);
 *     sse_client_new(loop, url, strlen(url), NULL, &client);
 *     sse_client_start(client);
 *     while (sse_client_next(client, -1, &news) > 0)
 *         if (news->kind == SSE_NEWS_EVENT)
 *             handle(news->data, news->data_len);
 *
 * What is not taken yet is kept up to queue_bytes; then the socket waits. */
typedef struct sse_client sse_client;

typedef enum sse_profile {
    SSE_PROFILE_RESILIENT = 0, /* 408, 425, 429, 5xx and what the network does
                                * are tried again, 401 with a fresh token    */
    SSE_PROFILE_STRICT    = 1, /* what EventSource does                      */
    SSE_PROFILE_FINITE    = 2  /* as resilient; a clean end of the body is
                                * the end, and nothing is asked for twice
                                * without an id to go on from               */
} sse_profile;

/* Flags of sse_client_options. */
#define SSE_CLIENT_ACK 1u       /* the position moves by sse_client_ack();
                                 * not in strict                            */
#define SSE_CLIENT_COMMENTS 2u  /* comments are news too                    */
#define SSE_CLIENT_TOKEN 4u     /* SSE_NEWS_TOKEN before each attempt       */
#define SSE_CLIENT_DECIDE 16u   /* SSE_NEWS_DECIDE about each error         */
#define SSE_CLIENT_POLL 32u     /* long poll where nothing streams          */
#define SSE_CLIENT_INSECURE 64u /* takes any certificate: for tests         */
#define SSE_CLIENT_IDENTITY 128u /* asks for no compression                 */

/* SSE_NEVER lifts a limit. */
typedef struct sse_client_options {
    uint32_t size;               /* sizeof(sse_client_options)              */
    uint32_t flags;              /* SSE_CLIENT_*                            */
    uint32_t profile;            /* an sse_profile                          */
    uint32_t retry_ms;           /* until the server says; 0: 1 s           */
    uint32_t retry_floor_ms;     /* 0: 100 ms                               */
    uint32_t retry_cap_ms;       /* 0: 30 s                                 */
    uint32_t retry_after_cap_ms; /* 0: 5 min                                */
    uint32_t max_attempts;       /* failed in a row; 0: 10, strict: none    */
    uint32_t budget_ms;          /* without progress; 0: none               */
    uint32_t healthy_ms;         /* forgets failures, open so long; 0: 60 s */
    uint32_t healthy_events;     /* or after so many events; 0: 10          */
    uint32_t connect_ms;         /* name, TCP, TLS, redirects; 0: 10 s      */
    uint32_t first_byte_ms;      /* from there to the head; 0: 30 s         */
    uint32_t stall_ms;           /* without a byte; 0: 30 s                 */
    uint32_t poll_ms;            /* for a long poll's answer; 0: 60 s       */
    uint32_t poll_period_ms;     /* then streaming is tried; 0: 5 min       */
    uint32_t window;             /* event ids remembered; 0: 1024           */
    uint32_t queue_bytes;        /* not taken yet; 0: 256 KiB               */
    uint32_t max_event_bytes;    /* 0: 16 MiB                               */
    uint32_t max_redirects;      /* in a row; 0: 20                         */
    uint32_t max_error_bytes;    /* kept of a refusal's body; 0: 64 KiB     */
    uint32_t reserved;           /* must be 0                               */
} sse_client_options;

/* Makes a client on a loop that runs, or will run. `url` is http or https, at
 * most 8 KiB. Returns SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_INVAL for a URL or
 * option that cannot be used. Any thread. */
SSE_API int sse_client_new(sse_loop *loop, const char *url, size_t url_len,
                           const sse_client_options *opts, sse_client **out);

/* Ends it at once. When it has returned, its hook does not run and will not;
 * so do not hold a lock that the hook waits for. Any thread, the hook too. */
SSE_API void sse_client_free(sse_client *c);

typedef enum sse_setting {
    SSE_SETTING_METHOD       = 1,  /* GET, or POST with a body              */
    SSE_SETTING_BODY         = 2,  /* sent with each attempt                */
    SSE_SETTING_RECOVERY_URL = 3,  /* asked first for a stored completion   */
    SSE_SETTING_CURSOR       = 4,  /* an event id to go on from             */
    SSE_SETTING_PROXY        = 5,  /* a URL; "" for none, whatever the
                                    * environment says                      */
    SSE_SETTING_CA_FILE      = 6,  /* PEM, in place of the system's         */
    SSE_SETTING_CERT_FILE    = 7,  /* PEM, the client's certificate         */
    SSE_SETTING_KEY_FILE     = 8,  /* PEM, its key                          */
    SSE_SETTING_KEY_PASSWORD = 9,
    SSE_SETTING_UNIX_SOCKET  = 10, /* a path, in place of TCP               */
    SSE_SETTING_USER_AGENT   = 11  /* none unless set                       */
} sse_setting;

/* Before start. Returns SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL for text that
 * cannot be used, or SSE_ERR_CLOSED after start. */
SSE_API int sse_client_set(sse_client *c, int setting, const char *text,
                           size_t len);

/* A header of the requests from the next attempt on, in place of one of that
 * name; a value of length 0 takes it away. At any time. Credentials
 * (Authorization, Cookie, Last-Event-ID, any name set here) do not follow a
 * redirect to another origin. Returns SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_INVAL
 * for a name or value that is none, or a name that is the client's own to say:
 * Last-Event-ID, Content-Length, Transfer-Encoding, Connection, Upgrade,
 * Expect. */
SSE_API int sse_client_set_header(sse_client *c, const char *name,
                                  size_t name_len, const char *value,
                                  size_t value_len);

/* One more type of event that ends the stream. The first takes the place of
 * completed, failed, cancelled and done; strict has none unless told; length 0
 * means no type does. Before start. Errors as for sse_client_set(). The data
 * "[DONE]" ends a stream in any profile but strict. */
SSE_API int sse_client_add_end_type(sse_client *c, const char *type,
                                    size_t len);

/* Begins. Returns SSE_OK, or SSE_ERR_CLOSED when it has begun already. */
SSE_API int sse_client_start(sse_client *c);

typedef enum sse_news_kind {
    SSE_NEWS_OPEN    = 1, /* the server answers: status                     */
    SSE_NEWS_EVENT   = 2, /* type, data, id                                 */
    SSE_NEWS_COMMENT = 3, /* data                                           */
    SSE_NEWS_GAP     = 4, /* events are gone: from_seq, to_seq, missed, gap */
    SSE_NEWS_STATE   = 5, /* state                                          */
    SSE_NEWS_RETRY   = 6, /* the next attempt is in delay_ms                */
    SSE_NEWS_ERROR   = 7, /* cause, status, detail; data: the body refused  */
    SSE_NEWS_END     = 8, /* cause, status, detail; the last of all news    */
    SSE_NEWS_TOKEN   = 9, /* sse_client_set_token() is waited for; status is
                           * 401 when the one in use was refused            */
    SSE_NEWS_DECIDE  = 10 /* sse_client_decide() is waited for; cause, status,
                           * decision: what the profile says                */
} sse_news_kind;

typedef enum sse_conn_state {
    SSE_CONN_IDLE       = 0,
    SSE_CONN_CONNECTING = 1,
    SSE_CONN_OPEN       = 2,
    SSE_CONN_WAITING    = 3, /* for the next attempt                        */
    SSE_CONN_OFFLINE    = 4,
    SSE_CONN_SUSPENDED  = 5,
    SSE_CONN_ENDED      = 6
} sse_conn_state;

typedef enum sse_cause {
    SSE_CAUSE_NONE         = 0,
    SSE_CAUSE_NETWORK      = 1,  /* resolve, connect, TLS, reset, cut       */
    SSE_CAUSE_REDIRECT     = 2,  /* one that must not be followed           */
    SSE_CAUSE_CONNECT      = 3,  /* connect_ms passed                       */
    SSE_CAUSE_NO_ANSWER    = 4,  /* first_byte_ms passed                    */
    SSE_CAUSE_STALLED      = 5,  /* stall_ms passed without a byte          */
    SSE_CAUSE_STATUS       = 6,  /* see status                              */
    SSE_CAUSE_CONTENT_TYPE = 7,  /* not text/event-stream                   */
    SSE_CAUSE_BODY_END     = 8,  /* the body ended in order                 */
    SSE_CAUSE_TOKEN        = 9,  /* the application had none                */
    SSE_CAUSE_NOMEM        = 10,
    SSE_CAUSE_TOO_BIG      = 11, /* an event passes its limit               */
    SSE_CAUSE_BAD_ANSWER   = 12, /* a long poll's is not as it must be      */
    /* These only end a stream. */
    SSE_CAUSE_TERMINAL     = 13, /* its terminal event was taken            */
    SSE_CAUSE_NO_CONTENT   = 14, /* status 204                              */
    SSE_CAUSE_CLOSED       = 15, /* sse_client_close()                      */
    SSE_CAUSE_ATTEMPTS     = 16, /* max_attempts failed in a row            */
    SSE_CAUSE_BUDGET       = 17, /* budget_ms passed without progress       */
    SSE_CAUSE_NO_CURSOR    = 18  /* cut, and no id to go on from: finite    */
} sse_cause;

/* "network", "stalled", ...; static text; "unknown" for other numbers. */
SSE_API const char *sse_cause_name(int cause);

typedef enum sse_gap {
    SSE_GAP_TRIMMED     = 0, /* these four are the server's own words       */
    SSE_GAP_EXPIRED     = 1,
    SSE_GAP_LAGGED      = 2,
    SSE_GAP_DIVERGED    = 3, /* the log is another one, from its start      */
    SSE_GAP_OTHER       = 4, /* a word that is not known here               */
    SSE_GAP_UNANNOUNCED = 5  /* the ids show it, the server was silent      */
} sse_gap;

typedef enum sse_decision {
    SSE_DECISION_RETRY   = 1,
    SSE_DECISION_STOP    = 2,
    SSE_DECISION_RENEW   = 3, /* retry with a fresh token                   */
    SSE_DECISION_DONE    = 4, /* this was the orderly end                   */
    SSE_DECISION_DEFAULT = 5  /* as the profile says                        */
} sse_decision;

/* Numbers that nobody knows are -1. Texts are valid UTF-8, those of an event
 * as the parser gives them. */
typedef struct sse_news {
    uint32_t    kind;     /* an sse_news_kind: says which fields hold       */
    uint32_t    cause;    /* an sse_cause                                   */
    uint32_t    status;   /* of HTTP, or 0                                  */
    uint32_t    state;    /* an sse_conn_state                              */
    uint32_t    gap;      /* an sse_gap                                     */
    uint32_t    decision; /* an sse_decision                                */
    int64_t     delay_ms;
    int64_t     from_seq; /* the first that is gone                         */
    int64_t     to_seq;   /* the last                                       */
    int64_t     missed;   /* how many                                       */
    const char *type;
    size_t      type_len;
    const char *data;
    size_t      data_len;
    const char *id;       /* the last event id                              */
    size_t      id_len;
    const char *detail;   /* a sentence for people; never NULL, with a NUL  */
    size_t      detail_len;
} sse_news;

/* Takes the next piece of news, waiting `timeout_ms` for it (negative: for
 * ever). Taking one says that the one before has been dealt with: the position
 * moves past it, except with SSE_CLIENT_ACK. `*out` is good until the next
 * call of this function. Returns 1; 0 after SSE_NEWS_END; SSE_ERR_TIMEOUT;
 * SSE_ERR_NOMEM: nothing is lost, call again; SSE_ERR_INVAL for a wait on the
 * loop's own thread; SSE_ERR_CLOSED before start; SSE_ERR_FORKED. Any thread,
 * one at a time. */
SSE_API int sse_client_next(sse_client *c, int64_t timeout_ms,
                            const sse_news **out);

/* Calls `hook(user)` on the loop's thread when news have come and the last
 * sse_client_next() returned no 1. It may call any function of this client,
 * or signal another thread. Before start. NULL unsets it. Returns SSE_OK or
 * SSE_ERR_CLOSED. */
SSE_API int sse_client_on_news(sse_client *c, void (*hook)(void *user),
                               void *user);

/* An eventfd that becomes readable then. The client reads and closes it: an
 * sse_client_next() that returns no 1 makes it unreadable. Before start.
 * Returns the descriptor, or SSE_ERR_IO. */
SSE_API int sse_client_fd(sse_client *c);

/* A header of the last answer, as it was when the last news was taken; "" where
 * there is none. Good until the next sse_client_next(). */
SSE_API const char *sse_client_header(sse_client *c, const char *name,
                                      size_t name_len, size_t *out_len);

/* From now on "Authorization: Bearer <token>" is sent. Answers SSE_NEWS_TOKEN;
 * unasked, on an open stream, a connection with it is opened before the other
 * one is dropped. `token` NULL as an answer: there is none, so that the attempt
 * has failed. Length 0: the headers are right as they are. With `lifetime_ms`
 * above 0 and SSE_CLIENT_TOKEN, a new one is asked for when four fifths of it
 * are over. Returns SSE_OK, SSE_ERR_NOMEM or SSE_ERR_INVAL. */
SSE_API int sse_client_set_token(sse_client *c, const char *token, size_t len,
                                 int64_t lifetime_ms);

/* Answers SSE_NEWS_DECIDE. SSE_OK, or SSE_ERR_INVAL for a number that is no
 * sse_decision. */
SSE_API int sse_client_decide(sse_client *c, int decision);

/* What goes on around the program. Nothing is sent while it is suspended or
 * offline; after it, one attempt at once. They count no calls. */
SSE_API void sse_client_suspend(sse_client *c);
SSE_API void sse_client_resume(sse_client *c);
SSE_API void sse_client_offline(sse_client *c);
SSE_API void sse_client_online(sse_client *c);

/* Drops the connection and opens it again at once. */
SSE_API void sse_client_restart(sse_client *c);

/* Ends it: what has come and is not taken is forgotten; SSE_NEWS_END follows. */
SSE_API void sse_client_close(sse_client *c);

/* With SSE_CLIENT_ACK: everything up to the event with this id has been dealt
 * with. Returns SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_NOT_FOUND when it is none of
 * those that wait for it. */
SSE_API int sse_client_ack(sse_client *c, const char *id, size_t len);

/* The position, the ids remembered and the server's retry, as bytes that an
 * import takes for the same URL. Export at any time; import before start.
 * Return SSE_OK, SSE_ERR_NOMEM, SSE_ERR_TOO_BIG for a full buffer, or
 * SSE_ERR_INVAL for bytes that are damaged or belong to another URL, or after
 * start; the client is then as it was. */
SSE_API int sse_client_export(sse_client *c, sse_buffer *out);
SSE_API int sse_client_import(sse_client *c, const void *data, size_t len);

#ifdef __cplusplus
}
#endif

#endif
