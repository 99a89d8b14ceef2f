// How tests/fixtures/signal/seal.json was first computed: with Node's WebCrypto, and none of the
// code that is tested against it. Run by hand; the file in the repository is the contract.
//
//   node tools/make-seal-vectors.mjs > ../tests/fixtures/signal/seal.json

import { webcrypto } from "node:crypto";

const { subtle } = webcrypto;
const bytes = (text) => new TextEncoder().encode(text);
const base64url = (data) => Buffer.from(data).toString("base64url");
const counted = (count, from) => Uint8Array.from({ length: count }, (_, at) => (from + at) & 0xff);

function lp(...parts) {
  const list = parts.map((part) => (typeof part === "string" ? bytes(part) : part));
  return Buffer.concat(list.flatMap((part) => [Buffer.from([part.length >> 8, part.length & 255]), Buffer.from(part)]));
}

function u64be(value) {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer;
}

async function derive(k, salt, info, count) {
  const ikm = await subtle.importKey("raw", k, "HKDF", false, ["deriveBits"]);
  return subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: bytes(salt), info }, ikm, count * 8);
}

async function vector({ name, k, device, kid, direction, ctx, type, n, offer, iv, plaintext }) {
  const raw = await derive(k, ctx, lp("farol/1", direction, device, kid), 32);
  const key = await subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  const additionalData = lp("farol/1", direction, device, kid, ctx, type, u64be(n));
  const text = Buffer.from(plaintext);
  const data = Buffer.concat([text, Buffer.alloc((1024 - (text.length % 1024)) % 1024, " ")]);
  const sealed = await subtle.encrypt({ name: "AES-GCM", iv, additionalData, tagLength: 128 }, key, data);
  const ct = base64url(Buffer.concat([iv, Buffer.from(sealed)]));
  const wire = { v: 1, t: type, n, ...(offer && { offer }), ct };
  return { name, k: base64url(k), device, kid, direction, ctx, type, n, ...(offer && { offer }), iv: base64url(iv), plaintext, wire };
}

const a = { k: counted(32, 0), device: "00112233445566778899aabbccddeeff", kid: "0123456789abcdef" };
const b = { k: counted(32, 0xe8), device: "ffeeddccbbaa99887766554433221100", kid: "fedcba9876543210" };
const boot = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
const session = "5e5510005e5510005e5510005e551000";
const offer = "0ffe20000ffe20000ffe20000ffe2000";
const inSession = `s${boot}.${session}`;
const sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/** A payload of exactly this many bytes. */
function filled(count) {
  const empty = JSON.stringify({ reason: "" });
  return JSON.stringify({ reason: "x".repeat(count - empty.length) });
}

const standing = (rev, name) =>
  JSON.stringify({ offer, rev, boot, name, sdp, ttl_s: 600, ice_servers: [], rights: ["view", "listen"] });
const hello = JSON.stringify({ boot, wants: ["view", "listen"] });
const candidates = JSON.stringify({
  offer,
  list: [{ candidate: "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host", sdpMid: "0", sdpMLineIndex: 0 }],
  end: true,
});

const list = [
  { name: "a viewer's hello", ...a, direction: "v2d", ctx: inSession, type: "hello", n: 1, iv: counted(12, 0x10), plaintext: hello },
  { name: "the same text with the next number", ...a, direction: "v2d", ctx: inSession, type: "hello", n: 2, iv: counted(12, 0x20), plaintext: hello },
  { name: "candidates from the device", ...a, direction: "d2v", ctx: inSession, type: "candidates", n: 3, iv: counted(12, 0x30), plaintext: candidates },
  { name: "the same text from the viewer", ...a, direction: "v2d", ctx: inSession, type: "candidates", n: 3, iv: counted(12, 0x40), plaintext: candidates },
  { name: "a standing offer at its first revision", ...a, direction: "d2v", ctx: `o${offer}`, type: "offer", n: 1, offer, iv: counted(12, 0x50), plaintext: standing(1, "Front door") },
  { name: "the same offer, revised, with a name beyond ASCII", ...b, direction: "d2v", ctx: `o${offer}`, type: "offer", n: 7, offer, iv: counted(12, 0x60), plaintext: standing(7, "Portão da frente – 灯台 🏮") },
  { name: "a text of exactly 1024 bytes is not padded", ...b, direction: "v2d", ctx: inSession, type: "bye", n: 4, iv: counted(12, 0x70), plaintext: filled(1024) },
  { name: "a text of 1025 bytes is padded to 2048", ...b, direction: "v2d", ctx: inSession, type: "bye", n: 5, iv: counted(12, 0x80), plaintext: filled(1025) },
  { name: "the largest number", ...b, direction: "d2v", ctx: inSession, type: "bye", n: Number.MAX_SAFE_INTEGER, iv: counted(12, 0x90), plaintext: JSON.stringify({ reason: "shutdown" }) },
];

const vectors = [];
for (const one of list) vectors.push(await vector(one));
const mqtt = [];
for (const { k, device, kid } of [a, b]) {
  const password = base64url(await derive(k, "", lp("farol/1", "mqtt", device, kid), 24));
  mqtt.push({ k: base64url(k), device, kid, password });
}
process.stdout.write(`${JSON.stringify({ vectors, mqtt }, null, 2)}\n`);
