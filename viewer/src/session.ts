// What a viewer does next: its whole negotiation with one device, as a pure state machine.
//
// It is told what happened and when, and returns orders. It has no DOM, no timers, no crypto and no
// randomness of its own, so every rule is tested in virtual time. The device always offers; the
// viewer answers, and can otherwise only ask.
//
// Past 500 lines: it is one machine, and its types already stand in session-io.ts.
//
//   broker -> collecting -> answering -> answered -> live
//                |  hello      ^ offer       |        |     anything that goes wrong
//                +-> asking ---+             +--------+-->  resting -> subscribing -> collecting
//
// Losing the broker ends nothing that is answered or live: media does not pass through it.

import { Beacon } from "./beacon";
import type { Heard, SessionName } from "./mailbox";
import type { Candidate, DeviceMessage, Offer, Right, ViewerMessage } from "./message";
import {
  type BrokerTrouble,
  type Command,
  type Input,
  type Reason,
  type View,
  ANSWER_MS,
  CANDIDATES_PER_MESSAGE,
  CONNECT_MS,
  FULL_REST_MS,
  MAX_REFUSED_MS,
  MAX_RESTARTS,
  MAX_REST_MS,
  MIN_REST_MS,
  OFFER_GRACE_MS,
  REPLY_MS,
  RESTART_AFTER_MS,
  RESTART_AGAIN_MS,
  STABLE_MS,
  STALL_OVER_MS,
  STALL_RESTART_MS,
  TRICKLE_MS,
} from "./session-io";

type Phase =
  | { at: "broker" }
  | { at: "collecting"; isAcked: boolean; until?: number; offlineAt?: number }
  | { at: "subscribing"; grace: boolean; until: number }
  | { at: "asking"; until: number }
  | { at: "answering"; until: number }
  | { at: "answered"; until: number; isAccepted: boolean }
  | { at: "live"; since: number; restartAt?: number | undefined; restarts?: number; stall?: Stall }
  | Rest
  | { at: "stopped" };

interface Run {
  session: string;
  boot?: string;
  /** The last `n` sent, and the last one heard. */
  out: number;
  in: number;
  /** Whether the device may hold something for it that a `bye` would end. */
  isHeld: boolean;
}

interface Peer {
  id: number;
  offer: Offer;
  isAnswered: boolean;
  hasVideo: boolean;
  found: Candidate[];
  isEnd: boolean;
  sendAt?: number;
}

/**
 * Between two attempts. Not before `notBefore` by any means; a new standing offer ends it early unless it
 * is firm: the device itself sent us away, and its next offer is that for others too.
 */
type Rest = { at: "resting"; until: number; notBefore: number; isFirm: boolean };

/** A picture that stopped on a whole connection: when a restart is due, then when to start over. */
type Stall = { at: number; isAsked: boolean };

type PeerInput = Extract<Input, { peer: number }>;

type Trouble = { state: "offline" | "refused" | "ended"; reason?: Reason; retryAt?: number };

/** One viewer of one device. */
export class Session {
  readonly #newId: () => string;
  readonly #wants: Right[];
  readonly #isSealed: boolean;
  readonly #beacon = new Beacon();
  #phase: Phase = { at: "broker" };
  #run: Run;
  #peer: Peer | undefined;
  #peers = 0;
  #isUp = false;
  #brokerTrouble: BrokerTrouble | undefined;
  #trouble: Trouble | undefined;
  #failures = 0;
  #lastHelloBoot: string | undefined;
  /** The device said that this link counts no more; from then on it answers nothing. */
  #isRevoked = false;
  #name = "";
  #rights: Right[] = [];
  #shown = "";
  #commands: Command[] = [];

  /** `newId` gives 128 random bits in hexadecimal. */
  constructor(options: { newId: () => string; wants: Right[]; isSealed: boolean }) {
    this.#newId = options.newId;
    this.#wants = options.wants;
    this.#isSealed = options.isSealed;
    this.#run = newRun(this.#newId());
    this.#commands.push({ do: "listen", session: this.#run.session });
  }

