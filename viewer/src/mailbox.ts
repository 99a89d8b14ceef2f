// How an MQTT message becomes something that the session may believe, and the other way round.
//
// This is the one place that knows sealed from open. With a key, everything in the open form is
// ignored here; what fails to authenticate is reported as such and never as content.

import { toUtf8 } from "./bytes";
import type { Link } from "./link";
import {
  type DeviceMessage,
  type Offer,
  type Status,
  type ViewerMessage,
  type Wire,
  MAX_WIRE_BYTES,
  openWire,
  parseDeviceMessage,
  parseOffer,
  parsePayload,
  parseStatus,
  parseWire,
  sealedWire,
} from "./message";
import * as sealing from "./seal";
import { inTopic, offerTopic, outTopic, statusTopic } from "./topic";

/** What came in. */
export type Heard =
  | { from: "status"; status: Status | undefined }
  | { from: "standing"; offer: Offer | undefined }
  | { from: "standing"; forged: true }
  | { from: "session"; session: string; n: number; message: DeviceMessage };

/** A session and the boot under which its messages are sealed. */
export interface SessionName {
  session: string;
  boot: string;
}

/** In all about what an offer has. */
const REHEARSED_BYTES = 1024;
const REHEARSALS = 4;

/** Reads and writes one viewer's messages to and from one device. */
export class Mailbox {
  readonly statusTopic: string;
  readonly offerTopic: string;
  readonly #device: string;
  readonly #slot: string;
  readonly #ring: sealing.Keyring | undefined;

  constructor(link: Link) {
    const { device, access } = link;
    this.#device = device;
    this.#slot = access.mode === "open" ? "open" : access.kid;
    this.#ring = access.mode === "open" ? undefined : { device, kid: access.kid, key: access.key };
    this.statusTopic = statusTopic(device);
    this.offerTopic = offerTopic(device, this.#slot);
  }

  /** Whether messages are sealed. */
  get isSealed(): boolean {
    return this.#ring !== undefined;
  }

  /** User name and password for the broker, made from the key; none in open mode. */
  get login(): { username: string; password: string } | undefined {
    return this.#ring && { username: this.#ring.kid, password: sealing.mqttPassword(this.#ring) };
  }

  /**
   * Seals and opens something, a little with each step. The browser compiles code that it has seen run, so done
   * while the broker answers, it takes some 10 ms off the first offer and answer.
   */
  rehearsal(): (() => void)[] {
    const ring = this.#ring;
    if (ring === undefined) return [];
    const envelope: sealing.Envelope = { direction: "d2v", ctx: "", type: "", n: 1 };
    const step = (): void => void sealing.open(ring, envelope, sealing.seal(ring, envelope, " ".repeat(REHEARSED_BYTES)));
    return Array<() => void>(REHEARSALS).fill(step);
  }

  /** Where the device speaks to a session. */
  outTopic(session: string): string {
    return outTopic(this.#device, this.#slot, session);
  }

  /** Reads a message; `current` is the session under way once it has a boot. */
  read(topic: string, bytes: Uint8Array, current: SessionName | undefined): Heard | undefined {
    if (topic === this.statusTopic) return this.#readStatus(bytes);
    if (topic === this.offerTopic) return this.#readStanding(bytes);
    if (current === undefined || topic !== this.outTopic(current.session)) return undefined;
    return this.#readSession(bytes, current);
  }

  /** Writes a message: where it goes, and its bytes. */
  write(to: SessionName, n: number, message: ViewerMessage): { topic: string; bytes: Uint8Array } {
    const { type, ...payload } = message;
    const topic = inTopic(this.#device, this.#slot, to.session);
    if (this.#ring === undefined) return { topic, bytes: toUtf8(openWire(type, n, payload)) };
    const ctx = sealing.sessionContext(to.boot, to.session);
    const ct = sealing.seal(this.#ring, { direction: "v2d", ctx, type, n }, JSON.stringify(payload));
    return { topic, bytes: toUtf8(sealedWire(type, n, ct)) };
  }

  #readStatus(bytes: Uint8Array): Heard | undefined {
    // An empty retained message is how a topic is cleared.
    if (bytes.length === 0) return { from: "status", status: undefined };
    const status = parseStatus(bytes);
    return status && { from: "status", status };
  }

  #readStanding(bytes: Uint8Array): Heard | undefined {
    if (bytes.length === 0) return { from: "standing", offer: undefined };
    const wire = bytes.length > MAX_WIRE_BYTES ? undefined : parseWire(bytes);
    if (wire?.type !== "offer") return undefined;
    if (this.#ring === undefined) {
      const offer = wire.body.form === "open" ? parseOffer(wire.body.payload) : undefined;
      return offer && { from: "standing", offer };
    }
    if (wire.body.form !== "sealed" || wire.offer === undefined) return undefined;
    const payload = this.#unseal(wire, sealing.standingContext(wire.offer));
    if (payload === undefined) return { from: "standing", forged: true };
    const offer = parseOffer(payload);
    // Inside and outside must name the same offer and revision, or one could be passed off as another.
    if (offer?.offer !== wire.offer || offer.rev !== wire.n) return undefined;
    return { from: "standing", offer };
  }

  #readSession(bytes: Uint8Array, current: SessionName): Heard | undefined {
    const wire = parseWire(bytes);
    if (wire === undefined) return undefined;
    let payload: Record<string, unknown> | undefined;
    if (this.#ring === undefined) payload = wire.body.form === "open" ? wire.body.payload : undefined;
    else payload = this.#unseal(wire, sealing.sessionContext(current.boot, current.session));
    const message = payload && parseDeviceMessage(wire.type, payload);
    return message && { from: "session", session: current.session, n: wire.n, message };
  }

  #unseal(wire: Wire, ctx: string): Record<string, unknown> | undefined {
    if (this.#ring === undefined || wire.body.form !== "sealed") return undefined;
    const text = sealing.open(this.#ring, { direction: "d2v", ctx, type: wire.type, n: wire.n }, wire.body.ct);
    return text === undefined ? undefined : parsePayload(text);
  }
}
