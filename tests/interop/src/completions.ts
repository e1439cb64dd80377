import type { Redis } from "ioredis";
import { EVENTS_TTL_S, Keys, type Completion, type StoredEvent } from "./layout.js";

// Events for replay, and how a stream ended.
export class Completions {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  async store(completion: Completion): Promise<void> {
    const key = this.keys.completion(completion.streamId);
    await this.redis.hset(key, {
      streamId: completion.streamId,
      terminalEventType: completion.terminalEventType,
      terminalEventData: JSON.stringify(completion.terminalEventData),
      completedAt: completion.completedAt.toISOString(),
    });
    await this.redis.expire(key, EVENTS_TTL_S);
  }

  async get(id: string): Promise<Completion | null> {
    const hash = await this.redis.hgetall(this.keys.completion(id));
    if (!hash.streamId) return null;
    return {
      streamId: hash.streamId,
      terminalEventType: hash.terminalEventType,
      terminalEventData: JSON.parse(hash.terminalEventData || "{}"),
      completedAt: new Date(hash.completedAt),
    };
  }

  async storeEvent(id: string, type: string, data: unknown): Promise<void> {
    const row = JSON.stringify({ type, data, ts: Date.now() });
    await this.redis.rpush(this.keys.events(id), row);
    await this.redis.expire(this.keys.events(id), EVENTS_TTL_S);
  }

  async events(id: string): Promise<StoredEvent[]> {
    const rows = await this.redis.lrange(this.keys.events(id), 0, -1);
    return rows.map((row) => JSON.parse(row) as StoredEvent);
  }

  async delete(id: string): Promise<void> {
    await this.redis.del(this.keys.completion(id), this.keys.events(id));
  }
}
