// What may be in a message of farol/1, and how one is read without trusting it.
//
// Everything from outside is size-checked, then depth-checked, then parsed, then checked field by
// field. Unknown fields are ignored; whatever is wrong with a message, it is dropped as a whole.

import { fromUtf8, toUtf8 } from "./bytes";
import { isId } from "./link";

/** The largest message that is looked at, in bytes on the wire. */
export const MAX_WIRE_BYTES = 32 * 1024;
/** The deepest nesting that is looked at, in the wire and in the decrypted text; `{}` is 1. */
export const MAX_NESTING = 16;
/** The largest `n`: what a double holds exactly. */
export const MAX_N = Number.MAX_SAFE_INTEGER;

/** What a viewer may do, or wants to. */
export type Right = "view" | "listen" | "talk" | "control";

const RIGHTS: readonly Right[] = ["view", "listen", "talk", "control"];

/** What the device says of itself in the clear. A hint, never trusted. */
export interface Status {
  state: "online" | "offline";
  boot: string;
  security?: "sealed" | "open";
}

/** An ICE candidate as browsers write it. */
export interface Candidate {
  candidate: string;
  sdpMid?: string | null;
  sdpMLineIndex?: number | null;
  usernameFragment?: string | null;
}

/** One entry of RTCConfiguration's `iceServers`. */
export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** An offer, standing or dedicated. */
export interface Offer {
  offer: string;
  rev: number;
  boot: string;
  name: string;
  sdp: string;
  iceServers: IceServer[];
  /** Set when relays alone count. */
  iceTransportPolicy?: "relay";
  rights: Right[];
}

/** Why a device rejects. */
export type RejectCode = "taken" | "stale" | "full" | "denied" | "invalid";

/** What a device says in a session. */
export type DeviceMessage =
  | { type: "offer"; offer: Offer }
  | { type: "reoffer"; offer: Offer }
  | { type: "accept"; offer: string; rights: Right[] }
  | { type: "candidates"; offer: string; list: Candidate[]; end: boolean }
  | { type: "reject"; code: RejectCode; retryMs?: number; offer?: Offer; what?: string }
  | { type: "bye"; reason: string };

/** What a viewer says in a session, as it goes into the sealed text or `p`. */
export type ViewerMessage =
  | { type: "hello"; boot: string; wants: Right[] }
  | { type: "answer"; boot: string; offer: string; rev: number; digest: string; wants: Right[]; sdp: string }
  | { type: "candidates"; offer: string; list: Candidate[]; end: boolean }
  | { type: "restart"; reason: string }
  | { type: "bye"; reason: string };

/** A message as it lies on the broker, before it is authenticated. */
export interface Wire {
  type: string;
  n: number;
  /** The offer's id; only a sealed standing offer has it. */
  offer?: string;
  body: { form: "sealed"; ct: string } | { form: "open"; payload: Fields };
}

type Fields = Record<string, unknown>;

/** Reads a message's outside. */
export function parseWire(bytes: Uint8Array): Wire | undefined {
  const fields = parseObject(bytes);
  if (fields === undefined || fields["v"] !== 1) return undefined;
  const { t: type, n, ct, p, offer } = fields;
  if (typeof type !== "string" || !isCount(n)) return undefined;
  const id = isId(offer) ? { offer } : {};
  if (typeof ct === "string") return { type, n, ...id, body: { form: "sealed", ct } };
  if (isFields(p)) return { type, n, ...id, body: { form: "open", payload: p } };
  return undefined;
}

/** Writes a sealed message. */
export function sealedWire(type: string, n: number, ct: string): string {
  return JSON.stringify({ v: 1, t: type, n, ct });
}

/** Writes an open message. */
export function openWire(type: string, n: number, payload: unknown): string {
  return JSON.stringify({ v: 1, t: type, n, p: payload });
}

/** Reads the status object. */
export function parseStatus(bytes: Uint8Array): Status | undefined {
  const fields = parseObject(bytes);
  if (fields === undefined || fields["v"] !== 1) return undefined;
  const { state, boot, security } = fields;
  if ((state !== "online" && state !== "offline") || !isId(boot)) return undefined;
  const known = security === "sealed" || security === "open";
  return known ? { state, boot, security } : { state, boot };
}

