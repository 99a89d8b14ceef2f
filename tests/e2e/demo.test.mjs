// What a person sees who starts `farol demo` and opens its page.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as passed } from "node:timers/promises";
import { launch, open } from "./browser.mjs";
import { demo } from "./daemon.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

test("a page that is opened late plays at once and loses nothing in 20 s", async (t) => {
  const { daemon, page } = await demo(t);
  await passed(3_000);
  assert.ok(!daemon.said.some((line) => /camera delivers/.test(line)), "the camera rests while nobody watches");
  const viewer = await open(browser, page);
  const first = await viewer.plays();
  await viewer.tap("sound");
  await passed(20_000);
  const last = await viewer.plays();
  await viewer.shot("demo");

  const drawn = last.counter - first.counter;
  const decoded = last.stats.framesDecoded - first.stats.framesDecoded;
  const shown = last.presentedFrames - first.presentedFrames;
  const energy = last.stats.totalAudioEnergy - first.stats.totalAudioEnergy;
  const { pair } = last.stats;
  t.diagnostic(`${drawn} frames drawn, ${decoded} decoded, ${shown} shown; picture ${last.age_ms} ms old; ${pair}`);
  assert.deepEqual([last.width, last.height], [1280, 720]);
  assert.ok(drawn > 300, `${drawn} frames were drawn in 20 s`);
  assert.ok(decoded >= 0.98 * drawn, `${decoded} of ${drawn} frames were decoded`);
  assert.ok(energy > 0, "the tone is heard");
  assert.equal(await viewer.title(), "");
  assert.equal(await viewer.answered(), 1);
  assert.deepEqual(viewer.errors, []);
  await viewer.close();
  await daemon.line(/viewer left/);
  await daemon.line(/camera rests/);
});

test("two pages that answer the same offer both play", async (t) => {
  const { page } = await demo(t);
  // Neither answers before the other has the offer too.
  let arrived = 0;
  let bothThere;
  const both = new Promise((resolve) => (bothThere = resolve));
  const viewers = await Promise.all([0, 1].map(async () => {
    const context = await browser.newContext();
    await context.exposeFunction("bothHaveTheOffer", () => {
      arrived += 1;
      if (arrived === 2) bothThere();
      return both;
    });
    return open({ newContext: () => context }, page, {
      init: () => {
        const make = RTCPeerConnection.prototype.createAnswer;
        globalThis.offers = [];
        RTCPeerConnection.prototype.createAnswer = async function (...args) {
          globalThis.offers.push(this.remoteDescription.sdp.match(/a=ice-ufrag:(\S+)/)[1]);
          if (globalThis.offers.length === 1) await globalThis.bothHaveTheOffer();
          return make.apply(this, args);
        };
      },
    });
  }));
  await Promise.all(viewers.map((viewer) => viewer.plays()));
  const offers = await Promise.all(viewers.map((viewer) => viewer.page.evaluate(() => globalThis.offers)));
  assert.equal(offers[0][0], offers[1][0], "both had the standing offer");
  assert.notEqual(offers[0].at(-1), offers[1].at(-1), "each has a connection of its own");
  assert.deepEqual(offers.map((list) => list.length).sort(), [1, 2], "one won the standing offer, one was given its own");
  await Promise.all(viewers.map((viewer) => viewer.close()));
});

test("every tab sees a picture at once, and not when its connection to the broker is next used", async (t) => {
  // That is after 30 s, and brought a Chromium whose ICE had not begun back to it.
  const WELL_BEFORE_MS = 15_000;
  const { page } = await demo(t);
  const context = await browser.newContext();
  for (let tab = 0; tab < 24; tab += 1) {
    // As it is: what the other tests put into it would give the browser time.
    const opened = await context.newPage();
    await opened.goto(page, { waitUntil: "commit" });
    const isSeen = () => document.querySelector("farol-camera")?.video?.videoWidth > 0;
    await opened.waitForFunction(isSeen, undefined, { timeout: WELL_BEFORE_MS });
    await opened.goto("about:blank");
    await opened.close();
  }
  await context.close();
});

test("a browser without H.264 hears the camera and says why there is no picture", async (t) => {
  const { page } = await demo(t);
  const viewer = await open(browser, page, {
    // To the browser the camera then offers a codec that nobody has, so it rejects the section itself.
    init: () => {
      const set = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
        return set.call(this, { type, sdp: sdp.replaceAll("H264/90000", "H26X/90000") });
      };
    },
  });
  assert.match(await viewer.says("No picture in this browser"), /another browser.*Sound still works.*no-h264/);
  await viewer.tap("sound");
  await viewer.hears();
  await viewer.shot("no-h264");
  assert.deepEqual(viewer.errors, []);
  await viewer.close();
});
