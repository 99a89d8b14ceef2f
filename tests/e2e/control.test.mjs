// What the daemon tells and does over its control channel, from a page in a real browser.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { until } from "../lab/guest.mjs";
import { launch, open } from "./browser.mjs";
import { SMALL_PICTURE, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

const PATIENCE_MS = 30_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** A device, and pages on it with these rights each. */
async function pages(t, ...rights) {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, SMALL_PICTURE);
  const links = [];
  for (const [at, some] of rights.entries()) links.push(await board.pair(`viewer ${at}`, some));
  await board.start();
  const viewers = await Promise.all(links.map((link) => open(browser, link)));
  t.after(() => Promise.all(viewers.map((viewer) => viewer.close())));
  await Promise.all(viewers.map((viewer) => viewer.plays()));
  await Promise.all(viewers.map((viewer) => viewer.page.waitForFunction(() => document.querySelector("farol-camera").board !== undefined)));
  return viewers;
}

/** Asks the board from within the page, as the page's own buttons do. */
const asks = (viewer, request, ...args) =>
  viewer.page.evaluate(([name, values]) => document.querySelector("farol-camera").remote[name](...values), [request, args]);
const board = (viewer) => viewer.page.evaluate(() => document.querySelector("farol-camera").board);

test("the still button gives a JPEG of the whole picture, named by the time", async (t) => {
  const [viewer] = await pages(t, "view");
  const [file] = await Promise.all([viewer.page.waitForEvent("download", { timeout: PATIENCE_MS }), viewer.tap("still")]);
  assert.match(file.suggestedFilename(), /^farol-\d{4}(-\d\d){5}\.jpg$/);
  const jpeg = await readFile(await file.path());
  assert.deepEqual([jpeg[0], jpeg[1], jpeg.at(-2), jpeg.at(-1)], [0xff, 0xd8, 0xff, 0xd9], "from start to end of image");
  const glance = viewer.page.locator(".glance");
  await glance.waitFor();
  // The browser decodes it: its size, and the strips of the test picture at its top, black and white.
  const picture = await glance.evaluate(async (image) => {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const cells = Array.from({ length: 32 }, (_, bit) => context.getImageData((bit + 0.5) * (image.naturalWidth / 32), 3, 1, 1).data[1]);
    return { size: [image.naturalWidth, image.naturalHeight], cells };
  });
  assert.deepEqual(picture.size, [640, 360]);
  assert.ok(picture.cells.every((luma) => luma < 60 || luma > 195), `cells of ${picture.cells}`);
  assert.ok(new Set(picture.cells.map((luma) => luma > 127)).size === 2, "it shows something");
  await glance.waitFor({ state: "hidden" });
  assert.deepEqual(viewer.errors, []);
});

test("each viewer is told how the board is, and what it may do itself", async (t) => {
  const [owner, guest] = await pages(t, "view,listen,control", "view");
  await until("both counted", PATIENCE_MS, async () => (await board(owner)).watching === 2 && (await board(guest)).watching === 2);
  const { camera, microphone, talk, may } = await board(guest);
  assert.deepEqual({ camera, microphone, talk, may }, { camera: "ready", microphone: "ready", talk: "none", may: ["snapshot"] });
  assert.deepEqual(await asks(owner, "status"), { ok: true, value: await board(owner) });
  await guest.close();
  await until("one counted", PATIENCE_MS, async () => (await board(owner)).watching === 1);
  assert.deepEqual(owner.errors, []);
});

test("what a viewer has no right to is not shown, and refused by the device", async (t) => {
  const [owner, guest] = await pages(t, "view,control", "view,listen,talk");
  assert.deepEqual([await guest.page.locator("button.settings").isVisible(), await guest.page.locator(".panel").count()], [false, 1]);
  assert.equal(await guest.page.locator(".panel").isVisible(), false);
  for (const [request, ...args] of [["set", "brightness", 1], ["controls"], ["move", { pan: 1 }], ["lamp", 5], ["night", "day"]]) {
    const outcome = await asks(guest, request, ...args);
    assert.deepEqual([request, outcome.ok, outcome.code], [request, false, "denied"]);
    assert.notEqual(outcome.text, "");
  }
  // With the right, the same is judged by what the board has: a test picture has no controls.
  assert.deepEqual(await asks(owner, "controls"), { ok: true, value: [] });
  assert.equal((await asks(owner, "set", "brightness", 1)).code, "unknown");
});

test("a page that asks without end is answered at a bearable pace, and never refused", async (t) => {
  const [viewer] = await pages(t, "view,control");
  const outcomes = await viewer.page.evaluate(() => {
    const { remote } = document.querySelector("farol-camera");
    return Promise.all(Array.from({ length: 60 }, () => remote.status().then((outcome) => (outcome.ok ? "ok" : outcome.code))));
  });
  assert.deepEqual([...new Set(outcomes)], ["ok"]);
});
