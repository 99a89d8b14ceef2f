// The two viewers in examples/answerer, which follow docs/protocol.md alone: against the daemon at a Mosquitto.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { until } from "../lab/guest.mjs";
import { launch } from "./browser.mjs";
import { SMALL_PICTURE, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

const FOLDER = new URL("../../examples/answerer/", import.meta.url).pathname;
const MQTT = new URL("../node_modules/mqtt/dist/mqtt.esm.js", import.meta.url).pathname;
/** Long enough for a loaded machine; only a failing test waits for it. */
const PATIENCE_MS = 30_000;

/** A broker, a running device, and a link to it. */
async function camera(t, { config = SMALL_PICTURE } = {}) {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, config);
  const link = await board.pair("Ana");
  const daemon = await board.start();
  return { broker, board, daemon, link };
}

/** The fragment of a link, without its `#`. */
const fragment = (link) => link.slice(link.indexOf("#") + 1);

/** Serves the folder as `python3 -m http.server` does; its address. */
async function served(t) {
  const types = { html: "text/html", js: "text/javascript" };
  const server = createServer(async (request, response) => {
    const name = request.url === "/" ? "index.html" : request.url.slice(1);
    const found = /^[a-z]+\.(html|js)$/.exec(name);
    if (found === null) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": types[found[1]] }).end(await readFile(join(FOLDER, name)));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => server.close());
  return `http://localhost:${server.address().port}/`;
}

/** The page in a browser of its own. What it takes from the web comes from tests/node_modules, which has the same. */
async function page(t, link) {
  const address = await served(t);
  const browser = await launch();
  t.after(() => browser.close());
  const tab = await browser.newPage();
  const faults = [];
  tab.on("pageerror", (fault) => faults.push(String(fault)));
  tab.on("console", (line) => ["warning", "error"].includes(line.type()) && faults.push(line.text()));
  await tab.route(/^https:/, (route) => {
    assert.equal(route.request().url(), `https://unpkg.com/mqtt@${MQTT_VERSION}/dist/mqtt.esm.js`);
    return route.fulfill({ path: MQTT, contentType: "text/javascript", headers: { "access-control-allow-origin": "*" } });
  });
  await tab.goto(`${address}#${fragment(link)}`);
  return { tab, faults };
}
const MQTT_VERSION = JSON.parse(await readFile(new URL("../node_modules/mqtt/package.json", import.meta.url))).version;

/** How many frames the page has shown. */
const frames = (tab) => tab.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);

test("the page in plain JavaScript shows moving pictures", async (t) => {
  const { daemon, link } = await camera(t);
  const { tab, faults } = await page(t, link);
  await until("60 frames", PATIENCE_MS, async () => (await frames(tab)) >= 60).catch(async (why) => {
    throw new Error(`${why.message}: ${await tab.locator("p").innerText()} ${faults}\n${daemon.said.join("\n")}`);
  });
  assert.deepEqual(faults, []);
  assert.deepEqual(daemon.said.filter((line) => /refused messages/.test(line)), []);
});
