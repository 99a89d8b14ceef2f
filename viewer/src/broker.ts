// How the page reaches the MQTT broker, and gets back to it.
//
// One connection at a time, a clean start and a random client id each, and no last will: losing the
// broker must not end media that flows. What the topics carry is not known here.

import mqtt, { type MqttClient } from "mqtt";

import { randomBytes, toHex } from "./bytes";
import { takeEarlySocket } from "./early";
import { MAX_WIRE_BYTES } from "./message";

/** What the connection tells. */
export interface BrokerEvents {
  /** The broker took us in, and the subscriptions are on their way. */
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
/** CONNACK reasons that another attempt with the same link will meet again (MQTT 5 §3.2.2.2). */
const REFUSALS = new Set([0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c]);

/** A connection to the broker that mends itself. */
export class Broker {
  readonly #options: BrokerOptions;
  readonly #events: BrokerEvents;
  #client: MqttClient | undefined;
  #sessionTopic: string | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;
  readonly #retryNow = (): void => {
    if (this.#retry !== undefined) this.#connect();
  };

  constructor(options: BrokerOptions, events: BrokerEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Connects, now and after each loss. */
  start(): void {
    globalThis.addEventListener?.("online", this.#retryNow);
    this.#connect();
  }

  /** Subscribes to this session's topic instead of the one before. */
  listen(sessionTopic: string): void {
    const before = this.#sessionTopic;
    this.#sessionTopic = sessionTopic;
    if (this.#client?.connected !== true) return;
    // First away, then to: a broker may allow one session at a time.
    if (before !== undefined) this.#client.unsubscribe(before);
    this.#subscribe(this.#client, [sessionTopic], sessionTopic);
  }

  /** Sends with QoS 1; while there is no connection the message is lost, as the session expects. */
  send(topic: string, bytes: Uint8Array): void {
    if (this.#client?.connected !== true) return;
    const properties = { messageExpiryInterval: EXPIRY_S };
    // mqtt.js is built for Node's Buffer, of which only what Uint8Array has is used for writing.
    this.#client.publish(topic, bytes as Buffer, { qos: 1, properties });
  }

  /** Says goodbye to the broker for good, after what was sent. */
  stop(): void {
    this.#isStopped = true;
    globalThis.removeEventListener?.("online", this.#retryNow);
    clearTimeout(this.#retry);
    this.#client?.end();
    this.#client = undefined;
  }

  #connect(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    let why: "unreachable" | "refused" = "unreachable";
    const { url, login } = this.#options;
    const client = mqtt.connect(url, {
      ...login,
      clientId: `farol-viewer-${toHex(randomBytes(8))}`,
      protocolVersion: 5,
      clean: true,
      keepalive: KEEP_ALIVE_S,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      properties: { maximumPacketSize: MAX_PACKET_BYTES },
      // Timers in a worker would need a blob: script, which the page's CSP forbids.
      timerVariant: "native",
      createWebsocket: (_url, protocols) => takeEarlySocket(url) ?? new WebSocket(url, protocols),
    });
    this.#client = client;
    const isCurrent = (): boolean => this.#client === client;
    client.on("connect", () => {
      if (!isCurrent()) return;
      this.#retryMs = FIRST_RETRY_MS;
      this.#subscribeAll(client);
      this.#events.up();
    });
    client.on("message", (topic, payload) => {
      if (isCurrent()) this.#events.message(topic, payload);
    });
    client.on("error", (error) => {
      if ("code" in error && REFUSALS.has(Number(error.code))) why = "refused";
    });
    client.on("close", () => {
      if (isCurrent()) this.#lost(why);
    });
  }

  #subscribeAll(client: MqttClient): void {
    const session = this.#sessionTopic;
    // The session's topic comes first: once a retained message arrives, replies can too.
    const topics = [session, ...this.#options.topics].filter((topic) => topic !== undefined);
    this.#subscribe(client, topics, session);
  }

  #subscribe(client: MqttClient, topics: string[], session: string | undefined): void {
    client.subscribe(topics, { qos: 1 }, (error, granted) => {
      if (this.#client !== client || this.#isStopped) return;
      const isRefused = granted?.some(({ qos }) => Number(qos) >= 0x80) ?? false;
      if (error !== null || isRefused) {
        if (client.connected) this.#abandon(client);
      } else if (session !== undefined && session === this.#sessionTopic) {
        this.#events.subscribed(session);
      }
    });
  }

  /** A broker that takes us in but not our subscriptions is of no use. */
  #abandon(client: MqttClient): void {
    this.#lost("refused");
    client.end(true);
  }

  #lost(why: "unreachable" | "refused"): void {
    this.#client = undefined;
    if (this.#isStopped) return;
    // Half to all of the time, so that viewers who lost the broker together do not return together.
    const wait = this.#retryMs * (0.5 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#events.down(why);
  }
}
