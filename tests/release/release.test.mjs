// Are the quick parts of a release as they should be: its bill of materials, its archives, its version?
// Needs the page, cargo and git; `make release-parts` brings them. Nothing of the daemon is built.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import Ajv from 'ajv';
import addFormats from 'ajv-formats';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const SCHEMAS = join(ROOT, 'tests/node_modules/@cyclonedx/cyclonedx-library/res/schema');
const TARGETS = ['x86_64-unknown-linux-gnu', 'aarch64-unknown-linux-gnu'];
const scratch = mkdtempSync(join(tmpdir(), 'farol-release-'));
after(() => rmSync(scratch, { recursive: true }));

function run(cwd, program, ...words) {
  return execFileSync(program, words, { cwd, encoding: 'utf8', maxBuffer: 64 << 20, env: clean(), stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Without what a person or a build around this test may have set. */
function clean(more = {}) {
  const { FAROL_COMMIT, DRAFT, GIT_DIR, ...rest } = process.env;
  return { ...rest, ...more };
}

function sbom(target, ...more) {
  return JSON.parse(run(ROOT, 'scripts/sbom.mjs', '--target', target, ...more));
}

function crates(target, edges, ...more) {
  const tree = run(ROOT, 'cargo', 'tree', '--locked', '--target', target, '-e', edges, '--prefix', 'none', ...more);
  return new Set(tree.split('\n').filter(Boolean).map((line) => line.replace(/^(\S+) v(\S+).*$/, 'pkg:cargo/$1@$2')).filter((id) => !id.startsWith('pkg:cargo/farol@')));
}

const references = (components) => new Set(components.map((component) => component['bom-ref']));

for (const target of TARGETS) {
  test(`the bill of materials for ${target} names every crate, and which are in the binary`, () => {
    const { components } = sbom(target);
    const named = components.filter((one) => one.purl.startsWith('pkg:cargo/'));
    assert.deepEqual(references(named), crates(target, 'normal'));
    assert.deepEqual(references(named.filter((one) => one.scope === 'required')), crates(target, 'normal,no-proc-macro'));
    for (const crate of named) {
      assert.match(crate.hashes?.[0].content ?? '', /^[0-9a-f]{64}$/, `${crate.name} has no checksum`);
      assert.ok(crate.licenses?.[0].expression, `${crate.name} has no licence`);
    }
  });
}

test('a feature brings its crates into the bill', () => {
  const names = (bill) => bill.components.map((one) => one.name);
  assert.ok(!names(sbom(TARGETS[1])).includes('rppal'));
  assert.ok(names(sbom(TARGETS[1], '--features', 'rppal')).includes('rppal'));
});

for (const [target, features] of [[TARGETS[0], ''], [TARGETS[1], 'rppal']]) {
  test(`the licences for ${target}${features && ` with ${features}`} name every crate that the bill has in the binary`, () => {
    const told = run(ROOT, 'node', 'packaging/debian/copyright.mjs', target, features);
    const named = [...told.matchAll(/^Files: crates\/(\S+)\/\*$/gm)].map(([, crate]) => crate);
    const { components } = sbom(target, ...(features ? ['--features', features] : []));
    const linked = components.filter((one) => one.purl.startsWith('pkg:cargo/') && one.scope === 'required');
    assert.deepEqual(linked.map((one) => `${one.name}-${one.version}`).filter((crate) => !named.includes(crate)), []);
  });
}

test('a binary tells its features, without being run', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'viewer/package.json'), 'utf8'));
  const told = (text) => {
    writeFileSync(join(scratch, 'binary'), `\0noise\0${text}\0noise\0`);
    return run(ROOT, 'scripts/features', join(scratch, 'binary')).trim();
  };
  assert.equal(told(`${version} (abc1234ef 2026-11-23, openh264 broker rppal)`), 'openh264,broker,rppal');
  assert.equal(told(`${version} (abc1234ef-dirty 2026-11-23, broker)`), 'broker');
  assert.equal(told(`${version} (debug build, openh264 broker)`), 'openh264,broker');
  assert.equal(told(`${version} (commit unknown, no features)`), '');
  assert.throws(() => told('9.8.7 (debug build, broker)'), /is no farol/);
});

