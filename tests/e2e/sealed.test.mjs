// A device of one's own: `farol run` at a Mosquitto, messages sealed, a link for each person, and what goes wrong.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as passed } from "node:timers/promises";
import { launch, open } from "./browser.mjs";
import { SMALL_PICTURE, demo, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** A broker, a running device, and a link to it. */
async function camera(t, { config = SMALL_PICTURE, rights, env } = {}) {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, config);
  const link = await board.pair("Ana", rights);
  const daemon = await board.start({ env });
  return { broker, board, daemon, link };
}

test("a page that is opened late on a paired link plays at once and loses nothing in 20 s", async (t) => {
  const { daemon, link } = await camera(t);
  await passed(3_000);
  const viewer = await open(browser, link);
  const first = await viewer.plays();
  await viewer.tap("sound");
  await passed(20_000);
  const last = await viewer.plays();
  await viewer.shot("sealed");

  const drawn = last.counter - first.counter;
  const decoded = last.stats.framesDecoded - first.stats.framesDecoded;
  const { pair } = last.stats;
  t.diagnostic(`${drawn} frames drawn, ${decoded} decoded; picture ${last.age_ms} ms old; ${pair}`);
  assert.ok(drawn > 300, `${drawn} frames were drawn in 20 s`);
  assert.ok(decoded >= 0.98 * drawn, `${decoded} of ${drawn} frames were decoded`);
  assert.ok(last.stats.totalAudioEnergy > first.stats.totalAudioEnergy, "the tone is heard");
  assert.equal(await viewer.page.title(), "Porch · farol");
  assert.equal(await viewer.page.locator("button.talk").isVisible(), false, "the link has no right to talk");
  assert.deepEqual(viewer.errors, []);
  const messages = daemon.said.filter((line) => /refused messages/.test(line));
  assert.deepEqual(messages, []);
  await viewer.close();
});

test("the key leaves the address bar, and a reload still plays", async (t) => {
  const { link } = await camera(t);
  const viewer = await open(browser, link);
  await viewer.plays();
  const address = link.split("#")[0];
  await viewer.page.waitForURL(address);
  await viewer.page.reload();
  assert.equal(viewer.page.url(), address);
  await viewer.plays();
  assert.deepEqual(viewer.errors, []);
  await viewer.close();
});

test("a link whose key is wrong, a damaged one, and a camera that is off are told in words", async (t) => {
  const { daemon, link } = await camera(t);
  const [page, fragment] = link.split("#");
  const [version, id, kid, key, ...url] = fragment.split(".");
  const other_key = "A".repeat(key.length);

  const stranger = await open(browser, `${page}#${[version, id, kid, other_key, ...url].join(".")}`);
  assert.match(await stranger.says("The key does not fit"), /ask for a new one/);
  await stranger.shot("wrong-key");
  await stranger.close();

  const damaged = await open(browser, link.replace(`.${kid}.`, `.${kid.slice(1)}.`));
  assert.match(await damaged.says("The link is damaged"), /Copy the whole link/);
  await damaged.shot("damaged");
  await damaged.close();

  // One page is open when the camera goes; another is opened afterwards, where somebody else serves it.
  const viewer = await open(browser, link);
  await viewer.plays();
  await daemon.stop();
  assert.match(await viewer.says("Camera offline"), /power and network/);
  const elsewhere = await demo(t);
  const late = await open(browser, `${elsewhere.page}#${fragment}`);
  await late.says("Camera offline");
  await late.shot("offline");
  await Promise.all([viewer.close(), late.close()]);
});

test("the picture outlives the broker, and a new page gets in once it is back", async (t) => {
  const { broker, daemon, link } = await camera(t);
  const viewer = await open(browser, link);
  const before = await viewer.plays();
  await broker.kill();
  await daemon.line(/closed the connection/);
  await passed(3_000);
  const during = await viewer.plays();
  assert.ok(during.counter > before.counter);
  const heard = daemon.said.length;
  await broker.run();
  await daemon.line(/connected to the broker/, heard);

  const late = await open(browser, link);
  await late.plays();
  await viewer.plays();
  assert.equal(await viewer.answered(), 1, "the first page kept its connection");
  await Promise.all([viewer.close(), late.close()]);
});

