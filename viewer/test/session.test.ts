// The viewer's negotiation, in virtual time: nothing here waits.
import { beforeEach, describe, expect, test } from "vitest";

import type { Candidate, DeviceMessage, Offer, Right, Status } from "../src/message";
import { Session } from "../src/session";
import type { Command, Input, View } from "../src/session-io";

const id = (text: string | number): string => String(text).padStart(32, "0");
const BOOT = id("b0");
const OTHER_BOOT = id("b1");
const WANTS: Right[] = ["view", "listen", "talk"];
const candidate = (name: string): Candidate => ({ candidate: name, sdpMid: "0" });

function offer(fields: Partial<Offer> = {}): Offer {
  return { offer: id("f0"), rev: 1, boot: BOOT, name: "Door", sdp: "v=0", iceServers: [], rights: ["view", "listen"], ...fields };
}

/** One viewer before an audience: it keeps what was ordered, and its own clock. */
class Stage {
  now = 1_000;
  readonly session: Session;
  commands: Command[] = [];
  #ids = 0;
  #n = 0;

  constructor(options: { isSealed?: boolean } = {}) {
    this.session = new Session({ newId: () => id(`5${(this.#ids += 1)}`), wants: WANTS, isSealed: options.isSealed ?? true });
    this.give({ type: "time" });
  }

  give(input: Input): this {
    this.commands.push(...this.session.handle(input, this.now));
    return this;
  }
  /** Lets time pass, stopping at each deadline on the way. */
  pass(ms: number): this {
    const end = this.now + ms;
    for (let due = this.session.deadline; due !== undefined && due <= end; due = this.session.deadline) {
      this.now = Math.max(this.now, due);
      this.give({ type: "time" });
    }
    this.now = end;
    return this;
  }
  status(boot: string, more: Partial<Status> = {}): this {
    return this.give({ type: "heard", heard: { from: "status", status: { state: "online", boot, ...more } } });
  }
  standing(one: Offer | undefined): this {
    return this.give({ type: "heard", heard: { from: "standing", offer: one } });
  }
  forged(): this {
    return this.give({ type: "heard", heard: { from: "standing", forged: true } });
  }
  says(message: DeviceMessage, n = (this.#n += 1)): this {
    this.#n = Math.max(n, this.#n);
    return this.give({ type: "heard", heard: { from: "session", session: this.listening, n, message } });
  }
  connect(): this {
    return this.give({ type: "broker-up" });
  }
  subscribe(): this {
    return this.give({ type: "subscribed", session: this.listening });
  }
  /** The browser makes its answer to the last offer. */
  answerMade(fields: Partial<Extract<Input, { type: "answer-made" }>> = {}): this {
    const asked = this.commands.filter((command) => command.do === "open-peer" || command.do === "renegotiate").at(-1);
    const made = { peer: this.peer, offer: asked?.offer.offer ?? "", digest: "dig", sdp: "answer", hasVideo: true };
    return this.give({ type: "answer-made", ...made, ...fields });
  }
  peerSays(type: "peer-connected" | "peer-interrupted" | "peer-failed" | "peer-unable" | "picture-stalled" | "picture-moves", peer = this.peer): this {
    return this.give({ type, peer });
  }
  /** Broker, standing offer, answer, accept, DTLS. */
  live(): this {
    this.connect().status(BOOT).standing(offer()).subscribe().answerMade();
    return this.says({ type: "accept", offer: id("f0"), rights: ["view"] }).peerSays("peer-connected");
  }

  get listening(): string {
    const last = this.#all("listen").at(-1);
    if (last === undefined) throw new Error("listens to nothing");
    return last.session;
  }
  get peer(): number {
    return this.commands.reduce((peer, command) => (command.do === "open-peer" ? command.peer : peer), 0);
  }
  get sent(): Extract<Command, { do: "send" }>[] {
    return this.#all("send");
  }
  get types(): string[] {
    return this.sent.map(({ message }) => message.type);
  }
  get opened(): string[] {
    return this.#all("open-peer").map((command) => command.offer.offer);
  }
  get view(): View {
    const last = this.#all("show").at(-1);
    if (last === undefined) throw new Error("shows nothing");
    return last.view;
  }
  /** Forgets what was ordered so far, but not who is listening and shown. */
  clear(): this {
    const keep = (["listen", "show", "open-peer"] as const).map((kind) => this.#all(kind).at(-1));
    this.commands = keep.filter((command) => command !== undefined);
    return this;
  }
  #all<K extends Command["do"]>(kind: K): Extract<Command, { do: K }>[] {
    return this.commands.filter((command): command is Extract<Command, { do: K }> => command.do === kind);
  }
}

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});

