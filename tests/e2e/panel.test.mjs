// What a person sees of the board behind the picture, and what their taps ask of it.
//
// The board is a played one (played-board.mjs), since no test machine has servos and a lamp; the daemon's own
// answers are in control.test.mjs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "../lab/guest.mjs";
import { launch, open } from "./browser.mjs";
import { demo } from "./daemon.mjs";
import { playBoard } from "./played-board.mjs";

const PATIENCE_MS = 30_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** The page on a live picture, with a played board. */
async function watching(t, options) {
  const { page } = await demo(t);
  const viewer = await open(browser, page, options);
  t.after(() => viewer.close());
  await viewer.plays();
  const board = await playBoard(viewer);
  /** Waits until the page has asked for this. */
  const asks = (request) =>
    until(`${JSON.stringify(request)} asked of the board`, PATIENCE_MS, async () =>
      (await board.asked()).some((one) => JSON.stringify(one) === JSON.stringify(request)));
  return { viewer, board, asks, panel: viewer.page.locator(".panel"), row: (name) => viewer.page.locator(`[data-control="${name}"]`) };
}

test("what is set in the panel is asked of the board, and shown as the board answers", async (t) => {
  const { viewer, board, asks, panel, row } = await watching(t);
  assert.equal(await panel.isVisible(), false);
  await viewer.tap("settings");
  await row("brightness").waitFor();
  assert.equal(await row("brightness").getByRole("slider").inputValue(), "150");
  assert.equal(await row("white_balance_temperature").getByRole("slider").isDisabled(), true);
  await viewer.shot("panel");

  await row("brightness").getByRole("slider").press("ArrowRight");
  await asks({ t: "set", control: "brightness", value: 151 });
  assert.equal(await row("brightness").locator("output").innerText(), "151");
  await row("white_balance_automatic").getByRole("switch").uncheck();
  await asks({ t: "set", control: "white_balance_automatic", value: false });
  await row("power_line_frequency").getByRole("combobox").selectOption("50 Hz");
  await asks({ t: "set", control: "power_line_frequency", value: 1 });
  await row("auto_focus_start").getByRole("button").click();
  await asks({ t: "set", control: "auto_focus_start", value: 0 });
  await row("brightness").getByRole("button", { name: "default" }).click();
  await asks({ t: "set", control: "brightness", value: 128 });
  assert.equal(await row("brightness").getByRole("button").isVisible(), false, "nothing to set back any more");
  await panel.getByRole("button", { name: "Set all to their defaults" }).click();
  await asks({ t: "set", control: "white_balance_automatic", value: true });

  await board.refuse("range", "brightness takes 0 to 255");
  await row("brightness").getByRole("slider").press("End");
  await row("brightness").getByText("brightness takes 0 to 255").waitFor();
  assert.equal(await row("brightness").getByRole("slider").inputValue(), "128", "back to what the board has");

  await viewer.page.keyboard.press("Escape");
  assert.equal(await panel.isVisible(), false);
  assert.equal(await viewer.page.locator("button.settings").evaluate((button) => button.matches(":focus")), true);
  assert.deepEqual(viewer.errors, []);
});

test("the camera turns by dragging and by arrow keys, the lamp and the night are set", async (t) => {
  const { viewer, asks, board, panel } = await watching(t);
  await viewer.tap("settings");
  // By its role: in any other a screen reader would keep the arrow keys for itself.
  const pad = panel.getByRole("application", { name: "arrow keys" });
  await pad.press("ArrowRight");
  await asks({ t: "move", pan: -15, tilt: 10 });
  await pad.press("Shift+ArrowUp");
  await asks({ t: "move", pan: -15, tilt: 11 });
  await pad.press("Home");
  await asks({ t: "move", pan: 0, tilt: 0 });
  assert.equal(await panel.locator(".turn output").innerText(), "middle, level");

  const { x, y, width, height } = await pad.boundingBox();
  await viewer.page.mouse.move(x + width / 2, y + height / 2);
  await viewer.page.mouse.down();
  await viewer.page.mouse.move(x + width + 200, y - 200, { steps: 20 });
  await viewer.page.mouse.up();
  await asks({ t: "move", pan: 90, tilt: 60 });

  await panel.getByRole("radio", { name: "Night" }).check({ force: true });
  await asks({ t: "night", mode: "night" });
  await panel.getByRole("slider", { name: "Lamp" }).press("End");
  await asks({ t: "lamp", level: 100 });

  await board.tell({ may: ["set", "lamp"] });
  await pad.waitFor({ state: "hidden" });
  assert.equal(await panel.getByRole("radio").count(), 0);
  assert.equal(await panel.getByRole("slider", { name: "Lamp" }).isVisible(), true);
  assert.deepEqual(viewer.errors, []);
});

