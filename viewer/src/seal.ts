// How a message is sealed so that the broker can drop it, and nothing else.
//
// The pure-TypeScript primitives are used because WebCrypto's `subtle` is absent on plain `http://`,
// which is how a camera in a home network is usually reached.

import { gcm } from "@noble/ciphers/aes.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { fromBase64url, fromUtf8, randomBytes, toBase64url, toUtf8 } from "./bytes";

/** From the device to a viewer, or back. */
export type Direction = "d2v" | "v2d";

/** A viewer's key and whose it is. */
export interface Keyring {
  device: string;
  kid: string;
  /** 32 bytes. */
  key: Uint8Array;
}

/** What a message is bound to besides its text. */
export interface Envelope {
  direction: Direction;
  /** {@link standingContext} or {@link sessionContext}. */
  ctx: string;
  type: string;
  /** 1 to 2^53 - 1. */
  n: number;
}

const PROTOCOL = "farol/1";
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const PADDING_BYTES = 1024;
const PASSWORD_BYTES = 24;
const SPACE = 0x20;

/** The context of a standing offer, which no session has yet. */
export function standingContext(offer: string): string {
  return `o${offer}`;
}

/** The context of everything else, in both directions. */
export function sessionContext(boot: string, session: string): string {
  return `s${boot}.${session}`;
}

/** Seals a text; the result is the wire's `ct`. Only tests name the `iv`. */
export function seal(ring: Keyring, envelope: Envelope, text: string, iv = randomBytes(IV_BYTES)): string {
  const sealed = gcm(messageKey(ring, envelope), iv, associatedData(ring, envelope)).encrypt(padded(toUtf8(text)));
  return toBase64url(concat([iv, sealed]));
}

/** The text of a sealed message, padding included, or `undefined` when it does not authenticate. */
export function open(ring: Keyring, envelope: Envelope, ct: string): string | undefined {
  const bytes = fromBase64url(ct);
  if (bytes === undefined || bytes.length < IV_BYTES + TAG_BYTES) return undefined;
  const cipher = gcm(messageKey(ring, envelope), bytes.subarray(0, IV_BYTES), associatedData(ring, envelope));
  let plaintext: Uint8Array;
  try {
    plaintext = cipher.decrypt(bytes.subarray(IV_BYTES));
  } catch {
    return undefined;
  }
  return fromUtf8(plaintext);
}

/** The password with which a viewer shows the broker that it has a key, without showing the key. */
export function mqttPassword(ring: Keyring): string {
  const info = lp(PROTOCOL, "mqtt", ring.device, ring.kid);
  return toBase64url(hkdf(sha256, ring.key, toUtf8(""), info, PASSWORD_BYTES));
}

/** What an answer repeats of the offer, so that a changed offer is noticed: SHA-256 of its SDP. */
export function sdpDigest(sdp: string): string {
  return toBase64url(sha256(toUtf8(sdp)));
}

function messageKey(ring: Keyring, envelope: Envelope): Uint8Array {
  const info = lp(PROTOCOL, envelope.direction, ring.device, ring.kid);
  return hkdf(sha256, ring.key, toUtf8(envelope.ctx), info, KEY_BYTES);
}

function associatedData(ring: Keyring, envelope: Envelope): Uint8Array {
  const { direction, ctx, type, n } = envelope;
  return lp(PROTOCOL, direction, ring.device, ring.kid, ctx, type, u64be(n));
}

/** Each part behind its length, so that no two lists of parts give the same bytes. */
function lp(...parts: (string | Uint8Array)[]): Uint8Array {
  return concat(
    parts.flatMap((part) => {
      const bytes = typeof part === "string" ? toUtf8(part) : part;
      return [Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes];
    }),
  );
}

function u64be(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** Spaces up to a multiple of 1 KiB: the broker learns little from lengths, and JSON ignores them. */
function padded(bytes: Uint8Array): Uint8Array {
  const length = Math.ceil(bytes.length / PADDING_BYTES) * PADDING_BYTES;
  const out = new Uint8Array(length).fill(SPACE);
  out.set(bytes);
  return out;
}

function concat(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