describe("the standing offer", () => {
  test("is answered at once when its boot is that of status, even before SUBACK", () => {
    stage.connect().status(BOOT).standing(offer());
    expect(stage.opened).toEqual([id("f0")]);
    expect(stage.now).toBe(1_000);
  });

  test("is answered whichever of the two comes first", () => {
    stage.connect().standing(offer());
    expect(stage.opened).toEqual([]);
    stage.status(BOOT);
    expect(stage.opened).toEqual([id("f0")]);
  });

  test("the answer names boot, offer, revision and digest, under the session of the offer's boot", () => {
    stage.connect().status(BOOT).standing(offer({ rev: 3 })).subscribe().answerMade({ digest: "d", sdp: "a" });
    expect(stage.sent).toEqual([{
      do: "send", to: { session: stage.listening, boot: BOOT }, n: 1,
      message: { type: "answer", boot: BOOT, offer: id("f0"), rev: 3, digest: "d", wants: WANTS, sdp: "a" },
    }]);
  });

  test("a later revision does not disturb an answer under way", () => {
    stage.connect().status(BOOT).standing(offer()).standing(offer({ rev: 2 })).subscribe().answerMade();
    expect(stage.opened).toHaveLength(1);
    expect(stage.sent[0]?.message).toMatchObject({ rev: 1 });
  });

  test("a lower revision is refused, an equal one changes nothing", () => {
    stage.connect().standing(offer({ rev: 2, sdp: "two" })).standing(offer({ rev: 1, sdp: "one" })).status(BOOT);
    const opened = stage.commands.find((command) => command.do === "open-peer");
    expect(opened).toMatchObject({ offer: { rev: 2, sdp: "two" } });
  });

  test("of another boot than status' is never answered: hello goes out instead, under status' boot", () => {
    stage.connect().status(BOOT).standing(offer({ boot: OTHER_BOOT }));
    expect(stage.opened).toEqual([]);
    expect(stage.sent[0]).toMatchObject({ to: { boot: BOOT }, message: { type: "hello", boot: BOOT, wants: WANTS } });
  });

  test("that status does not confirm in 300 ms is not answered: hello, under the offer's boot", () => {
    stage.connect().standing(offer()).subscribe().pass(299);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.opened).toEqual([]);
    expect(stage.sent[0]).toMatchObject({ to: { boot: BOOT }, message: { type: "hello", boot: BOOT } });
  });

  test("that does not authenticate counts as none", () => {
    stage.connect().status(BOOT).forged();
    expect(stage.opened).toEqual([]);
    expect(stage.types).toEqual(["hello"]);
  });

  test("is answered once: after silence, hello is said instead", () => {
    stage.connect().status(BOOT).standing(offer()).subscribe().answerMade().pass(3_000).subscribe();
    expect(stage.opened).toHaveLength(1);
    expect(stage.types).toEqual(["answer", "bye", "hello"]);
  });
});

