// What the session is told, what it orders, and how long it waits.

import type { Heard, SessionName } from "./mailbox";
import type { Candidate, Offer, Right, ViewerMessage } from "./message";

/** How long after SUBACK a standing offer is waited for. */
export const OFFER_GRACE_MS = 300;
/** How long a reply is waited for; after it "offline" is shown. */
export const REPLY_MS = 3_000;
/** How long an accepted session has to connect; the device gives it as long. */
export const CONNECT_MS = 30_000;
/** How long the browser has to make an answer. */
export const ANSWER_MS = 10_000;
/** How long candidates are gathered into one message. */
export const TRICKLE_MS = 10;
/** How long a broken path may mend itself before a restart is asked for. */
export const RESTART_AFTER_MS = 2_000;
/** How long the device has for that restart before it is asked for again. */
export const RESTART_AGAIN_MS = 5_000;
/** How many restarts are asked for in vain before the connection is made anew. */
export const MAX_RESTARTS = 2;
/** How long a picture that stopped on a whole connection may go on by itself before a restart is asked for. */
export const STALL_RESTART_MS = 3_000;
/** How long that restart has to bring it back before the connection is made anew. */
export const STALL_OVER_MS = 8_000;
/** The longest rest between two attempts. */
export const MAX_REST_MS = 30_000;
/** The shortest rest after the device itself ended or refused. */
export const MIN_REST_MS = 1_000;
/** The rest when the device is full and does not say for how long. */
export const FULL_REST_MS = 5_000;
/** The longest rest that a device can ask for. */
export const MAX_REFUSED_MS = 600_000;
/** Media that flowed this long makes the next failure a first one. */
export const STABLE_MS = 10_000;
/** Candidates for one message; 20 of at most 250 bytes stay well below the protocol's 8,192. */
export const CANDIDATES_PER_MESSAGE = 20;

/** What happened. */
export type Input =
  | { type: "time" }
  /** The broker took us in; retained messages follow. */
  | { type: "broker-up" }
  | { type: "broker-down"; why: BrokerTrouble }
  /** Everything that the device says to this session reaches us from here on. */
  | { type: "subscribed"; session: string }
  | { type: "heard"; heard: Heard }
  | { type: "answer-made"; peer: number; offer: string; digest: string; sdp: string; hasVideo: boolean }
  | { type: "candidates-found"; peer: number; list: Candidate[]; end: boolean }
  | { type: "peer-connected" | "peer-interrupted" | "peer-failed"; peer: number }
  /** The browser itself cannot answer what it was offered. */
  | { type: "peer-unable"; peer: number }
  /** No frame comes although the camera is ready and the connection whole, and: they come again. */
  | { type: "picture-stalled" | "picture-moves"; peer: number }
  | { type: "stop"; reason: string };

/** What is to be done. */
export type Command =
  /** Subscribe to this session instead of the one before. */
  | { do: "listen"; session: string }
  | { do: "send"; to: SessionName; n: number; message: ViewerMessage }
  /** Make a peer connection for this offer, and an answer. */
  | { do: "open-peer"; peer: number; offer: Offer }
  /** Answer a later offer on the same peer connection. */
  | { do: "renegotiate"; peer: number; offer: Offer }
  | { do: "add-candidates"; peer: number; list: Candidate[] }
  | { do: "close-peer"; peer: number }
  /** The broker does not answer any more: connect to it anew. */
  | { do: "reconnect" }
  | { do: "show"; view: View };

/** Why there is no broker. */
export type BrokerTrouble = "unreachable" | "refused";

/** What a person is shown. */
export interface View {
  state: "connecting" | "broker" | "looking" | "offline" | "refused" | "ended" | "live" | "interrupted" | "stopped";
  reason?: Reason;
  /** When the next attempt is, on the clock of the inputs. */
  retryAt?: number;
  /** The camera's name, once it is known. */
  name: string;
  /** What was granted. */
  rights: Right[];
}

/** Why it is as it is. */
export type Reason = BrokerTrouble | "wrong-key" | "needs-key" | "full" | "denied" | "invalid" | "no-path" | "browser" | "bye" | "revoked" | "no-h264" | "stalled";
