// The way to the broker and back to it, in virtual time, with a broker that says what the test tells it to.
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Broker } from "../src/broker";

/** MQTT 5's packets as a broker sends them. */
const CONNACK = [0x20, 3, 0, 0, 0];
const PINGRESP = [0xd0, 0];
const suback = ([high, low]: number[], reasons: number[]): number[] => [0x90, 3 + reasons.length, high ?? 0, low ?? 0, 0, ...reasons];
const KINDS: Record<number, string> = { 1: "connect", 3: "publish", 8: "subscribe", 10: "unsubscribe", 12: "pingreq", 14: "disconnect" };

class Socket {
  static readonly OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  binaryType = "";
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  sent: Uint8Array[] = [];

  constructor(readonly url: string) {
    Socket.all.push(this);
  }
  send(packet: Uint8Array): void {
    this.sent.push(packet);
  }
  close(): void {
    this.readyState = 3;
  }

  get said(): (string | undefined)[] {
    return this.sent.map((packet) => KINDS[(packet[0] ?? 0) >> 4]);
  }
  opens(): this {
    this.readyState = 1;
    this.onopen?.();
    return this;
  }
  says(...packets: number[][]): this {
    for (const packet of packets) this.onmessage?.({ data: Uint8Array.from(packet).buffer });
    return this;
  }
  /** Takes the viewer in, and grants what it subscribes to. */
  takesIn(): this {
    return this.opens().says(CONNACK).grants([1, 1, 1]);
  }
  /** Answers the last subscription. */
  grants(reasons: number[]): this {
    const packet = this.sent.filter((one) => KINDS[(one[0] ?? 0) >> 4] === "subscribe").at(-1);
    return this.says(suback([...(packet ?? [])].slice(2, 4), reasons));
  }
  drops(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

let told: string[];
let broker: Broker;
let listeners: Record<string, () => void>;
let visibilityState: string;
const latest = (): Socket => Socket.all.at(-1) as Socket;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  Socket.all = [];
  listeners = {};
  visibilityState = "visible";
  vi.stubGlobal("WebSocket", Socket);
  const addEventListener = (name: string, listener: () => void): unknown => (listeners[name] = listener);
  const removeEventListener = (name: string): unknown => delete listeners[name];
  vi.stubGlobal("addEventListener", addEventListener);
  vi.stubGlobal("removeEventListener", removeEventListener);
  vi.stubGlobal("document", { addEventListener, removeEventListener, get visibilityState() { return visibilityState; } });
  told = [];
  broker = new Broker({ url: "ws://b/mqtt", topics: ["status", "offer"] }, {
    asked: () => undefined,
    up: () => told.push("up"),
    down: (why) => told.push(why),
    subscribed: (topic) => told.push(`subscribed ${topic}`),
    message: () => undefined,
  });
  broker.listen("out/1");
  broker.start();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** How long until the next attempt. */
function untilNext(): number {
  const attempts = Socket.all.length;
  let waited = 0;
  while (Socket.all.length === attempts && waited < 60_000) {
    vi.advanceTimersByTime(50);
    waited += 50;
  }
  return waited;
}

test("subscribes behind CONNECT, without waiting for the answer", () => {
  latest().opens();
  expect(latest().said).toEqual(["connect", "subscribe"]);
  expect(told).toEqual([]);
});

test("a session that is changed before the answer is subscribed to as well, and alone counts", () => {
  const socket = latest().opens();
  broker.listen("out/2");
  expect(socket.said).toEqual(["connect", "subscribe", "unsubscribe", "subscribe"]);
  socket.says(CONNACK).grants([1]);
  expect(told).toEqual(["up", "subscribed out/2"]);
});

test("connects, subscribes, and tells that it is up and listening", () => {
  latest().takesIn();
  expect(latest().said).toEqual(["connect", "subscribe"]);
  expect(told).toEqual(["up", "subscribed out/1"]);
});

test("a broker that takes in and drops at once is tried less and less often", () => {
  const waits = [0, 1, 2, 3, 4, 5, 6].map(() => {
    latest().takesIn().drops();
    return untilNext();
  });
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
});

test("so is one that refuses the subscriptions", () => {
  const waits = [0, 1, 2].map(() => {
    latest().opens().says(CONNACK).grants([0x87, 1, 1]);
    return untilNext();
  });
  expect(waits).toEqual([500, 1_000, 2_000]);
  expect(told.filter((one) => one === "refused")).toHaveLength(3);
});

test("after 10 s of a connection the next loss is a first one", () => {
  for (let loss = 0; loss < 4; loss += 1) {
    latest().takesIn().drops();
    untilNext();
  }
  latest().takesIn();
  vi.advanceTimersByTime(10_000);
  latest().drops();
  expect(untilNext()).toBe(500);
});

test.each(["online", "visibilitychange"])("a connection that died without a word is noticed 3 s after %s", (event) => {
  latest().takesIn();
  listeners[event]?.();
  expect(latest().said.at(-1)).toBe("pingreq");
  vi.advanceTimersByTime(2_999);
  expect(told.at(-1)).toBe("subscribed out/1");
  vi.advanceTimersByTime(1);
  expect(told.at(-1)).toBe("unreachable");
});

test("one that answers is kept, and a page that is put away does not ask", () => {
  const socket = latest().takesIn();
  visibilityState = "hidden";
  listeners["visibilitychange"]?.();
  expect(socket.said).not.toContain("pingreq");
  visibilityState = "visible";
  listeners["visibilitychange"]?.();
  socket.says(PINGRESP);
  vi.advanceTimersByTime(20_000);
  expect(told).toEqual(["up", "subscribed out/1"]);
});

test.each(["online", "visibilitychange"])("%s ends the wait for the next attempt", (event) => {
  latest().takesIn().drops();
  listeners[event]?.();
  expect(Socket.all).toHaveLength(2);
});

test("another connection in place of one that is silent is made at once, and not told as a loss", () => {
  const first = latest().takesIn();
  broker.reconnect();
  latest().takesIn();
  expect(first.readyState).toBe(3);
  expect(told).toEqual(["up", "subscribed out/1", "up", "subscribed out/1"]);
});