describe("hello", () => {
  test("is said 300 ms after SUBACK when there is no offer", () => {
    stage.connect().status(BOOT).subscribe().pass(299);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.types).toEqual(["hello"]);
  });

  test("the 300 ms do not begin before SUBACK", () => {
    stage.connect().status(BOOT).pass(5_000);
    expect(stage.types).toEqual([]);
  });

  test("with neither status nor offer there is no boot: the viewer waits, and shows offline after 3 s", () => {
    stage.connect().subscribe().pass(2_999);
    expect(stage.view.state).toBe("looking");
    stage.pass(1);
    expect(stage.view.state).toBe("offline");
    stage.pass(3_600_000);
    expect(stage.types).toEqual([]);
    stage.status(BOOT).standing(offer());
    expect(stage.opened).toEqual([id("f0")]);
    expect(stage.view.state).toBe("connecting");
  });

  test("a device that comes up has 300 ms for its offer, which is the quicker way in", () => {
    stage.connect().subscribe().pass(60_000).status(BOOT).pass(299);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.types).toEqual(["hello"]);
  });

  test("an offer that comes late and that no status confirms is asked about after 300 ms", () => {
    stage.connect().subscribe().pass(60_000).standing(offer()).pass(299);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.sent[0]).toMatchObject({ to: { boot: BOOT }, message: { type: "hello", boot: BOOT } });
  });

  test("gets a dedicated offer, which is answered", () => {
    stage.connect().status(BOOT).subscribe().pass(300).says({ type: "offer", offer: offer({ offer: id("d1") }) });
    stage.answerMade();
    expect(stage.sent.map(({ n, message }) => [n, message.type])).toEqual([[1, "hello"], [2, "answer"]]);
    expect(stage.sent[1]?.message).toMatchObject({ offer: id("d1") });
  });

  test("a dedicated offer of another boot is dropped", () => {
    stage.connect().status(BOOT).subscribe().pass(300).says({ type: "offer", offer: offer({ boot: OTHER_BOOT }) });
    expect(stage.opened).toEqual([]);
  });

  test("without a reply in 3 s it is said on a new session, then after 1, 2, 4 ... 30 s", () => {
    stage.connect().status(BOOT).subscribe().pass(300);
    const first = stage.listening;
    const gaps: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const silentAt = stage.now + 3_000;
      const before = stage.listening;
      while (stage.listening === before) stage.pass(100);
      gaps.push(stage.now - silentAt);
      stage.subscribe();
    }
    expect(gaps).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    expect(stage.listening).not.toBe(first);
    expect(stage.types.filter((type) => type === "hello")).toHaveLength(9);
  });

  test("the second is under the other boot if the two differ, and they take turns", () => {
    stage.connect().status(BOOT).standing(offer({ boot: OTHER_BOOT })).subscribe();
    stage.pass(3_000).subscribe().pass(4_000).subscribe();
    const boots = stage.sent.filter(({ message }) => message.type === "hello").map(({ to }) => to.boot);
    expect(boots).toEqual([BOOT, OTHER_BOOT, BOOT]);
  });

  test("each new session counts from 1", () => {
    stage.connect().status(BOOT).subscribe().pass(300).pass(3_000).subscribe();
    const hellos = stage.sent.filter(({ message }) => message.type === "hello");
    expect(hellos.map(({ n }) => n)).toEqual([1, 1]);
    expect(new Set(hellos.map(({ to }) => to.session)).size).toBe(2);
  });

  test("offline is shown after 3 s of silence, and not while a reply is due", () => {
    stage.connect().status(BOOT).subscribe().pass(300).pass(2_999);
    expect(stage.view.state).toBe("looking");
    stage.pass(1);
    expect(stage.view).toMatchObject({ state: "offline" });
    expect(stage.view.reason).toBeUndefined();
  });

  test("a rest is cut short when the device comes back with a new offer", () => {
    stage.connect().status(BOOT).subscribe().pass(300).pass(3_000).subscribe().pass(3_000).clear();
    stage.status(OTHER_BOOT).subscribe().standing(offer({ boot: OTHER_BOOT }));
    expect(stage.opened.at(-1)).toBe(id("f0"));
    expect(stage.session.current?.boot).toBe(OTHER_BOOT);
  });
});

test("a device that came back is asked again as if for the first time", () => {
  stage.connect().status(BOOT).subscribe().pass(300);
  for (let seconds = 0; seconds < 240; seconds += 2) stage.pass(2_000).subscribe();
  stage.pass(3_000).status(OTHER_BOOT).subscribe().pass(300);
  const session = stage.listening;
  stage.pass(3_000);
  expect(stage.listening).not.toBe(session);
});

describe("sent away by the device", () => {
  /** Comes in on this standing offer, and is replaced by another viewer at once. */
  const replacedOn = (name: string): void => {
    stage.standing(offer({ offer: id(name) })).subscribe().answerMade();
    expect(stage.opened.at(-1)).toBe(id(name));
    stage.says({ type: "bye", reason: "replaced" });
  };

  /** The fourth time, the rest is of 4 s. */
  const fourTimes = (): void => {
    for (const [name, restMs] of [["f1", 1_000], ["f2", 1_000], ["f3", 2_000], ["f4", 0]] as const) {
      replacedOn(name);
      stage.pass(restMs);
    }
  };

  test("the next standing offer, lit for whoever took the place, does not end the rest", () => {
    stage.connect().status(BOOT).subscribe();
    const gaps = ["f1", "f2", "f3", "f4", "f5"].map((name) => {
      replacedOn(name);
      const since = stage.now;
      const before = stage.listening;
      stage.standing(offer({ offer: id(`${name}e`) }));
      while (stage.listening === before) stage.pass(100);
      return stage.now - since;
    });
    expect(gaps).toEqual([1_000, 1_000, 2_000, 4_000, 8_000]);
  });

  test("a device that has started anew does, after the second that a bye asks for", () => {
    stage.connect().status(BOOT).subscribe();
    fourTimes();
    const session = stage.listening;
    stage.pass(400).status(OTHER_BOOT).standing(offer({ offer: id("f9"), boot: OTHER_BOOT })).pass(599);
    expect(stage.listening).toBe(session);
    stage.pass(1).subscribe();
    expect(stage.opened.at(-1)).toBe(id("f9"));
  });

  test("one that only came to the broker again is no other device", () => {
    stage.connect().status(BOOT).subscribe();
    fourTimes();
    const session = stage.listening;
    stage.give({ type: "broker-down", why: "unreachable" }).connect().status(BOOT).standing(offer({ offer: id("f9") })).pass(3_999);
    expect(stage.listening).toBe(session);
    stage.pass(1).subscribe();
    expect(stage.opened.at(-1)).toBe(id("f9"));
  });
});

