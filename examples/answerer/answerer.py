#!/usr/bin/python3
"""A viewer of a farol camera in Python: "Coming in" of docs/protocol.md, for one session, with aiortc for the media.

    ./answerer.py 'https://cam.example.org/#1.…' [folder]

Of each thirty pictures that it decodes it says so, and saves the last in the folder as a JPEG. Ctrl-C ends it.
On Debian: apt install python3-aiortc python3-paho-mqtt python3-cryptography python3-pil
"""
import asyncio
import hashlib
import json
import secrets
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LIMIT_BYTES = 32 * 1024
WANTS = ["view", "listen"]


def to_base64url(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def lp(*parts):
    """Each part behind its length in two bytes."""
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


class Link:
    """What a link is good for: the way to the broker, sealing, and opening."""

    def __init__(self, text):
        version, self.device, self.kid, secret, broker = text.partition("#")[2].split(".", 4)
        if version != "1" or self.kid == "open":
            sys.exit("this is not a sealed link of farol/1")
        self.secret, self.broker = from_base64url(secret), urlsplit(broker)

    def topic(self, *levels):
        return "/".join(["farol/1", self.device, *levels])

    def derive(self, salt, info, size):
        return HKDF(SHA256(), size, salt.encode(), info).derive(self.secret)

    def login(self):
        if self.broker.username:
            return unquote(self.broker.username), unquote(self.broker.password or "")
        return self.kid, to_base64url(self.derive("", lp("farol/1", "mqtt", self.device, self.kid), 24))

    def cipher(self, direction, ctx, kind, n):
        key = self.derive(ctx, lp("farol/1", direction, self.device, self.kid), 32)
        return AESGCM(key), lp("farol/1", direction, self.device, self.kid, ctx, kind, n.to_bytes(8, "big"))

    def seal(self, ctx, kind, n, payload, iv=None):
        iv, text = iv or secrets.token_bytes(12), json.dumps(payload).encode()
        cipher, aad = self.cipher("v2d", ctx, kind, n)
        padded = text + b" " * (-len(text) % 1024)
        return {"v": 1, "t": kind, "n": n, "ct": to_base64url(iv + cipher.encrypt(iv, padded, aad))}

    def open(self, ctx, wire):
        """The payload of a message from the device."""
        sealed = from_base64url(wire["ct"])
        cipher, aad = self.cipher("d2v", ctx, wire["t"], wire["n"])
        return json.loads(cipher.decrypt(sealed[:12], sealed[12:], aad))

    def open_offer(self, wire):
        """The standing offer, if it is within what it is called without."""
        offer = self.open(f"o{wire['offer']}", wire)
        if (offer["offer"], offer["rev"]) != (wire["offer"], wire["n"]):
            raise ValueError("not the offer that it is called")
        return offer

    def connect(self, topics, heard, subscribed):
        """A connection to the broker, in a thread of its own, from which the two functions are called."""
        version = [mqtt.CallbackAPIVersion.VERSION2] if hasattr(mqtt, "CallbackAPIVersion") else []
        client_id = f"viewer-{secrets.token_hex(8)}"
        client = mqtt.Client(*version, client_id=client_id, transport="websockets", protocol=mqtt.MQTTv5)
        client.username_pw_set(*self.login())
        client.ws_set_options(path=self.broker._replace(scheme="", netloc="").geturl() or "/")
        if self.broker.scheme == "wss":
            client.tls_set()
        client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        client.on_subscribe = lambda *_: subscribed()
        client.on_message = lambda _client, _data, message: heard(message.topic, message.payload)
        port = self.broker.port or (443 if self.broker.scheme == "wss" else 80)
        client.connect_async(self.broker.hostname, port, clean_start=True)
        client.loop_start()
        return client


class Visit:
    """One session, from its subscriptions to its end."""

    def __init__(self, link, folder):
        self.link, self.folder, session = link, folder, secrets.token_hex(16)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self.STATUS, self.OFFER = link.topic("status"), link.topic("offer", link.kid)
        self.OUT, self.IN = (link.topic(way, link.kid, session) for way in ("out", "in"))
        self.session, self.boot, self.current, self.peer = session, None, None, None
        self.status = self.standing = None  # what the broker keeps
        self.is_late = False  # it has had 300 ms to hand that over
        self.sent = self.heard = 0
        self.answered = set()  # ids of offers: each is answered once
        self.tasks = set()

    async def run(self):
        """Watches until it is over; says why."""
        loop, inbox = asyncio.get_running_loop(), asyncio.Queue()

        def put(topic, payload):
            loop.call_soon_threadsafe(inbox.put_nowait, (topic, payload))

        def subscribed():
            loop.call_soon_threadsafe(loop.call_later, 0.3, put, None, b"")

        self.client = self.link.connect([self.OUT, self.STATUS, self.OFFER], put, subscribed)
        try:
            while True:
                try:
                    if over := await self.hear(*await inbox.get()):
                        return over
                except (InvalidTag, KeyError, TypeError, ValueError, RecursionError) as fault:
                    print("dropped:", repr(fault), file=sys.stderr)
        finally:
            await self.leave()

    async def hear(self, topic, payload):
        if len(payload) > LIMIT_BYTES:
            raise ValueError("too large")
        wire = json.loads(payload) if payload else None  # empty: what was kept is cleared
        if topic == self.OUT:
            return await self.heed(wire, self.link.open(self.context(), wire))
        if topic == self.STATUS:
            self.status = wire
        elif topic == self.OFFER:
            self.standing = wire and self.link.open_offer(wire)
        else:
            self.is_late = True
        return await self.begin()

    async def begin(self):
        """Answers the standing offer if it is of the device's present boot; when it is late, asks for another."""
        if self.boot or not self.status:
            return
        if self.standing and self.standing["boot"] == self.status["boot"]:
            await self.answer(self.standing)
        elif self.is_late:
            self.boot = self.status["boot"]
            self.send("hello", {"boot": self.boot, "wants": WANTS})

    async def heed(self, wire, message):
        """Does what the device says; if it is over, says why."""
        if wire["n"] <= self.heard:
            return None  # said before
        self.heard = wire["n"]
        match wire["t"], message:
            case ("offer", offer) | ("reject", {"offer": offer}):  # another was first: here is one of our own
                await self.answer(offer)
            case "candidates", {"offer": self.current, "list": found}:
                for candidate in found:
                    await self.add(candidate)
            case "accept", {"rights": rights}:
                print("may", *rights, flush=True)
            case "reoffer", _:
                return "The path has changed, and aiortc cannot restart ICE: come again."
            case "reject", {"code": code}:
                return f"Refused: {code}."
            case "bye", _:
                return f"Goodbye: {message.get('reason')}."
        return None

    async def answer(self, offer):
        if offer["offer"] in self.answered or offer["boot"] != (self.boot or offer["boot"]):
            return
        self.answered.add(offer["offer"])
        self.boot, self.current = offer["boot"], offer["offer"]
        if self.peer:
            await self.peer.close()
        servers = [RTCIceServer(**server) for server in offer["ice_servers"]]
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self.peer.on("track", lambda track: self.tasks.add(asyncio.create_task(self.watch(track))))
        await self.peer.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())  # it waits for all candidates
        names = {name: offer[name] for name in ("boot", "offer", "rev")}
        digest = to_base64url(hashlib.sha256(offer["sdp"].encode()).digest())
        self.send("answer", {**names, "digest": digest, "wants": WANTS, "sdp": self.peer.localDescription.sdp})
        self.send("candidates", {"offer": offer["offer"], "list": [], "end": True})

    async def add(self, init):
        candidate = candidate_from_sdp(init["candidate"].removeprefix("candidate:"))
        candidate.sdpMid, candidate.sdpMLineIndex = init.get("sdpMid"), init.get("sdpMLineIndex")
        await self.peer.addIceCandidate(candidate)

    async def watch(self, track):
        """Takes what comes; sound is heard by nobody here."""
        count = 0
        try:
            while frame := await track.recv():
                count += 1
                if track.kind == "video" and count % 30 == 0:
                    print("picture", count, f"{frame.width}x{frame.height}", flush=True)
                    if self.folder:
                        frame.to_image().save(self.folder / f"{count:06}.jpg")
        except MediaStreamError:
            pass  # it has ended

    def context(self):
        return f"s{self.boot}.{self.session}"

    def send(self, kind, payload):
        self.sent += 1
        self.client.publish(self.IN, json.dumps(self.link.seal(self.context(), kind, self.sent, payload)), qos=1)

    async def leave(self):
        if self.boot:
            self.send("bye", {"reason": "closed"})
        if self.peer:
            await self.peer.close()
        self.client.disconnect()
        self.client.loop_stop()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        sys.exit(asyncio.run(Visit(Link(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None).run()))
    except KeyboardInterrupt:
        pass
