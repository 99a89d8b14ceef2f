// Who loses packets on the way, and sees a whole picture all the same?
import assert from "node:assert/strict";
import test from "node:test";
import { board, Cable } from "./cable.mjs";
import { during, FREEZE_MS, judged } from "./seen.mjs";
import { Weather } from "./weather.mjs";

const SECONDS = Number(process.env.FAROL_NET_SECONDS ?? 30);

test("lost, late and reordered packets are repaired before the picture freezes", async (t) => {
  const cable = await Cable.lay(t);
  const weather = await Weather.rise(t);
  weather.cover(t, cable);
  const { daemon, link } = await board(t, [cable], { kbps: 1500, width: 640, height: 360 });
  const viewer = await cable.watch(t, link(cable));
  const skies = process.env.FAROL_NET_SKIES?.split(";") ?? ["delay 25ms 5ms loss 2%", "delay 25ms 5ms loss 10%"];
  for (const netem of skies) {
    await weather.turn(netem, process.env.FAROL_NET_UP ?? netem);
    await new Promise((passed) => setTimeout(passed, 2000));
    const round = () => during(viewer, SECONDS * 1000);
    await judged(t, netem, round, ({ freezes, gap_ms, decoded }) => {
      assert.equal(freezes, 0, `no gap over ${FREEZE_MS} ms: ${gap_ms} ms`);
      assert.ok(decoded >= SECONDS * 27, `nine of ten pictures are whole: ${decoded} in ${SECONDS} s`);
    });
    t.diagnostic(JSON.stringify(await weather.done()));
  }
  t.diagnostic(daemon.said.filter((line) => /encoder follows/.test(line)).map((line) => line.split(" ")[0] + line.match(/kbps=\d+/)).join(" "));
});
