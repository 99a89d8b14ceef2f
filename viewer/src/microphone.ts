// How the page gets the person's microphone: on a tap alone, and let go of as soon as it is off.
//
// At most one is open. While the browser asks the person, more taps can come, the right can be taken
// away, the camera can go: who asks again waits for the same microphone, and one that comes after it
// was closed is let go of at once.

import { LABELS } from "./words";

const WISHES = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** A microphone's track, in words why there is none, or `undefined` when it was closed meanwhile. */
export type Opened = MediaStreamTrack | string | undefined;

/** One person's microphone. */
export class Microphone {
  readonly #ended: () => void;
  #stream: MediaStream | undefined;
  #opening: Promise<Opened> | undefined;
  #closings = 0;

  /** `ended`: it went away by itself, unplugged or withdrawn in the browser's settings. */
  constructor(ended: () => void) {
    this.#ended = ended;
  }

  /** Whether it is open. */
  get isOn(): boolean {
    return this.#stream !== undefined;
  }

  /** Asks the browser, which asks the person. */
  open(): Promise<Opened> {
    return (this.#opening ??= this.#open());
  }

  /** Lets go of it, and of one that is still to come: the browser's sign that the page listens goes out. */
  close(): void {
    this.#closings += 1;
    this.#opening = undefined;
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
  }

  async #open(): Promise<Opened> {
    const closings = this.#closings;
    const stream = await ask();
    if (this.#closings !== closings) {
      if (typeof stream !== "string") stream.getTracks().forEach((track) => track.stop());
      return undefined;
    }
    const track = typeof stream === "string" ? stream : stream.getAudioTracks()[0];
    if (typeof stream === "string" || typeof track !== "object") {
      // The next tap asks anew: the person may have allowed it meanwhile.
      this.#opening = undefined;
      return track;
    }
    this.#stream = stream;
    track.onended = () => this.#stream === stream && this.#ended();
    return track;
  }
}

async function ask(): Promise<MediaStream | string> {
  if (navigator.mediaDevices === undefined) return LABELS.microphoneInsecure;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: WISHES });
  } catch (error) {
    return wordsFor(error);
  }
}

/** What the browser's refusal means for the person (W3C Media Capture and Streams §10.2.1, getUserMedia). */
function wordsFor(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotFoundError") return LABELS.microphoneMissing;
  return name === "NotReadableError" ? LABELS.microphoneBusy : LABELS.microphoneRefused;
}