  /** The session under way, once it has a boot to seal under. */
  get current(): SessionName | undefined {
    const { session, boot } = this.#run;
    return boot === undefined ? undefined : { session, boot };
  }

  /** Takes what happened at `now`, in milliseconds of any clock that only rises. */
  handle(input: Input, now: number): Command[] {
    if (this.#phase.at !== "stopped") this.#take(input, now);
    this.#show();
    const commands = this.#commands;
    this.#commands = [];
    return commands;
  }

  /** When `{ type: "time" }` is due next. */
  get deadline(): number | undefined {
    const phase = this.#phase;
    const times = [this.#isUp ? this.#peer?.sendAt : undefined];
    if (phase.at === "collecting") times.push(phase.until, phase.offlineAt);
    else if (phase.at === "live") times.push(...(this.#isUp ? [phase.restartAt, phase.stall?.at] : []));
    else if ("until" in phase) times.push(phase.until);
    const due = times.filter((time) => time !== undefined);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  #take(input: Input, now: number): void {
    switch (input.type) {
      case "time":
        return this.#timePassed(now);
      case "broker-up":
        return this.#brokerUp();
      case "broker-down":
        return this.#brokerDown(input.why);
      case "subscribed":
        return this.#subscribed(input.session, now);
      case "heard":
        return this.#heard(input.heard, now);
      case "stop":
        this.#endRun(input.reason);
        this.#phase = { at: "stopped" };
        return;
      default:
        if (input.peer === this.#peer?.id) this.#peerSaid(input, this.#peer, now);
    }
  }

  // The broker.

  #brokerUp(): void {
    this.#isUp = true;
    this.#brokerTrouble = undefined;
    this.#beacon.forget();
    if (this.#phase.at === "broker") this.#phase = { at: "collecting", isAcked: false };
  }

  #brokerDown(why: BrokerTrouble): void {
    this.#isUp = false;
    this.#brokerTrouble = why;
    const { at } = this.#phase;
    if (at === "collecting" || at === "subscribing" || at === "asking") this.#awaitBroker();
  }

  /** A connection that was good before and now grants nothing has ended without a word. */
  #brokerSilent(): void {
    this.#commands.push({ do: "reconnect" });
    this.#isUp = false;
    this.#awaitBroker();
  }

  #awaitBroker(): void {
    this.#closePeer();
    this.#renewRun();
    this.#phase = { at: "broker" };
  }

  #subscribed(session: string, now: number): void {
    if (session !== this.#run.session) return;
    const phase = this.#phase;
    if (phase.at === "collecting" && !phase.isAcked) this.#collect(now);
    else if (phase.at === "subscribing" && phase.grace) this.#collect(now);
    else if (phase.at === "subscribing") this.#decide(now, true);
    else if (this.#peer?.isAnswered === true) this.#trickle(this.#peer, now);
  }

  #collect(now: number): void {
    this.#phase = { at: "collecting", isAcked: true, until: now + OFFER_GRACE_MS, offlineAt: now + REPLY_MS };
    this.#decide(now, false);
  }

  // Answer the standing offer, ask for one, or wait.

  #decide(now: number, isOver: boolean): void {
    const offer = this.#beacon.answerable;
    if (offer !== undefined) {
      this.#run.boot = offer.boot;
      return this.#answer(offer, now);
    }
    const [first, second] = this.#beacon.boots;
    if (first === undefined) {
      // There is no boot to seal a hello under: wait for either.
      if (this.#phase.at !== "collecting") this.#phase = { at: "collecting", isAcked: true, offlineAt: now + REPLY_MS };
    } else if (isOver || this.#beacon.isSettled) {
      this.#hello(second !== undefined && this.#lastHelloBoot === first ? second : first, now);
    }
  }

  #hello(boot: string, now: number): void {
    this.#run.boot = boot;
    this.#lastHelloBoot = boot;
    this.#send({ type: "hello", boot, wants: this.#wants });
    this.#phase = { at: "asking", until: now + REPLY_MS };
  }

  #answer(offer: Offer, now: number): void {
    this.#closePeer();
    this.#beacon.spend(offer.offer);
    this.#trouble = undefined;
    this.#peers += 1;
    this.#peer = { id: this.#peers, offer, isAnswered: false, hasVideo: true, found: [], isEnd: false };
    this.#name = offer.name;
    this.#rights = offer.rights.filter((right) => this.#wants.includes(right));
    this.#phase = { at: "answering", until: now + ANSWER_MS };
    this.#commands.push({ do: "open-peer", peer: this.#peers, offer });
  }

