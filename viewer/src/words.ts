// What a person reads: every state and reason in words, with what to do next.

import type { BoardState } from "./control-message";
import type { LinkFault } from "./link";
import type { Reason, View } from "./session-io";

/** Colour and motion of the state's dot. */
export type Tone = "live" | "busy" | "warning" | "bad";

/** A state in words. */
export interface Words {
  /** A few words for the state line. */
  title: string;
  /** A sentence or two, when there is something to know or to do. */
  detail?: string;
  tone: Tone;
}

/** Why nothing is even tried. */
export type Refusal = LinkFault | "no-link" | "mixed-content" | "no-webrtc";

/** The words for a view. */
export function wordsFor(view: View): Words {
  const { state, reason } = view;
  switch (state) {
    case "connecting":
      return { title: "Connecting", tone: "busy" };
    case "looking":
      return { title: "Looking for the camera", tone: "busy" };
    case "live":
      return reason === "no-h264" ? NO_H264 : { title: "Live", tone: "live" };
    case "interrupted":
      if (reason !== undefined) return BY_REASON[reason];
      return {
        title: "Interrupted",
        detail: "The picture stopped arriving. It goes on by itself as soon as the network does.",
        tone: "warning",
      };
    case "stopped":
      return { title: "Stopped", tone: "warning" };
    case "broker":
    case "offline":
    case "refused":
    case "ended":
      return wordsForReason(state, reason);
  }
}

/** What to say to whoever can look at the camera's side; docs/troubleshooting.md lists the codes. */
function tell(code: string): string {
  return `If it stays so, tell whoever gave you the link: ${code}.`;
}

const NO_H264: Words = {
  title: "No picture in this browser",
  detail: `Open the link in another browser: Chrome, Edge, Safari or Firefox. Sound still works here. ${tell("no-h264")}`,
  tone: "warning",
};

const OFFLINE: Words = {
  title: "Camera offline",
  detail: `Check that the camera has power and network; the picture comes by itself once it is back. ${tell("camera-offline")}`,
  tone: "bad",
};

const BY_REASON: Record<Reason, Words> = {
  unreachable: {
    title: "No connection",
    detail: `Check that this device is connected to the internet, or to the camera's Wi-Fi; it is tried again all the time. ${tell("broker-unreachable")}`,
    tone: "bad",
  },
  refused: {
    title: "Not let in",
    detail: `Ask for a new link: this one is not accepted. Tell whoever gave it to you: broker-refused.`,
    tone: "bad",
  },
  "wrong-key": {
    title: "The key does not fit",
    detail: "Open the whole link again; if it stays so, it is damaged or out of date: ask for a new one. Tell whoever gave it to you: wrong-key.",
    tone: "bad",
  },
  "needs-key": {
    title: "A key is needed",
    detail: `Open the whole link that you were given: this camera shows itself to nobody without. ${tell("no-key")}`,
    tone: "bad",
  },
  full: {
    title: "All places are taken",
    detail: "Wait a little: the camera has as many viewers as it can serve. You get in by yourself when a place is free.",
    tone: "warning",
  },
  denied: {
    title: "Access denied",
    detail: "Ask for a new link: the camera does not let this one in. Tell whoever gave it to you: denied.",
    tone: "bad",
  },
  revoked: { title: "This link was withdrawn", detail: "Ask for a new one.", tone: "bad" },
  invalid: {
    title: "Not understood",
    detail: `Wait a moment: it is tried again by itself. Then try another browser. ${tell("answer-invalid")}`,
    tone: "warning",
  },
  browser: {
    title: "This browser cannot do it",
    detail: `Reload this page, or open the link in another browser. ${tell("browser-failed")}`,
    tone: "bad",
  },
  "no-path": {
    title: "No way through",
    detail: `Try another network: Wi-Fi instead of mobile data, or the other way round. ${tell("no-path")}`,
    tone: "bad",
  },
  bye: { title: "The camera hung up", detail: "It is asked again by itself.", tone: "warning" },
  "no-h264": NO_H264,
  stalled: {
    title: "The picture has stopped",
    detail: `Wait a moment: the camera is asked to begin anew. Then reload this page. ${tell("no-picture")}`,
    tone: "warning",
  },
};

