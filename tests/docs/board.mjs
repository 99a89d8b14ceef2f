// A Debian that was just installed, on which a page of the documentation is followed to the letter.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { at, commands } from "./blocks.mjs";

const { CONTAINER, NS, SHARE, ADDRESS, NAMES } = process.env;
/** The package as the README has it: the board's, though what is installed here is this machine's. */
export const PACKAGE = `farol_${execFileSync("dpkg-deb", ["--field", `${SHARE}/farol.deb`, "Version"], { encoding: "utf8" }).trim()}_arm64.deb`;
/** What commands that tell how the board is have to say. */
const REPORTS = {
  "farol doctor": /^ [✓·!✗] configuration +\S[^]*^ [✓·!✗] service +\S[^]*^(Nothing is wrong|\d+ (fault|warning))/m,
  "systemctl status": /^ +Active: active \(running\)/m,
  "systemd-analyze security": /Overall exposure level for farol\.service: 1\.\d/,
};
/** What was followed, in any test of this process. */
export const followed = new Set();

/** Boots one with the pages' names and certificates, where `person` may use sudo; it ends with the test. */
export async function board(t) {
  const child = spawn(CONTAINER, ["boot", "--net", NS, "--share", SHARE], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("close", done));
  t.after(async () => {
    child.stdin.end();
    await ended;
  });
  const pid = await new Promise((ready, failed) => {
    createInterface({ input: child.stdout }).on("line", (line) => line.startsWith("ready ") && ready(line.split(" ")[1]));
    void ended.then(() => failed(new Error("the container has not come up")));
  });
  const machine = new Board(pid);
  await machine.root(`
    useradd --create-home person
    echo 'person ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/person
    for name in ${NAMES}; do echo "${ADDRESS} $name" >>/etc/hosts; done
    cp /share/authority.crt /usr/local/share/ca-certificates/ && update-ca-certificates >/dev/null 2>&1
    for name in broker.example.org farol.example.org; do
      install -D -m 600 -t /etc/letsencrypt/live/$name /share/fullchain.pem /share/privkey.pem
    done
    # There is no way out: all that the package depends on is here, and \`apt update\` need not wait for a mirror.
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
    # As certbot leaves them: for root alone.
    chmod 700 /etc/letsencrypt/live
    cp /share/farol.deb /home/person/${PACKAGE}`);
  return machine;
}

class Board {
  /** What every command printed, one after the other. */
  said = "";
  #pid;
  #files = new Map();

  constructor(pid) {
    this.#pid = pid;
  }

  /** Runs a script as root, which has to succeed; what it printed. */
  root(script) {
    return this.#run(["bash", "--norc", "-euo", "pipefail", "-c", script]);
  }

  /** Runs commands as the person who reads the page; what they printed. */
  person(script) {
    return this.#run(["sudo", "-u", "person", "-H", "bash", "--norc", "-euo", "pipefail", "-c", `cd; ${script}`]);
  }

  /**
   * Does what blocks say, in their order: writes their files, runs their commands. Several texts for one file are
   * one text. `also` is what a test adds to a file, since there is no camera here.
   */
  async follow(blocks, also = {}) {
    for (const block of blocks) {
      if (block.reason !== undefined || block.by !== undefined) continue;
      const file = block.file?.startsWith("systemctl edit")
        ? `${block.file.includes("--runtime") ? "/run" : "/etc"}/systemd/system/${block.file.split(" ").at(-1)}.service.d/override.conf`
        : block.file;
      if (["conf", "toml", "ini"].includes(block.language)) {
        if (file === undefined) continue;
        this.#files.set(file, (this.#files.get(file) ?? "") + block.text);
        await this.#write(file, this.#files.get(file) + (also[file] ?? ""));
        if (block.language === "ini") await this.root("systemctl daemon-reload");
      } else if (["sh", "console"].includes(block.language)) {
        for (const command of commands(block)) await this.do(command, at(block));
      } else continue;
      followed.add(at(block));
    }
  }

  /** Forgets which texts belong to which file: the next one is the whole. */
  anew(...files) {
    for (const file of files) this.#files.delete(file);
  }

  /** Runs a command that a page has there. One that tells how the board is has to do so. */
  async do(command, place) {
    const report = Object.keys(REPORTS).find((name) => command.replace(/^sudo /, "").startsWith(name));
    // The doctor's status tells, too, that something is wrong: there is no camera, for one.
    const attempt = this.person(report === "farol doctor" ? `${command} || [ $? = 1 ]` : command);
    const said = await attempt.catch((why) => Promise.reject(new Error(`${place}: ${why.message}`)));
    if (report !== undefined) assert.match(said, REPORTS[report], `${place}: ${command}`);
    this.said += said;
  }

  /** Runs a command as the person at a terminal, who types a line when asked for it. */
  async typed(command, prompt, line) {
    const quoted = `'${command.replaceAll("'", "'\\''")}'`;
    const terminal = `cd; exec script --quiet --return --command ${quoted} /dev/null`;
    return this.#run(["sudo", "-u", "person", "-H", "bash", "--norc", "-c", terminal], "", { prompt, line });
  }

  #write(file, text) {
    return this.#run(["bash", "--norc", "-euo", "pipefail", "-c", `mkdir -p "$(dirname ${file})"; cat >${file}`], text);
  }

  /** `input` is all of its input, unless a `line` is to be typed once it has printed `prompt`. */
  #run(command, input = "", { prompt, line } = {}) {
    return new Promise((done, failed) => {
      const child = spawn(CONTAINER, ["in", this.#pid, ...command], { stdio: ["pipe", "pipe", "pipe"] });
      // A command that reads nothing may have ended before; how it went is told by its status.
      child.stdin.on("error", () => undefined);
      let said = "";
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (piece) => {
          said += piece;
          if (prompt !== undefined && said.includes(prompt) && !child.stdin.writableEnded) child.stdin.end(`${line}\n`);
        });
      }
      child.once("close", (status) => (status === 0 ? done(said) : failed(new Error(`status ${status} of ${command.at(-1)}\n${said}`))));
      if (prompt === undefined) child.stdin.end(input);
    });
  }
}
