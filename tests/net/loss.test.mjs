// Who loses packets on the way, and sees a whole picture all the same?
//
// Chromium asks for a missing packet as soon as the next has come, so a picture waits for one round trip, 60 ms
// here, and for two where the request or the repeated packet is lost as well: at 10% in both directions one try of
// five fails. Seven in a row, half a second nearly, happen to one of 100,000 lost packets; half a minute loses 400.
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as passed } from "node:timers/promises";
import { board, Cable } from "./cable.mjs";
import { during, FREEZE_MS, judged } from "./seen.mjs";
import { Weather } from "./weather.mjs";

const SECONDS = 30;
/** Both ways: a round trip of 50 ms, and one packet of fifty overtakes all that are on their way. */
const SKIES = [
  { name: "loss of 2%", netem: "delay 25ms reorder 2% loss 2%" },
  { name: "loss of 10%", netem: "delay 25ms reorder 2% loss 10%" },
];

function taken(list, n) {
  const [one] = list.splice(n, 1, undefined);
  return one;
}

test("lost, late and reordered packets are repaired before the picture freezes", async (t) => {
  const skies = process.env.FAROL_NET_SKIES?.split(";").map((netem) => ({ name: netem, netem })) ?? SKIES;
  const cables = [];
  for (const _ of skies) cables.push(await Cable.lay(t));
  const weather = await Weather.rise(t, cables);
  const { link } = await board(t, cables, { kbps: 1500, width: 640, height: 360, policy: "majority" });
  const viewers = [];
  for (const [n, cable] of cables.entries()) {
    viewers.push(await cable.watch(t, link(cable)));
    await weather.turn(cable, skies[n].netem);
  }
  await passed(2000);
  // All at the same time; who has to be looked at once more is so alone.
  const first = viewers.map((viewer) => during(viewer, SECONDS * 1000));
  await Promise.all(skies.map(({ name }, n) => {
    const round = () => first[n] === undefined ? during(viewers[n], SECONDS * 1000) : taken(first, n);
    return judged(t, name, round, ({ freezes, gap_ms, decoded, seconds }) => {
      assert.equal(freezes, 0, `no gap over ${FREEZE_MS} ms: ${gap_ms} ms`);
      assert.ok(decoded >= seconds * 27, `nine of ten pictures are whole: ${decoded} in ${seconds} s`);
    });
  }));
  for (const [n, cable] of cables.entries()) t.diagnostic(`${skies[n].name}: ${JSON.stringify(await weather.done(cable))}`);
});
