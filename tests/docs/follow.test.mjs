// Who does what the pages say, in their order, on a Debian that was just installed, sees a picture in the end.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../e2e/browser.mjs";
import { at, below, blocks, commented, files, inTables, pages } from "./blocks.mjs";
import { PACKAGE, board, followed } from "./board.mjs";

const FAROL_TOML = "/etc/farol/farol.toml";
/** There is no camera in a container. */
const PATTERN = `
[video]
source = "pattern"
width = 640
height = 360
bitrate_kbps = 1000
`;

/** Commands in tables that name what is not on this board, or not a whole command. */
const NOT_HERE = new Map([
  ["farol pair", "takes a name"],
  ["farol revoke", "takes a name"],
  ["farol demo", "does not end"],
  ["sudo fuser --verbose /dev/video0", "there is no camera in a container"],
  ["ls -l /dev/video0", "there is no camera in a container"],
  ["vcgencmd get_throttled", "is a Raspberry Pi's"],
  ["sudo apt install rpicam-apps", "is Raspberry Pi OS's"],
  ["lk ingress create", "is LiveKit's"],
]);

let browser;
before(async () => {
  browser = await launch({ flags: [`--host-resolver-rules=MAP * ${process.env.ADDRESS}`, "--ignore-certificate-errors"] });
});
after(() => browser.close());

