// Debian's Janus for a measurement: its streaming plugin alone, and a mountpoint that asks its camera for keyframes.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as passed } from "node:timers/promises";
import { freePort } from "../e2e/daemon.mjs";

/** One of this machine's own, since Janus's ICE passes the loopback over. What is sent to it does not leave the machine. */
export const ADDRESS = Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === "IPv4" && !internal)?.address;
const PATIENCE_MS = 10_000;

/** A running Janus, ended with the scope: `pid`, `webSocketPort`, and the ports of its camera. */
export async function janus(scope) {
  const directory = await mkdtemp(join(tmpdir(), "farol-janus-"));
  scope.after(() => rm(directory, { recursive: true, force: true }));
  const [webSocketPort, rtp, rtcp] = [await freePort(), await freeUdpPort(), await freeUdpPort()];
  for (const [name, text] of Object.entries(configuration({ webSocketPort, rtp, rtcp }))) {
    await writeFile(join(directory, `${name}.jcfg`), text);
  }
  const child = spawn("janus", ["--configs-folder", directory, "--log-stdout", "--disable-colors", "--debug-level", "4"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said = [];
  child.stdout.on("data", (text) => said.push(text));
  const ended = new Promise((done) => child.once("exit", done));
  scope.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  await listening(webSocketPort, () => said.join(""));
  return { pid: child.pid, webSocketPort, rtp, rtcp };
}

/** Its defaults, but for the way to what is measured. */
function configuration({ webSocketPort, rtp, rtcp }) {
  return {
    janus: `
      general: { session_timeout = 0 }
      media: { ipv6 = false }
      nat: { ice_enforce_list = "${ADDRESS}" }
      plugins: { disable = "${others("plugin", ["streaming"])}" }
      transports: { disable = "${others("transport", ["websockets"])}" }
      events: { broadcast = false }`,
    "janus.transport.websockets": `
      general: { json = "compact", ws = true, ws_port = ${webSocketPort}, ws_ip = "127.0.0.1", wss = false }`,
    "janus.plugin.streaming": `
      camera: {
        type = "rtp", id = 1, audio = false, video = true, videoiface = "127.0.0.1"
        videoport = ${rtp}, videortcpport = ${rtcp}
        videopt = 96, videocodec = "h264", videofmtp = "profile-level-id=42e01f;packetization-mode=1"
      }`,
  };
}

const KINDS = {
  plugin: ["audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming", "textroom", "videocall", "videoroom", "voicemail"],
  transport: ["http", "mqtt", "nanomsg", "pfunix", "rabbitmq", "websockets"],
};

function others(kind, but) {
  return KINDS[kind].filter((name) => !but.includes(name)).map((name) => `libjanus_${name}.so`).join(",");
}

async function listening(port, said) {
  const late = performance.now() + PATIENCE_MS;
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const is_open = await new Promise((done) => {
      socket.once("connect", () => done(true));
      socket.once("error", () => done(false));
    });
    socket.destroy();
    if (is_open) return;
    if (performance.now() > late) throw new Error(`Janus does not listen after ${PATIENCE_MS} ms:\n${said()}`);
    await passed(50);
  }
}

async function freeUdpPort() {
  const socket = createSocket("udp4");
  await new Promise((bound) => socket.bind(0, "127.0.0.1", bound));
  const { port } = socket.address();
  await new Promise((closed) => socket.close(closed));
  return port;
}
