#!/usr/bin/env node
// sbom: what is in a binary of farol? Writes a CycloneDX 1.6 document to standard output.
//
//   scripts/sbom.mjs --target TRIPLE [--features LIST] [--binary PATH]
//
// Crates come from cargo's own resolution for the target, the page's packages from its lock file, and C sources from
// the crates that carry them. What only helped to build (procedural macros and what they need) is listed with the
// scope `excluded`. Compiler and runtime libraries are read from the binary, where one is named. The same commit gives
// the same document.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const REPOSITORY = /^https?:\/\//;

const { values: options } = parseArgs({
  options: { target: { type: 'string' }, features: { type: 'string' }, binary: { type: 'string' } },
});
if (!options.target) fail('name the target: --target x86_64-unknown-linux-gnu');

function fail(text) {
  console.error(`sbom: ${text}`);
  process.exit(1);
}

function run(program, ...words) {
  return execFileSync(program, words, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });
}

function read(path) {
  return readFileSync(join(ROOT, path), 'utf8');
}

// ---- crates -----------------------------------------------------------------------------------------

const resolution = ['--locked', '--target', options.target, ...(options.features ? ['--features', options.features] : [])];

/** The ids (`name@version`) of those that a kind of edge leads to. */
function crates(edges) {
  const lines = run('cargo', 'tree', ...resolution, '-e', edges, '--prefix', 'none', '-f', '{p}').split('\n');
  return new Set(lines.filter(Boolean).map((line) => line.split(' ').slice(0, 2).join('@').replace('@v', '@')));
}

function checksums() {
  const entries = read('Cargo.lock').split('[[package]]').slice(1);
  const field = (entry, name) => entry.match(new RegExp(`^${name} = "(.*)"$`, 'm'))?.[1];
  return new Map(entries.map((entry) => [`${field(entry, 'name')}@${field(entry, 'version')}`, field(entry, 'checksum')]));
}

/** Of CycloneDX's hashes, which has one; and nothing of what is not known. */
function component(fields) {
  const { license, hash, repository, ...rest } = fields;
  return {
    type: 'library',
    ...rest,
    ...(hash && { hashes: [hash] }),
    // A slash is how licences were once told apart.
    ...(license && { licenses: [{ expression: license.replaceAll(/\s*\/\s*/g, ' OR ') }] }),
    ...(repository && REPOSITORY.test(repository) && { externalReferences: [{ type: 'vcs', url: repository }] }),
  };
}

function crateComponents(metadata) {
  const [used, linked, sums] = [crates('normal'), crates('normal,no-proc-macro'), checksums()];
  const all = [];
  for (const crate of metadata.packages) {
    const id = `${crate.name}@${crate.version}`;
    if (!used.has(id) || crate.source === null) continue;
    const purl = `pkg:cargo/${id}`;
    const content = sums.get(id);
    const isLinked = linked.has(id);
    const made = component({
      'bom-ref': purl, name: crate.name, version: crate.version, purl, scope: isLinked ? 'required' : 'excluded',
      license: crate.license, repository: crate.repository, hash: content && { alg: 'SHA-256', content },
    });
    const bundled = isLinked ? bundledSources(crate) : [];
    all.push(bundled.length ? { ...made, components: bundled } : made);
  }
  if (all.length !== used.size - 1) fail(`cargo tree names ${used.size - 1} crates, cargo metadata knows ${all.length} of them`);
  return all;
}

/** Which crate needs which, among those that are listed. */
function edges(metadata, listed) {
  const reference = new Map(metadata.packages.map((crate) => [crate.id, crate.source === null ? 'farol' : `pkg:cargo/${crate.name}@${crate.version}`]));
  return metadata.resolve.nodes
    .filter((node) => listed.has(reference.get(node.id)))
    .map((node) => ({
      ref: reference.get(node.id),
      dependsOn: [...new Set(node.deps
        .filter((needed) => needed.dep_kinds.some((kind) => kind.kind === null))
        .map((needed) => reference.get(needed.pkg)))].filter((name) => listed.has(name)).sort(),
    }));
}

// ---- C sources that crates carry --------------------------------------------------------------------

/** By the crate's name: what it carries, where its version stands, and whose it is. */
const BUNDLED = {
  'openh264-sys2': { name: 'openh264', owner: 'cisco', license: 'BSD-2-Clause', file: 'upstream/codec/api/wels/codec_ver.h', version: /OpenH264 version:([\d.]+)/ },
  'opusic-sys': { name: 'opus', owner: 'xiph', license: 'BSD-3-Clause', file: 'opus/package_version', version: /PACKAGE_VERSION="(.+)"/ },
  'turbojpeg-sys': { name: 'libjpeg-turbo', owner: 'libjpeg-turbo', license: 'IJG AND BSD-3-Clause AND Zlib', file: 'libjpeg-turbo/CMakeLists.txt', version: /^set\(VERSION ([\d.]+)\)/m },
  // Taken over piece by piece, so without a version of its own.
  ring: { name: 'boringssl', owner: 'google', license: 'Apache-2.0 AND ISC', file: 'crypto' },
};

