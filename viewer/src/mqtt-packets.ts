// How the MQTT 5 packets that a viewer needs are written and read.
//
// OASIS MQTT 5.0; sections are cited. QoS 2, topic aliases, AUTH and wills are left out: the viewer
// asks for none of them, and a broker may not send what was not asked for.

import { fromUtf8, toUtf8 } from "./bytes";

/** What a broker sends. */
export type Incoming =
  | { type: "connack"; reason: number; keepAliveS?: number }
  | { type: "publish"; topic: string; payload: Uint8Array; packetId?: number }
  | { type: "puback"; packetId: number; reason: number }
  | { type: "suback"; packetId: number; reasons: number[] }
  | { type: "unsuback"; packetId: number }
  | { type: "pingresp" }
  | { type: "disconnect"; reason: number };

/** Who connects, and on what terms. */
export interface Connect {
  clientId: string;
  keepAliveS: number;
  /** The largest packet that the broker may send (§3.1.2.11.4). */
  maxPacketBytes: number;
  login?: { username: string; password: string } | undefined;
}

// Property identifiers (§2.2.2.2).
const MESSAGE_EXPIRY = 0x02;
const SERVER_KEEP_ALIVE = 0x13;
const MAXIMUM_PACKET_SIZE = 0x27;
/** How many bytes the values of CONNACK's properties of fixed size take; the others carry their length. */
const FIXED_SIZES: Readonly<Record<number, number>> = {
  0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2a: 1,
};
const USER_PROPERTY = 0x26;

/** CONNECT with a clean start and no will (§3.1). */
export function connect(options: Connect): Uint8Array {
  const { login } = options;
  const flags = 0x02 | (login ? 0xc0 : 0);
  const properties = [MAXIMUM_PACKET_SIZE, ...u32(options.maxPacketBytes)];
  return packet(0x10, [
    ...text("MQTT"), 5, flags, ...u16(options.keepAliveS),
    ...sized(properties),
    ...text(options.clientId),
    ...(login ? [...text(login.username), ...text(login.password)] : []),
  ]);
}

/** PUBLISH with QoS 1 (§3.3). */
export function publish(packetId: number, topic: string, expiryS: number, payload: Uint8Array): Uint8Array {
  const head = [...text(topic), ...u16(packetId), ...sized([MESSAGE_EXPIRY, ...u32(expiryS)])];
  return packet(0x32, head, payload);
}

/** PUBACK (§3.4): reason 0 and no properties may be left out. */
export function puback(packetId: number): Uint8Array {
  return packet(0x40, u16(packetId));
}

/** SUBSCRIBE with QoS 1 to each topic (§3.8). */
export function subscribe(packetId: number, topics: string[]): Uint8Array {
  return packet(0x82, [...u16(packetId), 0, ...topics.flatMap((topic) => [...text(topic), 1])]);
}

/** UNSUBSCRIBE (§3.10). */
export function unsubscribe(packetId: number, topics: string[]): Uint8Array {
  return packet(0xa2, [...u16(packetId), 0, ...topics.flatMap(text)]);
}

/** PINGREQ (§3.12). */
export function pingreq(): Uint8Array {
  return packet(0xc0, []);
}

/** DISCONNECT, normal (§3.14). */
export function disconnect(): Uint8Array {
  return packet(0xe0, []);
}

/** Cuts a stream into packets; WebSocket frames need not end where packets do (§6). */
export class PacketStream {
  readonly #maxBytes: number;
  #rest = new Uint8Array(0);