test("a camera that was silent is tried on its next offer at once, and rests longer if it is silent again", () => {
  stage.connect().status(BOOT).subscribe();
  for (const name of ["f1", "f2", "f3"]) {
    stage.standing(offer({ offer: id(name) })).subscribe();
    expect(stage.opened.at(-1)).toBe(id(name));
    stage.answerMade().pass(3_000);
  }
  const session = stage.listening;
  stage.pass(1_999);
  expect(stage.listening).toBe(session);
  stage.pass(1);
  expect(stage.listening).not.toBe(session);
});

describe("after the answer", () => {
  beforeEach(() => {
    stage.connect().status(BOOT).standing(offer()).subscribe().answerMade();
  });

  test("the accept's rights are granted", () => {
    stage.says({ type: "accept", offer: id("f0"), rights: ["view", "talk"] });
    expect(stage.view).toMatchObject({ state: "connecting", rights: ["view", "talk"], name: "Door" });
  });

  test("an accept of another offer is ignored", () => {
    stage.says({ type: "accept", offer: id("f9"), rights: ["talk"] }).pass(3_000);
    expect(stage.view.state).toBe("offline");
  });

  test("a connected DTLS counts as a reply", () => {
    stage.peerSays("peer-connected").pass(60_000);
    expect(stage.view.state).toBe("live");
    expect(stage.types).toEqual(["answer"]);
  });

  test("without a reply in 3 s the connection is given up", () => {
    stage.pass(3_000);
    expect(stage.commands).toContainEqual({ do: "close-peer", peer: 1 });
    expect(stage.types).toEqual(["answer", "bye"]);
  });

  test("an accepted session has 30 s to connect", () => {
    stage.says({ type: "accept", offer: id("f0"), rights: [] }).pass(29_999);
    expect(stage.view.state).toBe("connecting");
    stage.pass(1);
    expect(stage.view).toMatchObject({ state: "ended", reason: "no-path" });
  });

  test.each(["taken", "stale"] as const)("a loser (%s) answers the dedicated offer that comes along, in the same session", (code) => {
    const session = stage.listening;
    stage.says({ type: "reject", code, offer: offer({ offer: id("d1"), sdp: "mine" }) });
    expect(stage.commands).toContainEqual({ do: "close-peer", peer: 1 });
    expect(stage.opened).toEqual([id("f0"), id("d1")]);
    stage.answerMade();
    expect(stage.sent.at(-1)).toMatchObject({ to: { session }, n: 2, message: { type: "answer", offer: id("d1") } });
  });

  test("an offer that was answered before is not answered again", () => {
    stage.says({ type: "reject", code: "taken", offer: offer() });
    expect(stage.opened).toEqual([id("f0")]);
  });

  test("a browser that cannot answer is named, and not the network", () => {
    stage = new Stage().connect().status(BOOT).standing(offer()).subscribe().peerSays("peer-unable").subscribe();
    stage.says({ type: "offer", offer: offer({ offer: id("d1") }) }).peerSays("peer-unable");
    expect(stage.view).toMatchObject({ state: "ended", reason: "browser" });
    expect(stage.types).toEqual(["hello", "bye"]);
  });

  test("what a closed peer connection still says is ignored", () => {
    stage.says({ type: "reject", code: "taken", offer: offer({ offer: id("d1") }) }).clear();
    stage.peerSays("peer-failed", 1).give({ type: "answer-made", peer: 1, offer: id("f0"), digest: "", sdp: "", hasVideo: true });
    expect(stage.types).toEqual([]);
    expect(stage.view.state).toBe("connecting");
  });

  test("full is shown with the time of the next try, and tried then", () => {
    stage.says({ type: "reject", code: "full", retryMs: 7_000 });
    expect(stage.view).toMatchObject({ state: "refused", reason: "full", retryAt: stage.now + 7_000 });
    const before = stage.listening;
    stage.pass(6_999);
    expect(stage.listening).toBe(before);
    stage.pass(1).subscribe();
    expect(stage.listening).not.toBe(before);
    expect(stage.types).toEqual(["answer", "hello"]);
  });

  test("when a place is free the new standing offer is answered without waiting", () => {
    stage.says({ type: "reject", code: "full", retryMs: 60_000 }).standing(undefined).pass(1_000);
    stage.standing(offer({ offer: id("f1") })).subscribe();
    expect(stage.opened).toEqual([id("f0"), id("f1")]);
  });

  test("denied is shown and tried again, no sooner than in 1 s", () => {
    stage.says({ type: "reject", code: "denied", retryMs: 0 });
    expect(stage.view).toMatchObject({ state: "refused", reason: "denied", retryAt: stage.now + 1_000 });
  });

  test("invalid starts over after a rest", () => {
    stage.says({ type: "reject", code: "invalid", what: "sdp" });
    const before = stage.listening;
    stage.pass(999);
    expect(stage.listening).toBe(before);
    stage.pass(1);
    expect(stage.listening).not.toBe(before);
  });

  test("a number that does not rise is dropped", () => {
    stage.says({ type: "accept", offer: id("f0"), rights: ["view"] }, 5);
    stage.says({ type: "bye", reason: "replayed" }, 5).says({ type: "bye", reason: "older" }, 4);
    expect(stage.view.state).toBe("connecting");
    stage.says({ type: "bye", reason: "true" }, 6);
    expect(stage.view).toMatchObject({ state: "ended", reason: "bye" });
  });

  test("messages to an earlier session are dropped", () => {
    const bye: DeviceMessage = { type: "bye", reason: "late" };
    stage.give({ type: "heard", heard: { from: "session", session: id("99"), n: 9, message: bye } });
    expect(stage.view.state).toBe("connecting");
  });
});