/** Parses an authenticated text, or `undefined` when it is too large, too deep or no JSON object. */
export function parsePayload(text: string): Fields | undefined {
  if (!isShallow(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reads what a device says, from its type and its payload. Unknown types are dropped. */
export function parseDeviceMessage(type: string, fields: Fields): DeviceMessage | undefined {
  switch (type) {
    case "offer":
    case "reoffer": {
      const offer = parseOffer(fields);
      return offer && { type, offer };
    }
    case "accept": {
      const { offer } = fields;
      return isId(offer) ? { type, offer, rights: parseRights(fields["rights"]) } : undefined;
    }
    case "candidates":
      return parseCandidates(fields);
    case "reject":
      return parseReject(fields);
    case "bye":
      return { type, reason: typeof fields["reason"] === "string" ? fields["reason"] : "" };
    default:
      return undefined;
  }
}

/** Reads an offer's payload. */
export function parseOffer(fields: Fields): Offer | undefined {
  const { offer, rev, boot, name, sdp } = fields;
  if (!isId(offer) || !isCount(rev) || !isId(boot) || typeof sdp !== "string") return undefined;
  return {
    offer,
    rev,
    boot,
    name: typeof name === "string" ? name : "",
    sdp,
    iceServers: parseIceServers(fields["ice_servers"]),
    ...(fields["ice_transport_policy"] === "relay" && { iceTransportPolicy: "relay" as const }),
    rights: parseRights(fields["rights"]),
  };
}

/**
 * Whether brackets in a JSON text nest no deeper than `max`. It runs before the parser, which recurses;
 * brackets inside strings do not count.
 */
export function isShallow(text: string, max = MAX_NESTING): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (inString) {
      if (char === "\\") at += 1;
      else if (char === '"') inString = false;
    } else if (char === '"') {
      inString = true;
    } else if (char === "{" || char === "[") {
      depth += 1;
      if (depth > max) return false;
    } else if (char === "}" || char === "]") {
      depth -= 1;
    }
  }
  return true;
}

/** How many bytes a text takes in UTF-8. */
export function utf8Length(text: string): number {
  return toUtf8(text).length;
}

function parseObject(bytes: Uint8Array): Fields | undefined {
  if (bytes.length > MAX_WIRE_BYTES) return undefined;
  const text = fromUtf8(bytes);
  return text === undefined ? undefined : parsePayload(text);
}

function parseCandidates(fields: Fields): DeviceMessage | undefined {
  const { offer, list, end } = fields;
  if (!isId(offer) || !Array.isArray(list)) return undefined;
  const candidates = list.map(parseCandidate).filter((candidate) => candidate !== undefined);
  return { type: "candidates", offer, list: candidates, end: end === true };
}

function parseCandidate(value: unknown): Candidate | undefined {
  if (!isFields(value) || typeof value["candidate"] !== "string") return undefined;
  const { candidate, sdpMid, sdpMLineIndex, usernameFragment } = value;
  return {
    candidate,
    ...(typeof sdpMid === "string" && { sdpMid }),
    ...(typeof sdpMLineIndex === "number" && { sdpMLineIndex }),
    ...(typeof usernameFragment === "string" && { usernameFragment }),
  };
}

function parseReject(fields: Fields): DeviceMessage | undefined {
  const { code, retry_ms: retryMs, offer, what } = fields;
  if (code !== "taken" && code !== "stale" && code !== "full" && code !== "denied" && code !== "invalid") {
    return undefined;
  }
  const dedicated = isFields(offer) ? parseOffer(offer) : undefined;
  return {
    type: "reject",
    code,
    ...(typeof retryMs === "number" && retryMs >= 0 && { retryMs }),
    ...(dedicated && { offer: dedicated }),
    ...(typeof what === "string" && { what }),
  };
}

function parseIceServers(value: unknown): IceServer[] {
  if (!Array.isArray(value)) return [];
  return value.map(parseIceServer).filter((server) => server !== undefined);
}

function parseIceServer(value: unknown): IceServer | undefined {
  if (!isFields(value)) return undefined;
  const { urls, username, credential } = value;
  const list = typeof urls === "string" ? [urls] : urls;
  if (!Array.isArray(list) || list.length === 0 || !list.every((url) => typeof url === "string")) return undefined;
  return {
    urls: list,
    ...(typeof username === "string" && { username }),
    ...(typeof credential === "string" && { credential }),
  };
}

function parseRights(value: unknown): Right[] {
  return Array.isArray(value) ? RIGHTS.filter((right) => value.includes(right)) : [];
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
