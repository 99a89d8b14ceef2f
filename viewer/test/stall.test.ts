// When a picture counts as stopped, in virtual time.
import { expect, test } from "vitest";

import { STALLED_MS, Stall } from "../src/stall";

/** Looks once a second at these frame counts; the turns, with the second in which they came. */
function look(frames: number[], isExpected: (second: number) => boolean = () => true, everyMs = 1_000): string[] {
  const stall = new Stall();
  return frames.flatMap((count, second) => {
    const turn = stall.look(count, isExpected(second), 5_000 + second * everyMs);
    return turn === undefined ? [] : [`${second}: ${turn}`];
  });
}

test("a picture that moves, however slowly, has not stopped", () => {
  expect(look([0, 30, 60, 90, 120, 150, 180])).toEqual([]);
  expect(look([1, 1, 2, 2, 2, 3, 3, 3, 4])).toEqual([]);
});

test("it has stopped 3 s after its last frame, and moves again with the next", () => {
  expect(STALLED_MS).toBe(3_000);
  expect(look([0, 30, 60, 60, 60, 60, 60, 60, 61, 90])).toEqual(["5: stalled", "8: moves"]);
});

test("a first frame that never comes counts as well", () => {
  expect(look([0, 0, 0, 0, 0])).toEqual(["3: stalled"]);
});

test("time in which no frame is expected does not count", () => {
  expect(look([9, 9, 9, 9, 9, 9, 9, 9], (second) => second > 4)).toEqual(["7: stalled"]);
  expect(look([9, 9, 9, 9, 9, 9, 9], (second) => second < 5)).toEqual(["3: stalled", "5: moves"]);
});

test("a machine that slept has not seen the picture stop", () => {
  expect(look([9, 9, 39, 69], undefined, 60_000)).toEqual([]);
});
