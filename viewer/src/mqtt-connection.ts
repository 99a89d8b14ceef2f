// One MQTT connection over a WebSocket, from its opening to its end.
//
// It answers what the protocol wants answered and keeps itself alive; it never reconnects, and with a
// clean start there is nothing to deliver again: what was not acknowledged is lost with it.

import { type Incoming, PacketStream, connect, disconnect, pingreq, puback, publish, subscribe, unsubscribe } from "./mqtt-packets";

/** What a connection tells, in this order: `greeted` and `up` at most once, then messages, then `ended` once. */
export interface ConnectionEvents {
  /** CONNECT is on its way: more can follow it at once, without waiting for the answer (§3.1.4). */
  greeted(connection: Connection): void;
  up(): void;
  message(topic: string, bytes: Uint8Array): void;
  /** `reason` is that of a CONNACK or DISCONNECT (MQTT 5 §2.4), when the broker gave one. */
  ended(reason: number | undefined): void;
}

/** On what terms a connection is made. */
export interface ConnectionOptions {
  clientId: string;
  login?: { username: string; password: string } | undefined;
  maxPacketBytes: number;
  keepAliveS: number;
  /** How long the way from opening to CONNACK may take. */
  timeoutMs: number;
}

const FIRST_ERROR = 0x80;

/** One connection. */
export class Connection {
  readonly #socket: WebSocket;
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #stream: PacketStream;
  readonly #granted = new Map<number, (reasons: number[]) => void>();
  #packetId = 0;
  #isGreeted = false;
  #isUp = false;
  #isEnded = false;
  #isPingDue = false;
  #reason: number | undefined;
  #timer: ReturnType<typeof setTimeout>;
  #probe: ReturnType<typeof setTimeout> | undefined;

  /** Takes a WebSocket that is open or opening, with the subprotocol `mqtt`. */
  constructor(socket: WebSocket, options: ConnectionOptions, events: ConnectionEvents) {
    this.#socket = socket;
    this.#options = options;
    this.#events = events;
    this.#stream = new PacketStream(options.maxPacketBytes);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = () => this.#end();
    this.#timer = setTimeout(() => this.#end(), options.timeoutMs);
    if (socket.readyState === WebSocket.OPEN) this.#greet();
    else socket.onopen = () => this.#greet();
  }

  /** Whether it can be written to, although the broker may not have taken us in yet. */
  get isGreeted(): boolean {
    return this.#isGreeted && !this.#isEnded;
  }

  /** Whether the broker took us in and has not let go. */
  get isUp(): boolean {
    return this.#isUp && !this.#isEnded;
  }

  /** Subscribes with QoS 1; `granted` gets one reason for each topic, those from 0x80 on being refusals. */
  subscribe(topics: string[], granted: (reasons: number[]) => void): void {
    const id = this.#nextId();
    this.#granted.set(id, granted);
    this.#send(subscribe(id, topics));
  }

  /** Unsubscribes. */
  unsubscribe(topics: string[]): void {
    this.#send(unsubscribe(this.#nextId(), topics));
  }

  /** Publishes with QoS 1. */
  publish(topic: string, expiryS: number, payload: Uint8Array): void {
    this.#send(publish(this.#nextId(), topic, expiryS, payload));
  }

  /** Asks whether the broker is still there, and ends it when nothing is heard within this time. */
  probe(limitMs: number): void {
    if (!this.isUp || this.#probe !== undefined) return;
    this.#send(pingreq());
    this.#probe = setTimeout(() => this.#end(), limitMs);
  }

  /** Ends it, after what was sent; nothing is told afterwards. */
  close(): void {
    if (this.isUp) this.#send(disconnect());
    this.#isEnded = true;
    this.#letGo();
  }

  #greet(): void {
    const { clientId, login, maxPacketBytes, keepAliveS } = this.#options;
    this.#send(connect({ clientId, login, maxPacketBytes, keepAliveS }));
    this.#isGreeted = true;
    this.#events.greeted(this);
  }

  #received(data: unknown): void {
    clearTimeout(this.#probe);
    this.#probe = undefined;
    // MQTT travels in binary frames only (§6.0.0-1).
    const packets = data instanceof ArrayBuffer ? this.#stream.push(new Uint8Array(data)) : undefined;
    if (packets === undefined) return this.#end();
    for (const packet of packets) {
      if (this.#isEnded) return;
      this.#take(packet);
    }
  }

  #take(packet: Incoming): void {
    if (packet.type === "connack" ? this.#isUp : !this.#isUp) return this.#end();
    switch (packet.type) {
      case "connack":
        return this.#greeted(packet.reason, packet.keepAliveS ?? this.#options.keepAliveS);
      case "publish":
        if (packet.packetId !== undefined) this.#send(puback(packet.packetId));
        return this.#events.message(packet.topic, packet.payload);
      case "suback":
        this.#granted.get(packet.packetId)?.(packet.reasons);
        this.#granted.delete(packet.packetId);
        return;
      case "pingresp":
        this.#isPingDue = false;
        return;
      case "disconnect":
        this.#reason = packet.reason;
        return this.#end();
      case "puback":
      case "unsuback":
        return;
    }
  }

  #greeted(reason: number, keepAliveS: number): void {
    clearTimeout(this.#timer);
    if (reason >= FIRST_ERROR) {
      this.#reason = reason;
      return this.#end();
    }
    this.#isUp = true;
    if (keepAliveS > 0) this.#keepAlive((keepAliveS * 1000) / 2);
    this.#events.up();
  }

  /** Pings twice in each keep-alive period; a ping that is unanswered by the next one ends it. */
  #keepAlive(everyMs: number): void {
    this.#timer = setTimeout(() => {
      if (this.#isPingDue) return this.#end();
      this.#isPingDue = true;
      this.#send(pingreq());
      this.#keepAlive(everyMs);
    }, everyMs);
  }

  #send(packet: Uint8Array): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(packet);
  }

  /** 1 to 65,535, and again (§2.2.1). */
  #nextId(): number {
    this.#packetId = (this.#packetId % 0xffff) + 1;
    return this.#packetId;
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#letGo();
    this.#events.ended(this.#reason);
  }

  #letGo(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#probe);
    this.#socket.onopen = null;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
  }
}
