// The microphone while the person is being asked for it.
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Microphone } from "../src/microphone";
import { LABELS } from "../src/words";

interface Track { isStopped: boolean; onended: (() => void) | null; stop(): void }
type Answer = (outcome?: Error) => Promise<void>;

/** What the browser was asked for: to let the person answer, and what came of it. */
let asked: { track: Track; answer: Answer }[];
let ended: number;
let microphone: Microphone;

beforeEach(() => {
  asked = [];
  ended = 0;
  vi.stubGlobal("navigator", { mediaDevices: { getUserMedia } });
  microphone = new Microphone(() => (ended += 1));
});
afterEach(() => vi.unstubAllGlobals());

function getUserMedia(): Promise<unknown> {
  const track: Track = { isStopped: false, onended: null, stop: () => (track.isStopped = true) };
  return new Promise((resolve, reject) => {
    const answer: Answer = async (refusal) => {
      refusal === undefined ? resolve({ getTracks: () => [track], getAudioTracks: () => [track] }) : reject(refusal);
      for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    };
    asked.push({ track, answer });
  });
}

const refusal = (name: string): Error => Object.assign(new Error(), { name });

test("two taps while the person is asked open one microphone", async () => {
  const both = Promise.all([microphone.open(), microphone.open()]);
  expect(asked).toHaveLength(1);
  await asked[0]?.answer();
  expect(new Set(await both)).toEqual(new Set([asked[0]?.track]));
  expect(microphone.isOn).toBe(true);
});

test("one that comes after it was closed is let go of", async () => {
  const opened = microphone.open();
  microphone.close();
  await asked[0]?.answer();
  expect(await opened).toBeUndefined();
  expect(asked[0]?.track.isStopped).toBe(true);
  expect(microphone.isOn).toBe(false);
});

test("closed and opened anew, the second one is used and the first let go of", async () => {
  void microphone.open();
  microphone.close();
  const second = microphone.open();
  await asked[0]?.answer();
  await asked[1]?.answer();
  expect(await second).toBe(asked[1]?.track);
  expect(asked.map(({ track }) => track.isStopped)).toEqual([true, false]);
  microphone.close();
  expect(asked[1]?.track.isStopped).toBe(true);
});

test("a missing one, one in use and a refusal are told apart, and the next tap asks anew", async () => {
  const words = { NotFoundError: LABELS.microphoneMissing, NotReadableError: LABELS.microphoneBusy, NotAllowedError: LABELS.microphoneRefused };
  for (const [at, [name, text]] of Object.entries(words).entries()) {
    const opened = microphone.open();
    await asked[at]?.answer(refusal(name));
    expect(await opened).toBe(text);
  }
  expect(asked).toHaveLength(3);
});

test("one that is unplugged is told, and not one that was closed", async () => {
  void microphone.open();
  await asked[0]?.answer();
  asked[0]?.track.onended?.();
  expect(ended).toBe(1);
  microphone.close();
  asked[0]?.track.onended?.();
  expect(ended).toBe(1);
});
