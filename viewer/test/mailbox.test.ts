import { describe, expect, test } from "vitest";

import { fromUtf8, toUtf8 } from "../src/bytes";
import type { Link } from "../src/link";
import { Mailbox } from "../src/mailbox";
import { type Keyring, open, seal, sessionContext, standingContext } from "../src/seal";

const DEVICE = "d".repeat(32);
const BOOT = "b".repeat(32);
const SESSION = "5".repeat(32);
const OFFER = "0".repeat(32);
const KID = "0123456789abcdef";
const ring: Keyring = { device: DEVICE, kid: KID, key: new Uint8Array(32).fill(1) };
const sealedLink: Link = { device: DEVICE, access: { mode: "sealed", kid: KID, key: ring.key }, broker: { url: "ws://x" } };
const openLink: Link = { device: DEVICE, access: { mode: "open" }, broker: { url: "ws://x" } };
const payload = { offer: OFFER, rev: 2, boot: BOOT, name: "", sdp: "v=0", rights: ["view"] };
const current = { session: SESSION, boot: BOOT };

function standing(fields: { n?: number; offer?: string; key?: Uint8Array; payload?: unknown } = {}): Uint8Array {
  const n = fields.n ?? 2;
  const offer = fields.offer ?? OFFER;
  const envelope = { direction: "d2v" as const, ctx: standingContext(offer), type: "offer", n };
  const ct = seal({ ...ring, key: fields.key ?? ring.key }, envelope, JSON.stringify(fields.payload ?? payload));
  return toUtf8(JSON.stringify({ v: 1, t: "offer", n, offer, ct }));
}

describe("with a key", () => {
  const mailbox = new Mailbox(sealedLink);

  test("a standing offer is read", () => {
    expect(mailbox.read(mailbox.offerTopic, standing(), undefined)).toMatchObject({ from: "standing", offer: { offer: OFFER, rev: 2 } });
  });

  test("an offer under another key is a forgery, and never content", () => {
    const heard = mailbox.read(mailbox.offerTopic, standing({ key: new Uint8Array(32) }), undefined);
    expect(heard).toEqual({ from: "standing", forged: true });
  });

  test("an offer whose inside names another id or revision is dropped", () => {
    expect(mailbox.read(mailbox.offerTopic, standing({ n: 3 }), undefined)).toBeUndefined();
    expect(mailbox.read(mailbox.offerTopic, standing({ offer: "1".repeat(32) }), undefined)).toBeUndefined();
  });

  test("everything in the open form is ignored", () => {
    const offer = toUtf8(JSON.stringify({ v: 1, t: "offer", n: 2, p: payload }));
    expect(mailbox.read(mailbox.offerTopic, offer, undefined)).toBeUndefined();
    const named = toUtf8(JSON.stringify({ v: 1, t: "offer", n: 2, offer: OFFER, p: payload }));
    expect(mailbox.read(mailbox.offerTopic, named, undefined)).toBeUndefined();
    expect(mailbox.read(`farol/1/${DEVICE}/offer/open`, offer, undefined)).toBeUndefined();
    const bye = toUtf8(JSON.stringify({ v: 1, t: "bye", n: 1, p: { reason: "x" } }));
    expect(mailbox.read(mailbox.outTopic(SESSION), bye, current)).toBeUndefined();
  });

  test("a session's message opens under its boot and session only", () => {
    const envelope = { direction: "d2v" as const, ctx: sessionContext(BOOT, SESSION), type: "bye", n: 4 };
    const bytes = toUtf8(JSON.stringify({ v: 1, t: "bye", n: 4, ct: seal(ring, envelope, '{"reason":"x"}') }));
    const heard = { from: "session", session: SESSION, n: 4, message: { type: "bye", reason: "x" } };
    expect(mailbox.read(mailbox.outTopic(SESSION), bytes, current)).toEqual(heard);
    expect(mailbox.read(mailbox.outTopic(SESSION), bytes, { ...current, boot: DEVICE })).toBeUndefined();
    expect(mailbox.read(mailbox.outTopic(BOOT), bytes, current)).toBeUndefined();
    expect(mailbox.read(mailbox.outTopic(SESSION), bytes, undefined)).toBeUndefined();
  });

  test("what it writes, the device can open", () => {
    const { topic, bytes } = mailbox.write(current, 3, { type: "hello", boot: BOOT, wants: ["view"] });
    expect(topic).toBe(`farol/1/${DEVICE}/in/${KID}/${SESSION}`);
    const wire = JSON.parse(fromUtf8(bytes) ?? "") as { t: string; n: number; ct: string };
    const envelope = { direction: "v2d" as const, ctx: sessionContext(BOOT, SESSION), type: wire.t, n: wire.n };
    expect(JSON.parse(open(ring, envelope, wire.ct) ?? "")).toEqual({ boot: BOOT, wants: ["view"] });
  });

  test("an empty message clears the offer or the status", () => {
    expect(mailbox.read(mailbox.offerTopic, new Uint8Array(), undefined)).toEqual({ from: "standing", offer: undefined });
    expect(mailbox.read(mailbox.statusTopic, new Uint8Array(), undefined)).toEqual({ from: "status", status: undefined });
  });
});

describe("without a key", () => {
  const mailbox = new Mailbox(openLink);

  test("the slot is open, the id is in the payload, and nobody logs in", () => {
    expect(mailbox.offerTopic).toBe(`farol/1/${DEVICE}/offer/open`);
    expect(mailbox.login).toBeUndefined();
    const offer = toUtf8(JSON.stringify({ v: 1, t: "offer", n: 2, p: payload }));
    expect(mailbox.read(mailbox.offerTopic, offer, undefined)).toMatchObject({ from: "standing", offer: { offer: OFFER } });
    const { bytes } = mailbox.write(current, 1, { type: "bye", reason: "left" });
    expect(JSON.parse(fromUtf8(bytes) ?? "")).toEqual({ v: 1, t: "bye", n: 1, p: { reason: "left" } });
  });

  test("a sealed message means nothing to it", () => {
    expect(mailbox.read(mailbox.offerTopic, standing(), undefined)).toBeUndefined();
  });
});
