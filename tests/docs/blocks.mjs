// What the documentation tells people to write and run: every fenced block of every page, with where it stands.
//
// The language of a fence says what its text is for: `toml` is a configuration of farol, `conf` a file of another
// program, `ini` a drop-in of the unit, `sh` commands, `console` commands with what they print. The first line of
// a file may be a comment that says where it goes: `# /etc/farol/farol.toml`, `# systemctl edit farol`. An HTML
// comment before a fence says where its commands are run if not on a fresh board (follow.test.mjs): `<!-- run by FILE -->`
// names another test, which asks `runBy` for them, and `<!-- not run: WHY -->` keeps them from being run.
import { readFileSync, readdirSync } from "node:fs";
import { relative, resolve } from "node:path";

export const ROOT = resolve(new URL("../..", import.meta.url).pathname);

/** For those who change farol. */
const WITHIN = ["CONTRIBUTING.md", "tests/lab/README.md", "viewer/README.md"];

/** Every page that tells people what to write or to run, relative to the root. */
export function pages() {
  const docs = files("docs", ".md");
  return ["README.md", ...docs, "examples/answerer/README.md", ...WITHIN];
}

/** The files of a folder with this ending, relative to the root. */
export function files(folder, ending) {
  return readdirSync(resolve(ROOT, folder)).filter((name) => name.endsWith(ending)).map((name) => `${folder}/${name}`);
}

export function text(page) {
  return readFileSync(resolve(ROOT, page), "utf8");
}

/** The blocks of a page in its order: `{ page, line, section, language, text, file, by, reason }`. */
export function blocks(page) {
  const found = [];
  let open;
  // What the comment before a fence says.
  let told = {};
  let section = "";
  for (const [at, line] of text(page).split("\n").entries()) {
    const fence = line.match(/^( *)```(.*)$/);
    if (open !== undefined) {
      if (fence?.[2] === "") {
        found.push({ ...open, text: open.lines.join("\n") + "\n", file: open.lines[0]?.match(/^# (\/\S+|systemctl edit .*)$/)?.[1] });
        open = undefined;
      } else {
        open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line);
      }
    } else if (fence) {
      open = { page, line: at + 1, section, indent: fence[1], language: fence[2].trim(), ...told, lines: [] };
      told = {};
    } else {
      section = line.match(/^#+ (.*)$/)?.[1] ?? section;
      const [, by, reason] = line.match(/<!-- (?:run by (\S+)|not run: (.*)) -->/) ?? [];
      if (by !== undefined || reason !== undefined) told = { by, reason };
      else if (line.trim() !== "") told = {};
    }
  }
  if (open !== undefined) throw new Error(`${page}:${open.line}: the fence is not closed`);
  return found;
}

/** The blocks below one heading of a page. */
export function below(page, heading) {
  const found = blocks(page).filter(({ section }) => section.startsWith(heading));
  if (found.length === 0) throw new Error(`${page}: there is nothing below "${heading}"`);
  return found;
}

/** All blocks of one language. */
export function written(language, of = pages()) {
  return of.flatMap(blocks).filter((block) => block.language === language);
}

/** The blocks whose commands this test runs, a file relative to the root. */
export function runBy(test) {
  const found = pages().flatMap(blocks).filter(({ by }) => by === test);
  if (found.length === 0) throw new Error(`${test}: no block is run by it`);
  return found;
}

/** The commands of a block; one that goes on after a backslash is one. */
export function commands({ language, text }) {
  if (language === "console") return [...text.matchAll(/^\$ (.*)$/gm)].map(([, command]) => command);
  return text.replaceAll("\\\n", " ").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
}

/** The commands in a file's own comments: further in than its words. One that ends in a pipe goes on. */
export function commented(file) {
  const lines = [...text(file).matchAll(/^# {3,}(\S.*)$/gm)].map(([, line]) => line);
  return lines.join("\n").replaceAll(/\|\n/g, "| ").split("\n");
}

/** The commands in a page's tables. */
export function inTables(page) {
  const rows = prose(page).split("\n").filter((line) => line.startsWith("|"));
  const code = rows.flatMap((row) => [...row.matchAll(/`([^`]+)`/g)].map(([, code]) => code));
  return [...new Set(code.filter((code) => /^(sudo|farol|systemctl|journalctl|ls|lk|vcgencmd|timedatectl) \S/.test(code) || code === "timedatectl"))];
}

/** The text outside of fences. */
export function prose(page) {
  return text(page).replace(/^( *)```[\s\S]*?^\1```$/gm, "");
}

/** Where a block stands, for people. */
export function at(block) {
  return `${relative(ROOT, resolve(ROOT, block.page))}:${block.line}`;
}

/** The anchors that headings make, as GitHub makes them. */
export function anchors(page) {
  const seen = new Map();
  return prose(page).split("\n").flatMap((line) => line.match(/^#+ (.*)$/)?.slice(1) ?? []).map((heading) => {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = plain.replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    return times === 0 ? anchor : `${anchor}-${times}`;
  });
}
