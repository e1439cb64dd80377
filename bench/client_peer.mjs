// SPDX-License-Identifier: MIT
// Reads one stream of bench/flood in Node with eventsource-parser, and prints
// one line of JSON: what it cost this process. As client_bench.c, which says
// what is checked.
//
//     client_peer.mjs PORT SHAPE FRAMING COUNT http|fetch
//
// `http` is node:http and the parser's feed(), the fastest way; `fetch` is
// fetch() through the parser's own stream, the way its documentation shows.
import http from 'node:http'
import process from 'node:process'
import { createParser } from 'eventsource-parser'
import { EventSourceParserStream } from 'eventsource-parser/stream'

const WARMUP = 20000
const LAST = '[DONE]'
const [port, shapeName, framing, countText, way] = process.argv.slice(2)

const shapes = {
  tok: { event: undefined, hasId: false, lettersAt: 6, data: '{"c":"tok"}' },
  oai: {
    event: 'completion',
    hasId: true,
    lettersAt: 16,
    data:
      '{"id":"chatcmpl-123","object":"chat.completion.chunk",' +
      '"created":1694268190,"model":"gpt-4o","choices":' +
      '[{"index":0,"delta":{"content":" streaming words"}}]}',
  },
}
const shape = shapes[shapeName]

function wrong(seen, what) {
  console.error(`WRONG RESULT: client_peer: event ${seen}: ${what}`)
  process.exit(1)
}

function letter(number) {
  return 97 + (number % 26)
}

function isNext(data, number) {
  const at = shape.lettersAt

  return (
    data.length === shape.data.length &&
    data.charCodeAt(at) === letter(number) &&
    data.charCodeAt(at + 1) === letter(Math.trunc(number / 26)) &&
    data.charCodeAt(at + 2) === letter(Math.trunc(number / 676))
  )
}

function isWhole(event, number) {
  const at = shape.lettersAt
  const letters = String.fromCharCode(
    letter(number), letter(Math.trunc(number / 26)),
    letter(Math.trunc(number / 676)))
  const data = shape.data.slice(0, at) + letters + shape.data.slice(at + 3)

  return event.data === data && event.event === shape.event
}

/** What is called with each event; `seen` counts them. */
function makeReading(count, everyByte) {
  const reading = { seen: 0, over: false, take }

  function take(event) {
    const { seen } = reading

    if (event.data === LAST) {
      reading.over = true
      if (seen !== count)
        wrong(seen, 'the stream ended too soon')
      return
    }
    if (reading.over || !isNext(event.data, seen))
      wrong(seen, 'it is not the next one')
    if (shape.hasId && Number(event.id) !== seen + 1)
      wrong(seen, 'it has another id')
    if (everyByte && !isWhole(event, seen))
      wrong(seen, 'it is damaged')
    reading.seen++
  }
  return reading
}

function readByHttp(url, reading) {
  return new Promise((resolve, reject) => {
    http.get(url, { headers: { Accept: 'text/event-stream' } }, (answer) => {
      const parser = createParser({ onEvent: reading.take })
      const decoder = new TextDecoder()

      answer.on('data', (bytes) =>
        parser.feed(decoder.decode(bytes, { stream: true })))
      answer.on('end', resolve)
      answer.on('error', reject)
    }).on('error', reject)
  })
}

async function readByFetch(url, reading) {
  const answer = await fetch(url)
  const events = answer.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())

  for await (const event of events)
    reading.take(event)
}

async function readStream(count, everyByte) {
  const url = `http://127.0.0.1:${port}/${shapeName}/${framing}/${count}`
  const reading = makeReading(count, everyByte)

  await (way === 'fetch' ? readByFetch : readByHttp)(url, reading)
  if (!reading.over)
    wrong(reading.seen, 'the stream ended too soon')
}

const count = Number(countText)
await readStream(count < 2 * WARMUP ? Math.trunc(count / 10) : WARMUP, true)
const start = process.hrtime.bigint()
const before = process.cpuUsage()
await readStream(count, false)
const used = process.cpuUsage(before)
console.log(JSON.stringify({
  events: count,
  cpu: (used.user + used.system) / 1e6,
  seconds: Number(process.hrtime.bigint() - start) / 1e9,
}))
