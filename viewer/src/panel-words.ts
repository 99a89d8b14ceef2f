// What a person reads of the board: the panel's words, and why a request came to nothing.

import type { ErrorCode, PathKind } from "./control-message";

/** What stands in the panel. */
export const PANEL = {
  open: "Camera settings",
  close: "Close the camera settings",
  title: "Camera",
  move: "Direction",
  moveHelp: "Drag, or use the arrow keys; Home is the middle",
  centre: "Turn to the middle",
  night: "Night mode",
  auto: "Auto",
  day: "Day",
  nightMode: "Night",
  isNight: "It is night for the camera now",
  isDay: "It is day for the camera now",
  lamp: "Lamp",
  picture: "Picture",
  reset: (label: string) => `Set ${label} back to its default`,
  resetAll: "Set all to their defaults",
  waiting: "Asking the camera what can be set",
  none: "This camera has nothing to set.",
  watching: (count: number) => (count <= 1 ? "Only you are watching" : `${count} are watching`),
  lastMotion: (ago: string) => `Last motion ${ago}`,
} as const;

/** What stands in the panel's folded part. */
export const DETAILS = {
  title: "Details",
  path: "Path",
  rate: "Sent",
  network: "Network carries",
  frames: "Frames a second",
  roundTrip: "Round trip",
  lost: "Lost packets",
  repaired: "Sent again",
  leftOut: "Frames left out",
  unknown: "–",
  columns: ["Viewer", "Path", "Sent", "Round trip"],
  connecting: "connecting",
  troubles: { silent: "not heard", thinned: "network too slow", lossy: "losing packets" },
  more: (count: number) => `and ${count} more`,
} as const;

/** Why a request came to nothing, when the board itself does not say it in words. */
export function wordsForFailure(code: ErrorCode | "timeout" | "closed"): string {
  switch (code) {
    case "denied":
      return "This link does not allow it.";
    case "busy":
      return "The camera is busy with another request. Try again in a moment.";
    case "timeout":
      return "The camera did not answer in time. Try again.";
    case "closed":
      return "The connection to the camera has ended.";
    case "range":
      return "The camera does not take that value.";
    default:
      return "The camera cannot do that now.";
  }
}

/** How a direction is said: "12° right", "5° down". */
export function wordsForAngle(degrees: number, axis: "pan" | "tilt"): string {
  const whole = Math.round(degrees);
  if (whole === 0) return axis === "pan" ? "middle" : "level";
  const [positive, negative] = axis === "pan" ? ["right", "left"] : ["up", "down"];
  return `${Math.abs(whole)}° ${whole > 0 ? positive : negative}`;
}

/** How media comes here. */
export function wordsForPath(kind: PathKind | null): string {
  switch (kind) {
    case null:
      return DETAILS.unknown;
    case "host":
      return "direct, local";
    case "relay":
      return "by a relay";
    default:
      return "direct";
  }
}

/** A bitrate as people say it. */
export function wordsForBitrate(bps: number): string {
  return bps < 1_000_000 ? `${Math.round(bps / 1_000)} kbit/s` : `${(bps / 1_000_000).toFixed(1)} Mbit/s`;
}

/** How long ago something was. */
export function wordsForAgo(seconds: number): string {
  if (seconds < 60) return "less than a minute ago";
  const [count, unit] = seconds < 5_400 ? [seconds / 60, "minute"] : seconds < 129_600 ? [seconds / 3_600, "hour"] : [seconds / 86_400, "day"];
  const whole = Math.max(1, Math.round(count));
  return `${whole} ${unit}${whole === 1 ? "" : "s"} ago`;
}
