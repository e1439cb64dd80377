// The layout that this program knows: nothing of libsse's own keys.

export type State = "active" | "completed" | "failed" | "orphaned" | "expired";

export interface Stream {
  streamId: string;
  streamType: string;
  userId: string;
  startedAt: Date;
  lastHeartbeat: Date;
  state: State;
  metadata: Record<string, unknown>;
}

export interface Completion {
  streamId: string;
  terminalEventType: string;
  terminalEventData: unknown;
  completedAt: Date;
}

export interface StoredEvent {
  type: string;
  data: unknown;
  ts: number;
}

export const STREAM_TTL_S = 3600;
export const EVENTS_TTL_S = 300;

export class Keys {
  readonly active: string;

  constructor(private readonly prefix: string) {
    this.active = `${prefix}active`;
  }

  stream(id: string): string {
    return `${this.prefix}stream:${id}`;
  }

  user(id: string): string {
    return `${this.prefix}user:${id}:streams`;
  }

  completion(id: string): string {
    return `${this.prefix}completion:${id}`;
  }

  events(id: string): string {
    return `${this.prefix}events:${id}`;
  }
}
