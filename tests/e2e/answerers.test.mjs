// The two viewers in examples/answerer, which follow docs/protocol.md alone: against the daemon at a Mosquitto, and
// started as their README says.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { commands, runBy } from "../docs/blocks.mjs";
import { until } from "../lab/guest.mjs";
import { launch } from "./browser.mjs";
import { SMALL_PICTURE, device, freePort } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

const ROOT = new URL("../..", import.meta.url).pathname;
/** Serves the page; watches in Python. */
const [SERVE, WATCH] = runBy("tests/e2e/answerers.test.mjs").flatMap(commands);
const MODULES = new URL("../node_modules/", import.meta.url).pathname;
/** Long enough for a loaded machine; only a failing test waits for it. */
const PATIENCE_MS = 30_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const VIEWERS = { "the page in plain JavaScript": inBrowser, "the program in Python": inPython };

/** Runs a command of the README in the tree, with other words in place of some of its own. */
function run(command, words, stdio) {
  for (const [its, ours] of Object.entries(words)) {
    assert.ok(command.includes(its), `the README does not say ${its}: ${command}`);
    command = command.replace(its, () => ours);
  }
  return spawn("bash", ["-c", `exec ${command}`], { cwd: ROOT, stdio });
}

/** Serves the page; its address. */
async function served(t) {
  const port = await freePort();
  const server = run(SERVE, { 8000: String(port) }, "ignore");
  const ended = once(server, "close");
  t.after(async () => {
    server.kill("SIGKILL");
    await ended;
  });
  const address = `http://localhost:${port}/`;
  await until("the page's server", PATIENCE_MS, () => fetch(address).then(({ ok }) => ok, () => false));
  return address;
}

/** The page in a tab of its own. What it takes from the web comes from tests/node_modules, which has the same. */
async function inBrowser(t, link) {
  const address = await served(t);
  const tab = await browser.newPage();
  t.after(() => tab.close());
  const faults = [];
  tab.on("pageerror", (fault) => faults.push(String(fault)));
  tab.on("console", (line) => ["warning", "error"].includes(line.type()) && faults.push(line.text()));
  const { version } = JSON.parse(await readFile(`${MODULES}mqtt/package.json`));
  await tab.route(/^https:/, (route) => {
    if (route.request().url() !== `https://unpkg.com/mqtt@${version}/dist/mqtt.esm.js`) return route.abort();
    const headers = { "access-control-allow-origin": "*" };
    return route.fulfill({ path: `${MODULES}mqtt/dist/mqtt.esm.js`, contentType: "text/javascript", headers });
  });
  await tab.addInitScript(() => {
    globalThis.peers = [];
    globalThis.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args);
        peers.push(this);
      }
    };
  });
  await tab.goto(address + link.slice(link.indexOf("#")));
  const pictures = () => tab.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);
  const says = async () => `${await tab.locator("p").innerText()} ${faults.join(" ")}`;
  return { tab, faults, pictures, says, end: () => tab.close() };
}

/** The program; it saves pictures in a folder of its own. */
async function inPython(t, link) {
  const folder = await mkdtemp(join(tmpdir(), "farol-answerer-"));
  const stdio = ["ignore", "pipe", "pipe"];
  const program = run(WATCH, { "https://cam.example.org/#1.…": link, "pictures/": join(folder, "pictures") }, stdio);
  const ended = once(program, "close");
  t.after(async () => {
    program.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true, force: true });
  });
  const [said, faults] = [[], []];
  createInterface({ input: program.stdout }).on("line", (line) => said.push(line));
  createInterface({ input: program.stderr }).on("line", (line) => faults.push(line));
  const pictures = () => Math.max(0, ...said.map((line) => Number(/^picture (\d+) 640x360$/.exec(line)?.[1] ?? 0)));
  async function end() {
    program.kill("SIGINT");
    const [status] = await ended;
    assert.deepEqual([status, faults], [0, []], said.join("\n"));
  }
  return { folder, faults, pictures, says: () => `${said.join("\n")} ${faults.join("\n")}`, end };
}

/** Waits until it has decoded so many pictures. */
async function decodes(viewer, count) {
  await until(`${count} pictures`, PATIENCE_MS, async () => (await viewer.pictures()) >= count).catch(async (why) => {
    throw new Error(`${why.message}: ${await viewer.says()}`);
  });
}

/**
 * A broker that is no friend: what it has said to whom is heard by `spy`, and from `freeze` on it keeps the slots of
 * these keys from the device, so that a viewer finds there what `put` left.
 */