test('C sources, the page and nothing of its tools are in the bill', () => {
  const { components, dependencies } = sbom(TARGETS[0]);
  const bundled = components.flatMap((one) => one.components ?? []).map((one) => [one.name, Boolean(one.version)]);
  assert.deepEqual(bundled.sort(), [['boringssl', false], ['libjpeg-turbo', true], ['openh264', true], ['opus', true]]);
  const { dependencies: page } = JSON.parse(readFileSync(join(ROOT, 'viewer/package.json'), 'utf8'));
  const ofThePage = components.filter((one) => one.purl.startsWith('pkg:npm/'));
  const named = ofThePage.map((one) => `${one.name}@${one.version}`).sort();
  for (const [name, version] of Object.entries(page)) assert.ok(named.includes(`${name}@${version}`), name);
  // `PATH:NAME@VERSION`, the page itself first.
  const installed = run(join(ROOT, 'viewer'), 'npm', 'ls', '--omit=dev', '--all', '--parseable', '--long').trim().split('\n').slice(1);
  assert.deepEqual(named, [...new Set(installed.map((line) => line.split(':')[1]))].sort());
  const farol = dependencies.find((node) => node.ref === 'farol').dependsOn;
  assert.ok(farol.includes('pkg:cargo/webrtc@0.21.1') && farol.includes(ofThePage[0]['bom-ref']), farol.join(' '));
});

test('the bill is what CycloneDX 1.6 says, and the same each time', () => {
  const schema = (name) => JSON.parse(readFileSync(join(SCHEMAS, `${name}.SNAPSHOT.schema.json`), 'utf8'));
  const ajv = new Ajv({ strict: false, allErrors: true, formats: { 'iri-reference': true, 'idn-email': true } });
  addFormats(ajv);
  for (const name of ['spdx', 'jsf-0.82', 'cryptography-defs']) {
    // They are referred to by the names of their files.
    ajv.addSchema({ ...schema(name), $id: `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json` });
  }
  const isValid = ajv.compile(schema('bom-1.6'));
  const bill = sbom(TARGETS[0]);
  assert.ok(isValid(bill), JSON.stringify(isValid.errors?.slice(0, 5), null, 1));
  assert.ok(!isValid({ ...bill, components: [{ name: 'of no type' }] }), 'the schema refuses what is wrong');
  assert.deepEqual(sbom(TARGETS[0]), bill);
});

test('archives, notes and checksums are the same each time, and the checksums tell a change', () => {
  const folders = ['one', 'two'].map((name) => join(scratch, name));
  for (const folder of folders) {
    mkdirSync(folder);
    execFileSync(join(ROOT, 'scripts/release'), ['assemble', folder], { env: clean({ DRAFT: '1' }), stdio: 'pipe' });
  }
  const sums = folders.map((folder) => readFileSync(join(folder, 'SHA256SUMS'), 'utf8'));
  assert.equal(sums[0], sums[1]);
  const named = sums[0].trim().split('\n').map((line) => line.slice(66)).sort();
  assert.deepEqual(named, readdirSync(folders[0]).filter((name) => name !== 'SHA256SUMS').sort());
  const page = run(folders[0], 'tar', '--list', '--file', named.find((name) => name.startsWith('farol-page-')));
  assert.match(page, /\/index\.html\n/);
  assert.match(page, /\/farol-camera\.js\n/);
  writeFileSync(join(folders[1], 'NOTES.md'), 'other notes\n');
  assert.throws(() => run(folders[1], 'sha256sum', '--check', '--status', 'SHA256SUMS'));
});

test('a package of another build is refused', () => {
  const [folder, package_] = [join(scratch, 'other'), join(scratch, 'package')];
  mkdirSync(join(package_, 'DEBIAN'), { recursive: true });
  mkdirSync(join(package_, 'usr/bin'), { recursive: true });
  mkdirSync(folder);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'viewer/package.json'), 'utf8'));
  writeFileSync(join(package_, 'DEBIAN/control'), `Package: farol\nVersion: ${version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: old\n`);
  writeFileSync(join(package_, 'usr/bin/farol'), `${version} (123456789 2026-01-02, broker)`);
  run(scratch, 'dpkg-deb', '--root-owner-group', '--build', package_, join(folder, `farol_${version}_amd64.deb`));
  const { status, stderr } = spawnSync('scripts/release', ['assemble', folder], { cwd: ROOT, encoding: 'utf8', env: clean({ DRAFT: '1' }) });
  assert.notEqual(status, 0);
  assert.match(stderr, /holds a binary of another commit/);
});

/** A tree under git that holds the scripts and what they read. */
function tree(name, changelog) {
  const home = join(scratch, name);
  mkdirSync(join(home, 'scripts'), { recursive: true });
  mkdirSync(join(home, 'src'));
  for (const script of ['commit', 'changelog', 'release']) {
    copyFileSync(join(ROOT, 'scripts', script), join(home, 'scripts', script));
    chmodSync(join(home, 'scripts', script), 0o755);
  }
  copyFileSync(join(ROOT, '.gitattributes'), join(home, '.gitattributes'));
  writeFileSync(join(home, 'Cargo.toml'), '[package]\nname = "farol"\nversion = "1.2.3"\n');
  writeFileSync(join(home, 'Cargo.lock'), '[[package]]\nname = "farol"\nversion = "1.2.3"\n');
  writeFileSync(join(home, 'src/lib.rs'), '');
  writeFileSync(join(home, 'CHANGELOG.md'), changelog);
  run(home, 'git', 'init', '--quiet');
  commit(home);
  return home;
}

