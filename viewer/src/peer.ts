// How one RTCPeerConnection answers what the device offers.
//
// The glue between the browser and the session: it decides nothing. Each call belongs to the peer's
// number, so that what a closed connection still says is ignored.

import { CONTROL_LABEL } from "./control-message";
import type { Candidate, IceServer, Offer } from "./message";
import { sdpDigest } from "./seal";
import { type Counters, readCounters } from "./stats";

/** What a peer connection tells. */
export interface PeerEvents {
  answerMade(offer: Offer, digest: string, sdp: string, hasVideo: boolean): void;
  candidatesFound(list: Candidate[], end: boolean): void;
  connected(): void;
  interrupted(): void;
  failed(): void;
  /** The browser cannot answer what it was offered. */
  unable(): void;
  /** Picture and sound, as soon as the offer that names them is answered. */
  media(stream: MediaStream): void;
  /** The board's channel for requests is open. */
  channel(channel: RTCDataChannel): void;
}

let warm: RTCPeerConnection | undefined;

/**
 * Makes a peer connection before the first offer is there: its threads and certificate take the
 * browser tens of milliseconds. ICE servers come with the offer, before gathering starts.
 */
export function warmUp(): void {
  warm ??= newConnection();
}

/** One peer connection. */
export class Peer {
  readonly #rtc: RTCPeerConnection;
  readonly #events: PeerEvents;
  readonly #stream = new MediaStream();
  readonly #mayTalk: boolean;
  #microphone: MediaStreamTrack | null;
  #isClosed = false;
  /** Offers one after the other: the next waits until the one before is answered. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: { mayTalk: boolean; microphone: MediaStreamTrack | null }, events: PeerEvents) {
    this.#rtc = warm ?? newConnection();
    warm = undefined;
    this.#events = events;
    this.#mayTalk = options.mayTalk;
    this.#microphone = options.microphone;
    this.#listen();
  }

  /** Answers an offer, the first or a later one. */
  answer(offer: Offer): void {
    this.#work = this.#work.then(() => this.#answer(offer)).catch((error: unknown) => {
      if (this.#isClosed) return;
      console.warn("farol: the browser cannot answer this offer:", error);
      this.#events.unable();
    });
  }

  /** Adds the device's candidates, once the offer that they belong to is set. */
  addCandidates(list: Candidate[]): void {
    for (const candidate of list) {
      // A candidate that the browser cannot use (a name it does not resolve, say) is no reason to stop.
      this.#work = this.#work.then(() => this.#rtc.addIceCandidate(candidate)).catch(() => undefined);
    }
  }

  /** Sends this microphone, or silence; nothing is negotiated for it. */
  async talk(microphone: MediaStreamTrack | null): Promise<void> {
    this.#microphone = microphone;
    await this.#audio()?.sender.replaceTrack(microphone);
  }

  /** The counters of this moment. */
  async counters(): Promise<Counters> {
    const reports: Record<string, unknown>[] = [];
    (await this.#rtc.getStats()).forEach((report: Record<string, unknown>) => reports.push(report));
    return readCounters(reports, performance.now());
  }

  /** Ends it; nothing is told afterwards. */
  close(): void {
    this.#isClosed = true;
    this.#rtc.close();
  }

  async #answer(offer: Offer): Promise<void> {
    const rtc = this.#rtc;
    setIceServers(rtc, offer.iceServers, offer.iceTransportPolicy ?? "all");
    const isSet = rtc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    // While the browser works on it.
    const digest = sdpDigest(offer.sdp);
    await isSet;
    const audio = this.#audio();
    if (audio !== undefined && this.#mayTalk) {
      // Sending is agreed on now and stays silent, so that a tap on the microphone needs no round trip.
      audio.direction = "sendrecv";
      if (this.#microphone !== null) await audio.sender.replaceTrack(this.#microphone);
    }
    const { sdp } = await rtc.createAnswer();
    if (this.#isClosed || sdp === undefined) return;
    // The answer leaves before it is set here: candidates follow on their own.
    this.#events.answerMade(offer, digest, sdp, !/^m=video 0 /m.test(sdp));
    const set = rtc.setLocalDescription({ type: "answer", sdp });
    // Only now: what is shown takes the page its time, and the answer should not wait for that.
    this.#events.media(this.#stream);
    await set;
  }

  #audio(): RTCRtpTransceiver | undefined {
    return this.#rtc.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio");
  }

  #listen(): void {
    const rtc = this.#rtc;
    rtc.ontrack = ({ track, transceiver }) => {
      this.#stream.addTrack(track);
      const dtls = transceiver.receiver.transport;
      // A peer that says goodbye closes DTLS; without this only the silence after it would tell.
      dtls?.addEventListener("statechange", () => {
        if (dtls.state === "closed" || dtls.state === "failed") this.#failed();
      });
    };
    rtc.ondatachannel = ({ channel }) => {
      if (channel.label !== CONTROL_LABEL) return channel.close();
      channel.binaryType = "arraybuffer";
      if (channel.readyState === "open") this.#events.channel(channel);
      else channel.onopen = () => !this.#isClosed && this.#events.channel(channel);
    };
    rtc.onicecandidate = ({ candidate }) => {
      if (this.#isClosed) return;
      if (candidate === null) this.#events.candidatesFound([], true);
      else if (candidate.candidate !== "") this.#events.candidatesFound([candidate.toJSON() as Candidate], false);
    };
    rtc.onconnectionstatechange = () => {
      if (this.#isClosed) return;
      if (rtc.connectionState === "connected") this.#events.connected();
      else if (rtc.connectionState === "disconnected") this.#events.interrupted();
      else if (rtc.connectionState === "failed" || rtc.connectionState === "closed") this.#failed();
    };
  }

  #failed(): void {
    if (!this.#isClosed) this.#events.failed();
  }
}

/**
 * One transport for everything. No candidates are gathered ahead: of a connection that is offered something right
 * after it was made, Chromium 156 then sometimes gathers none at all for half a minute.
 */
const CONFIGURATION: RTCConfiguration = { bundlePolicy: "max-bundle" };

function newConnection(): RTCPeerConnection {
  return new RTCPeerConnection(CONFIGURATION);
}

function setIceServers(rtc: RTCPeerConnection, iceServers: IceServer[], iceTransportPolicy: RTCIceTransportPolicy): void {
  for (const list of [iceServers, iceServers.filter(({ urls }) => urls.every((url) => /^stuns?:/.test(url))), []]) {
    try {
      rtc.setConfiguration({ ...CONFIGURATION, iceServers: list, iceTransportPolicy });
      return;
    } catch (error) {
      // One bad address must not keep a viewer out whose network needs none of them.
      console.warn("farol: ICE servers left out:", error);
    }
  }
}
