// How long until a picture is seen? farol's page and a page at Janus, in turns.
import { demo, device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { STEPS, connect, connectInside, connectWarm } from "./connect.mjs";
import { median, quantile, table } from "./figures.mjs";
import { ADDRESS, janus as startJanus } from "./janus.mjs";
import { page } from "./janus-page.mjs";
import { feed } from "./rig.mjs";
import { within } from "./scope.mjs";

/** From the broker's CONNACK to the offer that waits there, by the daemon's own log, in ms. */
export async function lightTheLamp(recording, runs) {
  const times = [];
  for (let run = 0; run < runs; run += 1) {
    times.push(await within(async (scope) => {
      const { daemon } = await atMosquitto(scope, recording);
      const at = async (pattern) => Date.parse(`1970-01-01T${(await daemon.line(pattern)).split(" ")[0]}`);
      return (await at(/offer lit/)) - (await at(/ connected to the broker/));
    }));
  }
  return times;
}

/** A sealed link at Mosquitto's own WebSocket listener, or by the page's port; the camera is the recording. */
async function atMosquitto(scope, recording, bridge = false) {
  const broker = await Mosquitto.start(scope);
  const camera = `[video]\nsource = "replay"\nfile = "${recording}"`;
  const board = await device(scope, broker, camera, { addresses: [ADDRESS ?? "127.0.0.1"], bridge });
  const link = await board.pair("Ana");
  const daemon = await board.start();
  return { link, daemon, isAlone: (from) => daemon.line(/camera rests/, from) };
}

/** The open page of `farol demo`, whose broker is in the daemon, and whose picture is encoded for it. */
async function atTheDemo(scope) {
  const { page: link, daemon } = await demo(scope);
  return { link, daemon, isAlone: (from) => daemon.line(/camera rests/, from) };
}

async function atJanus(scope, recording) {
  const server = await startJanus(scope);
  await feed(scope, recording, server);
  const [library, least] = [true, false].map((hasLibrary) => page(scope, server.webSocketPort, { hasLibrary }));
  return { janus: { link: await library }, least: { link: await least } };
}

/** The times of each step of so many openings at each: `cold`, each in a Chromium of its own, and `warm`, in a new tab. */
export async function openings(recording, runs) {
  return within(async (scope) => {
    const { janus, least } = await atJanus(scope, recording);
    // The two at Janus have others between them: see `connectWarm`.
    const scenes = {
      farol: await atMosquitto(scope, recording, true),
      janus,
      mosquitto: await atMosquitto(scope, recording),
      least,
      demo: await atTheDemo(scope),
    };
    const cold = Object.fromEntries(Object.keys(scenes).map((name) => [name, []]));
    const inside = [];
    for (let run = 0; run < runs; run += 1) {
      for (const [name, { link, daemon, isAlone }] of Object.entries(scenes)) {
        const from = daemon?.said.length;
        cold[name].push(await connect(link));
        // Whoever opens the page is mostly the only one, so the camera has to start too.
        await isAlone?.(from);
      }
      inside.push(await connectInside(scenes.farol.link));
    }
    const warm = {};
    for (const [name, { link, daemon, isAlone }] of Object.entries(scenes)) {
      const from = daemon?.said.length;
      warm[name] = await connectWarm(link, runs);
      await isAlone?.(from);
    }
    return { cold, warm, inside };
  });
}

const WHERE = { farol: "farol, a sealed link, MQTT by the page's port", mosquitto: "farol, by Mosquitto's WebSocket", demo: "farol demo", janus: "Janus, with its library for pages", least: "Janus, a page that can do nothing else" };
const seen = (runs) => runs.map((marks) => marks["first frame"]);
const ms = (value) => `${Math.round(value)} ms`;

/** The median until the first picture, of each. */
export function sumUp({ cold, warm }) {
  const of = (all) => Object.fromEntries(Object.entries(all).map(([name, runs]) => [name, median(seen(runs))]));
  return { cold: of(cold), warm: of(warm) };
}

export function tellOpenings({ cold, warm, inside }) {
  for (const [how, all] of [["a Chromium that was started for it", cold], ["a new tab", warm]]) {
    const rows = Object.entries(all).map(([name, runs]) => {
      const steps = STEPS.map((step, n) => median(runs.map((marks) => marks[step] - (marks[STEPS[n - 1]] ?? 0))));
      return [WHERE[name], ms(median(seen(runs))), ms(quantile(seen(runs), 0.95)), ...steps.map(ms)];
    });
    if (how !== "a new tab") rows.push(["two connections inside one page", ms(median(inside)), ms(quantile(inside, 0.95)), ...STEPS.map(() => "")]);
    table(`From opening the page to its first picture, in ${how}; and what its steps took, at p50`, [["", "p50", "p95", ...STEPS], ...rows]);
  }
}
