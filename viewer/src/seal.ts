// How a message is sealed so that the broker can drop it, and nothing else.
//
// The primitives are pure TypeScript because WebCrypto's `subtle` is absent on plain `http://`, which is how
// a camera in a home network is usually reached; and these because they are quick in code that has never run.

import { AES } from "@stablelib/aes";
import { GCM } from "@stablelib/gcm";
import { HKDF } from "@stablelib/hkdf";
import { SHA256, hash as sha256 } from "@stablelib/sha256";

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
  const sealed = cipher(ring, envelope).seal(iv, padded(toUtf8(text)), associatedData(ring, envelope));
  return toBase64url(concat([iv, sealed]));
}

/** The text of a sealed message, padding included, or `undefined` when it does not authenticate. */
export function open(ring: Keyring, envelope: Envelope, ct: string): string | undefined {
  const bytes = fromBase64url(ct);
  if (bytes === undefined || bytes.length < IV_BYTES + TAG_BYTES) return undefined;
  const [iv, sealed] = [bytes.subarray(0, IV_BYTES), bytes.subarray(IV_BYTES)];
  const plaintext = cipher(ring, envelope).open(iv, sealed, associatedData(ring, envelope));
  return plaintext === null ? undefined : fromUtf8(plaintext);
}

/** The password with which a viewer shows the broker that it has a key, without showing the key. */
export function mqttPassword(ring: Keyring): string {
  const info = lp(PROTOCOL, "mqtt", ring.device, ring.kid);
  return toBase64url(derive(ring.key, "", info, PASSWORD_BYTES));
}

/** What an answer repeats of the offer, so that a changed offer is noticed: SHA-256 of its SDP. */
export function sdpDigest(sdp: string): string {
  return toBase64url(sha256(toUtf8(sdp)));
}

/** AES-256-GCM under the key of this message's direction and context. */
function cipher(ring: Keyring, envelope: Envelope): GCM {
  const info = lp(PROTOCOL, envelope.direction, ring.device, ring.kid);
  return new GCM(new AES(derive(ring.key, envelope.ctx, info, KEY_BYTES)));
}

/** HKDF with SHA-256 (RFC 5869). */
function derive(key: Uint8Array, salt: string, info: Uint8Array, length: number): Uint8Array {
  return new HKDF(SHA256, key, toUtf8(salt), info).expand(length);
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
