// Who joins session, broker, peer connection and clock for one viewer.
//
// Inputs go to the session one at a time; what it orders is carried out at once and in order.

import { randomBytes, toHex } from "./bytes";
import { Broker } from "./broker";
import { Remote } from "./control";
import type { BoardState, Control } from "./control-message";
import type { Link } from "./link";
import { Mailbox } from "./mailbox";
import type { Right } from "./message";
import { Peer, warmUp } from "./peer";
import { Session } from "./session";
import type { Command, Input, View } from "./session-io";
import { Sleep } from "./sleep";
import { Stall } from "./stall";
import { type Counters, type Stats, statsBetween } from "./stats";

/** What a watch tells. */
export interface WatchEvents {
  view(view: View): void;
  media(stream: MediaStream): void;
  stats(stats: Stats): void;
  /** The board can be asked, or no longer. */
  remote(remote: Remote | undefined): void;
  board(state: BoardState): void;
  controls(controls: Control[]): void;
}

const STATS_EVERY_MS = 1_000;
const PREPARE_EVERY_MS = 8;

/** One viewer of one camera, from start to stop. */
export class Watch {
  readonly #events: WatchEvents;
  readonly #mailbox: Mailbox;
  readonly #session: Session;
  readonly #broker: Broker;
  readonly #mayTalk: boolean;
  #peer: { id: number; link: Peer; stall: Stall; sleep: Sleep } | undefined;
  #remote: Remote | undefined;
  #camera: BoardState["camera"] | undefined;
  #microphone: MediaStreamTrack | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #statsTimer: ReturnType<typeof setInterval> | undefined;
  #counters: Counters | undefined;

  /** `wants`: what this viewer asks for; the device grants what its link allows of it. */
  constructor(link: Link, wants: Right[], events: WatchEvents) {
    this.#events = events;
    this.#mayTalk = wants.includes("talk");
    this.#mailbox = new Mailbox(link);
    this.#session = new Session({ newId: () => toHex(randomBytes(16)), wants, isSealed: this.#mailbox.isSealed });
    this.#broker = new Broker(
      {
        url: link.broker.url,
        login: link.broker.login ?? this.#mailbox.login,
        topics: [this.#mailbox.statusTopic, this.#mailbox.offerTopic],
      },
      {
        asked: () => this.#prepare([warmUp, ...this.#mailbox.rehearsal()]),
        up: () => this.#take({ type: "broker-up" }),
        down: (why) => this.#take({ type: "broker-down", why }),
        subscribed: (topic) => this.#take({ type: "subscribed", session: topic.slice(topic.lastIndexOf("/") + 1) }),
        message: (topic, bytes) => this.#heard(topic, bytes),
      },
    );
  }

  /** Opens the way to the broker first; whatever is not needed for it is done while the broker answers. */
  start(): void {
    this.#take({ type: "time" });
    this.#broker.start();
    this.#statsTimer = setInterval(() => void this.#measure(), STATS_EVERY_MS);
  }

