// `make bench`: the figures of the README, measured on this machine, with a real broker and real browsers.
//
// $FAROL is a release build of the daemon, $RECEIVERS and $SOURCES the examples of these names. Figures of a machine that does
// something else meanwhile are worth little; a row that says "against" compares within the same minute.
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as passed } from "node:timers/promises";
import { launch, open } from "../e2e/browser.mjs";
import { demo, device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { STEPS, connect, connectInside } from "./connect.mjs";
import { cpu, memory } from "./process.mjs";

const RUNS = Number(process.env.RUNS ?? 10);
const SETTLE_MS = 5_000;
const MEASURED_MS = 10_000;
const VIEWERS = [1, 4, 16];
const CAMERA = `
    [video]
    source = "pattern"
    [audio]
    source = "tone"`;

/** What stands for a test's context: what is to be undone when a measurement ends. */
class Scope {
  #undo = [];
  after(undo) {
    this.#undo.push(undo);
  }
  async end() {
    for (const undo of this.#undo.reverse()) await undo();
  }
}

async function within(measure) {
  const scope = new Scope();
  try {
    return await measure(scope);
  } finally {
    await scope.end();
  }
}

/** The value below which a share of them lies. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

const ms = (value) => `${Math.round(value)} ms`;

function table(title, rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const line = (row) => row.map((cell, n) => (n === 0 ? String(cell).padEnd(widths[n]) : String(cell).padStart(widths[n]))).join("  ");
  console.log(`\n${title}\n`);
  rows.forEach((row, n) => {
    console.log(`  ${line(row)}`);
    if (n === 0) console.log(`  ${widths.map((width) => "-".repeat(width)).join("  ")}`);
  });
}

const spread = (name, values) => [name, ms(quantile(values, 0.5)), ms(quantile(values, 0.95))];

/** From the broker's CONNACK to the offer that waits there, by the daemon's own log. */
async function lightTheLamp() {
  const times = [];
  for (let run = 0; run < RUNS; run += 1) {
    times.push(await within(async (scope) => {
      const broker = await Mosquitto.start(scope);
      const board = await device(scope, broker, CAMERA);
      await board.pair("Ana");
      const daemon = await board.start({ log: "info" });
      const at = async (pattern) => Date.parse(`1970-01-01T${(await daemon.line(pattern)).split(" ")[0]}`);
      return (await at(/offer lit/)) - (await at(/ connected to the broker/));
    }));
  }
  return times;
}

/** A sealed link at Mosquitto's own WebSocket listener. */
async function atMosquitto(scope) {
  const broker = await Mosquitto.start(scope);
  const board = await device(scope, broker, CAMERA);
  const link = await board.pair("Ana");
  return { link, daemon: await board.start() };
}

/** The open page of `farol demo`, whose broker is in the daemon. */
async function atTheDemo(scope) {
  const { page, daemon } = await demo(scope);
  return { link: page, daemon };
}

/** Opens a page again and again; what each step took, and the same for two connections inside one page. */
async function openThePage(scene) {
  return within(async (scope) => {
    const { link, daemon } = await scene(scope);
    const [runs, inside] = [[], []];
    for (let run = 0; run < RUNS; run += 1) {
      const from = daemon.said.length;
      runs.push(await connect(link));
      inside.push(await connectInside(link));
      // Whoever opens the page is mostly the only one, so the camera has to start too.
      await daemon.line(/camera rests/, from);
    }
    return { runs, inside };
  });
}

function tellOpening(title, { runs, inside }) {
  const between = (from, to) => runs.map((marks) => marks[to] - (from === undefined ? 0 : marks[from]));
  const all = between(undefined, "first frame");
  table(`${title}: ${runs.length} times, with a cold Chromium and a camera at rest, 1280x720`, [
    ["", "p50", "p95"],
    spread("page open to first frame", all),
    spread("  signalling: page open to answer sent", between(undefined, "answer sent")),
    ...STEPS.slice(0, 4).map((step, n) => spread(`    ${STEPS[n - 1] ?? "page open"} to ${step}`, between(STEPS[n - 1], step))),
    spread("  ICE and DTLS: answer sent to connected", between("answer sent", "connected")),
    spread("  first keyframe: connected to first frame", between("connected", "first frame")),
    spread("against: two connections inside one page", inside),
  ]);
  console.log(`\n  ${(quantile(all, 0.5) / quantile(inside, 0.5)).toFixed(2)} times that, at p50`);
}

/** Joins a number of viewers, one of them a browser, and measures what they cost. */
async function serve(count) {
  return within(async (scope) => {
    const broker = await Mosquitto.start(scope, { rules: "" });
    const board = await device(scope, broker, `[signalling]\nsecurity = "open"\nmax_viewers = 64\n${CAMERA}`);
    const link = await board.openLink();
    const daemon = await board.start({ log: "info" });
    await passed(SETTLE_MS);
    const idle = memory(daemon.pid);
    const browser = await launch();
    scope.after(() => browser.close());
    const viewer = await open(browser, link);
    await viewer.plays();
    if (count > 1) await receive(scope, broker, count - 1);
    await passed(SETTLE_MS);
    const [before, begun] = [cpu(daemon.pid), performance.now()];
    const bytes = (await viewer.stats()).bytesReceived;
    await passed(MEASURED_MS);
    const after = cpu(daemon.pid);
    const seconds = (performance.now() - begun) / 1000;
    const kbps = (((await viewer.stats()).bytesReceived - bytes) * 8) / 1000 / seconds;
    const used = (name) => ((after[name] ?? 0) - (before[name] ?? 0)) / seconds;
    const capture = used("farol-capture");
    const all = Object.keys(after).reduce((sum, name) => sum + used(name), 0);
    return { count, idle, ...memory(daemon.pid), kbps, capture, network: all - capture - used("farol-microphon") };
  });
}

/** Viewers without a browser; `leave` says how old the pictures were when their last packet came. */
async function receive(scope, broker, count) {
  const child = spawn(process.env.RECEIVERS, [String(broker.mqttPort), String(count)], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("exit", done));
  scope.after(async () => {
    child.stdin.end();
    child.kill();
    await ended;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the receivers have ended");
    return value;
  };
  await next();
  return {
    leave: async () => {
      child.stdin.end();
      const [, p50, p99, pictures] = (await next()).split(" ").map(Number);
      return { p50, p99, pictures };
    },
  };
}

/** From the moment at which a camera's H.264 picture is there to its last packet at each of the viewers. */
async function age(count) {
  return within(async (scope) => {
    const directory = await mkdtemp(join(tmpdir(), "farol-bench-"));
    scope.after(() => rm(directory, { recursive: true, force: true }));
    const [config, recording] = [join(directory, "pattern.toml"), join(directory, "pattern.h264")];
    await writeFile(config, CAMERA);
    execFileSync(process.env.SOURCES, ["record", config, "120", recording]);
    const broker = await Mosquitto.start(scope, { rules: "" });
    const camera = `[signalling]\nsecurity = "open"\nmax_viewers = 64\n[video]\nsource = "replay"\nfile = "${recording}"`;
    const board = await device(scope, broker, camera);
    await board.start({ log: "info" });
    const viewers = await receive(scope, broker, count);
    await passed(MEASURED_MS);
    return { count, ...(await viewers.leave()) };
  });
}

/** What a picture of each kind of camera costs, in the device lab; nothing where there is none. */
function costs() {
  try {
    const lines = execFileSync("tests/lab/sources", { stdio: ["ignore", "pipe", "inherit"] }).toString();
    return lines.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } catch (cause) {
    console.log(`\nNo figures of cameras: ${cause.message}`);
    return [];
  }
}

const lit = await lightTheLamp();
table(`Lighting the lamp, ${RUNS} starts`, [["", "p50", "p95"], spread("broker connected to offer lit", lit)]);

tellOpening("Opening a sealed link at Mosquitto", await openThePage(atMosquitto));
tellOpening("Opening the demo", await openThePage(atTheDemo));

const served = [];
for (const count of VIEWERS) served.push(await serve(count));
const mb = (value) => `${value.toFixed(1)} MB`;
const per = (value, count) => `${(value / count).toFixed(1)} ms`;
const first = served[0];
table("Memory and CPU of the daemon", [
  ["viewers", "resident", "of it heap and stacks", "stream", "CPU per viewer-second", "test picture per second"],
  [0, mb(first.idle.all_mb), mb(first.idle.anonymous_mb), "", "", ""],
  ...served.map(({ count, all_mb, anonymous_mb, kbps, network, capture }) => [
    count, mb(all_mb), mb(anonymous_mb), `${Math.round(kbps)} kbit/s`, per(network, count), per(capture, 1),
  ]),
]);

const aged = [];
for (const count of VIEWERS) aged.push(await age(count));
table("Age of an H.264 camera's picture when its last packet is at the viewer (this machine, loopback)", [
  ["viewers", "p50", "p99", "pictures"],
  ...aged.map(({ count, p50, p99, pictures }) => [count, `${p50.toFixed(2)} ms`, `${p99.toFixed(2)} ms`, pictures]),
]);

/** How often a picture's bytes are copied or written anew until it is an access unit, by what the source says. */
function copies(kind, detail) {
  if (kind === "replay") return "none";
  if (kind === "h264") return "1 of the coded picture";
  if (kind === "pattern") return "drawn, encoded, 1 of the coded picture";
  const raw = detail.endsWith("dma-buf") ? "none" : "1";
  return `${kind.startsWith("mjpeg") ? "decoded, " : ""}raw: ${raw}, coded: 1`;
}

const cost = costs();
if (cost.length > 0) {
  table("What a picture costs the capture thread, by kind of camera (device lab, one virtual CPU)", [
    ["camera", "size", "pictures/s", "CPU each", "age p50", "age p99", "copies"],
    ...cost.map(({ kind, size, failed, fps, cpu_ms, age_p50_ms, age_p99_ms, detail }) =>
      failed !== undefined ? [kind, size, "", "", "", "", failed] : [
        kind, size, fps.toFixed(1), `${cpu_ms.toFixed(1)} ms`, `${age_p50_ms.toFixed(1)} ms`, `${age_p99_ms.toFixed(1)} ms`, copies(kind, detail),
      ]),
  ]);
  console.log("\n  In the lab vivid gives 13 pictures a second at 1280x720 and 5 at 1920x1080, and the hardware encoder is a");
  console.log("  driver that hands out a canned stream: what it costs is the way to it and back.");
}