/** The link that `farol pair` printed last. */
function link(said) {
  const links = said.match(/https?:\/\/\S+#1\.\S+/g);
  assert.ok(links, `farol pair printed no link:\n${said}`);
  return links.at(-1);
}

/** Whoever opens the link sees the picture; by which kinds of candidates. */
async function watch(machine, link) {
  const viewer = await open(browser, link);
  await viewer.plays().catch(async (why) => {
    throw new Error(`${why.message}\n${await machine.root("journalctl --unit farol --unit mosquitto --unit nginx --unit coturn --no-pager | tail -60")}`);
  });
  const { pair } = await viewer.stats();
  await viewer.close();
  return pair;
}

/** Waits until the unit says that its offer is lit: viewers can come. */
async function lit(machine) {
  await machine.root(`for _ in $(seq 300); do
    farol status --json 2>/dev/null | grep -q '"connected":true' && exit 0
    sleep 0.1
  done; journalctl --unit farol --no-pager | tail -40; exit 1`);
}

test("the README's commands lead from a plain Debian to a moving picture, and back", async (t) => {
  const machine = await board(t);
  const readme = below("README.md", "On a board");
  const install = readme.findIndex(({ language }) => language === "sh");
  await machine.follow(readme.slice(0, install + 1));
  await machine.root(`sed -i 's/^source = "v4l2"/source = "pattern"/' ${FAROL_TOML} && systemctl restart farol`);
  await lit(machine);
  await watch(machine, link(machine.said));
  for (const block of readme.slice(install + 1)) {
    await machine.follow([block], { [FAROL_TOML]: PATTERN });
    // A person reads on for longer than the service takes to begin anew.
    if (/reload farol/.test(block.text)) await lit(machine);
  }
  assert.match(machine.said, /Ana's phone/);
  assert.match(await machine.person("sudo farol viewers"), /Nobody is paired/, "the last command of the page revokes");
  // All other pages' commands are for a board that runs; and, in docs/network.md, for one with a firewall.
  await machine.root("nft --file /etc/nftables.conf");
  for (const page of pages().filter((page) => !["README.md", "docs/brokers.md", "docs/remote.md"].includes(page))) {
    await machine.follow(blocks(page).filter(({ language }) => ["sh", "console"].includes(language)));
  }
  assert.match(machine.said, /NRestarts=0/);
  assert.match(await machine.root("nft list chain inet filter input; ufw show added"), /udp dport 50000 accept[^]*ufw allow 50000\/udp/);

  for (const page of pages()) {
    for (const command of inTables(page)) {
      if (!NOT_HERE.has(command)) await machine.do(command, page);
    }
  }
  const named = new Set(pages().flatMap(inTables));
  assert.deepEqual([...NOT_HERE.keys()].filter((command) => !named.has(command)), [], "no page names them any more");
  assert.equal(await machine.root("systemctl is-active farol || true"), "inactive\n", "the last row stops it");
});

test("every example of a drop-in is installed by what its own comment says, and the service runs with it", async (t) => {
  const machine = await board(t);
  await machine.person("sudo apt install ./farol_0.1.0_arm64.deb");
  await machine.root(`sed -i 's/^source = "v4l2"/source = "pattern"/' ${FAROL_TOML}`);
  for (const file of files("systemd/drop-ins", ".conf")) {
    const name = file.split("/").at(-1);
    const steps = commented(file).map((step) => `cd /usr/share/doc/farol/examples; ${step}`);
    assert.ok(steps.length > 1, `${file} does not say how it is installed`);
    for (const step of steps) {
      const prompt = step.match(/systemd-ask-password -n '([^']+)'/)?.[1];
      await (prompt === undefined ? machine.person(step) : machine.typed(step, prompt, "swordfish"));
    }
    assert.match(await machine.root("systemctl show farol --property DropInPaths"), new RegExp(`/${name}`));
    await lit(machine);
  }
  assert.equal(await machine.root("cat /run/credentials/farol.service/mqtt-password"), "swordfish");
});

test("a broker at home with the rules of the page leads to a picture", async (t) => {
  const machine = await board(t);
  await machine.person(`sudo apt install ./${PACKAGE}`);
  await machine.follow(blocks("docs/gpio.md").filter(({ file }) => file === "/etc/mosquitto/farol.acl"));
  await machine.follow(below("docs/brokers.md", "Mosquitto at home"), { [FAROL_TOML]: PATTERN });
  await lit(machine);
  await watch(machine, link(await machine.person(`sudo farol pair "Ana's phone"`)));
});

test("a broker and a server on the internet with passwords, TLS and relays lead to a picture", async (t) => {
  const machine = await board(t);
  const brokers = below("docs/brokers.md", "Mosquitto on the internet");
  const server = below("docs/remote.md", "A server of your own");
  const turn = below("docs/remote.md", "A TURN server");
  await machine.person(`sudo apt install ./${PACKAGE}`);
  await machine.root("mkdir -p /var/www && cp -r /share/page /var/www/farol");
  await machine.follow(below("docs/brokers.md", "Mosquitto at home").filter(({ file }) => file === "/etc/mosquitto/farol.acl"));
  await machine.follow(server.filter(({ file }) => file === "/etc/nginx/conf.d/farol.conf"));
  await machine.root("systemctl restart nginx");
  await machine.follow(brokers, { [FAROL_TOML]: PATTERN });
  await lit(machine);

  /** Pairs somebody, tells the broker of it as `farol pair` says, and has the link watched. */
  const paired = async (name) => {
    const said = await machine.person(`sudo farol pair "${name}"`);
    const [line] = said.match(/mosquitto_passwd -b .*/) ?? assert.fail(said);
    await machine.person(`sudo ${line} && sudo systemctl reload mosquitto`);
    return link(said);
  };
  assert.match(await paired("Ana's phone").then(async (link) => (await watch(machine, link), link)), /wss:\/\/broker\.example\.org:8084$/);

  // The same board with the server that has both behind one certificate.
  machine.anew(FAROL_TOML, "/etc/mosquitto/conf.d/farol.conf", "/etc/nginx/conf.d/farol.conf");
  await machine.follow(server, { [FAROL_TOML]: PATTERN });
  await lit(machine);
  const rui = await paired("Rui's phone");
  assert.match(rui, /^https:\/\/farol\.example\.org\/#.*wss:\/\/farol\.example\.org\/mqtt$/);
  await watch(machine, rui);

  // And its TURN server, with each of the two kinds of passwords; `relay` leaves no other way.
  const RELAY = `${PATTERN}\n[ice]\npolicy = "relay"\n`;
  const is_of_one_password = ({ text }) => /lt-cred-mech|credential_file/.test(text);
  for (const of_one_password of [false, true]) {
    machine.anew(FAROL_TOML, "/etc/turnserver.conf");
    await machine.follow(server.filter(({ language }) => language === "toml"), { [FAROL_TOML]: RELAY });
    await machine.root("echo swordfish >/etc/farol/turn-password");
    const steps = turn.filter((block) => block.language === "sh" || is_of_one_password(block) === of_one_password);
    await machine.follow(steps, { [FAROL_TOML]: RELAY });
    // The page says that both sides have the same secret.
    await machine.root(`sed -i "s|^static-auth-secret=.*|static-auth-secret=$(cat /etc/farol/turn-secret)|" /etc/turnserver.conf
      systemctl restart coturn farol`);
    await lit(machine);
    assert.equal(await watch(machine, rui), "relay to relay");
  }
});

test("nothing that the pages tell to do was left out", () => {
  const left = pages().flatMap(blocks).filter((block) => {
    const is_step = ["sh", "console", "conf"].includes(block.language);
    return is_step && block.reason === undefined && block.by === undefined && !followed.has(at(block));
  });
  assert.deepEqual(left.map(at), []);
});
