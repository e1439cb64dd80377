/* SPDX-License-Identifier: MIT */
/* abi_test.c - the layout of every public struct and the value of every public
 * name, as programs compiled long ago know them. Compiling this file is the
 * test. Lines are added for what is new, and a struct that may grow gets its
 * new size; no other line ever changes. */
#include "sse.h"

#define SIZE(type, bytes) \
    _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define AT(type, field, offset) \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field)

#define VALUE(name, number) \
    _Static_assert((int)(name) == (number), "value of " #name)

_Static_assert(sizeof(void *) == 8, "these numbers are for 64 bits");

SIZE(sse_parser_options, 24);
AT(sse_parser_options, size, 0);
AT(sse_parser_options, flags, 4);
AT(sse_parser_options, max_line_bytes, 8);
AT(sse_parser_options, max_event_bytes, 16);

SIZE(sse_item, 64);
AT(sse_item, kind, 0);
AT(sse_item, reserved, 4);
AT(sse_item, type, 8);
AT(sse_item, type_len, 16);
AT(sse_item, data, 24);
AT(sse_item, data_len, 32);
AT(sse_item, id, 40);
AT(sse_item, id_len, 48);
AT(sse_item, retry_ms, 56);

SIZE(sse_hub_options, 88);
AT(sse_hub_options, size, 0);
AT(sse_hub_options, flags, 4);
AT(sse_hub_options, max_streams, 8);
AT(sse_hub_options, max_streams_per_user, 12);
AT(sse_hub_options, max_subscribers, 16);
AT(sse_hub_options, max_event_bytes, 20);
AT(sse_hub_options, log_events, 24);
AT(sse_hub_options, log_bytes, 28);
AT(sse_hub_options, log_age_ms, 32);
AT(sse_hub_options, channel_events, 36);
AT(sse_hub_options, stream_ttl_ms, 40);
AT(sse_hub_options, completion_ttl_ms, 44);
AT(sse_hub_options, heartbeat_ms, 48);
AT(sse_hub_options, heartbeat, 52);
AT(sse_hub_options, retry_ms, 56);
AT(sse_hub_options, id_format, 60);
AT(sse_hub_options, slow_policy, 64);
AT(sse_hub_options, block_timeout_ms, 68);
AT(sse_hub_options, unread_policy, 72);
AT(sse_hub_options, unread_ms, 76);
AT(sse_hub_options, stop_grace_ms, 80);
AT(sse_hub_options, reserved, 84);

SIZE(sse_store_options, 32);
AT(sse_store_options, size, 0);
AT(sse_store_options, flags, 4);
AT(sse_store_options, start_ms, 8);
AT(sse_store_options, command_ms, 12);
AT(sse_store_options, linger_ms, 16);
AT(sse_store_options, lease_ms, 20);
AT(sse_store_options, sweep_ms, 24);
AT(sse_store_options, idle_ms, 28);

SIZE(sse_stream_options, 48);
AT(sse_stream_options, size, 0);
AT(sse_stream_options, flags, 4);
AT(sse_stream_options, key, 8);
AT(sse_stream_options, log_events, 16);
AT(sse_stream_options, log_bytes, 20);
AT(sse_stream_options, log_age_ms, 24);
AT(sse_stream_options, slow_policy_set, 28);
AT(sse_stream_options, slow_policy, 32);
AT(sse_stream_options, unread_policy_set, 36);
AT(sse_stream_options, unread_policy, 40);
AT(sse_stream_options, unread_ms, 44);

SIZE(sse_event_id, 48);
AT(sse_event_id, seq, 0);
AT(sse_event_id, tag, 8);
AT(sse_event_id, text_len, 12);
AT(sse_event_id, text, 16);

SIZE(sse_stream_info, 136);
AT(sse_stream_info, state, 0);
AT(sse_stream_info, flags, 4);
AT(sse_stream_info, id, 8);
AT(sse_stream_info, id_len, 16);
AT(sse_stream_info, owner, 24);
AT(sse_stream_info, owner_len, 32);
AT(sse_stream_info, kind, 40);
AT(sse_stream_info, kind_len, 48);
AT(sse_stream_info, metadata, 56);
AT(sse_stream_info, metadata_len, 64);
AT(sse_stream_info, created_ms, 72);
AT(sse_stream_info, active_ms, 80);
AT(sse_stream_info, ended_ms, 88);
AT(sse_stream_info, first_seq, 96);
AT(sse_stream_info, last_seq, 104);
AT(sse_stream_info, log_bytes, 112);
AT(sse_stream_info, subscriber_count, 120);
AT(sse_stream_info, stop_requested, 128);

SIZE(sse_queue_options, 16);
AT(sse_queue_options, size, 0);
AT(sse_queue_options, flags, 4);
AT(sse_queue_options, max_note_bytes, 8);
AT(sse_queue_options, max_batch_bytes, 12);

SIZE(sse_note, 32);
AT(sse_note, kind, 0);
AT(sse_note, reason, 4);
AT(sse_note, key, 8);
AT(sse_note, offset, 16);
AT(sse_note, len, 24);

SIZE(sse_batch, 32);
AT(sse_batch, notes, 0);
AT(sse_batch, note_count, 8);
AT(sse_batch, data, 16);
AT(sse_batch, data_len, 24);

SIZE(sse_subscriber_options, 24);
AT(sse_subscriber_options, size, 0);
AT(sse_subscriber_options, flags, 4);
AT(sse_subscriber_options, key, 8);
AT(sse_subscriber_options, heartbeat_ms, 16);
AT(sse_subscriber_options, retry_ms, 20);

SIZE(sse_server_options, 48);
AT(sse_server_options, size, 0);
AT(sse_server_options, flags, 4);
AT(sse_server_options, max_connections, 8);
AT(sse_server_options, max_connections_per_user, 12);
AT(sse_server_options, max_head_bytes, 16);
AT(sse_server_options, max_body_bytes, 20);
AT(sse_server_options, head_timeout_ms, 24);
AT(sse_server_options, body_timeout_ms, 28);
AT(sse_server_options, idle_timeout_ms, 32);
AT(sse_server_options, unacked_timeout_ms, 36);
AT(sse_server_options, poll_timeout_ms, 40);
AT(sse_server_options, shutdown_ms, 44);

SIZE(sse_client_options, 88);
AT(sse_client_options, size, 0);
AT(sse_client_options, flags, 4);
AT(sse_client_options, profile, 8);
AT(sse_client_options, retry_ms, 12);
AT(sse_client_options, retry_floor_ms, 16);
AT(sse_client_options, retry_cap_ms, 20);
AT(sse_client_options, retry_after_cap_ms, 24);
AT(sse_client_options, max_attempts, 28);
AT(sse_client_options, budget_ms, 32);
AT(sse_client_options, healthy_ms, 36);
AT(sse_client_options, healthy_events, 40);
AT(sse_client_options, connect_ms, 44);
AT(sse_client_options, first_byte_ms, 48);
AT(sse_client_options, stall_ms, 52);
AT(sse_client_options, poll_ms, 56);
AT(sse_client_options, poll_period_ms, 60);
AT(sse_client_options, window, 64);
AT(sse_client_options, queue_bytes, 68);
AT(sse_client_options, max_event_bytes, 72);
AT(sse_client_options, max_redirects, 76);
AT(sse_client_options, max_error_bytes, 80);
AT(sse_client_options, reserved, 84);

SIZE(sse_news, 120);
AT(sse_news, kind, 0);
AT(sse_news, cause, 4);
AT(sse_news, status, 8);
AT(sse_news, state, 12);
AT(sse_news, gap, 16);
AT(sse_news, decision, 20);
AT(sse_news, delay_ms, 24);
AT(sse_news, from_seq, 32);
AT(sse_news, to_seq, 40);
AT(sse_news, missed, 48);
AT(sse_news, type, 56);
AT(sse_news, type_len, 64);
AT(sse_news, data, 72);
AT(sse_news, data_len, 80);
AT(sse_news, id, 88);
AT(sse_news, id_len, 96);
AT(sse_news, detail, 104);
AT(sse_news, detail_len, 112);

VALUE(SSE_OK, 0);
VALUE(SSE_ERR_NOMEM, -1);
VALUE(SSE_ERR_INVAL, -2);
VALUE(SSE_ERR_LIMIT, -3);
VALUE(SSE_ERR_TOO_BIG, -4);
VALUE(SSE_ERR_NOT_FOUND, -5);
VALUE(SSE_ERR_EXISTS, -6);
VALUE(SSE_ERR_ENDED, -7);
VALUE(SSE_ERR_CURSOR, -8);
VALUE(SSE_ERR_UTF8, -9);
VALUE(SSE_ERR_TIMEOUT, -10);
VALUE(SSE_ERR_DENIED, -11);
VALUE(SSE_ERR_CLOSED, -12);
VALUE(SSE_ERR_IO, -13);
VALUE(SSE_ERR_FORKED, -14);
VALUE(SSE_ERR_STORE, -15);

VALUE(SSE_ITEM_EVENT, 1);
VALUE(SSE_ITEM_COMMENT, 2);
VALUE(SSE_ITEM_RETRY, 3);

VALUE(SSE_ID_TAGGED, 0);
VALUE(SSE_ID_PLAIN, 1);

VALUE(SSE_HEARTBEAT_COMMENT, 0);
VALUE(SSE_HEARTBEAT_EVENT, 1);
VALUE(SSE_HEARTBEAT_LINE, 2);

VALUE(SSE_SLOW_GAP, 0);
VALUE(SSE_SLOW_DISCONNECT, 1);
VALUE(SSE_SLOW_BLOCK, 2);

VALUE(SSE_UNREAD_CONTINUE, 0);
VALUE(SSE_UNREAD_CANCEL, 1);
VALUE(SSE_UNREAD_CANCEL_AFTER, 2);

VALUE(SSE_STATE_ACTIVE, 0);
VALUE(SSE_STATE_COMPLETED, 1);
VALUE(SSE_STATE_FAILED, 2);
VALUE(SSE_STATE_CANCELLED, 3);
VALUE(SSE_STATE_ORPHANED, 4);
VALUE(SSE_STATE_EXPIRED, 5);

VALUE(SSE_NOTE_BYTES, 1);
VALUE(SSE_NOTE_END, 2);
VALUE(SSE_NOTE_STOP, 3);
VALUE(SSE_NOTE_WAKE, 4);
VALUE(SSE_NOTE_ORPHAN, 5);

VALUE(SSE_REASON_NONE, 0);
VALUE(SSE_REASON_ENDED, 1);
VALUE(SSE_REASON_LAGGED, 2);
VALUE(SSE_REASON_REMOVED, 3);
VALUE(SSE_REASON_REQUESTED, 4);
VALUE(SSE_REASON_UNREAD, 5);
VALUE(SSE_REASON_SHUTDOWN, 6);

VALUE(SSE_VERB_CREATE, 1);
VALUE(SSE_VERB_READ, 2);
VALUE(SSE_VERB_APPEND, 3);
VALUE(SSE_VERB_STOP, 4);
VALUE(SSE_VERB_RECOVER, 5);
VALUE(SSE_VERB_LIST, 6);
VALUE(SSE_VERB_REMOVE, 7);
VALUE(SSE_VERB_METRICS, 8);

VALUE(SSE_PROFILE_RESILIENT, 0);
VALUE(SSE_PROFILE_STRICT, 1);
VALUE(SSE_PROFILE_FINITE, 2);
VALUE(SSE_SETTING_METHOD, 1);
VALUE(SSE_SETTING_BODY, 2);
VALUE(SSE_SETTING_RECOVERY_URL, 3);
VALUE(SSE_SETTING_CURSOR, 4);
VALUE(SSE_SETTING_PROXY, 5);
VALUE(SSE_SETTING_CA_FILE, 6);
VALUE(SSE_SETTING_CERT_FILE, 7);
VALUE(SSE_SETTING_KEY_FILE, 8);
VALUE(SSE_SETTING_KEY_PASSWORD, 9);
VALUE(SSE_SETTING_UNIX_SOCKET, 10);
VALUE(SSE_SETTING_USER_AGENT, 11);
VALUE(SSE_NEWS_OPEN, 1);
VALUE(SSE_NEWS_EVENT, 2);
VALUE(SSE_NEWS_COMMENT, 3);
VALUE(SSE_NEWS_GAP, 4);
VALUE(SSE_NEWS_STATE, 5);
VALUE(SSE_NEWS_RETRY, 6);
VALUE(SSE_NEWS_ERROR, 7);
VALUE(SSE_NEWS_END, 8);
VALUE(SSE_NEWS_TOKEN, 9);
VALUE(SSE_NEWS_DECIDE, 10);
VALUE(SSE_CONN_IDLE, 0);
VALUE(SSE_CONN_CONNECTING, 1);
VALUE(SSE_CONN_OPEN, 2);
VALUE(SSE_CONN_WAITING, 3);
VALUE(SSE_CONN_OFFLINE, 4);
VALUE(SSE_CONN_SUSPENDED, 5);
VALUE(SSE_CONN_ENDED, 6);
VALUE(SSE_CAUSE_NONE, 0);
VALUE(SSE_CAUSE_NETWORK, 1);
VALUE(SSE_CAUSE_REDIRECT, 2);
VALUE(SSE_CAUSE_CONNECT, 3);
VALUE(SSE_CAUSE_NO_ANSWER, 4);
VALUE(SSE_CAUSE_STALLED, 5);
VALUE(SSE_CAUSE_STATUS, 6);
VALUE(SSE_CAUSE_CONTENT_TYPE, 7);
VALUE(SSE_CAUSE_BODY_END, 8);
VALUE(SSE_CAUSE_TOKEN, 9);
VALUE(SSE_CAUSE_NOMEM, 10);
VALUE(SSE_CAUSE_TOO_BIG, 11);
VALUE(SSE_CAUSE_BAD_ANSWER, 12);
VALUE(SSE_CAUSE_TERMINAL, 13);
VALUE(SSE_CAUSE_NO_CONTENT, 14);
VALUE(SSE_CAUSE_CLOSED, 15);
VALUE(SSE_CAUSE_ATTEMPTS, 16);
VALUE(SSE_CAUSE_BUDGET, 17);
VALUE(SSE_CAUSE_NO_CURSOR, 18);
VALUE(SSE_GAP_TRIMMED, 0);
VALUE(SSE_GAP_EXPIRED, 1);
VALUE(SSE_GAP_LAGGED, 2);
VALUE(SSE_GAP_DIVERGED, 3);
VALUE(SSE_GAP_OTHER, 4);
VALUE(SSE_GAP_UNANNOUNCED, 5);
VALUE(SSE_DECISION_RETRY, 1);
VALUE(SSE_DECISION_STOP, 2);
VALUE(SSE_DECISION_RENEW, 3);
VALUE(SSE_DECISION_DONE, 4);
VALUE(SSE_DECISION_DEFAULT, 5);
VALUE(SSE_CLIENT_ACK, 1);
VALUE(SSE_CLIENT_COMMENTS, 2);
VALUE(SSE_CLIENT_TOKEN, 4);
VALUE(SSE_CLIENT_DECIDE, 16);
VALUE(SSE_CLIENT_POLL, 32);
VALUE(SSE_CLIENT_INSECURE, 64);
VALUE(SSE_CLIENT_IDENTITY, 128);
