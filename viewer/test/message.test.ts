import { describe, expect, test } from "vitest";

import { toUtf8 } from "../src/bytes";
import { isShallow, MAX_WIRE_BYTES, parseDeviceMessage, parseOffer, parsePayload, parseStatus, parseWire } from "../src/message";

const ID = "00112233445566778899aabbccddeeff";
const wire = (fields: unknown) => parseWire(toUtf8(typeof fields === "string" ? fields : JSON.stringify(fields)));
const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

describe("limits", () => {
  test("32 KiB are read, one byte more is not", () => {
    const start = '{"v":1,"t":"bye","n":1,"p":{}';
    const fill = (size: number) => `${start}${" ".repeat(size - start.length - 1)}}`;
    expect(wire(fill(MAX_WIRE_BYTES))).toBeDefined();
    expect(wire(fill(MAX_WIRE_BYTES + 1))).toBeUndefined();
  });

  test("a nesting of 16 is read, of 17 is not, on the wire and in the decrypted text", () => {
    expect(isShallow("{}")).toBe(true);
    expect(wire(`{"v":1,"t":"bye","n":1,"p":{},"x":${nested(15)}}`)).toBeDefined();
    expect(wire(`{"v":1,"t":"bye","n":1,"p":{},"x":${nested(16)}}`)).toBeUndefined();
    expect(parsePayload(`{"x":${nested(15)}}`)).toBeDefined();
    expect(parsePayload(`{"x":${nested(16)}}`)).toBeUndefined();
  });

  test("brackets in strings are no nesting, escaped quotes end no string", () => {
    expect(isShallow(JSON.stringify({ x: `"${"[".repeat(40)}\\` }))).toBe(true);
    expect(isShallow(`["\\\\",${nested(16)}]`)).toBe(false);
  });

  test("a deep bomb is refused before the parser sees it", () => {
    expect(wire(nested(16_000))).toBeUndefined();
  });
});

describe("the wire", () => {
  const good = { v: 1, t: "bye", n: 1, ct: "abc" };
  test("both forms are read, unknown fields ignored", () => {
    expect(wire({ ...good, x: 1 })).toEqual({ type: "bye", n: 1, body: { form: "sealed", ct: "abc" } });
    expect(wire({ v: 1, t: "bye", n: 1, p: { a: 1 } })?.body).toEqual({ form: "open", payload: { a: 1 } });
    expect(wire({ ...good, n: Number.MAX_SAFE_INTEGER })?.n).toBe(2 ** 53 - 1);
    expect(wire({ ...good, offer: ID })?.offer).toBe(ID);
  });

  test.each([
    [{ ...good, v: 2 }], [{ ...good, v: "1" }], [{ ...good, t: 1 }], [{ ...good, n: 0 }], [{ ...good, n: -1 }],
    [{ ...good, n: 1.5 }], [{ ...good, n: "1" }], [{ ...good, ct: 1 }], [{ v: 1, t: "bye", n: 1 }],
    [{ v: 1, t: "bye", n: 1, p: [] }], ['{"v":1,"t":"bye","n":9007199254740992,"ct":""}'], ["null"], ["[]"], [""],
    ["{"], ['\ufeff{"v":1,"t":"bye","n":1,"ct":""}'],
  ])("%j is dropped", (fields) => {
    expect(wire(fields)).toBeUndefined();
  });

  test("what is not UTF-8 is dropped", () => {
    const bytes = toUtf8('{"v":1,"t":"bye","n":1,"ct":"x"}');
    bytes[29] = 0xff;
    expect(parseWire(bytes)).toBeUndefined();
  });
});

describe("payloads", () => {
  const offer = { offer: ID, rev: 1, boot: ID, name: "Door", sdp: "v=0", rights: ["view", "fly", "talk"], ice_servers: [
    { urls: "stun:a" }, { urls: ["turn:b"], username: "u", credential: "c", x: 1 }, { urls: [] }, { urls: [1] }, 7,
  ] };

  test("an offer is read; what is odd in its lists is left out", () => {
    expect(parseOffer(offer)).toEqual({
      offer: ID, rev: 1, boot: ID, name: "Door", sdp: "v=0", rights: ["view", "talk"],
      iceServers: [{ urls: ["stun:a"] }, { urls: ["turn:b"], username: "u", credential: "c" }],
    });
  });

  test.each(["offer", "rev", "boot", "sdp"])("an offer without %s is dropped", (field) => {
    expect(parseOffer({ ...offer, [field]: undefined })).toBeUndefined();
  });

  test("each type is read, an unknown one dropped", () => {
    expect(parseDeviceMessage("accept", { offer: ID, rights: ["view"] })).toEqual({ type: "accept", offer: ID, rights: ["view"] });
    expect(parseDeviceMessage("candidates", { offer: ID, list: [{ candidate: "c", sdpMid: "0", x: 1 }, 3], end: true }))
      .toEqual({ type: "candidates", offer: ID, list: [{ candidate: "c", sdpMid: "0" }], end: true });
    expect(parseDeviceMessage("reject", { code: "full", retry_ms: 500 })).toEqual({ type: "reject", code: "full", retryMs: 500 });
    expect(parseDeviceMessage("reject", { code: "taken", offer })).toMatchObject({ code: "taken", offer: { offer: ID } });
    expect(parseDeviceMessage("reject", { code: "rude" })).toBeUndefined();
    expect(parseDeviceMessage("bye", {})).toEqual({ type: "bye", reason: "" });
    expect(parseDeviceMessage("dance", {})).toBeUndefined();
    expect(parseDeviceMessage("constructor", {})).toBeUndefined();
  });

  test("a status is read as the hint that it is", () => {
    const status = (fields: unknown) => parseStatus(toUtf8(JSON.stringify(fields)));
    expect(status({ v: 1, state: "online", boot: ID, security: "sealed", full: false })).toEqual({ state: "online", boot: ID, security: "sealed" });
    expect(status({ v: 1, state: "online", boot: "x" })).toBeUndefined();
    expect(status({ v: 1, state: "asleep", boot: ID })).toBeUndefined();
  });
});
