// The channel protocol: what is written and read, against the vectors that the device's tests read too.
import { describe, expect, test } from "vitest";

import { CONTROL_LABEL, type ControlRequest, MAX_TEXT_BYTES, MAX_TEXT_NESTING, readControl, readStatistics, writeRequest } from "../src/control-message";
import { fixture } from "./fixtures";

interface Vectors {
  limits: { label: string; text_bytes: number; nesting: number };
  requests: { name: string; message: { v: 1; id: number } & ControlRequest }[];
  from_device: { name: string; message: Record<string, unknown> }[];
  unreadable: { name: string; text: string }[];
}
const vectors = fixture("control.json") as Vectors;
const messageNamed = (name: string): Record<string, unknown> => {
  const found = vectors.from_device.find((vector) => vector.name === name);
  if (found === undefined) throw new Error(`no vector "${name}"`);
  return found.message;
};
const read = (message: unknown) => readControl(JSON.stringify(message));

test("label and limits are the protocol's", () => {
  expect(vectors.limits).toMatchObject({ label: CONTROL_LABEL, text_bytes: MAX_TEXT_BYTES, nesting: MAX_TEXT_NESTING });
});

test.each(vectors.requests)("a request is written as the device reads it: $name", ({ message }) => {
  const { v, id, ...request } = message;
  expect(JSON.parse(writeRequest(id, request as ControlRequest))).toEqual({ v, id, ...request });
});

test.each(vectors.from_device)("what the device says is understood: $name", ({ message }) => {
  const understood = read(message);
  expect(understood?.type).toBe(message["t"]);
  if (message["id"] !== undefined) expect(understood).toMatchObject({ id: message["id"] });
});

test.each(vectors.unreadable)("what is not understood is dropped: $name", ({ text }) => {
  expect(readControl(text)).toBeUndefined();
});

test("a state is read whole", () => {
  expect(read(messageNamed("a state with everything"))).toEqual({
    type: "state",
    state: {
      camera: "lost", microphone: "ready", talk: "you", watching: 3,
      night: { mode: "auto", isNight: true }, motion: { isActive: false, lastS: 42 }, lamp: 60,
      pan: { min: -90, max: 90, at: -12.5 }, tilt: { min: -30, max: 60, at: 0 },
      may: ["set", "snapshot", "move", "night", "lamp", "talk"],
    },
  });
});

test("controls are read one by one, and an unread value is null", () => {
  const message = read(messageNamed("controls pushed"));
  if (message?.type !== "controls") throw new Error("no controls");
  expect(message.controls.map(({ name, kind }) => [name, kind])).toEqual([
    ["brightness", "integer"], ["horizontal_flip", "boolean"], ["power_line_frequency", "menu"],
    ["exposure_time_absolute", "integer"], ["restart_focus", "button"],
  ]);
  expect(message.controls[2]).toMatchObject({ entries: [[0, "Disabled"], [1, "50 Hz"], [3, "Auto"]], value: 3, isSettable: true });
  expect(message.controls[3]).toMatchObject({ value: null, isSettable: false });
});

test("a control that cannot be shown is left out, and the others stay", () => {
  const good = { name: "gain", label: "Gain", kind: "integer", min: 0, max: 9, step: 1, default: 1, value: 2, settable: true };
  const bad = [
    null, 7, {}, { ...good, name: "" }, { ...good, kind: "matrix" }, { ...good, min: 10 }, { ...good, step: 0 },
    { ...good, value: "2" }, { ...good, max: 2 ** 60 }, { ...good, kind: "boolean" }, { ...good, kind: "menu", entries: [[1]] },
  ];
  const message = read({ v: 1, t: "controls", controls: [...bad, good, ...bad] });
  expect(message?.type === "controls" && message.controls.map(({ name }) => name)).toEqual(["gain"]);
});

test("statistics are read as far as they may be known", () => {
  const fields = (name: string): Record<string, unknown> => {
    const message = read(messageNamed(name));
    if (message?.type !== "ok") throw new Error("no reply");
    return message.fields;
  };
  const ana = {
    name: "Ana", state: "streaming", sinceS: 90, path: "relay", estimateBps: 6_000_000, sentBps: 1_900_000, framesPerS: 29.9,
    roundTripMs: 12.3, framesDropped: 10, lost: 42, repaired: 41, talks: true, troubles: ["thinned"],
  };
  expect(readStatistics(fields("statistics of oneself"))).toEqual({ me: ana, viewers: [], more: 0 });
  const all = fields("statistics of all");
  expect(readStatistics(all)).toEqual({ me: ana, viewers: [ana], more: 0 });
  const wrong = [7, null, { ...(all["viewers"] as object[])[0], lost: -1 }, { ...(all["viewers"] as object[])[0], state: "asleep" }];
  expect(readStatistics({ ...all, viewers: [...wrong, ...(all["viewers"] as object[])] })?.viewers).toEqual([ana]);
  for (const bad of [{ me: undefined }, { viewers: {} }, { more: "1" }]) expect(readStatistics({ ...all, ...bad })).toBeUndefined();
});

describe("a state that breaks its own rules is dropped", () => {
  const state = messageNamed("a state with everything")["state"] as Record<string, unknown>;
  test.each([
    { camera: "asleep" }, { camera: undefined }, { microphone: 1 }, { talk: "me" }, { watching: -1 }, { watching: "3" },
    { night: {} }, { night: { mode: "dusk", is_night: true } }, { motion: { is_active: 1, last_s: 1 } },
    { motion: { is_active: true, last_s: -1 } }, { lamp: 101 }, { lamp: "1" }, { pan: { min: 1, max: -1, at: 0 } },
    { tilt: [] }, { may: "set" },
  ])("%j", (wrong) => {
    expect(read({ v: 1, t: "state", state: { ...state, ...wrong } })).toBeUndefined();
  });
  test("unknown tasks and fields are ignored", () => {
    const message = read({ v: 1, t: "state", state: { ...state, may: ["set", "fly"], later: 1 } });
    expect(message?.type === "state" && message.state.may).toEqual(["set"]);
  });
});

test("a text is read up to its limits and no further", () => {
  const state = JSON.stringify(messageNamed("a state"));
  const padded = (bytes: number): string => state + " ".repeat(bytes - state.length);
  expect(readControl(padded(MAX_TEXT_BYTES))).toBeDefined();
  expect(readControl(padded(MAX_TEXT_BYTES + 1))).toBeUndefined();
  const error = (text: string): string => JSON.stringify({ v: 1, t: "error", code: "busy", text });
  expect(readControl(error("é".repeat(8_000)))).toBeDefined();
  expect(readControl(error("é".repeat(8_200)))).toBeUndefined();
  const nested = (depth: number): string => `{"v":1,"t":"ok","id":1,"x":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
  expect(readControl(nested(MAX_TEXT_NESTING))).toBeDefined();
  expect(readControl(nested(MAX_TEXT_NESTING + 1))).toBeUndefined();
});
