// How the page reaches the MQTT broker, and gets back to it.
//
// One connection at a time, a clean start and a random client id each, and no last will: losing the
// broker must not end media that flows. What the topics carry is not known here.

import { randomBytes, toHex } from "./bytes";
import { takeEarlySocket } from "./early";
import { MAX_WIRE_BYTES } from "./message";
import { Connection } from "./mqtt-connection";

/** What the connection tells. */
export interface BrokerEvents {
  /** All that the broker needs to take us in, and to say what it knows, is on its way to it. */
  asked(): void;
  /** The broker took us in; the subscriptions are on their way. */
  up(): void;
  /** There is no connection; the next attempt is already planned. */
  down(why: "unreachable" | "refused"): void;
  /** All subscriptions, that to this session's topic included, are in force. */
  subscribed(sessionTopic: string): void;
  message(topic: string, bytes: Uint8Array): void;
}

/** Where to connect, and as whom. */
export interface BrokerOptions {
  url: string;
  login?: { username: string; password: string } | undefined;
  /** Topics that stay for as long as the page is open. */
  topics: string[];
}

const CONNECT_TIMEOUT_MS = 8_000;
const KEEP_ALIVE_S = 60;
const EXPIRY_S = 30;
/** Room for a topic and properties around the largest message (MQTT 5 §3.1.2.11.4). */
const MAX_PACKET_BYTES = MAX_WIRE_BYTES + 1024;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
/** A connection that held this long makes the next loss a first one: a broker may take us in and drop us at once. */
const STABLE_MS = 10_000;
/** How long a broker has to answer when there is a reason to doubt that it is there; it answers in a round trip. */
const PROBE_MS = 3_000;
const NOT_AUTHORIZED = 0x87;
/** CONNACK reasons that another attempt with the same link will meet again (MQTT 5 §3.2.2.2). */
const REFUSALS = new Set([0x84, 0x85, 0x86, NOT_AUTHORIZED, 0x8a, 0x8c]);

/** A connection to the broker that mends itself. */
export class Broker {
  readonly #options: BrokerOptions;
  readonly #events: BrokerEvents;
  #connection: Connection | undefined;
  #sessionTopic: string | undefined;
  #retryMs = FIRST_RETRY_MS;
  /** Since when this connection carries what it is for. */
  #grantedAt: number | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** The network, or the machine, may be another than before: a connection can have ended without a word. */
  readonly #look = (): void => {
    if (this.#retry !== undefined) this.#connect();
    else this.probe();
  };
  readonly #shown = (): void => {
    if (document.visibilityState === "visible") this.#look();
  };

  constructor(options: BrokerOptions, events: BrokerEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Connects, now and after each loss. */
  start(): void {
    globalThis.addEventListener?.("online", this.#look);
    globalThis.document?.addEventListener("visibilitychange", this.#shown);
    this.#connect();
  }

  /** Subscribes to this session's topic instead of the one before. */
  listen(sessionTopic: string): void {
    const before = this.#sessionTopic;
    this.#sessionTopic = sessionTopic;
    const connection = this.#connection;
    if (connection?.isGreeted !== true) return;
    // First away, then to: a broker may allow one session at a time.
    if (before !== undefined) connection.unsubscribe([before]);
    this.#subscribe(connection, [sessionTopic], sessionTopic);
  }

  /** Sends with QoS 1; while there is no connection the message is lost, as the session expects. */
  send(topic: string, bytes: Uint8Array): void {
    if (this.#connection?.isUp === true) this.#connection.publish(topic, EXPIRY_S, bytes);
  }

  /** Sees to it that a connection that ended without a word is noticed soon. */
  probe(): void {
    this.#connection?.probe(PROBE_MS);
  }

  /** Makes another connection at once, in place of one that is up in name only. */
  reconnect(): void {
    this.#connection?.close();
    this.#connection = undefined;
    this.#connect();
  }

  /** Says goodbye to the broker for good, after what was sent. */
  stop(): void {
    globalThis.removeEventListener?.("online", this.#look);
    globalThis.document?.removeEventListener("visibilitychange", this.#shown);
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#connection?.close();
    this.#connection = undefined;
  }

  #connect(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#grantedAt = undefined;
    const { url, login } = this.#options;
    let socket: WebSocket;
    try {
      socket = takeEarlySocket(url) ?? new WebSocket(url, "mqtt");
    } catch {
      // The browser refuses the address itself, a blocked port for instance.
      this.#lost(undefined);
      return;
    }
    const connection: Connection = new Connection(
      socket,
      {
        clientId: `farol-viewer-${toHex(randomBytes(8))}`,
        login,
        maxPacketBytes: MAX_PACKET_BYTES,
        keepAliveS: KEEP_ALIVE_S,
        timeoutMs: CONNECT_TIMEOUT_MS,
      },
      {
        // At once, behind CONNECT: a round trip less until the offer is here.
        greeted: (greeted) => {
          this.#subscribeAll(greeted);
          this.#events.asked();
        },
        up: () => this.#events.up(),
        message: (topic, bytes) => this.#events.message(topic, bytes),
        ended: (reason) => this.#lost(reason),
      },
    );
    this.#connection = connection;
  }

  #subscribeAll(connection: Connection): void {
    const session = this.#sessionTopic;
    // The session's topic comes first: once a retained message arrives, replies can too.
    const topics = [session, ...this.#options.topics].filter((topic) => topic !== undefined);
    this.#subscribe(connection, topics, session);
  }

  #subscribe(connection: Connection, topics: string[], session: string | undefined): void {
    connection.subscribe(topics, (reasons) => {
      if (this.#connection !== connection) return;
      const refusal = reasons.find((reason) => reason >= 0x80);
      if (refusal !== undefined) {
        // A broker that takes us in but not our subscriptions is of no use.
        connection.close();
        return this.#lost(NOT_AUTHORIZED);
      }
      this.#grantedAt ??= performance.now();
      if (session !== undefined && session === this.#sessionTopic) {
        this.#events.subscribed(session);
      }
    });
  }

  #lost(reason: number | undefined): void {
    this.#connection = undefined;
    if (this.#grantedAt !== undefined && performance.now() - this.#grantedAt >= STABLE_MS) this.#retryMs = FIRST_RETRY_MS;
    // Half to all of the time, so that viewers who lost the broker together do not return together.
    const wait = this.#retryMs * (0.5 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#events.down(reason !== undefined && REFUSALS.has(reason) ? "refused" : "unreachable");
  }
}