function bundledSources(crate) {
  const known = BUNDLED[crate.name];
  if (!known) return [];
  const path = join(dirname(crate.manifest_path), known.file);
  if (!existsSync(path)) fail(`${crate.name} ${crate.version} has no ${known.file}: what C source does it carry now? Mend BUNDLED`);
  const version = known.version && readFileSync(path, 'utf8').match(known.version)?.[1];
  if (known.version && !version) fail(`${path} does not say the version as it did: mend BUNDLED`);
  const purl = `pkg:github/${known.owner}/${known.name}${version ? `@${version}` : ''}`;
  return [component({ 'bom-ref': purl, name: known.name, ...(version && { version }), purl, license: known.license, scope: 'required' })];
}

// ---- the page ---------------------------------------------------------------------------------------

function pageComponents() {
  const packages = JSON.parse(read('viewer/package-lock.json')).packages;
  return Object.entries(packages)
    .filter(([path, entry]) => path !== '' && !entry.dev)
    .map(([path, entry]) => {
      const name = path.split('node_modules/').at(-1);
      const purl = `pkg:npm/${name.replace('@', '%40')}@${entry.version}`;
      const [algorithm, digest] = entry.integrity.split('-');
      if (algorithm !== 'sha512') fail(`${name}: the lock file's integrity is ${algorithm}, not sha512`);
      const hash = { alg: 'SHA-512', content: Buffer.from(digest, 'base64').toString('hex') };
      return component({ 'bom-ref': purl, name, version: entry.version, purl, license: entry.license, scope: 'required', hash });
    });
}

// ---- what the compilers brought ---------------------------------------------------------------------

function runtimeComponents(binary) {
  const comment = run('readelf', '--wide', '--string-dump=.comment', binary);
  const rust = comment.match(/rustc version (\S+)/)?.[1];
  if (!rust) fail(`${binary} does not say which rustc made it: was its section .comment removed?`);
  const std = { 'bom-ref': 'rust-std', name: 'std', version: rust, purl: `pkg:generic/rust-std@${rust}`, license: 'MIT OR Apache-2.0', scope: 'required', repository: 'https://github.com/rust-lang/rust' };
  const found = [component(std)];
  const isShared = run('readelf', '--wide', '--dynamic', binary).includes('libstdc++.so');
  const gcc = comment.match(/GCC: \(.*?\) ([\d.]+)/)?.[1];
  if (gcc && !isShared) {
    found.push(component({ 'bom-ref': 'libstdc++', name: 'libstdc++', version: gcc, purl: `pkg:generic/libstdc%2B%2B@${gcc}`, license: 'GPL-3.0-or-later WITH GCC-exception-3.1', scope: 'required' }));
  }
  return found;
}

// ---- the whole --------------------------------------------------------------------------------------

function byReference(one, other) {
  return one['bom-ref'] < other['bom-ref'] ? -1 : 1;
}

/** An id that is the content's own (RFC 9562 §5.8, version 8). */
function serialNumber(text) {
  const hex = createHash('sha256').update(text).digest('hex');
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** Cargo's own, of one platform or of all. */
function known(...platform) {
  const features = options.features ? ['--features', options.features] : [];
  return JSON.parse(run('cargo', 'metadata', '--locked', '--format-version', '1', ...features, ...platform));
}

const metadata = known('--filter-platform', options.target);
const farol = metadata.packages.find((crate) => crate.source === null && crate.name === 'farol');
const [commit, day] = run('scripts/commit').trim().split(' ');
const components = [
  // What only helps to build is for the machine that builds.
  ...crateComponents(known()), ...pageComponents(), ...(options.binary ? runtimeComponents(options.binary) : []),
].sort(byReference);
const graph = edges(metadata, new Set([...components.map((one) => one['bom-ref']), 'farol'])).sort((one, other) => (one.ref < other.ref ? -1 : 1));
// What is not a crate is needed by farol itself.
graph.find((node) => node.ref === 'farol').dependsOn.push(...components.map((one) => one['bom-ref']).filter((name) => !name.startsWith('pkg:cargo/')));
const binaryHash = options.binary && { alg: 'SHA-256', content: createHash('sha256').update(readFileSync(options.binary)).digest('hex') };
const document = {
  $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  version: 1,
  metadata: {
    // The commit's day: a build has none of its own.
    ...(day && { timestamp: `${day}T00:00:00Z` }),
    component: {
      ...component({ 'bom-ref': 'farol', name: farol.name, version: farol.version, purl: `pkg:cargo/farol@${farol.version}`, license: farol.license, hash: binaryHash }),
      type: 'application',
      properties: [
        { name: 'farol:target', value: options.target },
        ...(commit ? [{ name: 'farol:commit', value: commit }] : []),
      ],
    },
  },
  components,
  dependencies: graph,
};
document.serialNumber = serialNumber(JSON.stringify(document));
process.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
