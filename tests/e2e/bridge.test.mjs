// Does the page reach a broker without a WebSocket listener, through the daemon's own port?
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, open } from "./browser.mjs";
import { SMALL_PICTURE, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

test("a sealed link shows the picture with MQTT by the page's port", async (t) => {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, SMALL_PICTURE, { bridge: true });
  const link = await board.pair("Ana");
  assert.match(link, /ws:\/\/127\.0\.0\.1:\d+\/mqtt$/);
  await board.start();
  const browser = await launch();
  t.after(() => browser.close());
  const viewer = await open(browser, link);
  const picture = await viewer.plays();
  assert.equal(picture.width, 640);
  assert.deepEqual(viewer.errors, []);
});
