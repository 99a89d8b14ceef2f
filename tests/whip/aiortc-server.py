#!/usr/bin/python3
"""A WHIP endpoint (RFC 9725) by an implementation that is not ours: aiohttp answers, aiortc receives and decodes.

It says on its standard output at which port it listens, then a line for each tenth picture that it has decoded and
each fiftieth piece of sound, and `deleted` when the session was ended.
"""
import asyncio

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription


def say(*words):
    print(*words, flush=True)


async def take(track):
    count = 0
    while True:
        frame = await track.recv()
        count += 1
        if track.kind == "video" and count % 10 == 0:
            say("picture", count, f"{frame.width}x{frame.height}")
        elif track.kind == "audio" and count % 50 == 0:
            say("sound", count, frame.sample_rate)


class Endpoint:
    def __init__(self):
        self.sessions = {}
        self.tasks = set()

    async def post(self, request):
        if request.headers.get("Authorization") != "Bearer swordfish":
            return web.Response(status=401)
        if request.content_type != "application/sdp":
            return web.Response(status=415)
        peer = RTCPeerConnection()

        @peer.on("track")
        def on_track(track):
            task = asyncio.ensure_future(take(track))
            self.tasks.add(task)

        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        name = str(len(self.sessions))
        self.sessions[name] = peer
        return web.Response(
            status=201,
            content_type="application/sdp",
            headers={"Location": f"/session/{name}"},
            text=peer.localDescription.sdp,
        )

    async def delete(self, request):
        peer = self.sessions.pop(request.match_info["name"], None)
        if peer is None:
            return web.Response(status=404)
        say("deleted")
        await peer.close()
        return web.Response()


async def main():
    endpoint = Endpoint()
    application = web.Application()
    application.router.add_post("/whip", endpoint.post)
    application.router.add_delete("/session/{name}", endpoint.delete)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say("port", runner.addresses[0][1])
    await asyncio.Event().wait()


asyncio.run(main())
