// One of four viewers has a network that becomes narrow. What do the other three see of it, and what does it see?
import assert from "node:assert/strict";
import test from "node:test";
import { board, Cable } from "./cable.mjs";
import { during, FREEZE_MS, judged } from "./seen.mjs";

const KBPS = 2500;
const FPS = 24;
const WIDE_KBIT = 4000;
const NARROW_KBIT = 1000;

/** Four viewers watch; the link of the last is narrowed for a while, and widened. What each sees in each part. */
async function step(t, substream) {
  const cables = [];
  for (let n = 0; n < 4; n += 1) cables.push(await Cable.lay(t));
  for (const cable of cables) cable.narrow(WIDE_KBIT);
  const config = `substream = "${substream}"\nfps = ${FPS}`;
  const { daemon, link } = await board(t, cables, { kbps: KBPS, width: 960, height: 540, policy: "majority", config });
  const viewers = [];
  for (const cable of cables) viewers.push(await cable.watch(t, link(cable)));
  const slow = cables.at(-1);
  const all = (ms) => Promise.all(viewers.map((viewer) => during(viewer, ms)));
  const size = () => viewers.at(-1).page.evaluate(() => document.querySelector("farol-camera").video.videoWidth);
  return {
    round: async () => {
      await all(3000);
      const before = await all(5000);
      slow.narrow(NARROW_KBIT);
      const narrow = await all(15_000);
      const narrow_width = await size();
      slow.narrow(WIDE_KBIT);
      const back = await all(15_000);
      return { before, narrow, narrow_width, back, back_width: await size() };
    },
    daemon,
  };
}

/**
 * The other three get every picture, as good as before, and the slow one moves all the time. How many pictures the
 * camera gives is the machine's to say.
 */
function check({ before, narrow, back }) {
  const [slow, ...others] = [narrow.at(-1), ...narrow.slice(0, -1)];
  const most = Math.max(...others.map((seen) => seen.fps));
  for (const [n, seen] of others.entries()) {
    assert.ok(seen.gap_ms <= FREEZE_MS, `viewer ${n} has a gap of ${seen.gap_ms} ms`);
    assert.ok(seen.fps >= 0.85 * most, `viewer ${n} has ${seen.fps} pictures a second of ${most}`);
    const [now, then] = [seen.kbps / seen.fps, before[n].kbps / before[n].fps];
    assert.ok(now >= 0.8 * then, `viewer ${n} gets ${now} kbit for a picture that had ${then}`);
  }
  assert.ok(slow.gap_ms <= FREEZE_MS, `the slow one has a gap of ${slow.gap_ms} ms`);
  assert.ok(back.at(-1).gap_ms <= FREEZE_MS, `the slow one has a gap of ${back.at(-1).gap_ms} ms when its link is wide again`);
}

/** How many of the pictures that the others get the slow one has. */
const share = (seen) => seen.at(-1).fps / seen[0].fps;

test("one viewer of four on a narrow link gets a smaller picture that moves, and the others theirs", async (t) => {
  const { round, daemon } = await step(t, "auto");
  t.after(() => t.diagnostic(daemon.said.filter((line) => /another encode|substream|second encode/.test(line)).join("\n")));
  await judged(t, "with a substream", round, (figures) => {
    check(figures);
    assert.equal(figures.narrow_width, 480, "the slow one is on the substream");
    assert.ok(share(figures.narrow) >= 0.8, `and has ${share(figures.narrow)} of its pictures`);
    assert.equal(figures.back_width, 960, "and is off it when there is room again");
  });
});

test("without a second encode one viewer of four on a narrow link gets fewer pictures, and the others theirs", async (t) => {
  const { round } = await step(t, "off");
  await judged(t, "thinned", round, (figures) => {
    check(figures);
    assert.equal(figures.narrow_width, 960, "there is one encode");
    assert.ok(share(figures.back) >= 0.7, `and most of it comes when there is room again: ${share(figures.back)}`);
  });
});
