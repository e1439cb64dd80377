import type { Completions } from "./completions.js";
import type { State, Stream } from "./layout.js";
import type { Registry } from "./registry.js";

// What an application does with the two stores.
export class Program {
  constructor(
    readonly registry: Registry,
    readonly completions: Completions,
  ) {}

  async open(id: string, user: string, metadata: Record<string, unknown>): Promise<boolean> {
    const now = new Date();
    return this.registry.register({
      streamId: id,
      streamType: "generation",
      userId: user,
      startedAt: now,
      lastHeartbeat: now,
      state: "active",
      metadata,
    });
  }

  async send(id: string, type: string, data: unknown, last = false): Promise<void> {
    await this.completions.storeEvent(id, type, data);
    if (!last) return;
    await this.completions.store({
      streamId: id,
      terminalEventType: type,
      terminalEventData: data,
      completedAt: new Date(),
    });
    const state: State = type === "completed" ? "completed" : "failed";
    await this.registry.setState(id, state);
  }

  async recover(id: string): Promise<unknown> {
    const completion = await this.completions.get(id);
    if (completion) return { status: "completed", ...completion };
    const stream = await this.registry.get(id);
    if (!stream) return { status: "not_found" };
    return { status: stream.state, events: await this.completions.events(id) };
  }

  // One round of the guardian; `results` are what the jobs came to, by stream.
  async sweep(silentS: number, results: Record<string, unknown>): Promise<string[]> {
    const stale = await this.registry.stale(silentS);
    for (const stream of stale) await this.settle(stream, results[stream.streamId]);
    return stale.map((stream) => stream.streamId).sort();
  }

  private async settle(stream: Stream, result: unknown): Promise<void> {
    if (result !== undefined) {
      await this.completions.store({
        streamId: stream.streamId,
        terminalEventType: "completed",
        terminalEventData: result,
        completedAt: new Date(),
      });
    }
    await this.registry.setState(stream.streamId, "orphaned");
  }
}