describe("candidates", () => {
  test("found before the answer are sent right after it, later ones 10 ms together", () => {
    stage.connect().status(BOOT).standing(offer()).subscribe();
    stage.give({ type: "candidates-found", peer: 1, list: [candidate("a")], end: false });
    expect(stage.types).toEqual([]);
    stage.answerMade();
    expect(stage.types).toEqual(["answer", "candidates"]);
    stage.give({ type: "candidates-found", peer: 1, list: [candidate("b")], end: false }).pass(5);
    stage.give({ type: "candidates-found", peer: 1, list: [candidate("c")], end: false }).pass(4);
    stage.give({ type: "candidates-found", peer: 1, list: [], end: true });
    expect(stage.sent).toHaveLength(2);
    stage.pass(1);
    expect(stage.sent[2]).toMatchObject({
      n: 3, message: { offer: id("f0"), list: [candidate("b"), candidate("c")], end: true },
    });
  });

  test("many are split, and only the last message says that it is the end", () => {
    stage.connect().status(BOOT).standing(offer()).subscribe();
    const list = Array.from({ length: 45 }, (_, at) => candidate(String(at)));
    stage.give({ type: "candidates-found", peer: 1, list, end: true }).answerMade();
    const batches = stage.sent.slice(1).map(({ message }) => message);
    expect(batches.map((one) => one.type === "candidates" && [one.list.length, one.end])).toEqual([[20, false], [20, false], [5, true]]);
  });

  test("the device's are added when they are for this session's offer, and dropped otherwise", () => {
    stage.connect().status(BOOT).standing(offer()).subscribe().answerMade();
    stage.says({ type: "candidates", offer: id("f0"), list: [candidate("a")], end: false });
    stage.says({ type: "candidates", offer: id("f9"), list: [candidate("b")], end: false });
    const added = stage.commands.filter((command) => command.do === "add-candidates");
    expect(added).toEqual([{ do: "add-candidates", peer: 1, list: [candidate("a")] }]);
  });

  test("found while the broker is away wait for it", () => {
    stage.live().clear().give({ type: "broker-down", why: "unreachable" });
    stage.give({ type: "candidates-found", peer: 1, list: [candidate("a")], end: true }).pass(10_000);
    expect(stage.types).toEqual([]);
    stage.connect().subscribe();
    expect(stage.sent.map(({ message }) => message)).toEqual([{ type: "candidates", offer: id("f0"), list: [candidate("a")], end: true }]);
  });
});

