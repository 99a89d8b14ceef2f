// What a person sees of the package: installed, paired, watched, upgraded, removed, purged.
//
// The steps share one board and stand in the order of its life; a step that fails ends the test.
import assert from "node:assert/strict";
import test from "node:test";
import { launch, open } from "../e2e/browser.mjs";
import { until } from "../lab/guest.mjs";
import { boot } from "./board.mjs";

const { SHARE, BOARD } = process.env;
const APT = "apt-get -qq -o Dpkg::Use-Pty=0 -y";

/** Everything on the board but what changes by itself, a line for each. */
const LISTING = `
  find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /share -o -path /root \\
    -o -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/systemd/timers -o -path /var/lib/dpkg \\) -prune \\
    -o \\( -type f -printf '%y %m %u:%g %s %p\\n' \\) -o \\( ! -type f -printf '%y %m %u:%g %p %l\\n' \\) | sort
  find /var/lib/dpkg/info -name 'farol*'
  dpkg-query -W -f '\${Package} \${Status}\\n'
  find /etc /var/lib/private -xdev -type f -exec sha256sum {} + | sort -k2`;

test("a package's life on a fresh Debian", { timeout: 580_000 }, async (t) => {
  const board = await boot(["--net", BOARD, "--share", SHARE]);
  // The board's name, as the local network's mDNS would tell the phone.
  const browser = await launch({ flags: ["--host-resolver-rules=MAP raspberrypi.local 192.168.78.2"] });
  let failed = false;
  /** A step that is skipped after the first one that failed: what follows would only repeat it. */
  const step = (name, act) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async (s) => {
      try {
        await act(s);
      } catch (error) {
        failed = true;
        s.diagnostic((await board.attempt("journalctl -u farol --no-pager | tail -30")).output);
        throw error;
      }
    });
  const unit = (property) => board.run(`systemctl show farol -P ${property}`);
  const watches = async (link) => {
    const viewer = await open(browser, link);
    try {
      return await viewer.plays();
    } finally {
      await viewer.page.context().close();
    }
  };

  try {
    const before = await board.run(LISTING);
    let link;

    await step("installed, it runs and nothing has failed, though there is no camera and its port is taken", async (s) => {
      await board.run("systemd-run --quiet --unit=other systemd-socket-activate -l 8080 /bin/cat");
      await until("the other program at the port", 10_000, async () => (await board.attempt("ss -ltn | grep -q :8080")).status === 0);
      s.diagnostic(await board.run(`${APT} install /share/farol.deb`));
      assert.equal(await unit("ActiveState"), "active");
      assert.equal(await unit("Type"), "notify");
      assert.equal(await unit("NRestarts"), "0");
      assert.equal(await board.run("systemctl is-enabled farol"), "enabled");
      assert.equal(await board.run("systemctl --failed --plain --no-legend"), "");
      assert.match(await board.run("journalctl -u farol --no-pager"), /port 8080 is taken/);
      s.diagnostic(await board.run("farol --version; farol status"));
      await board.run("systemctl stop other");
      await until("the page", 20_000, async () => (await board.attempt("curl -sf http://localhost:8080/")).status === 0, 500);
    });

    await step("what it brought is whole: configuration, manual, completions, licences", async () => {
      assert.equal(await board.run("dpkg --verify farol"), "");
      assert.match(await board.run("farol check"), /is good/);
      await board.run("cmp /etc/farol/farol.toml /usr/share/doc/farol/examples/farol.toml");
      await board.run("systemd-analyze verify /usr/lib/systemd/system/farol.service");
      await board.run("bash -n /usr/share/bash-completion/completions/farol");
      const files = await board.run("dpkg -L farol");
      for (const command of ["run", "demo", "check", "status", "devices", "pair", "viewers", "revoke"]) {
        assert.ok(files.includes(`/usr/share/man/man1/farol-${command}.1.gz`), command);
      }
      for (const file of ["man/man1/farol.1.gz", "man/man5/farol.toml.5.gz", "zsh/vendor-completions/_farol", "fish/vendor_completions.d/farol.fish"]) {
        assert.ok(files.includes(`/usr/share/${file}`), file);
      }
      const copyright = await board.run("cat /usr/share/doc/farol/copyright");
      for (const part of ["webrtc-", "opus", "openh264", "libjpeg-turbo", "ring-", "@stablelib/gcm"]) {
        assert.ok(copyright.includes(part), part);
      }
      assert.equal(await board.run("stat -c '%U:%G %a' /etc/farol/farol.toml"), "root:root 644");
      assert.match(await board.run("getent group gpio"), /^gpio:/);
    });

    await step("one more command gives a link that shows a picture: nothing was edited but the source", async (s) => {
      // A container has no camera.
      await board.run(`sed -i 's/^source = "v4l2"$/source = "pattern"/' /etc/farol/farol.toml; systemctl restart farol`);
      const paired = await board.run(`farol pair "Ana's phone"`);
      link = paired.match(/http:\/\/\S+#1\.\S+/)?.[0];
      assert.ok(link?.startsWith("http://raspberrypi.local:8080/#1."), paired);
      s.diagnostic(`seen: ${JSON.stringify(await watches(link))}`);
    });

    await step("upgraded, it keeps the configuration that was edited, and the viewers' keys", async () => {
      const edited = await board.run("cat /etc/farol/farol.toml");
      const pid = await unit("MainPID");
      await board.run(`${APT} -o Dpkg::Options::=--force-confold install /share/newer.deb`);
      assert.match(await board.run("dpkg-query -W farol"), /\+newer$/);
      assert.equal(await board.run("cat /etc/farol/farol.toml"), edited);
      assert.match(await board.run("cat /etc/farol/farol.toml.dpkg-dist"), /^fps = 25$/m);
      assert.equal(await unit("ActiveState"), "active");
      assert.notEqual(await unit("MainPID"), pid, "the new program runs");
      assert.match(await board.run("farol viewers"), /Ana's phone/);
      await watches(link);
    });

    await step("removed, it runs no longer and leaves what is the person's: configuration and keys", async () => {
      await board.run(`${APT} remove farol`);
      assert.equal((await board.attempt("systemctl is-active farol")).status, 3);
      assert.equal((await board.attempt("test -e /usr/bin/farol")).status, 1);
      assert.equal(await board.run("systemctl --failed --plain --no-legend"), "");
      await board.run(`grep -q pattern /etc/farol/farol.toml; grep -q "Ana's phone" /var/lib/private/farol/viewers.toml`);
    });

    await step("installed again, the same link shows the picture", async () => {
      await board.run(`${APT} -o Dpkg::Options::=--force-confold install /share/newer.deb`);
      assert.equal(await unit("ActiveState"), "active");
      await watches(link);
    });

    await step("purged, nothing is left but the group of the pins", async (s) => {
      await board.run(`echo secret >/etc/farol/mqtt-password; ${APT} purge farol; systemctl daemon-reload`);
      const after = await board.run(LISTING);
      const [had, has] = [before, after].map((text) => new Set(text.split("\n")));
      const gone = [...had].filter((line) => !has.has(line));
      const come = [...has].filter((line) => !had.has(line));
      // The files that say which groups there are, with systemd's copies of how they were.
      const ofGroups = /\/etc\/(group|gshadow)-?$/;
      s.diagnostic([...gone.map((line) => `- ${line}`), ...come.map((line) => `+ ${line}`)].join("\n"));
      assert.deepEqual(gone.filter((line) => !ofGroups.test(line)), []);
      assert.deepEqual(come.filter((line) => !ofGroups.test(line)), []);
      assert.equal(await board.run("diff /etc/group- /etc/group || true").then((text) => text.match(/^[<>].*/m)?.[0].split(":")[0]), "> gpio");
      assert.equal(await board.run("systemctl --failed --plain --no-legend"), "");
      assert.equal((await board.attempt("systemctl cat farol")).status, 1);
    });
  } finally {
    await browser.close();
    await board.end();
  }
});
