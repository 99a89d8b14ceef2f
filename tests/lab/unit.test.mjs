// What the service may still do inside its sandbox, what it may not, and what each drop-in changes; and how it takes
// over a configuration that was edited.
//
// The steps share one boot; a step that fails ends the test.
import assert from "node:assert/strict";
import test from "node:test";
import { at, commands, runBy } from "../docs/blocks.mjs";
import { guest as call, until } from "./guest.mjs";
import { nameServer } from "./names.mjs";

const CONFIG = "/etc/farol/farol.toml";
const DROP_INS = "/etc/systemd/system/farol.service.d";
const CAMERA = "/lab/lab-camera /dev/video0 /lab/labcam.h264 640 480 30 /run/camera.count";
/** The configuration for each source; none of it needs a viewer. */
const SOURCES = {
  probe: 'source = "command"\nstalled_after_ms = 60000\ncommand = ["/bin/bash", "/lab/probe"]',
  encoder: 'source = "v4l2"\ndevice = "/dev/video2"\ninput = "raw"\nencoder = "/dev/video11"\nwidth = 640\nheight = 480',
  software: 'source = "pattern"\nwidth = 320\nheight = 240\nfps = 5',
  camera: 'source = "v4l2"\ndevice = "/dev/video0"\nwidth = 640\nheight = 480',
};

