// copyright.mjs TRIPLE [FEATURES]: what is in the daemon for that target, built with these features more than the
// default ones, whose it is, and under which terms; as Debian's machine-readable copyright file (copyright-format 1.0)
// on the standard output.
//
// It asks cargo which crates are linked, npm's lock file which packages are in the page, and reads the notices that
// came with them. What it does not know it does not pass over: a licence without a text ends it.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";

const tree = new URL("../..", import.meta.url).pathname;
const [triple, features] = process.argv.slice(2);
if (!triple) throw new Error("say for which target: copyright.mjs aarch64-unknown-linux-gnu");

/** C and C++ sources within a crate, whose notice is none of Rust's usual ones, so it is given as it stands. */
const BUNDLED = [
  { crate: "opusic-sys", name: "opus", at: "opus", notice: "opus/COPYING", short: "BSD-3-Clause-Opus" },
  { crate: "openh264-sys2", name: "openh264", at: "upstream", notice: "upstream/LICENSE", short: "BSD-2-Clause-OpenH264" },
  { crate: "turbojpeg-sys", name: "libjpeg-turbo", at: "libjpeg-turbo", notice: "libjpeg-turbo/LICENSE.md", short: "IJG-and-BSD-3-Clause-libjpeg-turbo" },
  { crate: "ring", name: "BoringSSL and others", at: "third_party", notice: "LICENSE-other-bits", short: "ISC-ring" },
];

/** By which words the text of a licence is told from another's. */
const WORDS = {
  "0BSD": /Permission to use, copy, modify, and\/or distribute[\s\S]*for any\s+purpose with or without fee is hereby granted\.\s+THE SOFTWARE/,
  "BSD-2-Clause": /Redistribution and use in source and binary forms(?![\s\S]*(Neither the name|endorse or promote))/,
  "BSD-3-Clause": /Redistribution and use in source and binary forms[\s\S]*(Neither the name|endorse or promote)/,
  "CDLA-Permissive-2.0": /Community Data License Agreement - Permissive - Version 2\.0/,
  ISC: /Permission to use, copy, modify, and(\/or)? distribute this software for any\s+purpose with or without fee is hereby granted, provided that/,
  "LLVM-exception": /LLVM Exceptions to the Apache 2\.0 License/,
  MIT: /Permission is hereby granted, free of charge, to any\s+person obtaining a copy/,
  "Unicode-3.0": /UNICODE LICENSE V3/,
  Unlicense: /This is free and unencumbered software released into the public domain/,
  Zlib: /This software is provided ['‘]as-is['’], without any express or implied\s+warranty/,
};

/** Debian has these texts on every machine. */
const IN_COMMON = { "Apache-2.0": "/usr/share/common-licenses/Apache-2.0", "GPL-3": "/usr/share/common-licenses/GPL-3" };

/** A text as the value of a field: each line indented, empty ones a dot. */
const folded = (text) => text.trim().split(/\r?\n/).map((line) => (line.trim() ? ` ${line.trimEnd()}` : " .")).join("\n");

/** A crate's expression in Debian's way of writing it. */
const inDebian = (expression) =>
  expression.replaceAll("/", " OR ").replaceAll(" WITH ", " with ").replaceAll(" OR ", " or ").replaceAll(" AND ", " and ");

/** The licences that an expression names. */
const named = (expression) => inDebian(expression).split(/\s+(?:or|and|with)\s+|[()]/).map((id) => id.trim()).filter(Boolean);

/** The notices that lie beside a package's manifest. */
function notices(directory) {
  const isNotice = (name) => /^(licen[cs]e|copying|copyright|notice|unlicense)/i.test(name) && !/\.(rs|json)$/.test(name);
  const files = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile() && isNotice(entry.name));
  const within = existsSync(join(directory, "LICENSES"))
    ? readdirSync(join(directory, "LICENSES")).map((name) => join("LICENSES", name))
    : [];
  return [...files.map((entry) => entry.name), ...within].sort().map((name) => readFileSync(join(directory, name), "utf8"));
}

/** Who says in a notice that it is theirs. */
function holders(texts) {
  const isClaim = (line) => /^\W*copyright\s+(\(c\)|©|\d{4}|the\s|[A-Z])/i.test(line) && !/\[(yyyy|year)\]|\{yyyy\}|<year>|license|notice|holders? /i.test(line);
  const claims = texts.flatMap((text) => text.split(/\r?\n/)).filter(isClaim).map((line) => line.replace(/^\W*copyright\s*(\(c\)|©)?\s*/i, "").trim());
  return [...new Set(claims)];
}

