// Creates a hub, appends, subscribes and drains, through cgo and Go's netpoller.
package main

/*
#cgo pkg-config: libsse
#include <sse.h>
*/
import "C"

import (
	"fmt"
	"log"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// check ends the program when a call of the library failed.
func check(what string, rc C.int) {
	if rc < 0 {
		log.Fatalf("%s: %s", what, C.GoString(C.sse_strerror(rc)))
	}
}

// text gives a string as the pointer and length that every function takes.
func text(s string) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(&[]byte(s)[0])), C.size_t(len(s))
}

// note is what a drain gives, copied out.
type note struct {
	kind, reason int
	key          uint64
	data         string
}

func drain(q *C.sse_queue) []note {
	var notes []note
	for {
		var batch *C.sse_batch
		rc := C.sse_queue_drain(q, 0, &batch)
		check("drain", rc)
		if rc == 0 {
			return notes
		}
		data := C.GoBytes(unsafe.Pointer(batch.data), C.int(batch.data_len))
		for _, n := range unsafe.Slice(batch.notes, batch.note_count) {
			notes = append(notes, note{int(n.kind), int(n.reason),
				uint64(n.key), string(data[n.offset : n.offset+n.len])})
		}
	}
}

// waitDrain sleeps in the netpoller until the queue has something.
func waitDrain(f *os.File, q *C.sse_queue) (notes []note) {
	conn, err := f.SyscallConn()
	if err != nil {
		log.Fatal(err)
	}
	f.SetReadDeadline(time.Now().Add(30 * time.Second))
	err = conn.Read(func(uintptr) bool {
		notes = drain(q)
		return len(notes) > 0
	})
	if err != nil {
		log.Fatal("no wake-up came: ", err)
	}
	return notes
}

func expect(what string, got, want any) {
	if got != want {
		log.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func main() {
	var hub *C.sse_hub
	var queue *C.sse_queue
	var stream *C.sse_stream
	var subscriber *C.sse_subscriber

	check("hub", C.sse_hub_new(nil, &hub))
	check("queue", C.sse_queue_new(hub, nil, &queue))

	// The queue owns its descriptor: Go's poller gets one of its own.
	fd := C.sse_queue_fd(queue)
	check("fd", fd)
	own, err := syscall.Dup(int(fd))
	if err != nil {
		log.Fatal(err)
	}
	file := os.NewFile(uintptr(own), "queue")

	id, idLen := text("chat")
	streamOptions := C.sse_stream_options{size: C.sizeof_sse_stream_options, key: 7}
	check("stream", C.sse_stream_new(hub, id, idLen, queue, &streamOptions, &stream))

	options := C.sse_subscriber_options{
		size: C.sizeof_sse_subscriber_options, key: 42, retry_ms: C.SSE_NEVER}
	check("subscriber", C.sse_subscriber_new(stream, queue, nil, 0, &options, &subscriber))

	// Appended by another goroutine while this one sleeps.
	var eventID C.sse_event_id
	appended := make(chan struct{})
	go func() {
		kind, kindLen := text("token")
		data, dataLen := text("Hello")
		time.Sleep(10 * time.Millisecond)
		check("append", C.sse_stream_append(stream, kind, kindLen, data, dataLen, &eventID))
		close(appended)
	}()
	notes := waitDrain(file, queue)
	<-appended
	expect("notes", len(notes), 1)
	expect("bytes", notes[0], note{C.SSE_NOTE_BYTES, C.SSE_REASON_NONE, 42,
		fmt.Sprintf("id: %s\nevent: token\ndata: Hello\n\n", C.GoString(&eventID.text[0]))})

	check("stop", C.sse_hub_stop(hub, id, idLen))
	notes = waitDrain(file, queue)
	expect("stop", notes[0], note{C.SSE_NOTE_STOP, C.SSE_REASON_REQUESTED, 7, ""})

	check("end", C.sse_stream_end(stream, C.SSE_STATE_COMPLETED, nil, 0, nil, 0, nil))
	notes = waitDrain(file, queue)
	expect("end", notes[len(notes)-1], note{C.SSE_NOTE_END, C.SSE_REASON_ENDED, 42, ""})

	// Any order will do.
	C.sse_hub_free(hub)
	C.sse_subscriber_free(subscriber)
	C.sse_stream_free(stream)
	file.Close()
	C.sse_queue_free(queue)
	fmt.Println("ok")
}
