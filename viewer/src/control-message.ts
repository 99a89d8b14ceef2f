// What may be in a message of farol-control/1, and how one is read without trusting it.
//
// The channel is sealed by DTLS, but what comes is checked all the same, field by field: a page must
// not stumble over a newer camera. A message that is wrong is dropped as a whole; in a list of
// controls, only the control that is.

import { isShallow, utf8Length } from "./message";

/** The label of the data channel. */
export const CONTROL_LABEL = "farol-control/1";
/** The largest text message, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 16 * 1024;
/** The deepest nesting; `{}` is 1. */
export const MAX_TEXT_NESTING = 8;
/** The largest still that is collected, in bytes: a camera of 50 megapixels stays below. */
export const MAX_STILL_BYTES = 32 * 1024 * 1024;

const TASKS = ["set", "snapshot", "move", "night", "lamp", "talk"] as const;
const CAMERA = ["ready", "resting", "lost", "private"] as const;
const MICROPHONE = ["none", "ready", "lost", "private"] as const;
const TALK = ["none", "free", "you", "other"] as const;
const NIGHT_MODES = ["auto", "day", "night"] as const;
const PATHS = ["host", "srflx", "prflx", "relay"] as const;
const VIEWER_STATES = ["connecting", "streaming", "silent"] as const;
const TROUBLES = ["silent", "thinned", "lossy"] as const;
const CODES = ["denied", "unknown", "invalid", "range", "unavailable", "busy"] as const;

/** What a viewer may ask of this board. */
export type Task = (typeof TASKS)[number];
/** How it is decided whether it is night. */
export type NightMode = (typeof NIGHT_MODES)[number];
/** Why a request failed, in a word for programs. */
export type ErrorCode = (typeof CODES)[number];

/** One axis of a camera that turns, in degrees from the middle; right and up are positive. */
export interface Axis {
  min: number;
  max: number;
  at: number;
}

/** How the board is. */
export interface BoardState {
  camera: (typeof CAMERA)[number];
  microphone: (typeof MICROPHONE)[number];
  /** Who holds the speaker. */
  talk: (typeof TALK)[number];
  /** How many watch. */
  watching: number;
  night: { mode: NightMode; isNight: boolean } | null;
  /** `lastS`: seconds since the last motion; null when there was none. */
  motion: { isActive: boolean; lastS: number | null } | null;
  /** How bright the lamp is, 0 to 100. */
  lamp: number | null;
  pan: Axis | null;
  tilt: Axis | null;
  /** What this viewer may do and this board can. */
  may: Task[];
}

/** What kind of path media takes. */
export type PathKind = (typeof PATHS)[number];

/** What the board counts of one viewer. */
export interface ViewerStatistics {
  name: string;
  state: (typeof VIEWER_STATES)[number];
  sinceS: number;
  path: PathKind | null;
  /** What the network is thought to carry. */
  estimateBps: number | null;
  sentBps: number;
  framesPerS: number;
  roundTripMs: number | null;
  framesDropped: number;
  lost: number;
  repaired: number;
  talks: boolean;
  troubles: (typeof TROUBLES)[number][];
}

/** What the board counts, as far as this viewer may know: of the others only with the right to control. */
export interface Statistics {
  me: ViewerStatistics;
  viewers: ViewerStatistics[];
  /** How many there are beside those listed. */
  more: number;
}

/** What a control of the camera can hold. */
export type ControlValue = number | boolean | string;

/** A control of the camera, as its driver describes it; a value that cannot be read is null. */
export type Control = { name: string; label: string; isSettable: boolean } & (
  | { kind: "integer"; min: number; max: number; step: number; default: number; value: number | null }
  | { kind: "boolean"; default: boolean; value: boolean | null }
  | { kind: "menu"; entries: [number, string][]; default: number; value: number | null }
  | { kind: "button" }
);

