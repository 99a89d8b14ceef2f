// What a machine that wakes up makes of its connection, in virtual time.
import { expect, test } from "vitest";

import { Sleep } from "../src/sleep";

/** Looks at these counts of bytes at these seconds; the seconds at which the connection is given up. */
function look(...looks: [second: number, bytes: number][]): number[] {
  const sleep = new Sleep();
  return looks.filter(([second, bytes]) => sleep.look(bytes, second * 1_000)).map(([second]) => second);
}

test("after a sleep without a byte since, it is given up at the first look", () => {
  expect(look([0, 10], [1, 20], [3_600, 20])).toEqual([3_600]);
});

test("what came just before falling asleep is no sign of life", () => {
  expect(look([0, 10], [1, 20], [3_600, 25], [3_601, 25])).toEqual([3_601]);
});

test("it is kept where media still comes, as in a page whose clock was slowed down", () => {
  expect(look([0, 10], [60, 900], [120, 1_800], [121, 1_810], [122, 1_810])).toEqual([]);
});

test("silence alone is not sleep, nor is a short one", () => {
  expect(look([0, 10], [1, 10], [2, 10], [31, 10], [32, 10])).toEqual([]);
});
