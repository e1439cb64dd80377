// Usage: node main.js REDIS_URL PREFIX
//
// Reads one request a line, ["name", argument, ...], and answers each with a
// line, {"result": ...} or {"error": "..."}.
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { Completions } from "./completions.js";
import { Keys } from "./layout.js";
import { Program } from "./program.js";
import { Registry } from "./registry.js";

const [url, prefix] = process.argv.slice(2);
const redis = new Redis(url);
const keys = new Keys(prefix);
const registry = new Registry(redis, keys);
const completions = new Completions(redis, keys);
const program = new Program(registry, completions);

const verbs: Record<string, (...args: any[]) => Promise<unknown>> = {
  open: (id, user, metadata) => program.open(id, user, metadata),
  send: (id, type, data, last) => program.send(id, type, data, last),
  recover: (id) => program.recover(id),
  sweep: (silentS, results) => program.sweep(silentS, results),
  heartbeat: (id) => registry.heartbeat(id),
  unregister: (id) => registry.unregister(id),
  get: (id) => registry.get(id),
  ofUser: (user) => registry.ofUser(user),
  stale: (silentS) => registry.stale(silentS),
  setState: (id, state) => registry.setState(id, state),
  countActive: () => registry.countActive(),
  completion: (id) => completions.get(id),
  storeCompletion: (completion) =>
    completions.store({ ...completion, completedAt: new Date() }),
  storeEvent: (id, type, data) => completions.storeEvent(id, type, data),
  events: (id) => completions.events(id),
  deleteCompletion: (id) => completions.delete(id),
  // The one line that makes its events live for readers of libsse.
  announce: (id) => redis.publish(`${prefix}ch:${id}`, ""),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  let answer: unknown;
  try {
    answer = { result: (await verbs[name](...args)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
redis.disconnect();
