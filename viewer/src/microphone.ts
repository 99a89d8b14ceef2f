// How the page gets the person's microphone: on a tap alone, and let go of as soon as it is off.

import { LABELS } from "./words";

const WISHES = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** Asks the browser, which asks the person; a text says why there is none. */
export async function openMicrophone(): Promise<MediaStream | string> {
  if (navigator.mediaDevices === undefined) return LABELS.microphoneInsecure;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: WISHES });
  } catch {
    return LABELS.microphoneRefused;
  }
}

/** Lets go of it: the browser's sign that the page listens goes out. */
export function closeMicrophone(microphone: MediaStream | undefined): void {
  microphone?.getTracks().forEach((track) => track.stop());
}