describe("while media flows", () => {
  beforeEach(() => {
    stage.live().clear();
  });

  test("losing the broker ends nothing, and the same session is listened to afterwards", () => {
    const session = stage.listening;
    stage.give({ type: "broker-down", why: "unreachable" }).pass(3_600_000);
    expect(stage.view.state).toBe("live");
    stage.connect().status(BOOT).standing(offer({ offer: id("f1") })).subscribe().pass(60_000);
    expect(stage.view.state).toBe("live");
    expect(stage.listening).toBe(session);
    expect(stage.types).toEqual([]);
  });

  test("a new boot in status does nothing; if the media dies, it is started over under it", () => {
    stage.status(OTHER_BOOT).standing(offer({ offer: id("f1"), boot: OTHER_BOOT })).pass(60_000);
    expect(stage.view.state).toBe("live");
    stage.peerSays("peer-failed").subscribe();
    expect(stage.opened.at(-1)).toBe(id("f1"));
    expect(stage.session.current?.boot).toBe(OTHER_BOOT);
  });

  test("a bye starts over by itself, on a new session, after a second", () => {
    const session = stage.listening;
    stage.says({ type: "bye", reason: "replaced" });
    expect(stage.commands).toContainEqual({ do: "close-peer", peer: 1 });
    expect(stage.types).toEqual([]);
    stage.pass(999);
    expect(stage.listening).toBe(session);
    stage.pass(1).subscribe();
    expect(stage.types).toEqual(["hello"]);
  });

  test("a link that was withdrawn is said to be, for as long as nothing else is heard, and tried again after 30 s", () => {
    const session = stage.listening;
    stage.says({ type: "bye", reason: "revoked" }).standing(offer({ offer: id("f1") })).pass(29_999);
    expect(stage.view).toMatchObject({ state: "ended", reason: "revoked" });
    expect(stage.listening).toBe(session);
    stage.pass(1).subscribe().answerMade().pass(3_000);
    expect(stage.listening).not.toBe(session);
    expect(stage.view).toMatchObject({ state: "offline", reason: "revoked" });
  });

  test("a connection that fails says bye and starts over at once, the next times with rests", () => {
    stage.peerSays("peer-failed").subscribe();
    expect(stage.types).toEqual(["bye", "hello"]);
    stage.says({ type: "offer", offer: offer({ offer: id("d1") }) }).answerMade().peerSays("peer-connected");
    const session = stage.listening;
    stage.peerSays("peer-failed").pass(999);
    expect(stage.listening).toBe(session);
    stage.pass(1);
    expect(stage.listening).not.toBe(session);
  });

  test("10 s of media make the next failure a first one", () => {
    stage.peerSays("peer-failed").subscribe();
    stage.says({ type: "offer", offer: offer({ offer: id("d1") }) }).answerMade().peerSays("peer-connected").pass(10_000);
    const session = stage.listening;
    stage.peerSays("peer-failed");
    expect(stage.listening).not.toBe(session);
  });

  test("a reoffer is answered on the same connection, and carries candidates from then on", () => {
    stage.says({ type: "reoffer", offer: offer({ offer: id("d7"), rev: 1 }) });
    expect(stage.commands.at(-1)).toMatchObject({ do: "renegotiate", peer: 1, offer: { offer: id("d7") } });
    stage.give({ type: "candidates-found", peer: 1, list: [candidate("x")], end: false }).pass(50);
    expect(stage.types).toEqual([]);
    stage.answerMade({ digest: "d7" });
    expect(stage.sent.map(({ message }) => [message.type, "offer" in message && message.offer])).toEqual([
      ["answer", id("d7")], ["candidates", id("d7")],
    ]);
    stage.says({ type: "accept", offer: id("d7"), rights: ["view", "listen"] });
    expect(stage.view).toMatchObject({ state: "live", rights: ["view", "listen"] });
  });

  test("of two reoffers the later one is answered, although the answer to the other is made first", () => {
    stage.says({ type: "reoffer", offer: offer({ offer: id("d7"), rev: 1 }) });
    stage.says({ type: "reoffer", offer: offer({ offer: id("d8"), rev: 1 }) });
    stage.answerMade({ offer: id("d7"), digest: "d7" });
    expect(stage.types).toEqual([]);
    stage.answerMade({ offer: id("d8"), digest: "d8" });
    expect(stage.sent.map(({ message }) => message)).toMatchObject([{ type: "answer", offer: id("d8"), digest: "d8" }]);
  });

  test("a device that restarts by itself is given its time before it is asked for a restart", () => {
    stage.peerSays("peer-interrupted").pass(1_000);
    stage.says({ type: "reoffer", offer: offer({ offer: id("d7"), rev: 1 }) }).answerMade().clear();
    stage.pass(4_999);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.types).toEqual(["restart"]);
  });

  test("a reoffer of another boot, or one answered before, is dropped", () => {
    stage.says({ type: "reoffer", offer: offer({ offer: id("d7"), boot: OTHER_BOOT }) });
    stage.says({ type: "reoffer", offer: offer() });
    expect(stage.commands.filter((command) => command.do === "renegotiate")).toEqual([]);
  });

  test("a reject does not end it", () => {
    stage.says({ type: "reject", code: "full" }).says({ type: "reject", code: "taken", offer: offer({ offer: id("d7") }) });
    expect(stage.view.state).toBe("live");
    expect(stage.opened).toEqual([id("f0")]);
  });

  test("a dedicated offer is ignored", () => {
    stage.says({ type: "offer", offer: offer({ offer: id("d7") }) });
    expect(stage.opened).toEqual([id("f0")]);
  });

  test("an interruption is shown at once; a restart is asked for after 2 s, and again, until it mends", () => {
    stage.peerSays("peer-interrupted");
    expect(stage.view.state).toBe("interrupted");
    stage.pass(1_999);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.types).toEqual(["restart"]);
    stage.pass(5_000);
    expect(stage.types).toEqual(["restart", "restart"]);
    stage.peerSays("peer-connected").pass(60_000);
    expect(stage.view.state).toBe("live");
    expect(stage.types).toHaveLength(2);
  });

  test("a second restart that nobody answers starts over, and one that is answered does not", () => {
    stage.peerSays("peer-interrupted").pass(7_000);
    expect(stage.types).toEqual(["restart", "restart"]);
    stage.pass(4_999);
    expect(stage.types).toHaveLength(2);
    stage.pass(1).subscribe();
    expect(stage.types).toEqual(["restart", "restart", "bye", "hello"]);

    stage = new Stage().live().clear().peerSays("peer-interrupted").pass(7_000);
    stage.says({ type: "reoffer", offer: offer({ offer: id("d7"), rev: 1 }) }).answerMade().pass(10_000);
    expect(stage.types).toEqual(["restart", "restart", "answer", "restart", "restart"]);
    expect(stage.view.state).toBe("interrupted");
  });

  test("a picture that stops is shown at once; a restart is asked for once, 3 s later, and it goes on when it moves", () => {
    stage.peerSays("picture-stalled");
    expect(stage.view).toMatchObject({ state: "interrupted", reason: "stalled" });
    stage.pass(2_999);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.sent.map(({ message }) => message)).toEqual([{ type: "restart", reason: "stalled" }]);
    stage.pass(7_000).peerSays("picture-moves").pass(60_000);
    expect(stage.view.state).toBe("live");
    expect(stage.view.reason).toBeUndefined();
    expect(stage.types).toHaveLength(1);
  });

  test("a picture that a restart does not bring back gets a new connection", () => {
    stage.peerSays("picture-stalled").pass(3_000).clear().pass(7_999);
    expect(stage.types).toEqual([]);
    stage.pass(1);
    expect(stage.types).toEqual(["bye"]);
    expect(stage.commands).toContainEqual({ do: "close-peer", peer: stage.peer });
    stage.subscribe();
    expect(stage.types).toEqual(["bye", "hello"]);
  });

  test("a picture that stopped keeps its connection while there is no broker to get another by", () => {
    stage.give({ type: "broker-down", why: "unreachable" }).peerSays("picture-stalled").pass(60_000);
    expect(stage.types).toEqual([]);
    expect(stage.view).toMatchObject({ state: "interrupted", reason: "stalled" });
    stage.connect().give({ type: "time" });
    expect(stage.types).toEqual(["restart"]);
  });

  test("a broken path is said rather than the picture that stopped with it", () => {
    stage.peerSays("picture-stalled").peerSays("peer-interrupted");
    expect(stage.view.state).toBe("interrupted");
    expect(stage.view.reason).toBeUndefined();
    stage.peerSays("peer-connected");
    expect(stage.view.reason).toBe("stalled");
  });

  test("an interrupted one starts over on the offer of a device that has started anew, in either order", () => {
    stage.status(OTHER_BOOT).standing(offer({ offer: id("d7"), boot: OTHER_BOOT }));
    expect(stage.view.state).toBe("live");
    stage.peerSays("peer-interrupted").subscribe();
    expect(stage.opened).toEqual([id("f0"), id("d7")]);

    stage = new Stage().live().peerSays("peer-interrupted");
    stage.status(OTHER_BOOT).standing(offer({ offer: id("d7"), boot: OTHER_BOOT })).subscribe();
    expect(stage.opened).toEqual([id("f0"), id("d7")]);
  });

  test("a status alone does not end an interrupted one", () => {
    stage.peerSays("peer-interrupted").status(OTHER_BOOT).pass(1_000);
    expect(stage.view.state).toBe("interrupted");
  });

  test("an interruption without a broker asks as soon as it is back", () => {
    stage.give({ type: "broker-down", why: "unreachable" }).peerSays("peer-interrupted").pass(30_000);
    expect(stage.types).toEqual([]);
    stage.connect().pass(0);
    expect(stage.types).toEqual(["restart"]);
  });

  test("a connection that fails without a broker starts over when it is back", () => {
    stage.give({ type: "broker-down", why: "unreachable" }).peerSays("peer-failed").pass(60_000);
    expect(stage.view).toMatchObject({ state: "broker", reason: "unreachable" });
    stage.connect().status(BOOT).standing(offer({ offer: id("f1") }));
    expect(stage.opened.at(-1)).toBe(id("f1"));
  });

  test("a browser without H.264 is told so, and sound goes on", () => {
    const deaf = new Stage();
    deaf.connect().status(BOOT).standing(offer()).subscribe().answerMade({ hasVideo: false }).peerSays("peer-connected");
    expect(deaf.view).toMatchObject({ state: "live", reason: "no-h264" });
  });

  test("leaving says bye and closes; nothing happens afterwards", () => {
    stage.give({ type: "stop", reason: "left" });
    expect(stage.types).toEqual(["bye"]);
    expect(stage.commands).toContainEqual({ do: "close-peer", peer: 1 });
    expect(stage.view.state).toBe("stopped");
    expect(stage.session.deadline).toBeUndefined();
    stage.clear().status(OTHER_BOOT).standing(offer({ offer: id("f1"), boot: OTHER_BOOT })).pass(60_000);
    expect(stage.opened).toEqual([id("f0")]);
    expect(stage.types).toEqual([]);
  });
});