test("a daemon that was killed and started again is found by the page itself", async (t) => {
  const { board, daemon, link } = await camera(t);
  const viewer = await open(browser, link);
  await viewer.plays();
  await daemon.kill();
  const again = await board.start();
  await again.line(/viewer joined/);
  await viewer.plays();
  await viewer.close();
});

test("a viewer for whom there is no place reads so, and gets in when one is free", async (t) => {
  const { link } = await camera(t, { config: `[signalling]\nmax_viewers = 1\n${SMALL_PICTURE}` });
  const first = await open(browser, link);
  await first.plays();
  const second = await open(browser, link);
  assert.match(await second.says("All places are taken"), /as many viewers as it can serve/);
  await second.shot("full");
  await first.plays();
  await first.close();
  await second.plays();
  await second.close();
});

/** A device with a loudspeaker, and a page that may talk, with a microphone; `asked` in the page counts and keeps its tracks. */
async function talker(t) {
  // A speaker without hardware: ALSA's own sink, known by a configuration that stands in for the system's.
  const directory = await mkdtemp(join(tmpdir(), "farol-alsa-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const env = { ALSA_CONFIG_PATH: join(directory, "asound.conf") };
  await writeFile(env.ALSA_CONFIG_PATH, "pcm.sink { type null }");
  const config = `${SMALL_PICTURE}
    [talkback]
    device = "sink"`;
  const { board, daemon, link } = await camera(t, { rights: "view,listen,talk", config, env });
  const talking = await launch({ microphone: true });
  t.after(() => talking.close());
  const viewer = await open(talking, link, {
    init: () => {
      const ask = MediaDevices.prototype.getUserMedia;
      globalThis.asked = [];
      MediaDevices.prototype.getUserMedia = async function (...args) {
        const at = globalThis.asked.push(undefined) - 1;
        // The person takes their time.
        await new Promise((passed) => setTimeout(passed, 500));
        const stream = await ask.apply(this, args);
        globalThis.asked[at] = stream.getTracks()[0];
        return stream;
      };
    },
  });
  await viewer.plays();
  return {
    board, daemon, env, viewer,
    /** Each microphone that was asked for: whether it is open. */
    microphones: () => viewer.page.evaluate(() => globalThis.asked.map((track) => track?.readyState)),
    isPressed: async () => (await viewer.page.locator("button.talk").getAttribute("aria-pressed")) === "true",
  };
}

test("a microphone is asked for by a tap alone, and reaches the camera", async (t) => {
  const { daemon, viewer, microphones, isPressed } = await talker(t);
  assert.deepEqual(await microphones(), []);
  assert.ok(!daemon.said.some((line) => /viewer sends sound/.test(line)), "nothing is sent unasked");
  await viewer.tap("talk");
  await viewer.tap("talk");
  await daemon.line(/viewer speaks/);
  assert.deepEqual(await microphones(), ["live"], "an impatient second tap opens no second one");
  assert.equal(await isPressed(), true);
  await viewer.shot("talk");
  await viewer.tap("talk");
  assert.equal(await isPressed(), false);
  await daemon.line(/viewer stopped speaking/);
  assert.deepEqual(await microphones(), ["ended"]);
  assert.deepEqual(viewer.errors, []);
});

test("who was talking when the camera went is not heard by it when it comes back", async (t) => {
  const { board, daemon, env, viewer, microphones, isPressed } = await talker(t);
  await viewer.tap("talk");
  await daemon.line(/viewer speaks/);
  await daemon.stop();
  await viewer.says("Camera offline");
  assert.deepEqual(await microphones(), ["ended"]);
  const again = await board.start({ env });
  await viewer.plays();
  await passed(2_000);
  assert.equal(await isPressed(), false);
  assert.deepEqual(again.said.filter((line) => /viewer speaks/.test(line)), []);
});