/** What the device says on the channel. */
export type ControlMessage =
  /** `fields` are those of the reply; what they must hold depends on what was asked. */
  | { type: "ok"; id: number; fields: Fields }
  | { type: "error"; id?: number; code: ErrorCode; text: string }
  | { type: "state"; state: BoardState }
  | { type: "controls"; controls: Control[] };

/** What a viewer asks for, without `v` and `id`. */
export type ControlRequest =
  | { t: "status" | "controls" | "snapshot" }
  | { t: "stats"; of?: "me" | "all" }
  | { t: "set"; control: string; value: ControlValue }
  | { t: "move"; pan?: number; tilt?: number }
  | { t: "move"; pan_by?: number; tilt_by?: number }
  | { t: "night"; mode: NightMode }
  | { t: "lamp"; level: number };

/** The fields of a JSON object. */
export type Fields = Record<string, unknown>;

/** Writes a request. */
export function writeRequest(id: number, request: ControlRequest): string {
  return JSON.stringify({ v: 1, id, ...request });
}

/** Reads what the device says; `undefined` for what is not understood. */
export function readControl(text: string): ControlMessage | undefined {
  const fields = parse(text);
  if (fields === undefined || fields["v"] !== 1) return undefined;
  const { t: type, id } = fields;
  switch (type) {
    case "ok":
      return isId(id) ? { type, id, fields } : undefined;
    case "error": {
      const code = oneOf(CODES, fields["code"]);
      const words = typeof fields["text"] === "string" ? fields["text"] : "";
      return code && { type, ...(isId(id) && { id }), code, text: words };
    }
    case "state": {
      const state = readState(fields["state"]);
      return state && { type, state };
    }
    case "controls": {
      const controls = readControls(fields["controls"]);
      return controls && { type, controls };
    }
    default:
      return undefined;
  }
}

/** Reads the state of the board. */
export function readState(value: unknown): BoardState | undefined {
  if (!isFields(value)) return undefined;
  const camera = oneOf(CAMERA, value["camera"]);
  const microphone = oneOf(MICROPHONE, value["microphone"]);
  const talk = oneOf(TALK, value["talk"]);
  const { watching, lamp = null, may } = value;
  const night = orNull(value["night"], readNight);
  const motion = orNull(value["motion"], readMotion);
  const pan = orNull(value["pan"], readAxis);
  const tilt = orNull(value["tilt"], readAxis);
  if (!camera || !microphone || !talk || !isWhole(watching) || watching < 0) return undefined;
  if (night === undefined || motion === undefined || pan === undefined || tilt === undefined) return undefined;
  if (lamp !== null && !(isReal(lamp) && lamp >= 0 && lamp <= 100)) return undefined;
  if (!Array.isArray(may)) return undefined;
  return { camera, microphone, talk, watching, night, motion, lamp, pan, tilt, may: TASKS.filter((task) => may.includes(task)) };
}

/** Reads statistics; viewers that cannot be understood are left out. */
export function readStatistics({ me, viewers = [], more = 0 }: Fields): Statistics | undefined {
  const own = isFields(me) ? readViewer(me) : undefined;
  if (own === undefined || !Array.isArray(viewers) || !isWhole(more) || more < 0) return undefined;
  const others = viewers.map((one: unknown) => (isFields(one) ? readViewer(one) : undefined));
  return { me: own, viewers: others.filter((one) => one !== undefined), more };
}