describe("the broker", () => {
  test("that cannot be reached is shown, and why", () => {
    expect(stage.view.state).toBe("connecting");
    stage.give({ type: "broker-down", why: "unreachable" });
    expect(stage.view).toMatchObject({ state: "broker", reason: "unreachable" });
    stage.give({ type: "broker-down", why: "refused" });
    expect(stage.view).toMatchObject({ state: "broker", reason: "refused" });
    stage.connect().subscribe();
    expect(stage.view.state).toBe("looking");
  });

  test("lost while asking: a new session, and everything from the start", () => {
    stage.connect().status(BOOT).subscribe().pass(300);
    const session = stage.listening;
    stage.give({ type: "broker-down", why: "unreachable" }).pass(60_000);
    expect(stage.listening).not.toBe(session);
    stage.connect().status(BOOT).subscribe().pass(299);
    expect(stage.types).toEqual(["hello"]);
    stage.pass(1);
    expect(stage.types).toEqual(["hello", "hello"]);
  });

  test("what it showed before it was lost is not used again", () => {
    stage.connect().standing(offer()).give({ type: "broker-down", why: "unreachable" });
    stage.connect().status(BOOT).subscribe().pass(300);
    expect(stage.opened).toEqual([]);
    expect(stage.types).toEqual(["hello"]);
  });

  test("an offer that it hands out again after a reconnect is used, at an equal revision too", () => {
    stage.connect().standing(offer({ rev: 2 })).give({ type: "broker-down", why: "unreachable" });
    stage.connect().status(BOOT).standing(offer({ rev: 2 }));
    expect(stage.opened).toEqual([id("f0")]);
  });

  test("that does not answer a subscription in 3 s is connected to anew", () => {
    stage.live().peerSays("peer-failed").clear().pass(2_999);
    expect(stage.commands.some((command) => command.do === "reconnect")).toBe(false);
    stage.pass(1);
    expect(stage.commands.filter((command) => command.do === "reconnect")).toHaveLength(1);
    expect(stage.view.state).toBe("connecting");
    stage.connect().status(BOOT).standing(offer({ offer: id("f1") }));
    expect(stage.opened.at(-1)).toBe(id("f1"));
  });

  test("lost after the answer: the connection may still come up", () => {
    stage.connect().status(BOOT).standing(offer()).subscribe().answerMade();
    stage.give({ type: "broker-down", why: "unreachable" }).pass(100).peerSays("peer-connected");
    expect(stage.view.state).toBe("live");
  });
});

describe("a key that does not fit", () => {
  test("is named after 3 s of silence, when offers never authenticate", () => {
    stage.connect().status(BOOT).forged().subscribe().pass(3_000);
    expect(stage.view).toMatchObject({ state: "offline", reason: "wrong-key" });
  });

  test("is not named once anything authenticated", () => {
    stage.connect().status(BOOT).forged().subscribe();
    stage.says({ type: "offer", offer: offer({ offer: id("d1") }) }).answerMade().pass(3_000);
    expect(stage.view).toMatchObject({ state: "offline" });
    expect(stage.view.reason).toBeUndefined();
  });

  test("is asked for when an open link meets a sealed camera; a sealed viewer ignores what status says of it", () => {
    const open = new Stage({ isSealed: false });
    open.connect().status(BOOT, { security: "sealed" }).subscribe().pass(3_300);
    expect(open.view).toMatchObject({ state: "offline", reason: "needs-key" });
    stage.connect().status(BOOT, { security: "open" }).subscribe().pass(3_300);
    expect(stage.view.reason).toBeUndefined();
  });
});