/** The crates that are linked into the daemon: those it needs at run time, and theirs. Macros only write code. */
function crates() {
  const text = execFileSync("cargo", ["metadata", "--locked", "--format-version", "1", "--filter-platform", triple, ...(features ? ["--features", features] : [])], {
    cwd: tree, maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"],
  });
  const metadata = JSON.parse(text);
  const packages = new Map(metadata.packages.map((one) => [one.id, one]));
  const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]));
  const isMacro = (one) => one.targets.every((target) => target.kind.some((kind) => ["proc-macro", "custom-build", "test", "example", "bench"].includes(kind)));
  const seen = new Set([metadata.resolve.root]);
  for (const id of seen) {
    for (const dep of nodes.get(id).deps) {
      if (dep.dep_kinds.some(({ kind }) => kind === null) && !isMacro(packages.get(dep.pkg))) seen.add(dep.pkg);
    }
  }
  seen.delete(metadata.resolve.root);
  return [...seen].map((id) => packages.get(id)).sort((a, b) => (a.name + a.version < b.name + b.version ? -1 : 1));
}

/** The packages that are in the page. */
function npmPackages() {
  const lock = JSON.parse(readFileSync(join(tree, "viewer/package-lock.json"), "utf8"));
  return Object.entries(lock.packages)
    .filter(([path, one]) => path.startsWith("node_modules/") && !one.dev)
    .map(([path, one]) => ({ name: path.slice("node_modules/".length), version: one.version, license: one.license, directory: join(tree, "viewer", path) }));
}

const paragraphs = [];
const needed = new Set();
const texts = new Map();

function add(files, texts_of, license, authors) {
  if (!license) throw new Error(`${files}: no licence is named`);
  const claimed = holders(texts_of);
  const owners = claimed.length > 0 ? claimed : authors?.length > 0 ? authors : ["its authors"];
  paragraphs.push(`Files: ${files}\nCopyright: ${owners.join("\n ")}\nLicense: ${inDebian(license)}`);
  for (const id of named(license)) needed.add(id);
  for (const [id, words] of Object.entries(WORDS)) {
    // The shortest that has the words is the one that has little else; whose it is stands above.
    for (const text of texts_of.filter((text) => words.test(text))) {
      if (!texts.has(id) || text.length < texts.get(id).length) texts.set(id, text);
    }
  }
}

const linked = crates();
for (const one of linked) {
  add(`crates/${one.name}-${one.version}/*`, notices(dirname(one.manifest_path)), one.license, one.authors);
}
for (const one of npmPackages()) add(`npm/${one.name}-${one.version}/*`, notices(one.directory), one.license, []);
for (const { crate, name, at, notice, short } of BUNDLED) {
  const holder = linked.find((one) => one.name === crate);
  if (!holder) continue;
  const text = readFileSync(join(dirname(holder.manifest_path), notice), "utf8");
  const owners = holders([text]);
  paragraphs.push(`Files: crates/${crate}-${holder.version}/${at}/*\nCopyright: ${owners.join("\n ") || "its authors"}\nLicense: ${short}\nComment: ${name}, built from the source in this crate.`);
  texts.set(short, text);
  needed.add(short);
}
paragraphs.push(
  "Files: rust/library/*\nCopyright: The Rust Project Developers\nLicense: MIT or Apache-2.0\nComment: The parts of Rust's standard library that are linked in.",
  "Files: gcc/libstdc++-v3/*\nCopyright: Free Software Foundation, Inc.\nLicense: GPL-3 with GCC-exception-3.1\nComment: The parts of the C++ library that OpenH264 needs.",
);
texts.set("GCC-exception-3.1", "The GCC Runtime Library Exception, version 3.1, allows a program that was compiled with GCC to be given on under\nany terms, though parts of GCC's runtime libraries are in it: https://www.gnu.org/licenses/gcc-exception-3.1.html");
for (const id of ["MIT", "Apache-2.0", "GPL-3", "GCC-exception-3.1"]) needed.add(id);

// It follows the whole of the Apache License, which stands elsewhere.
texts.set("LLVM-exception", texts.get("LLVM-exception")?.replace(/^[\s\S]*(?=-+ LLVM Exceptions)/, ""));

const own = readFileSync(join(tree, "LICENSE-MIT"), "utf8");
texts.set("MIT", own.replace(/^MIT License\s*/, "").replace(/^Copyright.*\s*/m, ""));
const licenses = [...needed].sort().map((id) => {
  if (IN_COMMON[id]) return `License: ${id}\n The text is in ${IN_COMMON[id]} on every Debian.`;
  const text = texts.get(id);
  if (!text) throw new Error(`no text was found for the licence ${id}`);
  return `License: ${id}\n${folded(text)}`;
});
const header =
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: farol\n" +
  "Comment: farol's own source, and below what is linked into its program and its page, by the names of crates.io and npm.";
const ours = `Files: *\nCopyright: ${holders([own]).join("\n ")}\nLicense: MIT or Apache-2.0`;
process.stdout.write(`${[header, ours, ...paragraphs, ...licenses].join("\n\n")}\n`);
