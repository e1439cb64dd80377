import type { Redis } from "ioredis";
import { Keys, STREAM_TTL_S, type State, type Stream } from "./layout.js";

// Which streams there are. Each method is several commands, not one step: two
// of these programs can get in each other's way.
export class Registry {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  // False when the id is taken.
  async register(stream: Stream): Promise<boolean> {
    const key = this.keys.stream(stream.streamId);
    const mine = this.keys.user(stream.userId);
    if ((await this.redis.exists(key)) > 0) return false;
    await this.redis
      .pipeline()
      .hset(key, {
        streamId: stream.streamId,
        streamType: stream.streamType,
        userId: stream.userId,
        startedAt: stream.startedAt.toISOString(),
        lastHeartbeat: stream.lastHeartbeat.toISOString(),
        state: stream.state,
        metadata: JSON.stringify(stream.metadata),
      })
      .expire(key, STREAM_TTL_S)
      .sadd(mine, stream.streamId)
      .expire(mine, STREAM_TTL_S)
      .zadd(this.keys.active, stream.lastHeartbeat.getTime(), stream.streamId)
      .exec();
    return true;
  }

  async heartbeat(id: string): Promise<boolean> {
    const now = new Date();
    if ((await this.redis.exists(this.keys.stream(id))) === 0) return false;
    await this.redis
      .pipeline()
      .hset(this.keys.stream(id), "lastHeartbeat", now.toISOString())
      .zadd(this.keys.active, now.getTime(), id)
      .exec();
    return true;
  }

  async unregister(id: string): Promise<boolean> {
    const user = await this.redis.hget(this.keys.stream(id), "userId");
    if (!user) return false;
    await this.redis
      .pipeline()
      .del(this.keys.stream(id))
      .srem(this.keys.user(user), id)
      .zrem(this.keys.active, id)
      .exec();
    return true;
  }

  async get(id: string): Promise<Stream | null> {
    const hash = await this.redis.hgetall(this.keys.stream(id));
    if (!hash.streamId) return null;
    return {
      streamId: hash.streamId,
      streamType: hash.streamType,
      userId: hash.userId,
      startedAt: new Date(hash.startedAt),
      lastHeartbeat: new Date(hash.lastHeartbeat),
      state: hash.state as State,
      metadata: JSON.parse(hash.metadata || "{}"),
    };
  }

  async ofUser(user: string): Promise<Stream[]> {
    return this.all(await this.redis.smembers(this.keys.user(user)));
  }

  // Active ones without a life sign for so long.
  async stale(silentS: number): Promise<Stream[]> {
    const before = Date.now() - silentS * 1000;
    const ids = await this.redis.zrangebyscore(this.keys.active, 0, before);
    const found = await this.all(ids);
    return found.filter((stream) => stream.state === "active");
  }

  async setState(id: string, state: State): Promise<boolean> {
    if ((await this.redis.exists(this.keys.stream(id))) === 0) return false;
    await this.redis.hset(this.keys.stream(id), "state", state);
    return true;
  }

  async countActive(): Promise<number> {
    return this.redis.zcard(this.keys.active);
  }

  private async all(ids: string[]): Promise<Stream[]> {
    const found = await Promise.all(ids.map((id) => this.get(id)));
    return found.filter((stream) => stream !== null);
  }
}
