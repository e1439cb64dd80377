// h2_server.mjs - an event stream over HTTP/2, ten events an answer:
// node h2_server.mjs KEY CERT EVENTS. It prints its port, then a line for each
// request: the HTTP version, the Last-Event-ID, and the session's number.
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [key, cert, events] = process.argv.slice(2);
const server = createSecureServer({ key: readFileSync(key), cert: readFileSync(cert) });
const sessions = new Map();

server.on("session", (session) => sessions.set(session, sessions.size + 1));
server.on("request", (request, response) => {
  let n = Number(request.headers["last-event-id"] ?? 0);
  const number = sessions.get(request.stream.session);

  console.log(`${request.httpVersion} ${n} ${number}`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  let body = "retry: 20\n\n";
  const end = Math.min(n + 10, Number(events));
  while (n < end) body += `id: ${++n}\ndata: event ${n}\n\n`;
  if (n === Number(events)) body += "event: done\ndata: \n\n";
  response.end(body); // in one piece: node 20 mixes up several
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
