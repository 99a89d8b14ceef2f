import { describe, expect, test } from "vitest";

import { fromBase64url, toUtf8 } from "../src/bytes";
import { parseFragment } from "../src/link";
import { Mailbox } from "../src/mailbox";
import { parseDeviceMessage, parsePayload, parseStatus, parseWire } from "../src/message";
import { type Direction, mqttPassword, open, sdpDigest, seal } from "../src/seal";
import { fixture } from "./fixtures";

type Fields = Record<string, unknown>;
interface Sample { type: string; everything: Fields; least: Fields }
interface Envelope { text: string; filled_to?: number; why: string }
interface Step { topic: string; retained: boolean; wire: Fields; ctx?: string; iv?: string; plaintext?: string }

const keys = fixture("keys.json") as {
  passwords: { k: string; device: string; kid: string; password: string }[];
  digests: { text: string; digest: string }[];
};
const messages = fixture("messages.json") as {
  from_device: Sample[];
  envelopes: { good: Envelope[]; bad: Envelope[] };
  payloads: { from: string; type: string; payload: Fields; why: string }[];
};
const { link: address, boot, session, visit } = fixture("session.json") as {
  link: string; boot: string; session: string; visit: Step[];
};

const bytes = (text: string) => fromBase64url(text) ?? new Uint8Array();
const wire = ({ text, filled_to }: Envelope) => parseWire(toUtf8(text.padEnd(filled_to ?? 0)));

describe("vectors of keys", () => {
  test.each(keys.passwords)("the MQTT password of $kid", ({ k, device, kid, password }) => {
    expect(mqttPassword({ device, kid, key: bytes(k) })).toBe(password);
  });
  test.each(keys.digests)("the digest $digest", ({ text, digest }) => {
    expect(sdpDigest(text)).toBe(digest);
  });
});

describe("vectors of messages", () => {
  test.each(messages.envelopes.good)("read: $why", (envelope) => expect(wire(envelope)).toBeDefined());
  test.each(messages.envelopes.bad)("dropped: $why", (envelope) => expect(wire(envelope)).toBeUndefined());

  test.each(messages.from_device)("$type is read, whole and with the least", ({ type, everything, least }) => {
    for (const fields of [everything, least]) {
      const read = type === "status" ? parseStatus(toUtf8(JSON.stringify(fields))) : parseDeviceMessage(type, fields);
      expect(read).toBeDefined();
    }
  });

  test.each(messages.payloads.filter(({ from }) => from === "device"))("dropped: $type, $why", ({ type, payload }) => {
    expect(parseDeviceMessage(type, payload)).toBeUndefined();
  });
});

describe("the visit", () => {
  const parsed = parseFragment(address.slice(address.indexOf("#")));
  if (!parsed.ok || parsed.link.access.mode !== "sealed") throw new Error("the link is not read");
  const { device, access } = parsed.link;
  const ring = { device, kid: access.kid, key: access.key };
  const mailbox = new Mailbox(parsed.link);

  test.each(visit)("$wire.t on $topic", ({ topic, wire, ctx, iv, plaintext }) => {
    const isOwn = topic.includes("/in/");
    if (!isOwn) expect(mailbox.read(topic, toUtf8(JSON.stringify(wire)), { session, boot })).toBeDefined();
    if (ctx === undefined || iv === undefined || plaintext === undefined) return;
    const direction: Direction = isOwn ? "v2d" : "d2v";
    const envelope = { direction, ctx, type: String(wire["t"]), n: Number(wire["n"]) };
    expect(seal(ring, envelope, plaintext, bytes(iv))).toBe(wire["ct"]);
    expect(parsePayload(open(ring, envelope, String(wire["ct"])) ?? "")).toEqual(JSON.parse(plaintext));
  });
});
