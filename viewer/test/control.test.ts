// Requests over the channel and what becomes of them, in virtual time.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { BURST, type Outcome, MAX_WAITING, PER_SECOND, REPLY_MS, Remote, STILL_MS } from "../src/control";
import type { BoardState, Control } from "../src/control-message";
import { fixture } from "./fixtures";

const STATE = {
  camera: "ready", microphone: "none", talk: "none", watching: 1, night: null, motion: null, lamp: null, pan: null, tilt: null, may: [],
};

/** A viewer's end of the channel, with the device's end in the test's hand. */
class Line {
  sent: Record<string, unknown>[] = [];
  states: BoardState[] = [];
  controls: Control[][] = [];
  isOpen = true;
  readonly remote = new Remote(
    (text) => {
      if (!this.isOpen) throw new DOMException("closed", "InvalidStateError");
      this.sent.push(JSON.parse(text));
    },
    { state: (state) => this.states.push(state), controls: (controls) => this.controls.push(controls) },
  );
  says(message: Record<string, unknown>): void {
    this.remote.take(JSON.stringify({ v: 1, ...message }));
  }
  ok(fields: Record<string, unknown> = {}, id = this.last): void {
    this.says({ t: "ok", id, ...fields });
  }
  part(bytes: number, fill = 0): void {
    this.remote.take(new Uint8Array(bytes).fill(fill).buffer);
  }
  get last(): number {
    return this.sent.at(-1)?.["id"] as number;
  }
}

let line: Line;
beforeEach(() => {
  vi.useFakeTimers();
  line = new Line();
});
afterEach(() => void vi.useRealTimers());

const failure = (code: string, text = "") => ({ ok: false, code, text });

describe("a request", () => {
  test("gets its own reply, in whichever order they come", async () => {
    const [first, second] = [line.remote.set("brightness", 1), line.remote.set("contrast", 2)];
    expect(line.sent).toMatchObject([{ v: 1, t: "set", control: "brightness", value: 1 }, { control: "contrast" }]);
    line.ok({ value: 22 });
    line.ok({ value: 11 }, line.last - 1);
    expect([await first, await second]).toEqual([{ ok: true, value: 11 }, { ok: true, value: 22 }]);
  });

  test("gets the device's refusal, with its words", async () => {
    const moved = line.remote.move({ pan: 3 });
    line.says({ t: "error", id: line.last, code: "denied", text: "no" });
    expect(await moved).toEqual(failure("denied", "no"));
  });

  test("without a reply is given up in time, and a late one changes nothing", async () => {
    const lit = line.remote.lamp(5);
    vi.advanceTimersByTime(REPLY_MS);
    expect(await lit).toEqual(failure("timeout"));
    line.ok();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends with the channel", async () => {
    const asked = [line.remote.status(), line.remote.snapshot()];
    line.remote.close();
    expect(await Promise.all(asked)).toEqual([failure("closed"), failure("closed")]);
    expect(await line.remote.night("day")).toEqual(failure("closed"));
    expect(vi.getTimerCount()).toBe(0);
  });

  test("on a channel that is no longer open fails and does not throw", async () => {
    line.isOpen = false;
    expect(await line.remote.night("auto")).toEqual(failure("closed"));
  });

  test("whose reply lacks what was asked for fails", async () => {
    const [controls, status] = [line.remote.controls(), line.remote.status()];
    line.ok({ controls: 7 }, line.last - 1);
    line.ok({ state: {} });
    expect([await controls, await status]).toEqual([failure("invalid"), failure("invalid")]);
  });

  test("is paced, so that the device refuses none, and those beyond the queue are refused here", async () => {
    const asked = Array.from({ length: MAX_WAITING + 1 }, () => line.remote.lamp(1));
    expect(line.sent).toHaveLength(BURST);
    expect(await asked.at(-1)).toEqual(failure("busy"));
    vi.advanceTimersByTime(1_000);
    expect(line.sent).toHaveLength(BURST + PER_SECOND);
    vi.advanceTimersByTime(1_000);
    expect(line.sent).toHaveLength(BURST + 2 * PER_SECOND);
  });
});

describe("a still", () => {
  const { stills } = fixture("control.json") as { stills: { bytes: number; messages: number[] }[] };

  test.each(stills)("of $bytes bytes is put together from its parts", async ({ bytes, messages }) => {
    const taken = line.remote.snapshot();
    line.ok({ bytes, type: "image/jpeg" });
    messages.forEach((length, at) => line.part(length, at + 1));
    const outcome = await taken;
    if (!outcome.ok) throw new Error(outcome.code);
    expect([outcome.value.size, outcome.value.type]).toEqual([bytes, "image/jpeg"]);
    const content = new Uint8Array(await outcome.value.arrayBuffer());
    expect(content).toEqual(Uint8Array.from(messages.flatMap((length, at) => new Array<number>(length).fill(at + 1))));
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is one at a time", async () => {
    const first = line.remote.snapshot();
    expect(await line.remote.snapshot()).toEqual(failure("busy"));
    line.ok({ bytes: 3 });
    expect(await line.remote.snapshot()).toEqual(failure("busy"));
    line.part(3);
    expect((await first).ok).toBe(true);
    void line.remote.snapshot();
    expect(line.sent).toHaveLength(2);
  });

  test("that stops coming is given up, and what comes of it later does not get into the next", async () => {
    const first = line.remote.snapshot();
    line.ok({ bytes: 20 });
    line.part(10, 1);
    vi.advanceTimersByTime(STILL_MS);
    expect(await first).toEqual(failure("timeout"));
    expect(await line.remote.snapshot()).toEqual(failure("busy"));
    line.part(10, 1);
    await expectWhole(line.remote.snapshot());
  });

  test("whose reply comes too late is counted off too", async () => {
    const first = line.remote.snapshot();
    vi.advanceTimersByTime(STILL_MS);
    expect(await first).toEqual(failure("timeout"));
    const second = line.remote.snapshot();
    line.ok({ bytes: 5 }, line.last - 1);
    line.part(5, 1);
    await expectWhole(second);
  });

  test("with more bytes than it said, or too many, fails", async () => {
    const first = line.remote.snapshot();
    line.ok({ bytes: 5 });
    line.part(6);
    expect(await first).toEqual(failure("invalid"));
    for (const bytes of [0, -1, 1.5, 2 ** 40, "5", undefined]) {
      const next = new Line();
      const outcome: Promise<Outcome<Blob>> = next.remote.snapshot();
      next.ok({ bytes });
      expect(await outcome).toEqual(failure("invalid"));
    }
  });

  async function expectWhole(taken: Promise<Outcome<Blob>>): Promise<void> {
    line.ok({ bytes: 4 });
    line.part(4, 2);
    const outcome = await taken;
    expect(outcome.ok && new Uint8Array(await outcome.value.arrayBuffer())).toEqual(Uint8Array.of(2, 2, 2, 2));
  }
});

test("what the board tells unasked is passed on, and anything else is harmless", () => {
  line.says({ t: "state", state: STATE });
  line.says({ t: "controls", controls: [] });
  line.part(9);
  line.says({ t: "error", code: "invalid", text: "?" });
  line.ok({}, 77);
  for (const data of [undefined, null, 7, "", "{", new Blob([]), "[".repeat(1e5)]) line.remote.take(data);
  expect([line.states.length, line.controls.length]).toEqual([1, 1]);
  line.remote.close();
  line.says({ t: "state", state: STATE });
  expect(line.states).toHaveLength(1);
});
