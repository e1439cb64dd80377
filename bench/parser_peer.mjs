// SPDX-License-Identifier: MIT
// Measures npm's eventsource-parser on the inputs of parser_bench.c, in MB/s.
// It takes strings, so there are two columns: strings decoded beforehand, and
// bytes that a TextDecoder decodes first, as a client of a socket has to.
//
// Exit status: 0, also where it is not installed; 1 when it found other events
// than were written. Install it with: npm install --prefix bench
import process from 'node:process'

const ROUNDS = 11
const ROUND_MS = 50
const INPUT_BYTES = 4 << 20
const LARGE_EVENT = 64 << 10
const FEEDS = [1400, 64 << 10]

const OAI =
  '{"id":"chatcmpl-123","object":"chat.completion.chunk",' +
  '"created":1694268190,"model":"gpt-4o","choices":' +
  '[{"index":0,"delta":{"content":" streaming words"}}]}'

function fill(event) {
  const parts = []
  let bytes = 0
  let dataLength = 0

  while (bytes < INPUT_BYTES) {
    const { head, data } = event(parts.length)
    const text = `${head}data: ${data}\n\n`

    parts.push(text)
    bytes += text.length
    dataLength += data.length
  }
  return { text: parts.join(''), count: parts.length, dataLength }
}

function letters(length) {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz'

  return alphabet.repeat(length / 26 + 1).slice(0, length)
}

const inputs = {
  tok: fill(() => ({ head: '', data: '{"c":"tok"}' })),
  oai: fill((i) => ({
    head: `id: ${String(i + 1).padStart(8, '0')}\nevent: completion\n`,
    data: OAI,
  })),
  large: fill(() => ({ head: '', data: letters(LARGE_EVENT) })),
}

function pieces(whole, feed) {
  const out = []

  for (let at = 0; at < whole.length; at += feed)
    out.push(whole.slice(at, at + feed))
  return out
}

function parse(createParser, input, feeds, decode) {
  let count = 0
  let dataLength = 0
  const parser = createParser({
    onEvent(event) {
      count++
      dataLength += event.data.length
    },
  })

  for (const piece of feeds)
    parser.feed(decode(piece))
  if (count !== input.count || dataLength !== input.dataLength) {
    console.error('parser_peer: not the events that were written')
    process.exit(1)
  }
}

/** Seconds for one pass. */
function time(run) {
  const start = process.hrtime.bigint()
  let passes = 0
  let elapsed

  do {
    run()
    passes++
    elapsed = Number(process.hrtime.bigint() - start)
  } while (elapsed < ROUND_MS * 1e6)
  return elapsed / passes / 1e9
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1]
}

function report(createParser, name, feed) {
  const input = inputs[name]
  const bytes = Buffer.from(input.text)
  const asBytes = pieces(bytes, feed)
  const asStrings = pieces(input.text, feed)
  const strings = []
  const decoded = []

  for (let i = 0; i < ROUNDS; i++) {
    const decoder = new TextDecoder()

    strings.push(time(() => parse(createParser, input, asStrings, (s) => s)))
    decoded.push(time(() => parse(createParser, input, asBytes, (b) =>
      decoder.decode(b, { stream: true }))))
  }
  const speed = (seconds) =>
    (bytes.length / 1e6 / median(seconds)).toFixed(0).padStart(9)
  console.log(name.padEnd(6), String(feed).padStart(6), speed(strings),
    speed(decoded))
}

async function load() {
  try {
    return (await import('eventsource-parser')).createParser
  } catch {
    return null
  }
}

const createParser = await load()
if (createParser) {
  console.log('MB/s     feed   strings     bytes')
  for (const name of Object.keys(inputs))
    for (const feed of FEEDS)
      report(createParser, name, feed)
} else {
  console.log('eventsource-parser is not installed (npm install --prefix bench)')
}