  // What comes in.

  #heard(heard: Heard, now: number): void {
    switch (heard.from) {
      case "status": {
        const isNew = this.#beacon.heardStatus(heard.status);
        return this.#beaconChanged(isNew, now);
      }
      case "standing":
        if ("forged" in heard) this.#beacon.heardForgery();
        else this.#beacon.heardOffer(heard.offer);
        return this.#beaconChanged(false, now);
      case "session":
        return this.#heardInSession(heard.session, heard.n, heard.message, now);
    }
  }

  #beaconChanged(isNewBoot: boolean, now: number): void {
    const phase = this.#phase;
    const answerable = this.#beacon.answerable;
    if (phase.at === "collecting") {
      // The device comes up: status and offer follow each other at once, and together are the quicker way
      // in; with one of them alone, hello is said after that time.
      const isWaiting = phase.isAcked && phase.until === undefined && this.#beacon.boots.length > 0;
      if (isWaiting || (isNewBoot && phase.isAcked)) phase.until = now + OFFER_GRACE_MS;
      this.#decide(now, false);
    } else if (phase.at === "resting" && this.#isUp) {
      this.#cutRest(phase, isNewBoot, now);
    } else if (phase.at === "asking" && answerable !== undefined && answerable.boot !== this.#run.boot) {
      this.#renew(false, now);
    } else {
      this.#leaveLostBoot(now);
    }
  }

  /** A device that has started anew is tried at once; one that lit its next offer may have lit it for others. */
  #cutRest(rest: Rest, isNewBoot: boolean, now: number): void {
    const answerable = this.#beacon.answerable;
    const boot = answerable?.boot ?? (isNewBoot ? this.#beacon.status?.boot : undefined);
    if (boot === undefined) return;
    const isAnew = boot !== this.#run.boot;
    if (isAnew) this.#failures = 0;
    else if (rest.isFirm) return;
    if (now >= rest.notBefore) this.#renew(answerable === undefined, now);
    else rest.until = Math.min(rest.until, rest.notBefore);
  }

  /**
   * Media that stopped, and an offer of another boot that authenticated: the device has started anew and
   * forgotten us. A restart would ask nobody, and ICE gives a path up only after a quarter of a minute.
   */
  #leaveLostBoot(now: number): void {
    const phase = this.#phase;
    const answerable = this.#beacon.answerable;
    if (phase.at !== "live" || phase.restartAt === undefined || answerable === undefined) return;
    if (answerable.boot !== this.#run.boot) this.#renew(false, now);
  }

  #heardInSession(session: string, n: number, message: DeviceMessage, now: number): void {
    // A number that does not rise is a repetition, by QoS 1 or by someone who recorded it.
    if (session !== this.#run.session || n <= this.#run.in || !this.#isRunning()) return;
    this.#run.in = n;
    this.#beacon.heardTruth();
    switch (message.type) {
      case "offer":
        if (this.#phase.at === "asking" && this.#isOurs(message.offer)) this.#answer(message.offer, now);
        return;
      case "reoffer":
        return this.#reoffered(message.offer, now);
      case "accept":
        return this.#accepted(message.offer, message.rights, now);
      case "candidates":
        if (this.#peer?.offer.offer !== message.offer || message.list.length === 0) return;
        this.#commands.push({ do: "add-candidates", peer: this.#peer.id, list: message.list });
        return;
      case "reject":
        return this.#rejected(message, now);
      case "bye":
        this.#run.isHeld = false;
        return this.#dismissed(message.reason, now);
    }
  }

  #dismissed(reason: string, now: number): void {
    this.#isRevoked = reason === "revoked";
    // Another attempt with a link that was withdrawn is for the case that it was given back.
    if (this.#isRevoked) this.#fail({ state: "ended", reason: "revoked" }, now, MAX_REST_MS);
    else this.#fail({ state: "ended", reason: "bye" }, now, MIN_REST_MS);
  }

  #isRunning(): boolean {
    const { at } = this.#phase;
    return at === "asking" || at === "answering" || at === "answered" || at === "live";
  }

  /** Whether a dedicated offer is of this session's boot and was never answered. */
  #isOurs(offer: Offer): boolean {
    return offer.boot === this.#run.boot && !this.#beacon.isSpent(offer.offer);
  }

  #reoffered(offer: Offer, now: number): void {
    const peer = this.#peer;
    if (peer === undefined || !this.#isOurs(offer)) return;
    if (this.#phase.at !== "answered" && this.#phase.at !== "live") return;
    this.#beacon.spend(offer.offer);
    peer.offer = offer;
    peer.isAnswered = false;
    this.#commands.push({ do: "renegotiate", peer: peer.id, offer });
    // The device has noticed as well: a request now would only throw away what it has begun.
    if (this.#phase.at === "live" && this.#phase.restartAt !== undefined) {
      this.#phase.restartAt = now + RESTART_AGAIN_MS;
      this.#phase.restarts = 0;
    }
  }

  #accepted(offer: string, rights: Right[], now: number): void {
    if (this.#peer?.offer.offer !== offer) return;
    this.#rights = rights;
    if (this.#phase.at !== "answered") return;
    this.#phase = { at: "answered", isAccepted: true, until: now + CONNECT_MS };
  }

  #rejected(reject: DeviceMessage & { type: "reject" }, now: number): void {
    const { code, offer, retryMs } = reject;
    if (this.#phase.at === "live") return;
    switch (code) {
      case "taken":
      case "stale":
        if (offer === undefined || !this.#isOurs(offer)) return this.#fail(undefined, now);
        return this.#answer(offer, now);
      case "invalid":
        this.#run.isHeld = false;
        return this.#fail({ state: "ended", reason: "invalid" }, now, MIN_REST_MS);
      case "full":
      case "denied":
        this.#run.isHeld = false;
        return this.#refused(code, retryMs ?? (code === "full" ? FULL_REST_MS : MAX_REST_MS), now);
    }
  }

  #refused(reason: "full" | "denied", retryMs: number, now: number): void {
    const until = now + Math.min(Math.max(retryMs, MIN_REST_MS), MAX_REFUSED_MS);
    this.#closePeer();
    this.#trouble = { state: "refused", reason, retryAt: until };
    // A full device lights its offer again when a place is free; one that denies lights it for others.
    this.#phase = { at: "resting", until, notBefore: now + MIN_REST_MS, isFirm: reason === "denied" };
  }

  // The peer connection.

  #peerSaid(input: PeerInput, peer: Peer, now: number): void {
    switch (input.type) {
      case "answer-made":
        return this.#answerMade(input, peer, now);
      case "candidates-found":
        peer.found.push(...input.list);
        peer.isEnd ||= input.end;
        if (peer.isAnswered) peer.sendAt ??= now + TRICKLE_MS;
        return;
      case "peer-connected":
        // It counts as a reply, whether or not the accept arrived.
        this.#isRevoked = false;
        if (this.#phase.at === "answered") this.#phase = { at: "live", since: now };
        else if (this.#phase.at === "live") this.#phase = { ...this.#phase, restartAt: undefined, restarts: 0 };
        this.#trouble = undefined;
        return;
      case "peer-interrupted":
        if (this.#phase.at === "live") this.#phase.restartAt ??= now + RESTART_AFTER_MS;
        return this.#leaveLostBoot(now);
      case "picture-stalled":
        if (this.#phase.at === "live") this.#phase.stall ??= { at: now + STALL_RESTART_MS, isAsked: false };
        return;
      case "picture-moves":
        if (this.#phase.at === "live") delete this.#phase.stall;
        return;
      case "peer-failed":
        return this.#fail(this.#phase.at === "live" ? undefined : { state: "ended", reason: "no-path" }, now);
      case "peer-unable":
        return this.#fail({ state: "ended", reason: "browser" }, now);
    }
  }

  #answerMade(made: PeerInput & { type: "answer-made" }, peer: Peer, now: number): void {
    // An offer that another has replaced meanwhile is not waited for any more.
    if (peer.isAnswered || made.offer !== peer.offer.offer) return;
    const { offer, rev, boot } = peer.offer;
    const { digest, sdp } = made;
    peer.isAnswered = true;
    peer.hasVideo = made.hasVideo;
    this.#send({ type: "answer", boot, offer, rev, digest, wants: this.#wants, sdp });
    if (this.#phase.at === "answering") {
      this.#phase = { at: "answered", isAccepted: false, until: now + REPLY_MS };
    }
    this.#trickle(peer, now);
  }

  /** Sends what was gathered, unless the broker is away: then it waits for it. */
  #trickle(peer: Peer, now: number): void {
    if (peer.found.length === 0 && !peer.isEnd) return;
    if (!this.#isUp) {
      peer.sendAt = now;
      return;
    }
    delete peer.sendAt;
    const { offer } = peer.offer;
    while (peer.found.length > 0 || peer.isEnd) {
      const list = peer.found.splice(0, CANDIDATES_PER_MESSAGE);
      const end = peer.isEnd && peer.found.length === 0;
      if (end) peer.isEnd = false;
      this.#send({ type: "candidates", offer, list, end });
    }
  }

  #closePeer(): void {
    if (this.#peer !== undefined) this.#commands.push({ do: "close-peer", peer: this.#peer.id });
    this.#peer = undefined;
  }

  // Time, and what goes wrong.

  #timePassed(now: number): void {
    const peer = this.#peer;
    if (peer?.sendAt !== undefined && peer.sendAt <= now) this.#trickle(peer, now);
    const phase = this.#phase;
    if (phase.at === "collecting") return this.#collectingPassed(phase, now);
    if (phase.at === "live") return this.#livePassed(phase, now);
    if (!("until" in phase) || now < phase.until) return;
    switch (phase.at) {
      case "subscribing":
        return this.#brokerSilent();
      case "asking":
        return this.#fail({ state: "offline" }, now);
      case "answering":
        return this.#fail(undefined, now);
      case "answered":
        return this.#fail(phase.isAccepted ? { state: "ended", reason: "no-path" } : { state: "offline" }, now);
      case "resting":
        return this.#renew(false, now);
    }
  }

  #collectingPassed(phase: Phase & { at: "collecting" }, now: number): void {
    if (phase.offlineAt !== undefined && phase.offlineAt <= now) {
      delete phase.offlineAt;
      this.#trouble = { state: "offline" };
    }
    if (phase.until !== undefined && phase.until <= now) {
      delete phase.until;
      this.#decide(now, true);
    }
  }

  #livePassed(phase: Phase & { at: "live" }, now: number): void {
    if (!this.#isUp) return;
    if (phase.restartAt !== undefined && phase.restartAt <= now) {
      const asked = phase.restarts ?? 0;
      // A device that does not answer may know nothing of this session any more.
      if (asked >= MAX_RESTARTS) return this.#fail(undefined, now);
      phase.restarts = asked + 1;
      phase.restartAt = now + RESTART_AGAIN_MS;
      this.#send({ type: "restart", reason: "disconnected" });
    }
    if (phase.stall !== undefined && phase.stall.at <= now) this.#stallPassed(phase.stall, now);
  }

  #stallPassed(stall: Stall, now: number): void {
    if (stall.isAsked) return this.#fail(undefined, now);
    stall.isAsked = true;
    stall.at = now + STALL_OVER_MS;
    this.#send({ type: "restart", reason: "stalled" });
  }

  /**
   * Ends this attempt and goes on to the next: at once the first time, then after 1, 2, 4 ... 30 s; where
   * the device itself ended it, not before `minRest`.
   */
  #fail(trouble: Trouble | undefined, now: number, minRest = 0): void {
    if (this.#phase.at === "live" && now - this.#phase.since >= STABLE_MS) this.#failures = 0;
    this.#endRun("retry");
    if (trouble !== undefined) this.#trouble = trouble;
    const rest = this.#failures === 0 ? 0 : Math.min(1_000 * 2 ** (this.#failures - 1), MAX_REST_MS);
    this.#failures += 1;
    if (rest === 0 && minRest === 0) this.#renew(false, now);
    else this.#phase = { at: "resting", until: now + Math.max(rest, minRest), notBefore: now + minRest, isFirm: minRest > 0 };
  }

  /** Starts over under a new session id; with `grace`, a standing offer is waited for. */
  #renew(grace: boolean, now: number): void {
    this.#endRun("retry");
    this.#renewRun();
    this.#phase = this.#isUp ? { at: "subscribing", grace, until: now + REPLY_MS } : { at: "broker" };
  }

  #renewRun(): void {
    this.#run = newRun(this.#newId());
    this.#commands.push({ do: "listen", session: this.#run.session });
  }

  #endRun(reason: string): void {
    if (this.#run.isHeld) this.#send({ type: "bye", reason });
    this.#run.isHeld = false;
    this.#closePeer();
  }

  #send(message: ViewerMessage): void {
    const to = this.current;
    if (to === undefined) return;
    this.#run.out += 1;
    this.#run.isHeld = true;
    this.#commands.push({ do: "send", to, n: this.#run.out, message });
  }

  // What a person sees of it.

  #show(): void {
    const view: View = { ...this.#situation(), name: this.#name, rights: this.#rights };
    const shown = JSON.stringify(view);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#commands.push({ do: "show", view });
  }

  #situation(): { state: View["state"]; reason?: Reason; retryAt?: number } {
    switch (this.#phase.at) {
      case "stopped":
        return { state: "stopped" };
      case "answering":
      case "answered":
        return { state: "connecting" };
      case "live": {
        const { restartAt, stall } = this.#phase;
        if (restartAt === undefined && stall !== undefined) return { state: "interrupted", reason: "stalled" };
        const state = restartAt === undefined ? "live" : "interrupted";
        return this.#peer?.hasVideo === false ? { state, reason: "no-h264" } : { state };
      }
    }
    if (!this.#isUp) {
      return this.#brokerTrouble ? { state: "broker", reason: this.#brokerTrouble } : { state: "connecting" };
    }
    if (this.#trouble?.state === "offline") return { ...this.#trouble, ...this.#offlineReason() };
    return this.#trouble ?? { state: "looking" };
  }

  #offlineReason(): { reason?: Reason } {
    if (this.#isRevoked) return { reason: "revoked" };
    if (this.#beacon.isForged) return { reason: "wrong-key" };
    if (!this.#isSealed && this.#beacon.status?.security === "sealed") return { reason: "needs-key" };
    return {};
  }
}

function newRun(session: string): Run {
  return { session, out: 0, in: 0, isHeld: false };
}
