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

const NO_H264: Words = {
  title: "No picture in this browser",
  detail: "The camera sends H.264 video, which this browser cannot play. Sound still works. Try Chrome, Edge, Safari, or Firefox with its OpenH264 plugin enabled.",
  tone: "warning",
};

const OFFLINE: Words = {
  title: "Camera offline",
  detail: "The camera does not answer. Check that it has power and network; the picture comes by itself once it is back.",
  tone: "bad",
};

const BY_REASON: Record<Reason, Words> = {
  unreachable: {
    title: "No connection",
    detail: "The message broker that introduces you to the camera cannot be reached. Check this device's network; it is tried again all the time.",
    tone: "bad",
  },
  refused: {
    title: "Not let in",
    detail: "The message broker does not accept this link. It may have been revoked: ask for a new one.",
    tone: "bad",
  },
  "wrong-key": {
    title: "The key does not fit",
    detail: "The camera is there, but this link's key does not open what it says. The link may be damaged or out of date: ask for a new one.",
    tone: "bad",
  },
  "needs-key": {
    title: "A key is needed",
    detail: "This camera speaks only to viewers with a key. Open the whole link that you were given.",
    tone: "bad",
  },
  full: {
    title: "All places are taken",
    detail: "The camera has as many viewers as it can serve. You get in by yourself when a place is free.",
    tone: "warning",
  },
  denied: {
    title: "Access denied",
    detail: "The camera does not let this link in. Ask its owner whether it was revoked.",
    tone: "bad",
  },
  invalid: {
    title: "Not understood",
    detail: "The camera could not use this browser's answer. It is tried again; if it stays so, try another browser.",
    tone: "warning",
  },
  "no-path": {
    title: "No way through",
    detail: "The camera answers, but no network path to it works. Different networks may need a TURN server in the camera's configuration.",
    tone: "bad",
  },
  bye: { title: "The camera hung up", detail: "It is asked again by itself.", tone: "warning" },
  "no-h264": NO_H264,
  stalled: {
    title: "The picture has stopped",
    detail: "The camera is connected and no picture comes. It is asked to begin anew; if that does not help, reload this page.",
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
  detail: "Its cable may be loose. The board looks for it all the time, and the picture comes by itself once it is back.",
  tone: "bad",
};

/** The words for a board that has no picture to send, although it can be reached. */
export function wordsForBoard(camera: BoardState["camera"]): Words | undefined {
  if (camera === "private") return PRIVATE;
  return camera === "lost" ? CAMERA_LOST : undefined;
}

const LINK_DAMAGED = "Copy the whole link that you were given, from its beginning to its last character, and open it again.";

const BY_REFUSAL: Record<Refusal, Words> = {
  "no-link": {
    title: "No camera named",
    detail: "This page was opened without a camera's link. Open the whole link that you were given.",
    tone: "bad",
  },
  incomplete: { title: "The link is incomplete", detail: LINK_DAMAGED, tone: "bad" },
  version: {
    title: "Unknown kind of link",
    detail: "This link was made for another version of the page, or its beginning is damaged. " + LINK_DAMAGED,
    tone: "bad",
  },
  device: { title: "The link is damaged", detail: `Its camera id is not whole. ${LINK_DAMAGED}`, tone: "bad" },
  kid: { title: "The link is damaged", detail: `Its key id is not whole. ${LINK_DAMAGED}`, tone: "bad" },
  key: { title: "The link is damaged", detail: `Its key is not whole. ${LINK_DAMAGED}`, tone: "bad" },
  broker: {
    title: "The link is damaged",
    detail: `Its broker address is not a ws:// or wss:// address. ${LINK_DAMAGED}`,
    tone: "bad",
  },
  "mixed-content": {
    title: "Blocked by the browser",
    detail: "A page on https:// may not reach a broker on ws://. Open the page on http://, or give the camera a wss:// broker.",
    tone: "bad",
  },
  "no-webrtc": {
    title: "No WebRTC in this browser",
    detail: "This browser cannot receive live video, or it was switched off. Try another browser.",
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
