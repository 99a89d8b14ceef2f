// Does everybody get every picture, however many they are, and whatever one of them does? Counted, not timed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as passed } from "node:timers/promises";
import { Viewers } from "../bench/rig.mjs";
import { launch, open } from "./browser.mjs";
import { device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

/** Of the pictures that were sent after somebody had joined. */
const SHARE = 0.99;
const WATCHED_MS = 4_000;
/** Every viewer is told when a picture was captured, but rounds it in its own way. */
const SAME_MS = 5;
/** A browser's counters are read a moment before or after those of the others. */
const BETWEEN_READINGS = 3;
/** Small, since as many as that share the test's machine with their encoder and with a browser. */
const CAMERA = `
    [signalling]
    security = "open"
    max_viewers = 64
    [video]
    source = "pattern"
    width = 320
    height = 180
    fps = 25
    bitrate_kbps = 300
    [audio]
    source = "none"`;

/** A test's context for somebody who leaves before it ends. */
const until_the_end = (t) => ({ after: (undo) => t.after(undo) });

/** What each of several groups received in a while, during which `meanwhile` may do something. */
async function watch(groups) {
  for (const group of groups) group.mark();
  await passed(WATCHED_MS);
  return (await Promise.all(groups.map((group) => group.tell()))).flat();
}

/** Checks that each of `viewers` got what anybody got between the first and the last that all could have. */
function assertEveryPicture(viewers, what) {
  const times = viewers.map(({ pictures }) => pictures.map(([captured_ms]) => captured_ms));
  const from = Math.max(...times.map((all) => all[0] ?? Infinity)) - SAME_MS;
  const to = Math.min(...times.map((all) => all.at(-1) ?? -Infinity)) + SAME_MS;
  const inside = (all) => all.filter((time) => time >= from && time <= to);
  const sorted = times.flatMap(inside).sort((a, b) => a - b);
  const sent = sorted.filter((time, n) => n === 0 || time - sorted[n - 1] > SAME_MS).length;
  assert.ok(sent > WATCHED_MS / 100, `${what}: hardly a picture was sent: ${sent}`);
  times.forEach((all, n) => {
    const { broken } = viewers[n];
    const got = inside(all).length;
    assert.ok(got >= SHARE * sent, `${what}: viewer ${n} got ${got} whole pictures of ${sent}, ${broken} broken`);
  });
  return sent;
}

test("1, 4, 16 and 32 viewers each get every picture, and one that reads nothing costs nobody any", async (t) => {
  const scope = until_the_end(t);
  const broker = await Mosquitto.start(t, { rules: "" });
  const board = await device(t, broker, CAMERA);
  const link = await board.openLink();
  const daemon = await board.start({ log: "info" });
  const browser = await launch();
  t.after(() => browser.close());
  const page = await open(browser, link);
  await page.plays();

  const groups = [];
  let count = 1;
  for (const more of [0, 3, 12, 15, 1]) {
    if (more > 0) groups.push(await Viewers.join(scope, "farol", broker.mqttPort, more));
    count += more;
    if (more === 15) continue; // The last comes alone, so that it can be stopped.
    const before = (await page.stats()).framesReceived;
    const viewers = await watch(groups);
    if (viewers.length === 0) {
      assert.ok((await page.stats()).framesReceived > before, "the page's picture stands still");
      continue;
    }
    const sent = assertEveryPicture(viewers, `${count} viewers`);
    const received = (await page.stats()).framesReceived - before;
    assert.ok(received >= SHARE * sent - BETWEEN_READINGS, `${count} viewers: the page got ${received} pictures of ${sent}`);
    t.diagnostic(`${count} viewers: ${sent} pictures to each, ${received} to the page`);
  }

  const others = groups.slice(0, -1);
  const stopped = groups.at(-1);
  stopped.stall();
  const sent = assertEveryPicture(await watch(others), "while one reads nothing");
  t.diagnostic(`while one reads nothing: ${sent} pictures to each of the others`);
  stopped.wake();
  stopped.mark();
  await passed(WATCHED_MS);
  const [woken] = await stopped.tell();
  assert.ok(woken.pictures.length > 0, "it gets pictures again once it reads");
  assert.equal(daemon.said.filter((line) => /viewer left/.test(line)).length, 0, "nobody was sent away");
});
