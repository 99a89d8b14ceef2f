// Whose network bears less than the camera gives, and what is sent there?
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as passed } from "node:timers/promises";
import { board, Cable } from "./cable.mjs";
import { between, during, judged, now } from "./seen.mjs";

const CAMERA_KBPS = 3000;
const WIDE_KBPS = 4000;
const NARROW_KBPS = 1000;
/** Of the narrow link, on the wire. */
const USED_SHARE = 0.7;
/** Between two frames that are shown, while the link changes: no longer than a blink. */
const GAP_MS = 300;
const FULL_WITHIN_MS = 5000;
/** Of what the camera gives: from here on nobody sees a difference. */
const FULL_SHARE = 0.9;

/** What the encoder was told since a line of the log, in kbit/s. */
function ordered(daemon, from = 0) {
  return daemon.said.slice(from).flatMap((line) => line.match(/encoder follows.*kbps=(\d+)/)?.slice(1).map(Number) ?? []);
}

/** Narrow for ten seconds, then wide until the encoder gives its best again. */
async function step(cable, daemon, viewer) {
  const from = await now(viewer);
  cable.narrow(NARROW_KBPS);
  const at_once = await during(viewer, 2000);
  const [sent, began] = [cable.passed(), performance.now()];
  const narrow = await during(viewer, 8000);
  const used = ((cable.passed() - sent) * 8) / (performance.now() - began) / NARROW_KBPS;
  const widened = daemon.said.length;
  cable.narrow(WIDE_KBPS);
  const wide_at = performance.now();
  const after_ms = () => Math.round(performance.now() - wide_at);
  const climb = [];
  while (after_ms() < 1.6 * FULL_WITHIN_MS && !(climb.at(-1)?.kbps >= FULL_SHARE * CAMERA_KBPS)) {
    await passed(20);
    for (const kbps of ordered(daemon, widened).slice(climb.length)) climb.push({ after_ms: after_ms(), kbps });
  }
  const full_after_ms = climb.find(({ kbps }) => kbps >= FULL_SHARE * CAMERA_KBPS)?.after_ms;
  const { gap_ms, disturbed_ms } = await between(viewer, from, await now(viewer));
  const climbed = climb.map(({ after_ms, kbps }) => `${after_ms}:${kbps}`).join(" ");
  return { used: Number(used.toFixed(2)), gap_ms, full_after_ms, disturbed_ms, climbed, at_once, narrow };
}

test("a link that becomes narrow is followed, and used again when it is wide", async (t) => {
  const cable = await Cable.lay(t);
  cable.narrow(WIDE_KBPS);
  const { daemon, link } = await board(t, [cable], { kbps: CAMERA_KBPS });
  const viewer = await cable.watch(t, link(cable));
  await passed(3000);
  const round = () => step(cable, daemon, viewer);
  await judged(t, "from 4 to 1 Mbit/s and back", round, ({ used, gap_ms, full_after_ms, narrow }) => {
    assert.ok(gap_ms <= GAP_MS, `the longest gap is ${gap_ms} ms`);
    assert.ok(used >= USED_SHARE, `${used} of the narrow link are used`);
    assert.ok(narrow.decoded >= 8 * 25, `it moves while it is narrow: ${narrow.decoded} pictures in 8 s`);
    assert.ok(full_after_ms <= FULL_WITHIN_MS, `the encoder is back at ${FULL_SHARE} of its rate after ${full_after_ms} ms`);
  });
});

test("after an outage of a second the picture is back within a second", async (t) => {
  const cable = await Cable.lay(t);
  cable.narrow(WIDE_KBPS);
  const { link } = await board(t, [cable], { kbps: 1500, width: 640, height: 360 });
  const viewer = await cable.watch(t, link(cable));
  const round = async () => {
    await passed(2000);
    cable.outage(true);
    await passed(1000);
    const from = await now(viewer);
    const meanwhile = await between(viewer, from - 500, from);
    cable.outage(false);
    const after = await during(viewer, 3000);
    // The first of three frames in a row: one alone may have come late out of a buffer.
    const [back_after_ms] = await viewer.page.evaluate(
      (from) => globalThis.shown.filter((at) => at > from).flatMap((at, n, all) => (all[n + 2] - at < 200 ? [Math.round(at - from)] : [])),
      from,
    );
    return { back_after_ms, shown_meanwhile: meanwhile.frames, after };
  };
  await judged(t, "an outage of 1 s", round, ({ back_after_ms, shown_meanwhile, after }) => {
    assert.equal(shown_meanwhile, 0, "nothing passes during the outage");
    assert.ok(back_after_ms <= 1000, `it is back after ${back_after_ms} ms`);
    assert.ok(after.frames >= 45, `and goes on: ${after.frames} frames in 3 s`);
  });
});
