// A real Mosquitto for a test: a TCP listener for the device, a WebSocket listener for browsers, and the
// access rules that the README gives. Gone when the test is.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { freePort } from "./daemon.mjs";

const ACL = new URL("../lab/mosquitto.acl", import.meta.url).pathname;

/** A running broker. */
export class Mosquitto {
  mqttPort;
  webSocketPort;
  #file;
  #child;

  /** Starts one; it is ended when the test is. Open signalling knows no users, so it wants no rules either. */
  static async start(t, { rules = `acl_file ${ACL}` } = {}) {
    const broker = new Mosquitto();
    const directory = await mkdtemp(join(tmpdir(), "farol-broker-"));
    broker.mqttPort = await freePort();
    broker.webSocketPort = await freePort();
    broker.#file = join(directory, "mosquitto.conf");
    // A configuration with a WebSocket listener alone does not start (Mosquitto 2.0.11).
    await writeFile(broker.#file, [
      "user root",
      "persistence false",
      "log_dest stderr",
      "allow_anonymous true",
      rules,
      `listener ${broker.mqttPort} 127.0.0.1`,
      `listener ${broker.webSocketPort} 127.0.0.1`,
      "protocol websockets",
      "",
    ].join("\n"));
    t.after(async () => {
      await broker.kill();
      await rm(directory, { recursive: true, force: true });
    });
    await broker.run();
    return broker;
  }

  /** Starts it, or starts it anew on the same ports without any memory; returns when it listens. */
  async run() {
    const program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].find((path) => existsSync(path)) ?? "mosquitto";
    this.#child = spawn(program, ["-c", this.#file], { stdio: ["ignore", "ignore", "pipe"] });
    const log = createInterface({ input: this.#child.stderr });
    const said = [];
    await new Promise((running, failed) => {
      log.on("line", (line) => {
        said.push(line);
        // Its last line before it accepts connections is "mosquitto version ... running".
        if (line.endsWith("running")) running();
      });
      log.once("close", () => failed(new Error(`mosquitto did not start:\n${said.join("\n")}`)));
    });
  }

  /** Ends it, so that no client hears a DISCONNECT. */
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill("SIGKILL");
    await ended;
  }
}
