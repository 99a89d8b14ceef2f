import { describe, expect, test } from "vitest";

import { fromBase64url, toBase64url } from "../src/bytes";
import { type Direction, type Envelope, type Keyring, mqttPassword, open, sdpDigest, seal } from "../src/seal";
import { fixture } from "./fixtures";

interface Vectors {
  vectors: {
    name: string; k: string; device: string; kid: string; direction: Direction; ctx: string; type: string; n: number;
    offer?: string; iv: string; plaintext: string; wire: Record<string, unknown>;
  }[];
  mqtt: { k: string; device: string; kid: string; password: string }[];
}

const { vectors, mqtt } = fixture("seal.json") as Vectors;

function bytes(text: string): Uint8Array {
  const decoded = fromBase64url(text);
  if (decoded === undefined) throw new Error(`not base64url: ${text}`);
  return decoded;
}

const ringOf = (of: { k: string; device: string; kid: string }): Keyring => ({
  device: of.device, kid: of.kid, key: bytes(of.k),
});

describe("test vectors", () => {
  test("there are some of each kind", () => {
    expect(vectors.length).toBeGreaterThanOrEqual(6);
    expect(new Set(vectors.map(({ direction, ctx }) => direction + ctx[0]))).toEqual(new Set(["v2ds", "d2vs", "d2vo"]));
  });

  test.each(vectors)("sealed with its iv: $name", ({ ctx, direction, type, n, iv, plaintext, wire, offer, ...of }) => {
    const ct = seal(ringOf(of), { direction, ctx, type, n }, plaintext, bytes(iv));
    expect({ v: 1, t: type, n, ...(offer !== undefined && { offer }), ct }).toEqual(wire);
  });

  test.each(vectors)("opened: $name", ({ ctx, direction, plaintext, wire, ...of }) => {
    const envelope = { direction, ctx, type: String(wire["t"]), n: Number(wire["n"]) };
    expect(open(ringOf(of), envelope, String(wire["ct"]))?.trimEnd()).toBe(plaintext);
  });

  test.each(mqtt)("the MQTT password of $kid", (one) => {
    expect(mqttPassword(ringOf(one))).toBe(one.password);
  });
});

describe("sealing", () => {
  const ring: Keyring = { device: "d".repeat(32), kid: "0123456789abcdef", key: new Uint8Array(32).fill(7) };
  const envelope: Envelope = { direction: "v2d", ctx: "sboot.session", type: "hello", n: 1 };
  const text = JSON.stringify({ wants: ["view"], name: "größer 🏮" });

  test("what is sealed can be opened, and no two are alike", () => {
    const [one, two] = [seal(ring, envelope, text), seal(ring, envelope, text)];
    expect(one).not.toBe(two);
    expect(open(ring, envelope, one)?.trimEnd()).toBe(text);
  });

  test.each<[string, Partial<Envelope>, Partial<Keyring>]>([
    ["another direction", { direction: "d2v" }, {}],
    ["another context", { ctx: "sboot.sessio" }, {}],
    ["another type", { type: "hell" }, {}],
    ["another number", { n: 2 }, {}],
    ["another device", {}, { device: "e".repeat(32) }],
    ["another kid", {}, { kid: "0123456789abcdee" }],
    ["another key", {}, { key: new Uint8Array(32).fill(8) }],
  ])("it does not open under %s", (_what, changed, ringChanged) => {
    const ct = seal(ring, envelope, text);
    expect(open({ ...ring, ...ringChanged }, { ...envelope, ...changed }, ct)).toBeUndefined();
  });

  test("no byte can be changed, taken away or added", () => {
    const sealed = bytes(seal(ring, envelope, text));
    for (const at of [0, 11, 12, 500, sealed.length - 17, sealed.length - 1]) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(open(ring, envelope, toBase64url(changed))).toBeUndefined();
    }
    for (const other of [sealed.subarray(1), sealed.subarray(0, -1), sealed.subarray(0, 27), new Uint8Array(), Uint8Array.of(...sealed, 0)]) {
      expect(open(ring, envelope, toBase64url(other))).toBeUndefined();
    }
    expect(open(ring, envelope, `${toBase64url(sealed)}=`)).toBeUndefined();
  });

  test("lengths are hidden in steps of 1 KiB", () => {
    const sizes = [1, 1023, 1024, 1025, 2048].map((size) => bytes(seal(ring, envelope, "x".repeat(size))).length - 28);
    expect(sizes).toEqual([1024, 1024, 1024, 2048, 2048]);
  });

  test("a digest is SHA-256 of the text in UTF-8", () => {
    expect(sdpDigest("abc")).toBe("ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
  });
});