async function brokerWithRules(t) {
  const directory = await mkdtemp(join(tmpdir(), "farol-rules-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, "rules");
  const rules = (more) => `user spy\ntopic readwrite #\nuser farol\ntopic readwrite farol/1/#\n${more}
    pattern read farol/1/+/status\npattern read farol/1/+/offer/%u\npattern read farol/1/+/out/%u/+
    pattern write farol/1/+/in/%u/+\n`.replace(/^ +/gm, "");
  await writeFile(file, rules(""));
  const broker = await Mosquitto.start(t, { rules: `acl_file ${file}` });
  const login = { username: "spy", protocolVersion: 5, reconnectPeriod: 100 };
  const spy = mqtt.connect(`mqtt://127.0.0.1:${broker.mqttPort}`, login);
  t.after(() => spy.end(true));
  const [offers, talk] = [new Map(), []];
  spy.on("message", (topic, bytes) => {
    const [, , , way, kid] = topic.split("/");
    const wire = bytes.length > 0 && JSON.parse(bytes);
    if (way === "offer" && wire && !offers.has(kid)) offers.set(kid, { topic, bytes });
    if (way === "in" || way === "out") talk.push({ kid, says: `${way} ${wire.t}` });
  });
  await spy.subscribeAsync(["farol/1/+/offer/+", "farol/1/+/in/+/+", "farol/1/+/out/+/+"], { qos: 1 });
  async function freeze(kids) {
    await broker.kill();
    await writeFile(file, rules(kids.map((kid) => `topic deny ${offers.get(kid).topic}\n`).join("")));
    const back = once(spy, "connect");
    await broker.run();
    await back;
  }
  const put = ({ topic, bytes }) => spy.publishAsync(topic, bytes, { retain: true, qos: 1 });
  /** What was said by and to a key, candidates left out. */
  const isOf = (of) => ({ kid, says }) => kid === of && !says.endsWith("candidates");
  const said = (of) => talk.filter(isOf(of)).map(({ says }) => says);
  return { broker, offers, freeze, put, said };
}

const kidOf = (link) => link.split("#")[1].split(".")[2];

for (const [name, open] of Object.entries(VIEWERS)) {
  test(`${name} comes in by the standing offer and decodes pictures`, async (t) => {
    const broker = await Mosquitto.start(t);
    // By the board's own port too, where programs may come in and foreign pages may not.
    const board = await device(t, broker, SMALL_PICTURE, { bridge: open === inPython });
    const link = await board.pair("Ana");
    const daemon = await board.start();
    const viewer = await open(t, link);
    await decodes(viewer, 60);
    await viewer.end();
    assert.deepEqual(viewer.faults, []);
    if (viewer.folder) assert.ok((await readdir(`${viewer.folder}/pictures`)).includes("000060.jpg"));
    assert.deepEqual(daemon.said.filter((line) => /viewer refused|refused messages/.test(line)), []);
  });
}

for (const [name, open] of Object.entries(VIEWERS)) {
  test(`${name} asks for an offer where none waits, and takes its own in place of a lost one`, async (t) => {
    const { broker, offers, freeze, put, said } = await brokerWithRules(t);
    const board = await device(t, broker, SMALL_PICTURE);
    const [first, asking, losing] = [await board.pair("First"), await board.pair("Asking"), await board.pair("Losing")];
    const daemon = await board.start();
    const winner = await inPython(t, first);
    await decodes(winner, 30);
    await winner.end();
    await until("the offers that were lit at first", PATIENCE_MS, () => offers.size === 3);

    const from = daemon.said.length;
    await freeze([asking, losing].map(kidOf));
    await daemon.line(/connected to the broker/, from);
    await put(offers.get(kidOf(losing)));

    const asker = await open(t, asking);
    await decodes(asker, 30);
    assert.deepEqual(said(kidOf(asking)).slice(0, 4), ["in hello", "out offer", "in answer", "out accept"]);
    if (asker.tab) await restartsIce(asker);
    const loser = await open(t, losing);
    await decodes(loser, 30);
    assert.deepEqual(said(kidOf(losing)), ["in answer", "out reject", "in answer", "out accept"]);
    for (const viewer of [asker, loser]) {
      await viewer.end();
      assert.deepEqual(viewer.faults, []);
    }
    // The loser's candidates belong to the offer that it lost.
    const refused = daemon.said.filter((line) => /refused messages/.test(line));
    assert.deepEqual(refused.filter((line) => !/reasons="foreign_offer \d"/.test(line)), []);
  });
}

/** Tells the page that its path is interrupted: it asks for an ICE restart, and the picture goes on. */
async function restartsIce({ tab, pictures }) {
  const password = () => tab.evaluate(() => peers.at(-1).remoteDescription.sdp.match(/a=ice-pwd:(.*)/)[1]);
  const before = await password();
  await tab.evaluate(() => {
    Object.defineProperty(peers.at(-1), "connectionState", { value: "disconnected" });
    peers.at(-1).dispatchEvent(new Event("connectionstatechange"));
  });
  await until("new ICE credentials", PATIENCE_MS, async () => (await password()) !== before);
  const seen = await pictures();
  await until("the picture goes on", PATIENCE_MS, async () => (await pictures()) > seen + 30);
  assert.equal(await tab.evaluate(() => peers.length), 1, "on the same peer connection");
}
