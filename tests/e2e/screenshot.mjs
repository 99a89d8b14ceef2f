// docs/page.png: the page of `farol demo` as a person has it before them, with the panel open. `make screenshot`.
//
// The board behind the picture is a played one (played-board.mjs): a demo has no servos and no lamp.
import { launch, open } from "./browser.mjs";
import { demo } from "./daemon.mjs";
import { playBoard } from "./played-board.mjs";

const FILE = new URL("../../docs/page.png", import.meta.url).pathname;

const ends = [];
const browser = await launch();
try {
  const { page } = await demo({ after: (end) => ends.push(end) });
  const viewer = await open(browser, page);
  await viewer.page.setViewportSize({ width: 1100, height: 680 });
  await viewer.page.emulateMedia({ colorScheme: "dark" });
  await viewer.plays();
  await playBoard(viewer);
  await viewer.tap("sound");
  await viewer.tap("settings");
  await viewer.page.locator(".row").first().waitFor();
  // Nothing has the focus or the mouse on it, and what faded in has done so.
  await viewer.page.mouse.move(300, 300);
  await viewer.page.evaluate(() => document.querySelector("farol-camera").shadowRoot.activeElement?.blur());
  await viewer.page.waitForTimeout(1_000);
  await viewer.page.screenshot({ path: FILE });
  console.log(FILE);
} finally {
  await browser.close();
  for (const end of ends) await end();
}
