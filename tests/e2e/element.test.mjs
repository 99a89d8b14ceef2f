// The element <farol-camera> in a page of somebody else's, and what browsers do to a video behind its back.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { until } from "../lab/guest.mjs";
import { launch, open } from "./browser.mjs";
import { SMALL_PICTURE, demo, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

const PATIENCE_MS = 30_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Runs in the page: the video as the element has it. */
const video = (viewer, look) => viewer.page.evaluate(look);

/** Somebody else's page with the element in it, from a server of their own; its address. */
async function otherPage(t, link) {
  const script = await (await fetch(new URL("/farol-camera.js", link))).text();
  const html = `<!doctype html><script type="module" src="farol-camera.js"></script><farol-camera link="${link}"></farol-camera>`;
  const server = createServer(({ url }, response) => {
    const isScript = url.endsWith(".js");
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html").end(isScript ? script : html);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}

test("in a page of somebody else's it says bye when that page is left", async (t) => {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, SMALL_PICTURE);
  const link = await board.pair("Ana");
  const daemon = await board.start();
  const viewer = await open(browser, await otherPage(t, link));
  await viewer.plays();
  // What it says is sealed, and of what type it is is not. Not that the daemon says "viewer left": the browser lets go
  // of the connection with the page, and that may be heard first.
  const observer = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.mqttPort}`, { username: "farol", protocolVersion: 5 });
  t.after(() => observer.endAsync());
  const said = [];
  observer.on("message", (_, payload) => said.push(JSON.parse(payload.toString()).t));
  await observer.subscribeAsync("farol/1/+/in/+/+");
  await viewer.page.goto("about:blank");
  await until("its bye", PATIENCE_MS, () => said.includes("bye"));
  await daemon.line(/viewer left/);
  await viewer.close();
});

test("a picture that the browser pauses goes on, and offers a tap where it may not", async (t) => {
  const { page } = await demo(t);
  const viewer = await open(browser, page, {
    init: () => {
      const play = HTMLMediaElement.prototype.play;
      HTMLMediaElement.prototype.play = function () {
        return globalThis.mayPlay === false ? Promise.reject(new DOMException("", "NotAllowedError")) : play.call(this);
      };
    },
  });
  await viewer.plays();
  // As an iPhone does that leaves full screen.
  await video(viewer, () => document.querySelector("farol-camera").video.pause());
  await viewer.plays();
  assert.equal(await viewer.page.locator("button.play").isVisible(), false);

  await video(viewer, () => {
    globalThis.mayPlay = false;
    document.querySelector("farol-camera").video.pause();
  });
  await viewer.page.locator("button.play").waitFor({ timeout: PATIENCE_MS });
  await video(viewer, () => (globalThis.mayPlay = true));
  await viewer.tap("play");
  await viewer.plays();
  assert.equal(await viewer.page.locator("button.play").isVisible(), false);
  await viewer.close();
});

test("the first picture is there at once, and does not fade in", async (t) => {
  const { page } = await demo(t);
  const viewer = await open(browser, page);
  await viewer.plays();
  const live = await video(viewer, () => getComputedStyle(document.querySelector("farol-camera").video).transitionDuration);
  assert.equal(live, "0s");
  await viewer.close();
});

test("who hears the camera hears it again after it was away, also in a tab that nobody looks at", async (t) => {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, SMALL_PICTURE);
  const link = await board.pair("Ana");
  const daemon = await board.start();
  const viewer = await open(browser, link);
  await viewer.plays();
  await viewer.tap("sound");
  await viewer.hears();
  // A hidden tab draws no frames, so none is called back.
  await video(viewer, () => (HTMLVideoElement.prototype.requestVideoFrameCallback = () => 0));
  await daemon.kill();
  await (await board.start()).line(/viewer joined/);
  await until("sound in the element", PATIENCE_MS, () =>
    video(viewer, () => {
      const { srcObject } = document.querySelector("farol-camera").video;
      return (srcObject?.getAudioTracks().length ?? 0) > 0 && globalThis.farolTest.peers.length > 1;
    }));
  await viewer.hears();
  await viewer.close();
});