function wordsForReason(state: "broker" | "offline" | "refused" | "ended", reason: Reason | undefined): Words {
  if (reason !== undefined) return BY_REASON[reason];
  return state === "offline" ? OFFLINE : { title: "Connecting", tone: "busy" };
}

const PRIVATE: Words = {
  title: "Privacy is switched on at the camera",
  detail: "It sends neither picture nor sound until its switch is turned back.",
  tone: "warning",
};

const CAMERA_LOST: Words = {
  title: "The board has lost its camera",
  detail: `Check the camera's cable; the picture comes by itself once it is back. ${tell("camera-lost")}`,
  tone: "bad",
};

/** The words for a board that has no picture to send, although it can be reached. */
export function wordsForBoard(camera: BoardState["camera"]): Words | undefined {
  if (camera === "private") return PRIVATE;
  return camera === "lost" ? CAMERA_LOST : undefined;
}

const COPY_WHOLE = "Copy the whole link that you were given, from its beginning to its last character, and open it again.";

function damaged(code: string): Words {
  return { title: "The link is damaged", detail: `${COPY_WHOLE} ${tell(code)}`, tone: "bad" };
}

const BY_REFUSAL: Record<Refusal, Words> = {
  "no-link": {
    title: "No camera named",
    detail: "Open the whole link that you were given: this page was opened without one.",
    tone: "bad",
  },
  incomplete: { ...damaged("link-incomplete"), title: "The link is incomplete" },
  version: { ...damaged("link-version"), title: "Unknown kind of link" },
  device: damaged("link-device"),
  kid: damaged("link-kid"),
  key: damaged("link-key"),
  broker: damaged("link-broker"),
  "mixed-content": {
    title: "Blocked by the browser",
    detail: "Ask for another link: no browser can open this one. Tell whoever gave it to you: https-needs-wss.",
    tone: "bad",
  },
  "no-webrtc": {
    title: "No live video in this browser",
    detail: `Open the link in another browser: this one cannot receive live video, or was told not to. ${tell("no-webrtc")}`,
    tone: "bad",
  },
};

/** The words for a link with which nothing can be tried. */
export function wordsForRefusal(refusal: Refusal): Words {
  return BY_REFUSAL[refusal];
}

/** How long until the next attempt, in words. */
export function nextTry(seconds: number): string {
  if (seconds < 1) return "Trying again now";
  if (seconds < 100) return `Next try in ${Math.ceil(seconds)} s`;
  return `Next try in ${Math.ceil(seconds / 60)} min`;
}

/** Labels of the buttons, for the eye and for screen readers. */
export const LABELS = {
  play: "Play",
  unmute: "Turn sound on",
  mute: "Turn sound off",
  talk: "Talk: turn the microphone on",
  hush: "Stop talking: turn the microphone off",
  talkOther: "Somebody else is speaking. Wait until they have finished.",
  talkNone: "This camera has no loudspeaker.",
  talkUnheard: "You are not heard: somebody else is speaking.",
  still: "Take a picture",
  fullscreen: "Full screen",
  leaveFullscreen: "Leave full screen",
  video: "Live picture",
  noMicrophone: "No microphone",
  noTalk: "You cannot speak now",
  noStill: "No picture was taken",
  motion: "Motion",
  microphoneRefused: "The microphone was not allowed. Allow it in the browser's settings for this page.",
  microphoneMissing: "This device has no microphone that the browser could use. Plug one in, and tap again.",
  microphoneBusy: "The microphone is in use elsewhere. Close the other program or call, and tap again.",
  microphoneGone: "Your microphone was unplugged or switched off. Tap again to go on talking.",
  microphoneInsecure: "The browser gives the microphone only to pages on https:// or localhost.",
} as const;
