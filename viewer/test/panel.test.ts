// What the panel does apart from drawing: values that are sent, names and words.
import { expect, test } from "vitest";

import { Latest } from "../src/latest";
import { wordsForAgo, wordsForAngle, wordsForBitrate, wordsForPath } from "../src/panel-words";
import { stillName } from "../src/still";

test("of many values only the newest is sent after the one on its way", async () => {
  const sent: number[] = [];
  const replies: ((outcome: string) => void)[] = [];
  const done: string[] = [];
  const latest = new Latest<number, string>(
    (value) => {
      sent.push(value);
      return new Promise((reply) => replies.push(reply));
    },
    (outcome) => done.push(outcome),
  );
  for (const value of [1, 2, 3, 4]) latest.put(value);
  expect([sent, latest.isBusy]).toEqual([[1], true]);
  replies[0]?.("first");
  await Promise.resolve();
  expect([sent, done]).toEqual([[1, 4], []]);
  replies[1]?.("second");
  await Promise.resolve();
  await Promise.resolve();
  expect([done, latest.isBusy]).toEqual([["second"], false]);
  latest.put(5);
  expect(sent).toEqual([1, 4, 5]);
});

test("a still is named by the viewer's clock", () => {
  expect(stillName(new Date(2026, 10, 2, 9, 3, 5))).toBe("farol-2026-11-02-09-03-05.jpg");
});

test("directions and times are said in words", () => {
  expect([wordsForAngle(12.4, "pan"), wordsForAngle(-5, "pan"), wordsForAngle(0.2, "pan")]).toEqual(["12° right", "5° left", "middle"]);
  expect([wordsForAngle(7, "tilt"), wordsForAngle(-7, "tilt"), wordsForAngle(-0.1, "tilt")]).toEqual(["7° up", "7° down", "level"]);
  expect([850_400, 1_940_000].map(wordsForBitrate)).toEqual(["850 kbit/s", "1.9 Mbit/s"]);
  expect([wordsForPath("host"), wordsForPath("prflx"), wordsForPath("relay"), wordsForPath(null)]).toEqual(["direct, local", "direct", "by a relay", "–"]);
  expect([20, 60, 150, 3_600, 7_300, 100_000, 200_000].map(wordsForAgo)).toEqual([
    "less than a minute ago", "1 minute ago", "3 minutes ago", "60 minutes ago", "2 hours ago", "28 hours ago", "2 days ago",
  ]);
});