function readViewer(value: Fields): ViewerStatistics | undefined {
  const state = oneOf(VIEWER_STATES, value["state"]);
  const { name, path, talks, troubles } = value;
  const counts = ["since_s", "sent_bps", "frames_per_s", "frames_dropped", "lost", "repaired"].map((key) => value[key]);
  const [estimateBps = null, roundTripMs = null] = [value["estimate_bps"], value["round_trip_ms"]];
  if (typeof name !== "string" || state === undefined || !counts.every(isCount)) return undefined;
  if ((estimateBps !== null && !isCount(estimateBps)) || (roundTripMs !== null && !isCount(roundTripMs))) return undefined;
  const [sinceS, sentBps, framesPerS, framesDropped, lost, repaired] = counts as [number, number, number, number, number, number];
  return {
    name, state, sinceS, estimateBps, sentBps, framesPerS, roundTripMs, framesDropped, lost, repaired, talks: talks === true,
    // One's own path has its addresses beside its kind.
    path: oneOf(PATHS, isFields(path) ? path["kind"] : path) ?? null,
    troubles: Array.isArray(troubles) ? TROUBLES.filter((trouble) => troubles.includes(trouble)) : [],
  };
}

/** Reads a list of controls, without those that cannot be shown. */
export function readControls(value: unknown): Control[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.map(readOne).filter((control) => control !== undefined);
}

function readOne(value: unknown): Control | undefined {
  if (!isFields(value)) return undefined;
  const { name, label, settable, kind, default: initial, value: current = null } = value;
  if (typeof name !== "string" || name === "") return undefined;
  const about = { name, label: typeof label === "string" && label !== "" ? label : name, isSettable: settable === true };
  switch (kind) {
    case "integer": {
      const { min, max, step } = value;
      if (!isWhole(min) || !isWhole(max) || min > max || !isWhole(step) || step < 1) return undefined;
      if (!isWhole(initial) || !(current === null || isWhole(current))) return undefined;
      return { ...about, kind, min, max, step, default: initial, value: current };
    }
    case "boolean":
      if (typeof initial !== "boolean" || !(current === null || typeof current === "boolean")) return undefined;
      return { ...about, kind, default: initial, value: current };
    case "menu": {
      const { entries } = value;
      if (!isEntries(entries) || !isWhole(initial) || !(current === null || isWhole(current))) return undefined;
      return { ...about, kind, entries, default: initial, value: current };
    }
    case "button":
      return { ...about, kind };
    default:
      return undefined;
  }
}

function readNight(value: Fields): BoardState["night"] | undefined {
  const mode = oneOf(NIGHT_MODES, value["mode"]);
  const isNight = value["is_night"];
  return mode && typeof isNight === "boolean" ? { mode, isNight } : undefined;
}

function readMotion(value: Fields): BoardState["motion"] | undefined {
  const { is_active: isActive, last_s: lastS = null } = value;
  if (typeof isActive !== "boolean") return undefined;
  if (lastS !== null && !(isReal(lastS) && lastS >= 0)) return undefined;
  return { isActive, lastS };
}

function readAxis(value: Fields): Axis | undefined {
  const { min, max, at } = value;
  return isReal(min) && isReal(max) && isReal(at) && min <= max ? { min, max, at } : undefined;
}

/** `null` and what is missing stay null; what is wrong becomes undefined. */
function orNull<T>(value: unknown, read: (value: Fields) => T | undefined): T | null | undefined {
  if (value === null || value === undefined) return null;
  return isFields(value) ? read(value) : undefined;
}

function parse(text: string): Fields | undefined {
  // No text is longer in UTF-16 units than in bytes: most of what is too long is told without encoding it.
  if (text.length > MAX_TEXT_BYTES || utf8Length(text) > MAX_TEXT_BYTES) return undefined;
  if (!isShallow(text, MAX_TEXT_NESTING)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function oneOf<T extends string>(words: readonly T[], value: unknown): T | undefined {
  return words.find((word) => word === value);
}

function isEntries(value: unknown): value is [number, string][] {
  return Array.isArray(value) && value.every((entry) =>
    Array.isArray(entry) && entry.length === 2 && isWhole(entry[0]) && typeof entry[1] === "string");
}

function isId(value: unknown): value is number {
  return isWhole(value) && value >= 1;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isCount(value: unknown): value is number {
  return isReal(value) && value >= 0;
}

function isReal(value: unknown): value is number {
  return Number.isFinite(value);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
