// Whose network bears less than the camera gives?
import assert from "node:assert/strict";
import test from "node:test";
import { board, Cable } from "./cable.mjs";
import { during } from "./seen.mjs";

test("a link that becomes narrow is followed, and used again when it is wide", async (t) => {
  const cable = await Cable.lay(t);
  cable.narrow(4000);
  const { daemon, link } = await board(t, [cable]);
  const viewer = await cable.watch(t, link(cable));
  const wide = await during(viewer, 5000);
  cable.narrow(1000);
  const step = await during(viewer, 5000);
  const narrow = await during(viewer, 10_000);
  cable.narrow(4000);
  const back = await during(viewer, 5000);
  const again = await during(viewer, 5000);
  for (const [name, figures] of Object.entries({ wide, step, narrow, back, again })) t.diagnostic(`${name}: ${JSON.stringify(figures)}`);
  t.diagnostic(daemon.said.filter((line) => /encoder follows/.test(line)).map((line) => line.split(" ")[0] + line.match(/kbps=\d+/)).join(" "));
  assert.ok(narrow.kbps >= 500, `half of the narrow link is used at least: ${narrow.kbps} kbit/s`);
  assert.ok(narrow.gap_ms < 1000 && narrow.fps > 15, "it moves");
});