function commit(home) {
  run(home, 'git', 'add', '--all');
  run(home, 'git', '-c', 'user.name=A', '-c', 'user.email=a@example.org', 'commit', '--quiet', '--message', 'All');
}

const READY = '# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n- New.\n\n## [1.2.2] - 2025-01-02\n\n- Old.\n';

test('a build knows its commit: of a clean tree, a changed one, an archive, and when it is told', () => {
  const home = tree('commit', READY);
  const [hash, day] = run(home, 'git', 'show', '--no-patch', '--format=%H %cs').trim().split(' ');
  assert.equal(run(home, 'scripts/commit'), `${hash.slice(0, 9)} ${day}\n`);
  writeFileSync(join(home, 'CHANGELOG.md'), 'This is in no binary.\n');
  assert.equal(run(home, 'scripts/commit'), `${hash.slice(0, 9)} ${day}\n`);
  writeFileSync(join(home, 'src/new.rs'), '// This would be.\n');
  assert.equal(run(home, 'scripts/commit'), `${hash.slice(0, 9)}-dirty ${day}\n`);

  const archive = join(home, 'out');
  mkdirSync(archive);
  run(home, 'sh', '-c', 'git archive HEAD | tar --extract --directory out');
  assert.equal(run(archive, 'scripts/commit'), `${hash.slice(0, 9)} ${day}\n`);

  const foreign = join(home, 'vendored');
  mkdirSync(foreign);
  run(home, 'cp', '--recursive', 'scripts', 'vendored');
  writeFileSync(join(home, '.gitignore'), 'vendored\n');
  assert.equal(run(foreign, 'scripts/commit'), '', 'the tree around it says nothing about it');
  const told = execFileSync('scripts/commit', { cwd: foreign, encoding: 'utf8', env: clean({ FAROL_COMMIT: '123456789 2026-01-02' }) });
  assert.equal(told, '123456789 2026-01-02\n');
});

test('no release is made of a tree whose changelog, lock file, tag or state say something else', () => {
  const refusal = (home) => {
    const { status, stderr } = spawnSync('scripts/release', { cwd: home, encoding: 'utf8', env: clean() });
    assert.notEqual(status, 0);
    return stderr;
  };
  const changed = tree('changed', READY);
  writeFileSync(join(changed, 'src/lib.rs'), '// Later.\n');
  assert.match(refusal(changed), /not committed/);

  assert.match(refusal(tree('undated', READY.replace(' - 2026-01-02', ''))), /has no day/);
  assert.match(refusal(tree('missing', READY.replace('[1.2.3]', '[1.2.4]'))), /no section for 1\.2\.3/);
  assert.match(refusal(tree('left', READY.replace('[Unreleased]\n', '[Unreleased]\n\n- Forgotten.\n'))), /entries under Unreleased/);

  const tagged = tree('tagged', READY);
  run(tagged, 'git', 'tag', 'v1.2.3');
  writeFileSync(join(tagged, 'src/lib.rs'), '// Later.\n');
  commit(tagged);
  assert.match(refusal(tagged), /v1\.2\.3 is another commit/);

  const locked = tree('locked', READY);
  writeFileSync(join(locked, 'Cargo.lock'), '[[package]]\nname = "farol"\nversion = "1.2.2"\n');
  commit(locked);
  assert.match(refusal(locked), /Cargo\.lock has another version/);
});

test('the notes are the section of the version and no other', () => {
  assert.equal(run(tree('notes', READY), 'scripts/changelog', '1.2.3'), '- New.\n');
});

test('every manifest of this tree and the package that the README installs say one version', () => {
  const [, version] = readFileSync(join(ROOT, 'Cargo.toml'), 'utf8').match(/^version = "(.*)"$/m);
  const packages = [...readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(/\bfarol_([^_\s]+)_[a-z0-9]+\.deb\b/g)];
  assert.deepEqual([...new Set(packages.map(([, told]) => told))], [version], 'README.md');
  for (const manifest of ['viewer/package.json', 'viewer/package-lock.json', 'tests/package.json', 'tests/package-lock.json']) {
    assert.equal(JSON.parse(readFileSync(join(ROOT, manifest), 'utf8')).version, version, manifest);
  }
});
