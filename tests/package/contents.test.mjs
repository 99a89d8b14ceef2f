// Is what lies in a package sound: the pages' links, the manual, the completions, the licences? $DEB is the package,
// of any architecture: nothing of it is run.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, test } from "node:test";
import { ROOT, prose } from "../docs/blocks.mjs";

const { DEB } = process.env;
assert.ok(DEB, "DEB=FILE names the package");
const TRIPLES = { amd64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu", armhf: "armv7-unknown-linux-gnueabihf" };

const content = mkdtempSync(join(tmpdir(), "farol-contents-"));
after(() => rmSync(content, { recursive: true }));
const run = (program, ...words) => execFileSync(program, words, { cwd: ROOT, encoding: "utf8", maxBuffer: 64 << 20 });
run("dpkg-deb", "--extract", DEB, content);

const SHARE = join(content, "usr/share");
const DOC = join(SHARE, "doc/farol");

/** The files below a directory, relative to it. */
function files(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(directory, entry.name)).map((name) => join(entry.name, name)) : [entry.name],
  );
}

/** What a program says that is asked to read a file and has nothing to complain of. */
function complaint(program, words, env = {}) {
  const { status, stderr, error } = spawnSync(program, words, { encoding: "utf8", maxBuffer: 64 << 20, env: { ...process.env, ...env } });
  assert.ifError(error);
  return stderr || (status === 0 ? "" : `status ${status}`);
}

test("every link of the pages leads to something that is in the package", () => {
  const pages = files(DOC).filter((name) => name.endsWith(".md"));
  assert.ok(pages.includes("README.md") && pages.includes("docs/protocol.md"), pages.join(" "));
  const dead = pages.flatMap((page) =>
    [...prose(join(DOC, page)).matchAll(/\]\(([^)\s#]+)(#[^)\s]*)?\)/g)]
      .map(([, target]) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(resolve(DOC, dirname(page), target)))
      .map((target) => `${page}: ${target}`),
  );
  assert.deepEqual(dead, []);
});

test("man reads every page of the manual without a warning", () => {
  const pages = ["man1", "man5"].flatMap((section) => files(join(SHARE, "man", section)).map((name) => join(SHARE, "man", section, name)));
  assert.ok(pages.length > 8, pages.join(" "));
  for (const page of pages) {
    const words = ["--warnings", "--encoding=UTF-8", "--troff-device=utf8", "--ditroff", "--local-file", page];
    assert.equal(complaint("man", words, { LC_ALL: "C.UTF-8", MANWIDTH: "80", MANROFFSEQ: "" }), "", page);
  }
});

for (const [shell, file] of [
  ["bash", "bash-completion/completions/farol"],
  ["zsh", "zsh/vendor-completions/_farol"],
  ["fish", "fish/vendor_completions.d/farol.fish"],
]) {
  const is_here = spawnSync(shell, ["-c", "true"]).status === 0;
  test(`${shell} can read its completions`, { skip: !is_here && `there is no ${shell} on this machine` }, () => {
    assert.equal(complaint(shell, ["-n", join(SHARE, file)]), "");
  });
}

test("every crate that is linked in stands among the licences", () => {
  const target = TRIPLES[run("dpkg-deb", "--field", DEB, "Architecture").trim()];
  const features = run("scripts/features", join(content, "usr/bin/farol")).trim();
  const bill = JSON.parse(run("scripts/sbom.mjs", "--target", target, "--features", features));
  const linked = bill.components.filter((one) => one.purl.startsWith("pkg:cargo/") && one.scope === "required");
  assert.ok(linked.length > 100, `${linked.length} crates`);
  const told = new Set([...readFileSync(join(DOC, "copyright"), "utf8").matchAll(/^Files: crates\/(\S+)\/\*$/gm)].map(([, crate]) => crate));
  const missing = linked.map((one) => `${one.name}-${one.version}`).filter((crate) => !told.has(crate));
  assert.deepEqual(missing, [], `with the features ${features}`);
  assert.equal(features.split(",").includes("rppal"), [...told].some((crate) => crate.startsWith("rppal-")));
});