test("the service in its sandbox", { timeout: 500_000 }, async (t) => {
  const guest = await call({ host: "192.168.77.1", port: 7777, timeoutMs: 30_000 });
  const names = await nameServer({ address: "192.168.77.1", names: { "broker.lab": "192.168.77.1" } });
  let failed = false;
  const step = (name, act) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async (s) => {
      try {
        await act(s);
      } catch (error) {
        failed = true;
        throw error;
      }
    });

  const configure = (source, more = "") =>
    guest.run(`cat >${CONFIG} <<'END'
[broker]
url = "mqtt://broker.lab:1883"
username = "farol"
${more.includes("password_credential") ? 'password_credential = "mqtt-password"' : ""}
[links]
page = "http://192.168.77.2:8080/"
broker = "ws://192.168.77.1:9001"
[http]
listen = "${more.match(/listen=(\S+)/)?.[1] ?? "0.0.0.0:8080"}"
[video]
capture = "always"
${SOURCES[source]}
END
      farol check --config ${CONFIG}`);
  /** What the journal has of the unit since `begin`. */
  let since = "";
  let marks = 0;
  const begin = async () => {
    const mark = `mark ${(marks += 1)}`;
    await guest.run(`logger -t lab '${mark}'`);
    since = await until(mark, 10_000, async () => {
      const last = (await guest.attempt("journalctl -t lab -n 1 -o json --no-pager")).output.toString();
      return last.includes(`"${mark}"`) && JSON.parse(last).__CURSOR;
    });
  };
  // Not --after-cursor, which leaves out the first line that matches when the cursor's own does not (systemd 252).
  const said = async () => (await guest.attempt(`journalctl -u farol --cursor='${since}' -o cat --no-pager`)).output.toString();
  const says = async (pattern, timeoutMs = 60_000) => {
    let text;
    await until(`the journal to say ${pattern}`, timeoutMs, async () => pattern.test((text = await said())), 250).catch((late) => {
      throw new Error(`${late.message}, but:\n${text}`);
    });
  };
  const show = (property) => guest.run(`systemctl show farol -P ${property}`);
  /** Restarts the service with these drop-ins alone. */
  const restart = async (...dropIns) => {
    await guest.run(`
      rm -rf ${DROP_INS} /run/farol/probe
      mkdir -p ${DROP_INS}
      for file in ${dropIns.join(" ")}; do install -m 644 $file ${DROP_INS}/; done
      systemctl daemon-reload
      systemd-analyze verify /etc/systemd/system/farol.service`);
    await begin();
    await guest.run("systemctl restart farol");
  };
  /** The first line of what the page's server answers at an address, asked on the board; nothing when it does not. */
  const page = async (address, patience_s = 30) => {
    const ask = `exec 3<>/dev/tcp/${address}/8080; printf "GET / HTTP/1.0\\r\\nHost: ${address}\\r\\n\\r\\n" >&3; head -n 1 <&3`;
    return (await guest.attempt(`timeout ${patience_s} bash -c '${ask}' 2>/dev/null`)).output.toString();
  };
  /** What the program that films could do: "yes" or "no: why", by what it tried. */
  const probed = async () => {
    const text = await until("what the probe found", 120_000, async () => {
      const { status, output } = await guest.attempt("cat /run/farol/probe");
      return status === 0 && output.toString();
    }, 500);
    return Object.fromEntries(text.trim().split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
  };
  const assertMay = (found, tries) => {
    for (const name of tries) assert.equal(found[name], "yes", `it should be able to: ${name}: ${found[name]}`);
  };
  const assertMayNot = (found, tries) => {
    for (const [name, why] of Object.entries(tries)) assert.match(found[name] ?? "", why, `it should not be able to: ${name}`);
  };

  try {
    await step("a program that films reaches cameras, sound, pins and the network, and nothing else", async (s) => {
      await guest.run(`
        systemctl stop farol lab-camera lab-tone 2>/dev/null || true
        install -m 755 /lab/farol /usr/bin/farol
        mkdir -p /etc/farol
        for file in /lab/systemd/*.service; do install -m 644 $file /etc/systemd/system/; done
        if grep broker.lab /etc/hosts; then exit 1; fi
        cp /etc/resolv.conf /run/resolv.conf 2>/dev/null || true
        rm -f /etc/resolv.conf
        echo 'nameserver 192.168.77.1' >/etc/resolv.conf
        mkdir -p /home/somebody
        ip addr add 203.0.113.1/32 dev lo`);
      // What the pages have for the board's devices. /lab has of the source tree what they name.
      for (const block of runBy("tests/lab/unit.test.mjs")) {
        await guest.run(`cd /lab; sudo() { "$@"; }; ${commands(block).join("\n")}`).catch((why) => {
          throw new Error(`${at(block)}: ${why.message}`);
        });
      }
      // No driver here is of the subsystem dma_heap: that udev understands the rule is all there is to see.
      const read = await guest.run("udevadm settle; udevadm test /sys/class/mem/null 2>&1 | grep 70-dma-heap");
      assert.match(read, /^Reading rules file: \S+70-dma-heap\.rules$/);
      // No kernel driver simulates the Pi's PWM: a simulated pin stands for it.
      await guest.run(`
        echo $(devlab-gpio)/sim_gpio5/pull >/lab/pull
        chgrp gpio $(cat /lab/pull)
        chmod g+w $(cat /lab/pull)`);
      await configure("probe");
      await restart();
      const found = await probed();
      s.diagnostic(JSON.stringify(found, null, 1));
      await says(/camera delivers/);
      await says(/connected to the broker/);
      assert.ok(names.asked.includes("broker.lab"), names.asked.join(" "));
      assertMay(found, ["open /dev/video2", "open /dev/video11", "open /dev/snd/controlC0", "open /dev/gpiochip0",
        "write /tmp", "write /var/lib/farol", "write /run/farol", "look a name up", "reach the local network"]);
      assertMayNot(found, {
        "open /dev/fuse": /not permitted/,
        "write /etc": /Read-only/,
        "write /usr/bin": /Read-only/,
        "see /home": /no/,
        "see cpuinfo": /no/,
        "see others": /no/,
        "see environment of the service": /no/,
        "set a line": /Read-only/,
        "make a namespace": /not permitted/,
        "make a set-user-id program": /not permitted/,
        "write code": /no/,
        "open a packet socket": /not supported/,
        "raise its priority": /not permitted/,
      });
      // Its own, and nobody's: those that own the devices are not known inside, and count all the same.
      assert.equal(found.groups, "2");
      // What drop-ins below change: nobody listens there, and that is what it is told; and the fallback.
      assert.match(found["reach outside"], /refused/);
      assert.equal(found.credential, "-");
      assert.match(await page("203.0.113.1"), /200 OK/);
    });

    await step("a picture is encoded in hardware", async () => {
      await configure("encoder");
      await restart();
      await says(/camera delivers.*\/dev\/video11/);
    });

    await step("low-port.conf: the page is served on port 80; and a picture is encoded in software", async () => {
      await configure("software", "listen=0.0.0.0:80");
      await restart("/lab/systemd/drop-ins/low-port.conf");
      assert.equal((await fetch("http://192.168.77.2/")).status, 200);
      await says(/camera delivers.*OpenH264/);
    });

    await step("root pairs and revokes beside the service, which notices", async () => {
      await begin();
      const printed = await guest.run(`farol pair sandbox --config ${CONFIG}`);
      assert.match(printed, /http:\/\/\S+#1\./);
      await says(/the viewers' keys have changed/);
      assert.match(await guest.run("farol viewers"), /sandbox/);
      await begin();
      await guest.run("farol revoke sandbox");
      await says(/the viewers' keys have changed/);
      assert.equal(await guest.run("stat -c %a /var/lib/private/farol"), "700");
    });

    await step("a change of the board's addresses is noticed", async () => {
      await begin();
      await guest.run("ip addr add 192.168.77.99/24 dev vec0");
      await says(/the board's addresses have changed.*192\.168\.77\.99/);
      await guest.run("ip addr del 192.168.77.99/24 dev vec0");
    });

    await step("a reload refuses a faulty configuration, and takes a good one over in the same process", async () => {
      const pid = await show("MainPID");
      await begin();
      await guest.run(`cp ${CONFIG} /run/good.toml; sed -i 's/^capture = .*/capture = "sometimes"/' ${CONFIG}`);
      const { status, output } = await guest.attempt("systemctl reload farol");
      assert.equal(status, 1, output.toString());
      await says(/video\.capture.*sometimes/);
      assert.equal(await show("ActiveState"), "active");

      await guest.run(`cp /run/good.toml ${CONFIG}; systemctl reload farol`);
      await says(/the configuration says what it said/);
      assert.match(await guest.run("farol status"), /0 of \d+ watching/);

      await begin();
      await configure("probe");
      await guest.run("rm -f /run/farol/probe; systemctl reload farol");
      await says(/starts anew/);
      await says(/camera delivers/);
      await until("the reload's end", 10_000, async () => (await show("SubState")) === "running", 250);
      assert.equal(await show("MainPID"), pid);
      assert.equal(await show("NRestarts"), "0");
      const fed = await show("WatchdogTimestampMonotonic");
      await until("the watchdog to be fed", 20_000, async () => (await show("WatchdogTimestampMonotonic")) > fed, 500);
    });

    await step("the drop-ins change what they say: a sealed password, the LAN alone, files of PWM, machine code", async (s) => {
      await guest.run(`
        printf swordfish | systemd-creds encrypt --with-key=host --name=mqtt-password - /etc/farol/mqtt-password.cred
        ! grep -q swordfish /etc/farol/mqtt-password.cred
        # The pin is elsewhere than a Pi's PWM.
        sed 's:/sys/devices/platform/soc:/sys/devices/platform:' /lab/systemd/drop-ins/rppal.conf >/run/rppal.conf`);
      await configure("probe", "password_credential");
      const examples = ["credentials", "gstreamer", "lan-only"].map((name) => `/lab/systemd/drop-ins/${name}.conf`);
      await restart(...examples, "/run/rppal.conf");
      const found = await probed();
      s.diagnostic(JSON.stringify(found, null, 1));
      assert.equal(found.credential, "swordfish");
      assertMay(found, ["set a line", "see cpuinfo", "write code", "reach the local network", "look a name up"]);
      assert.doesNotMatch(found["reach outside"], /yes|refused/);
      assertMayNot(found, { "write /etc": /Read-only/, "see /home": /no/, "make a namespace": /not permitted/ });
      await says(/connected to the broker/);
      assert.match(await page("192.168.77.2"), /200 OK/);
      assert.equal(await page("203.0.113.1", 3), "");
    });

    await step("a camera whose driver is loaded while the service runs is let through", async () => {
      await configure("camera");
      await guest.run(`
        systemctl stop farol
        modprobe -r v4l2loopback vivid vh264enc`);
      await restart();
      await says(/camera lost/);
      await guest.run(`
        modprobe v4l2loopback devices=1 video_nr=0 card_label=labcam exclusive_caps=1 max_buffers=8 max_width=1920 max_height=1080
        udevadm settle
        systemd-run --quiet --collect --unit=lab-camera ${CAMERA}`);
      await says(/camera delivers/);
    });
  } finally {
    await guest.attempt(`systemctl stop farol lab-camera; rm -rf ${DROP_INS} /lab/pull; systemctl daemon-reload
      rm -f /etc/resolv.conf; mv /run/resolv.conf /etc/ 2>/dev/null`).catch(() => {});
    guest.close();
    await names.close();
  }
});