test("who unfolds the details sees how the way here is, and the board is asked no longer than that", async (t) => {
  const { viewer, board, asks, panel } = await watching(t);
  const asked = async () => (await board.asked()).filter(({ t: kind }) => kind === "stats").length;
  await viewer.tap("settings");
  assert.equal(await asked(), 0, "nothing is asked while it is folded");
  await panel.getByText("Details").click();
  await asks({ t: "stats", of: "all" });
  const shown = (name) => panel.locator(`dt:text-is("${name}") + dd`).innerText();
  await panel.getByText("6.1 Mbit/s").waitFor();
  const names = ["Path", "Sent", "Network carries", "Round trip", "Lost packets", "Sent again"];
  assert.deepEqual(await Promise.all(names.map(shown)), ["direct, local", "1.9 Mbit/s", "6.1 Mbit/s", "12 ms", "3", "3"]);
  assert.equal(await panel.locator(".details tr").count(), 3, "a head and two viewers");
  await panel.locator(".details tr", { hasText: "Rui" }).getByText("network too slow").waitFor();
  await panel.locator(".details table").scrollIntoViewIfNeeded();
  await viewer.shot("details");
  await until("asked again", PATIENCE_MS, async () => (await asked()) > 1);
  await viewer.page.keyboard.press("Escape");
  const before = await asked();
  await viewer.page.waitForTimeout(5_000);
  assert.ok((await asked()) <= before + 1, "one question may have been due");
  assert.deepEqual(viewer.errors, []);
});

test("a viewer sees nothing that it may not do", async (t) => {
  const { viewer, board, panel } = await watching(t);
  const shown = async (name) => viewer.page.locator(`button.${name}`).isVisible();
  await viewer.tap("settings");
  await board.tell({ may: ["snapshot"] });
  await panel.waitFor({ state: "hidden" });
  assert.deepEqual([await shown("settings"), await shown("still")], [false, true]);
  await board.tell({ may: [] });
  await viewer.page.locator("button.still").waitFor({ state: "hidden" });
});

test("privacy, a lost camera and motion are told", async (t) => {
  const { viewer, board } = await watching(t);
  await board.tell({ motion: { is_active: true, last_s: 0 } });
  await viewer.page.getByText("Motion", { exact: true }).waitFor();
  await board.tell({ motion: { is_active: false, last_s: 1 } });
  await viewer.page.getByText("Motion", { exact: true }).waitFor({ state: "hidden" });

  await board.tell({ camera: "private", microphone: "private" });
  assert.match(await viewer.says("Privacy is switched on at the camera"), /until its switch is turned back/);
  const opacity = () => viewer.page.locator("video").evaluate((video) => Number(getComputedStyle(video).opacity));
  await until("no picture in private", PATIENCE_MS, async () => (await opacity()) === 0);
  assert.equal(await viewer.page.locator("button.sound").isVisible(), false);
  assert.equal(await viewer.page.locator("button.still").isVisible(), false);
  await viewer.shot("private");

  await board.tell({ camera: "lost", microphone: "ready" });
  assert.match(await viewer.says("The board has lost its camera"), /by itself once it is back/);
  await board.tell({ camera: "ready" });
  await until("the picture again", PATIENCE_MS, async () => (await opacity()) === 1);
  assert.equal(await viewer.title(), "");
});

test("who cannot speak now reads why, and is not asked for the microphone", async (t) => {
  const { viewer, board } = await watching(t, {
    init: () => {
      globalThis.asked = 0;
      MediaDevices.prototype.getUserMedia = async () => ((globalThis.asked += 1), Promise.reject(new Error("no")));
    },
  });
  const talk = viewer.page.locator("button.talk");
  const title = async (words) => until(`"${words}" at the microphone`, PATIENCE_MS, async () => (await talk.getAttribute("title")).includes(words));
  for (const [holder, words] of [["other", "Somebody else is speaking"], ["none", "no loudspeaker"]]) {
    await board.tell({ talk: holder });
    await title(words);
    assert.equal(await talk.getAttribute("aria-disabled"), "true");
    await talk.click({ force: true });
    assert.match(await viewer.says("You cannot speak now"), new RegExp(words));
  }
  assert.equal(await viewer.page.evaluate(() => globalThis.asked), 0);
  await board.tell({ talk: "free" });
  await title("turn the microphone on");
  await talk.click();
  await viewer.says("No microphone");
  assert.equal(await viewer.page.evaluate(() => globalThis.asked), 1);
});

test("a picture that stops on a whole connection is told, and comes back", async (t) => {
  const { page } = await demo(t);
  const viewer = await open(browser, page, {
    // Between the network and the decoder a frame can be taken away: the connection does not notice.
    init: () => {
      const Connection = globalThis.RTCPeerConnection;
      globalThis.isDropping = false;
      globalThis.RTCPeerConnection = class extends Connection {
        constructor(configuration) {
          super({ ...configuration, encodedInsertableStreams: true });
          this.addEventListener("track", ({ receiver }) => {
            const { readable, writable } = receiver.createEncodedStreams();
            const isVideo = receiver.track.kind === "video";
            const transform = (frame, controller) => {
              if (!isVideo || !globalThis.isDropping) controller.enqueue(frame);
            };
            void readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable);
          });
        }
        setConfiguration(configuration) {
          super.setConfiguration({ ...configuration, encodedInsertableStreams: true });
        }
      };
    },
  });
  t.after(() => viewer.close());
  await viewer.plays();
  await playBoard(viewer);
  const ufrag = () => viewer.page.evaluate(() => globalThis.farolTest.peers[0].remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]);
  const before = await ufrag();
  await viewer.page.evaluate(() => (globalThis.isDropping = true));
  assert.match(await viewer.says("The picture has stopped"), /asked to begin anew/);
  await viewer.shot("stalled");
  await until("a restart by the camera", PATIENCE_MS, async () => (await ufrag()) !== before);
  await viewer.page.evaluate(() => (globalThis.isDropping = false));
  await viewer.plays();
  await until("a screen with nothing but the picture", PATIENCE_MS, async () => (await viewer.title()) === "");
  assert.deepEqual(viewer.errors, []);
});
