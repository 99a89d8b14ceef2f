// A Debian that was just installed, on which a page of the documentation is followed to the letter.
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { at } from "./blocks.mjs";

const { CONTAINER, NS, SHARE, ADDRESS, NAMES } = process.env;
/** Commands whose status says how the board is, not whether they could do their work. */
const REPORTS = /^(sudo )?(farol doctor|systemctl status|systemd-analyze)\b/;
/** The package as the README has it: the board's, though what is installed here is this machine's. */
export const PACKAGE = `farol_${execFileSync("dpkg-deb", ["--field", `${SHARE}/farol.deb`, "Version"], { encoding: "utf8" }).trim()}_arm64.deb`;
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
      if (block.reason !== undefined) continue;
      const file = block.file?.startsWith("systemctl edit")
        ? `${block.file.includes("--runtime") ? "/run" : "/etc"}/systemd/system/${block.file.split(" ").at(-1)}.service.d/override.conf`
        : block.file;
      if (["conf", "toml", "ini"].includes(block.language)) {
        if (file === undefined) continue;
        this.#files.set(file, (this.#files.get(file) ?? "") + block.text);
        await this.#write(file, this.#files.get(file) + (also[file] ?? ""));
        if (block.language === "ini") await this.root("systemctl daemon-reload");
      } else if (block.language === "sh") {
        for (const command of commands(block.text)) await this.#do(block, command);
      } else if (block.language === "console") {
        for (const [, command] of block.text.matchAll(/^\$ (.*)$/gm)) await this.#do(block, command);
      } else continue;
      followed.add(at(block));
    }
  }

  /** Forgets which texts belong to which file: the next one is the whole. */
  anew(...files) {
    for (const file of files) this.#files.delete(file);
  }

  async #do(block, command) {
    const attempt = this.person(REPORTS.test(command) ? `${command} || true` : command);
    this.said += await attempt.catch((why) => Promise.reject(new Error(`${at(block)}: ${why.message}`)));
  }

  #write(file, text) {
    return this.#run(["bash", "--norc", "-euo", "pipefail", "-c", `mkdir -p "$(dirname ${file})"; cat >${file}`], text);
  }

  #run(command, input = "") {
    return new Promise((done, failed) => {
      const child = spawn(CONTAINER, ["in", this.#pid, ...command], { stdio: ["pipe", "pipe", "pipe"] });
      let said = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (said += piece));
      child.once("close", (status) => (status === 0 ? done(said) : failed(new Error(`status ${status} of ${command.at(-1)}\n${said}`))));
      child.stdin.end(input);
    });
  }
}

/** The commands of a block; one that goes on after a backslash is one. */
function commands(text) {
  return text.replaceAll("\\\n", " ").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
}
