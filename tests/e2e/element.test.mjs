// The element <farol-camera> in a page of somebody else's, and what browsers do to a video behind its back.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./browser.mjs";
import { demo } from "./daemon.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Runs in the page: the video as the element has it. */
const video = (viewer, look) => viewer.page.evaluate(look);

test("the first picture is there at once, and does not fade in", async (t) => {
  const { page } = await demo(t);
  const viewer = await open(browser, page);
  await viewer.plays();
  const live = await video(viewer, () => getComputedStyle(document.querySelector("farol-camera").video).transitionDuration);
  assert.equal(live, "0s");
  await viewer.close();
});