  /** Says bye and lets go of everything. */
  stop(reason: string): void {
    this.#take({ type: "stop", reason });
    clearTimeout(this.#timer);
    clearInterval(this.#statsTimer);
    this.#broker.stop();
  }

  /** Sends this microphone, or silence with `null`, to this and every later connection. */
  async talk(microphone: MediaStreamTrack | null): Promise<void> {
    this.#microphone = microphone;
    await this.#peer?.link.talk(microphone);
  }

  /** A step now and then until there is an offer: one that comes at once should not wait for them. */
  #prepare([step, ...more]: (() => void)[], pauseMs = 0): void {
    if (step === undefined) return;
    setTimeout(() => {
      if (this.#peer !== undefined) return;
      step();
      this.#prepare(more, PREPARE_EVERY_MS);
    }, pauseMs);
  }

  #heard(topic: string, bytes: Uint8Array): void {
    const heard = this.#mailbox.read(topic, bytes, this.#session.current);
    if (heard !== undefined) this.#take({ type: "heard", heard });
  }

  #take(input: Input): void {
    for (const command of this.#session.handle(input, performance.now())) this.#carryOut(command);
    clearTimeout(this.#timer);
    const { deadline } = this.#session;
    if (deadline === undefined) return;
    this.#timer = setTimeout(() => this.#take({ type: "time" }), Math.max(0, deadline - performance.now()));
  }

  #carryOut(command: Command): void {
    switch (command.do) {
      case "listen":
        return this.#broker.listen(this.#mailbox.outTopic(command.session));
      case "send": {
        const { topic, bytes } = this.#mailbox.write(command.to, command.n, command.message);
        return this.#broker.send(topic, bytes);
      }
      case "open-peer":
        this.#peer = { id: command.peer, link: this.#newPeer(command.peer), stall: new Stall(), sleep: new Sleep() };
        return this.#peer.link.answer(command.offer);
      case "reconnect":
        return this.#broker.reconnect();
      case "show":
        return this.#events.view(command.view);
    }
    if (this.#peer?.id !== command.peer) return;
    switch (command.do) {
      case "renegotiate":
        return this.#peer.link.answer(command.offer);
      case "add-candidates":
        return this.#peer.link.addCandidates(command.list);
      case "close-peer":
        this.#detach(this.#remote);
        this.#peer.link.close();
        this.#peer = undefined;
        this.#counters = undefined;
    }
  }

  #newPeer(peer: number): Peer {
    return new Peer(
      { mayTalk: this.#mayTalk, microphone: this.#microphone },
      {
        answerMade: (offer, digest, sdp, hasVideo) =>
          this.#take({ type: "answer-made", peer, offer: offer.offer, digest, sdp, hasVideo }),
        candidatesFound: (list, end) => this.#take({ type: "candidates-found", peer, list, end }),
        connected: () => this.#take({ type: "peer-connected", peer }),
        interrupted: () => {
          this.#take({ type: "peer-interrupted", peer });
          // What took the media away may have taken the broker too, and the way back leads by it.
          this.#broker.probe();
        },
        failed: () => this.#take({ type: "peer-failed", peer }),
        unable: () => this.#take({ type: "peer-unable", peer }),
        media: (stream) => {
          if (this.#peer?.id === peer) this.#events.media(stream);
        },
        channel: (channel) => {
          if (this.#peer?.id === peer) this.#attach(channel);
        },
      },
    );
  }

  #attach(channel: RTCDataChannel): void {
    this.#detach(this.#remote);
    const remote = new Remote((text) => channel.send(text), {
      state: (state) => {
        this.#camera = state.camera;
        this.#events.board(state);
      },
      controls: (controls) => this.#events.controls(controls),
    });
    channel.onmessage = ({ data }) => remote.take(data);
    channel.onclose = () => this.#detach(remote);
    this.#remote = remote;
    this.#events.remote(remote);
  }

  #detach(remote: Remote | undefined): void {
    remote?.close();
    if (remote === undefined || this.#remote !== remote) return;
    this.#remote = undefined;
    this.#camera = undefined;
    this.#events.remote(undefined);
  }

  async #measure(): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) return;
    const before = this.#counters;
    const after = await peer.link.counters();
    if (this.#peer !== peer) return;
    this.#counters = after;
    if (before !== undefined) this.#events.stats(statsBetween(before, after));
    if (peer.sleep.look(after.bytes, Date.now())) {
      this.#take({ type: "peer-failed", peer: peer.id });
      return this.#broker.probe();
    }
    // A page in the background need not decode, and nobody would miss it.
    const isExpected = this.#camera === "ready" && document.visibilityState === "visible";
    const turn = peer.stall.look(after.framesDecoded, isExpected, after.at);
    if (turn !== undefined) this.#take({ type: `picture-${turn}`, peer: peer.id });
  }
}
