"""Creates a hub, appends, subscribes and drains, through the SWIG module."""

import select

import sse


def drain(queue):
    """Every note there is, once the descriptor says that there are some."""
    readable, _, _ = select.select([sse.sse_queue_fd(queue)], [], [], 30)
    assert readable, "no wake-up came"
    notes = []
    while (result := sse.sse_queue_drain(queue, 0))[0] > 0:
        notes += result[1]
    return notes


assert sse.SSE_NEVER == 0xFFFFFFFF
assert sse.sse_version() == ".".join(
    str(n)
    for n in (sse.SSE_VERSION_MAJOR, sse.SSE_VERSION_MINOR, sse.SSE_VERSION_PATCH)
)

_, hub = sse.sse_hub_new(None)
_, queue = sse.sse_queue_new(hub, None)

options = sse.sse_stream_options()
options.size = sse.sizeof_sse_stream_options
options.key = 7
_, stream = sse.sse_stream_new(hub, b"chat", queue, options)

words = ["Hello", "wörld", "two\nlines"]
ids = [sse.sse_stream_append(stream, b"token", w.encode())[1] for w in words]
assert [i.split("-")[0] for i in ids] == ["1", "2", "3"], ids

options = sse.sse_subscriber_options()
options.size = sse.sizeof_sse_subscriber_options
options.key = 42
options.retry_ms = sse.SSE_NEVER
_, subscriber = sse.sse_subscriber_new(stream, queue, b"", options)

notes = drain(queue)
assert {(kind, key) for kind, _, key, _ in notes} == {(sse.SSE_NOTE_BYTES, 42)}, notes
expected = "".join(
    f"id: {i}\nevent: token\n"
    + "".join(f"data: {line}\n" for line in w.split("\n"))
    + "\n"
    for i, w in zip(ids, words)
)
assert b"".join(note[3] for note in notes) == expected.encode(), notes

_, info = sse.sse_stream_get_info(stream)
assert (info.state, info.last_seq) == (sse.SSE_STATE_ACTIVE, 3)

# A stop reaches the producer, under the key of its stream.
sse.sse_hub_stop(hub, b"chat")
assert [n[:3] for n in drain(queue)] == [
    (sse.SSE_NOTE_STOP, sse.SSE_REASON_REQUESTED, 7)
]

# The terminal event is the last, and then the subscription ends.
_, last = sse.sse_stream_end(stream, sse.SSE_STATE_CANCELLED, b"", b"bye")
*notes, end = drain(queue)
assert b"".join(n[3] for n in notes).decode() == (
    f"id: {last}\nevent: cancelled\ndata: bye\n\n"
), notes
assert end == (sse.SSE_NOTE_END, sse.SSE_REASON_ENDED, 42, b""), end

# Errors are exceptions, with the library's sentence.
for cursor, code in (
    (b"nonsense", sse.SSE_ERR_CURSOR),
    (last.encode(), sse.SSE_ERR_ENDED),
):
    try:
        sse.sse_subscriber_new(stream, queue, cursor, None)
        raise AssertionError(f"{cursor} was taken")
    except RuntimeError as error:
        assert str(error) == sse.sse_strerror(code), error

# Parents first: children keep them alive.
sse.sse_hub_free(hub)
sse.sse_queue_free(queue)
sse.sse_stream_free(stream)
sse.sse_subscriber_free(subscriber)
print("ok")
