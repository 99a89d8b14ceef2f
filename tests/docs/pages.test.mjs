// Is what the pages say true as far as a machine can tell: links, names of tests, targets, commands, and every text
// that is to be written into a file of farol or of systemd?
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { ROOT, anchors, at, blocks, pages, prose, text, written } from "./blocks.mjs";

const FAROL = resolve(process.env.FAROL ?? join(ROOT, "target/debug/farol"));
/** What a fence may be. Those without a test of their own are shown, not to be typed. */
const LANGUAGES = ["toml", "conf", "ini", "sh", "console", "json", "xml", "html", "erlang", "text", ""];

function run(program, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", ...options });
  if (error) throw error;
  return { status, said: stdout + stderr };
}

function scratch(t) {
  const directory = mkdtempSync(join(tmpdir(), "farol-docs-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("every fence has a language that is looked after", () => {
  for (const block of pages().flatMap(blocks)) {
    assert.ok(LANGUAGES.includes(block.language), `${at(block)}: a fence of "${block.language}"`);
    if (block.language === "conf") assert.ok(block.file, `${at(block)}: the first line says which file it is`);
    if (block.language === "ini") assert.match(block.file ?? "", /^systemctl edit/, `${at(block)}: the first line says how it is written`);
  }
});

test("every link inside the tree leads somewhere", () => {
  const dead = [];
  for (const page of [...pages(), "ARCHITECTURE.md", "CHANGELOG.md"]) {
    for (const [, target] of prose(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split("#");
      const file = path === "" ? page : relative(ROOT, resolve(ROOT, dirname(page), path));
      const is_there = existsSync(join(ROOT, file)) && (anchor === undefined || anchors(file).includes(anchor));
      if (!is_there) dead.push(`${page}: ${target}`);
    }
  }
  assert.deepEqual(dead, []);
});

test("every row of a table has as many cells as its head", () => {
  const uneven = pages().flatMap((page) => {
    let columns;
    return text(page).split("\n").flatMap((line, at) => {
      if (!/^\s*\|/.test(line)) columns = undefined;
      else {
        const cells = line.trim().replace(/`[^`]*`/g, "code").match(/(?<!\\)\|/g).length;
        columns ??= cells;
        if (cells !== columns) return [`${page}:${at + 1}`];
      }
      return [];
    });
  });
  assert.deepEqual(uneven, []);
});

test("every configuration is good, alone or with the least around it", (t) => {
  const directory = scratch(t);
  const etc = join(directory, "etc");
  mkdirSync(etc);
  for (const block of written("toml")) {
    // What the text names under /etc/farol is there; what it holds does not matter here.
    const moved = block.text.replace(/\/etc\/farol\/([\w.-]+)/g, (_, name) => {
      if (name !== "farol.toml") writeFileSync(join(etc, name), "secret\n");
      return join(etc, name);
    });
    const file = join(etc, "farol.toml");
    writeFileSync(file, moved);
    const { status, said } = run(FAROL, ["check", "--config", file]);
    assert.equal(status, 0, `${at(block)}:\n${said}`);
  }
  // The check can fail.
  writeFileSync(join(etc, "farol.toml"), "[video]\nfsp = 30\n");
  assert.equal(run(FAROL, ["check", "--config", join(etc, "farol.toml")]).status, 78);
});

test("every drop-in is one that systemd takes", (t) => {
  for (const block of written("ini")) {
    const directory = scratch(t);
    const unit = block.file?.split(" ").at(-1);
    assert.ok(unit, `${at(block)}: which unit is it for?`);
    const source = readFileSync(join(ROOT, `systemd/${unit}.service`), "utf8");
    writeFileSync(join(directory, `${unit}.service`), source.replaceAll("/usr/bin/farol", FAROL));
    mkdirSync(join(directory, `${unit}.service.d`));
    writeFileSync(join(directory, `${unit}.service.d/override.conf`), block.text);
    const { status, said } = run("systemd-analyze", ["verify", "--man=no", join(directory, `${unit}.service`)], {
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:` },
    });
    const about = said.split("\n").filter((line) => line.includes("override.conf"));
    assert.deepEqual(about, [], `${at(block)}`);
    assert.equal(status, 0, `${at(block)}:\n${said}`);
  }
});

test("every JSON and XML is one", () => {
  for (const block of written("json")) assert.doesNotThrow(() => JSON.parse(block.text.replaceAll("...", "")), at(block));
  for (const block of written("xml")) {
    const { status, said } = run("python3", ["-c", "import sys, xml.dom.minidom as m; m.parseString(sys.stdin.read())"], { input: block.text });
    assert.equal(status, 0, `${at(block)}:\n${said}`);
  }
});

test("brokers other than Mosquitto are given the same rules", () => {
  const page = "docs/brokers.md";
  const rules = (texts, user) => [...new Set(texts.join("\n").replaceAll(user, "%u").match(/farol\/1\/[\w%#+/-]+/g))].sort();
  const acl = blocks(page).find((block) => block.file === "/etc/mosquitto/farol.acl").text;
  const mosquitto = rules([acl], "%u");
  assert.equal(mosquitto.length, 5);
  assert.deepEqual(rules(written("erlang", [page]).map((block) => block.text), "${username}"), mosquitto, "EMQX");
  assert.deepEqual(rules(written("xml", [page]).map((block) => block.text), "${{username}}"), mosquitto, "HiveMQ");
  // The lab's and the browser tests' broker has them too.
  assert.deepEqual(rules([readFileSync(join(ROOT, "tests/lab/mosquitto.acl"), "utf8")], "%u"), mosquitto);
});

/** Everything that is written as code in a line: in backquotes, or in a block of commands. */
function commands() {
  return pages().flatMap((page) => [
    ...[...prose(page).matchAll(/`([^`\n]+)`/g)].map(([, code]) => ({ page, code })),
    ...blocks(page).filter(({ language }) => ["sh", "console"].includes(language))
      .flatMap((block) => block.text.split("\n").map((code) => ({ page: at(block), code: code.replace(/^\$ /, "") }))),
  ]);
}

test("every command and option of farol that is named exists", () => {
  const known = new Map();
  const help = (sub) => {
    if (!known.has(sub)) known.set(sub, run(FAROL, [...(sub ? [sub] : []), "--help"]));
    return known.get(sub);
  };
  let count = 0;
  const unknown = [];
  for (const { page, code } of commands()) {
    const words = code.replace(/^(sudo |[A-Z_]+=\S+ )+/, "").split(/\s+/);
    if (words[0] !== "farol" || words.length < 2 || !/^[a-z-]/.test(words[1])) continue;
    const sub = words[1].startsWith("-") ? undefined : words[1];
    // A log line, a version or a sentence that begins with the name is none.
    if (sub !== undefined && !/^[a-z]+$/.test(sub)) continue;
    count += 1;
    if (help(sub).status !== 0) unknown.push(`${page}: ${code}`);
    for (const option of words.filter((word) => /^--[a-z]/.test(word))) {
      if (!help(sub).said.includes(option.split("=")[0])) unknown.push(`${page}: ${code}: ${option}`);
    }
  }
  assert.deepEqual(unknown, []);
  assert.ok(count > 30, `${count} commands were found`);
});

test("every target of make that is named exists", () => {
  const unknown = [];
  const targets = new Set([...readFileSync(join(ROOT, "Makefile"), "utf8").matchAll(/^([a-z0-9-]+):/gm)].map(([, name]) => name));
  for (const { page, code } of commands()) {
    for (const [, target] of code.matchAll(/(?:^|[;&] ?|[A-Z]+=\S+ )make ((?!.*=)[a-z0-9-]+|[a-z0-9-]+(?= [A-Z]+=))/g)) {
      if (code.startsWith("apt")) continue;
      if (!targets.has(target)) unknown.push(`${page}: make ${target}`);
    }
  }
  assert.deepEqual(unknown, []);
});

test("what is left out under emulation is what the page says", () => {
  const skipped = [...readFileSync(join(ROOT, "tests/cross/run"), "utf8").matchAll(/--skip (\w+)/g)].map(([, name]) => name);
  const list = prose("docs/building.md").split("Not run under emulation:")[1].split("\n## ")[0];
  const said = [...list.matchAll(/^- `(\w+)`: /gm)].map(([, name]) => name);
  assert.ok(skipped.length > 0);
  assert.deepEqual(said.sort(), skipped.sort());
});

test("every test that is said to run commands of a page asks for them", () => {
  const tests = new Set(pages().flatMap(blocks).flatMap(({ by }) => by ?? []));
  assert.ok(tests.size > 1);
  for (const name of tests) {
    assert.match(readFileSync(join(ROOT, name), "utf8"), new RegExp(`runBy\\("${name}"\\)`), `${name} asks for no block of a page`);
  }
});

test("the example viewer in Python takes the packages that its page names", () => {
  const [line] = text("examples/answerer/README.md").match(/^sudo apt install .*$/m);
  const group = readFileSync(join(ROOT, "scripts/needs"), "utf8").match(/^ {4}answerer\).*\n([^]*?)\nEND/m)[1];
  const packages = [...group.matchAll(/^(\S+) *\|/gm)].map(([, name]) => name);
  assert.deepEqual(line.split(" ").slice(3).sort(), packages.sort());
});

test("every test that a page calls as witness is there", () => {
  const sources = ["src", "tests"].flatMap((directory) =>
    readdirSync(join(ROOT, directory), { recursive: true })
      .filter((name) => /\.(rs|mjs)$/.test(name) && !name.includes("node_modules"))
      .map((name) => readFileSync(join(ROOT, directory, name), "utf8")));
  const rows = text("docs/reliability.md").split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("|---"));
  const witnesses = rows.flatMap((row) => [...row.split(" | ").at(-1).matchAll(/`([^`]+)`/g)].map(([, name]) => name));
  assert.ok(witnesses.length > 20, `${witnesses.length} witnesses`);
  for (const name of witnesses) {
    const is_there = /\.rs$/.test(name)
      ? existsSync(join(ROOT, name))
      : sources.some((source) => source.includes(`fn ${name}(`) || source.includes(`test("${name}"`));
    assert.ok(is_there, `docs/reliability.md: there is no test "${name}"`);
  }
});