  /** A packet above `maxBytes` ends the stream. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The packets that are complete now; `undefined` when the stream is no MQTT that was asked for. */
  push(bytes: Uint8Array): Incoming[] | undefined {
    const data = new Uint8Array(this.#rest.length + bytes.length);
    data.set(this.#rest);
    data.set(bytes, this.#rest.length);
    const packets: Incoming[] = [];
    let at = 0;
    while (at < data.length) {
      const length = varint(data, at + 1);
      if (length === "short") break;
      if (length === undefined || length.next + length.value - at > this.#maxBytes) return undefined;
      const end = length.next + length.value;
      if (end > data.length) break;
      const one = parse(data[at] ?? 0, data.subarray(length.next, end));
      if (one === undefined) return undefined;
      packets.push(one);
      at = end;
    }
    this.#rest = data.slice(at);
    return packets;
  }
}

function parse(first: number, body: Uint8Array): Incoming | undefined {
  switch (first) {
    case 0x20: // CONNACK (§3.2): flags, then the reason.
      return parseConnack(body);
    case 0x40: // PUBACK (§3.4)
      return body.length >= 2 ? { type: "puback", packetId: readU16(body, 0), reason: body[2] ?? 0 } : undefined;
    case 0x90: // SUBACK (§3.9)
      return parseSuback(body);
    case 0xb0: // UNSUBACK (§3.11)
      return body.length >= 2 ? { type: "unsuback", packetId: readU16(body, 0) } : undefined;
    case 0xd0:
      return { type: "pingresp" };
    case 0xe0: // DISCONNECT (§3.14)
      return { type: "disconnect", reason: body[0] ?? 0 };
  }
  return first >> 4 === 3 ? parsePublish(first, body) : undefined;
}

function parseConnack(body: Uint8Array): Incoming | undefined {
  if (body.length < 2) return undefined;
  const reason = body[1] ?? 0;
  const length = varint(body, 2);
  // A refusal may end before its properties.
  if (length === undefined || length === "short") return { type: "connack", reason };
  const keepAliveS = serverKeepAlive(body.subarray(length.next, length.next + length.value));
  return { type: "connack", reason, ...(keepAliveS !== undefined && { keepAliveS }) };
}

/** The broker's own keep alive, which a client must use when it is named (§3.2.2.3.14). */
function serverKeepAlive(properties: Uint8Array): number | undefined {
  let at = 0;
  while (at < properties.length) {
    const id = properties[at] ?? 0;
    at += 1;
    if (id === SERVER_KEEP_ALIVE) return readU16(properties, at);
    const strings = id === USER_PROPERTY ? 2 : 1;
    const fixed = FIXED_SIZES[id];
    if (fixed !== undefined) at += fixed;
    else for (let string = 0; string < strings; string += 1) at += 2 + readU16(properties, at);
  }
  return undefined;
}

function parsePublish(first: number, body: Uint8Array): Incoming | undefined {
  const qos = (first >> 1) & 3;
  // At most QoS 1 was subscribed to.
  if (qos > 1 || body.length < 2) return undefined;
  const topicEnd = 2 + readU16(body, 0);
  const idEnd = topicEnd + (qos === 1 ? 2 : 0);
  if (idEnd > body.length) return undefined;
  const topic = fromUtf8(body.subarray(2, topicEnd));
  const payloadAt = skipProperties(body, idEnd);
  if (topic === undefined || payloadAt === undefined) return undefined;
  const payload = body.slice(payloadAt);
  return { type: "publish", topic, payload, ...(qos === 1 && { packetId: readU16(body, topicEnd) }) };
}

function parseSuback(body: Uint8Array): Incoming | undefined {
  if (body.length < 2) return undefined;
  const reasonsAt = skipProperties(body, 2);
  if (reasonsAt === undefined) return undefined;
  return { type: "suback", packetId: readU16(body, 0), reasons: Array.from(body.subarray(reasonsAt)) };
}

/** Where the properties end that begin here: none of them matters to a viewer. */
function skipProperties(body: Uint8Array, at: number): number | undefined {
  const length = varint(body, at);
  if (length === undefined || length === "short") return undefined;
  const end = length.next + length.value;
  return end <= body.length ? end : undefined;
}

/** A variable byte integer (§1.5.5): `short` when more bytes are needed, `undefined` when it is none. */
function varint(bytes: Uint8Array, at: number): { value: number; next: number } | "short" | undefined {
  let value = 0;
  for (let index = 0; index < 4; index += 1) {
    const byte = bytes[at + index];
    if (byte === undefined) return "short";
    value += (byte & 0x7f) * 128 ** index;
    if (byte < 0x80) return { value, next: at + index + 1 };
  }
  return undefined;
}

function packet(first: number, head: number[], payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const start = [first, ...writeVarint(head.length + payload.length), ...head];
  const bytes = new Uint8Array(start.length + payload.length);
  bytes.set(start);
  bytes.set(payload, start.length);
  return bytes;
}

function writeVarint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return bytes;
}

function sized(properties: number[]): number[] {
  return [...writeVarint(properties.length), ...properties];
}

function text(value: string): number[] {
  const bytes = toUtf8(value);
  return [...u16(bytes.length), ...bytes];
}

function u16(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

function readU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
