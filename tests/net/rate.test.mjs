// Whose network bears less than the camera gives?
import assert from "node:assert/strict";
import test from "node:test";
import { device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { Cable, during } from "./cable.mjs";

const CAMERA = (policy) => `
    [video]
    source = "pattern"
    width = 1280
    height = 720
    bitrate_kbps = 3000
    rate_policy = "${policy}"
    [signalling]
    security = "open"`;

/** The daemon, and the page's address as somebody at the end of a cable has it. */
async function board(t, cables, policy) {
  const broker = await Mosquitto.start(t, { rules: "" });
  const addresses = cables.map((cable) => cable.device);
  const board = await device(t, broker, CAMERA(policy), { addresses, listen: "0.0.0.0" });
  const daemon = await board.start();
  const open = await board.openLink();
  return { daemon, link: (cable) => open.replaceAll("127.0.0.1", cable.device) };
}

test("a link that becomes narrow is followed, and used again when it is wide", async (t) => {
  const cable = await Cable.lay(t);
  cable.narrow(4000);
  const { daemon, link } = await board(t, [cable], "slowest");
  const viewer = await cable.watch(t, link(cable));
  const wide = await during(viewer, 5000);
  cable.narrow(1000);
  const step = await during(viewer, 5000);
  const narrow = await during(viewer, 10_000);
  cable.narrow(4000);
  const back = await during(viewer, 5000);
  const again = await during(viewer, 5000);
  t.diagnostic(JSON.stringify({ wide, step, narrow, back, again }));
  t.diagnostic(daemon.said.filter((line) => /encoder follows/.test(line)).map((line) => line.split(" ")[0] + line.match(/kbps=\d+/)).join(" "));
  assert.ok(narrow.kbps >= 500, `half of the narrow link is used at least: ${narrow.kbps} kbit/s`);
  assert.ok(narrow.gap_ms < 1000 && narrow.fps > 15, "it moves");
});
