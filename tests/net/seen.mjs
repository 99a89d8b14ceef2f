// What does a viewer see of a camera behind a bad network? Counted by the browser itself, frame by frame.
//
// A freeze is a gap of over half a second between two frames that were shown: below that a person sees the
// picture stumble, above it they wonder whether it has stopped. `freezeCount` of the browser's own statistics
// misses one that has not ended, so gaps are measured here.
//
// Timers of the page stumble where the machine has no time for the browser: a round in which they did says
// little about the network. `judged` lets such a round be done again.
import assert from "node:assert/strict";

/** A gap between two frames from which on it is a freeze, in ms. */
export const FREEZE_MS = 500;
const TICK_MS = 20;
const COUNTED = [
  "packetsReceived", "packetsLost", "bytesReceived", "framesReceived", "framesDecoded", "framesDropped",
  "keyFramesDecoded", "nackCount", "pliCount", "firCount", "retransmittedPacketsReceived", "freezeCount",
];

/** From now on the page notes when each frame is shown, and when its timers ran late. */
export function count(viewer) {
  return viewer.page.evaluate((tick_ms) => {
    const { video } = document.querySelector("farol-camera");
    globalThis.shown = [];
    globalThis.late = [];
    const note = (now) => {
      globalThis.shown.push(now);
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
    let last = performance.now();
    setInterval(() => {
      const now = performance.now();
      globalThis.late.push([now, now - last - tick_ms]);
      last = now;
    }, tick_ms);
  }, TICK_MS);
}

/** The page's clock, for `between`. */
export const now = (viewer) => viewer.page.evaluate(() => performance.now());

/** The browser's counters of the video that comes in, over all connections of the page's life. */
async function counters(viewer) {
  return viewer.page.evaluate(async (names) => {
    const sum = Object.fromEntries(names.map((name) => [name, 0]));
    for (const peer of globalThis.farolTest.peers) {
      for (const report of (await peer.getStats()).values()) {
        if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
        for (const name of names) sum[name] += report[name] ?? 0;
      }
    }
    return sum;
  }, COUNTED);
}

/** When frames were shown between two moments of the page's clock, with the gaps at both ends. */
export async function between(viewer, from, to) {
  const { shown, late } = await viewer.page.evaluate(
    ([from, to]) => ({
      // The last frame before counts: a gap that began there is seen here.
      shown: [globalThis.shown.filter((at) => at <= from).at(-1) ?? from, ...globalThis.shown.filter((at) => at > from && at <= to), to],
      late: Math.max(0, ...globalThis.late.filter(([at]) => at > from && at <= to).map(([, late]) => late)),
    }),
    [from, to],
  );
  const gaps = shown.slice(1).map((at, n) => at - shown[n]);
  return {
    seconds: Math.round((to - from) / 100) / 10,
    frames: shown.length - 2,
    fps: Math.round(((shown.length - 2) / (to - from)) * 10_000) / 10,
    gap_ms: Math.round(Math.max(...gaps)),
    // Of frames that came later than two others would have.
    late_frames: gaps.slice(0, -1).filter((gap) => gap > 100).length,
    freezes: gaps.filter((gap) => gap > FREEZE_MS).length,
    disturbed_ms: Math.round(late),
  };
}

/** What a viewer sees during the next `ms`, or while `meanwhile` runs: frames, gaps, and what came in. */
export async function during(viewer, ms, meanwhile) {
  const before = await counters(viewer);
  const from = await now(viewer);
  await (meanwhile ?? (() => new Promise((passed) => setTimeout(passed, ms))))();
  const to = await now(viewer);
  const after = await counters(viewer);
  const got = Object.fromEntries(COUNTED.map((name) => [name, after[name] - before[name]]));
  return {
    ...(await between(viewer, from, to)),
    kbps: Math.round((got.bytesReceived * 8) / (to - from)),
    packets: got.packetsReceived,
    lost: got.packetsLost,
    repaired: got.retransmittedPacketsReceived,
    nacks: got.nackCount,
    plis: got.pliCount + got.firCount,
    keyframes: got.keyFramesDecoded,
    decoded: got.framesDecoded,
    dropped: got.framesDropped,
  };
}

/**
 * Does a round until one keeps its bounds, at most three times: what a busy machine does to one says nothing
 * about the daemon, and one that is broken keeps them never. `judge` throws what is wrong with a round's figures.
 */
export async function judged(t, what, round, judge) {
  for (let left = 2; ; left -= 1) {
    const figures = await round();
    t.diagnostic(`${what}: ${JSON.stringify(figures)}`);
    try {
      return judge(figures);
    } catch (wrong) {
      if (!(wrong instanceof assert.AssertionError) || left === 0) throw wrong;
      t.diagnostic(`${what}: ${wrong.message}; once more`);
    }
  }
}
