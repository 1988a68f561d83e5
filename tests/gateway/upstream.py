"""A real HTTP server that speaks OpenAI's API, and misbehaves when it is asked to.

What it does stands in the prompt, in brackets: `[dies] tell me …`. Tokens are words. Without a word in brackets it is
a good server: it answers with `max_tokens` words, eight at most, and counts.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
MODE = re.compile(r"\[([a-z0-9-]+)\]")
START_SECONDS = 10
PAUSE_SECONDS = 0.1


@dataclass
class Upstream:
    """One server. `models` is what it says it has; `is_vllm`: it can tell the counts with each event."""

    is_vllm: bool = False
    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of all calls."""
    headers: list[dict[str, str]] = field(default_factory=list)
    sent_tokens: int = 0
    """Words written to any caller."""
    aborted: int = 0
    """Calls that were hung up on before their end."""
    running: int = 0
    most_running: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    # ---------------------------------------------------------------- the endpoints

    async def models(self, _request: web.Request) -> web.Response:
        owner = "vllm" if self.is_vllm else "somebody"
        return web.json_response({"object": "list", "data": [{"id": "there", "object": "model", "owned_by": owner}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._answer(request, body)
        except (asyncio.CancelledError, ConnectionResetError):
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    async def embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        given = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": [0.5, -0.5]} for i, _ in enumerate(given)]
        tokens = sum(len(text.split()) for text in given)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """The Responses API, as Transformers' server has it: it streams unless it is told not to."""
        body = await request.json()
        self.asked.append(body)
        words = _words({"max_tokens": body.get("max_output_tokens")}, "good")
        text = str(body["input"])
        usage = {"input_tokens": len(text.split()), "output_tokens": len(words), "total_tokens": 99}
        said = {"id": "x", "object": "response", "model": body["model"], "status": "completed", "usage": usage}
        if body.get("stream", True) is False:
            self.sent_tokens += len(words)
            return web.json_response({**said, "output": [{"type": "message", "content": " ".join(words)}]})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        begun: list[dict[str, Any]] = [{"type": "response.created", "response": {**said, "usage": None}}]
        for event in [*begun, *({"type": "response.output_text.delta", "delta": f"{each} "} for each in words)]:
            if "[slow]" in text:
                await asyncio.sleep(PAUSE_SECONDS)
            self.sent_tokens += "delta" in event
            await answer.write(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")
        if "[cut]" not in text:
            end = {"type": "response.completed", "response": {**said, "note": 'says "delta" and .delta'}}
            await answer.write(b"data: " + json.dumps(end, separators=(",", ":")).encode() + b"\n\n")
        await answer.write_eof()
        return answer

    # ---------------------------------------------------------------- answers

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        text = _text(body)
        found = MODE.search(text)
        mode = found[1] if found else "good"
        if mode == "hangs":
            await asyncio.sleep(600)
        if mode == "fails":
            return web.Response(status=500, text=f"Traceback: cannot handle {text}")
        if mode == "refuses":
            return web.json_response({"error": {"message": f"I will not: {text}"}}, status=400)
        if mode == "overloaded":
            return web.json_response({"error": {"message": "later"}}, status=429)
        if mode == "no-options" and "stream_options" in body:
            return web.json_response({"error": {"message": "Unknown field: stream_options"}}, status=422)
        if mode == "long" and body.get("max_tokens", 0) > 100:
            message = "This model's maximum context length is less than your max_tokens"
            return web.json_response({"error": {"message": message}}, status=400)
        if mode == "wrong-type":
            return web.Response(text="<html>it works</html>", content_type="text/html")
        if mode == "drops":
            assert request.transport is not None
            request.transport.abort()
        return await (self._stream(request, body, mode) if body.get("stream") else self._whole(body, mode))

    async def _whole(self, body: dict[str, Any], mode: str) -> web.StreamResponse:
        if mode == "garbage":
            return web.Response(body=b'{"choices": [ nonsense', content_type="application/json")
        if mode == "huge":
            return web.Response(body=b"[" + b" " * (65 * 2**20) + b"]", content_type="application/json")
        words = _words(body, mode)
        if mode == "slow":
            await asyncio.sleep(PAUSE_SECONDS * len(words))
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": "stop"}
        said: dict[str, Any] = {
            "id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice],
        }  # fmt: skip
        if mode != "no-usage":
            said["usage"] = _usage(body, len(words))
        if mode == "absurd":
            said["usage"] = {"prompt_tokens": -5, "completion_tokens": 10**12}
        self.sent_tokens += len(words)
        return web.json_response(said)

    async def _stream(self, request: web.Request, body: dict[str, Any], mode: str) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        end = b"\r\n\r\n" if mode == "crlf" else b"\n\n"
        if mode == "huge":  # an event without an end
            for _ in range(80):
                await answer.write(b"data: {" + b"x" * 2**20)
        async for event in self._events(body, mode):
            await answer.write(event + end)
            if mode == "dies" and self.sent_tokens % 3 == 0:
                assert request.transport is not None
                request.transport.abort()
                return answer
        await answer.write_eof()
        return answer

    async def _events(self, body: dict[str, Any], mode: str) -> AsyncIterator[bytes]:
        options = body.get("stream_options") or {}
        running = bool(options.get("continuous_usage_stats")) and self.is_vllm
        wants = bool(options.get("include_usage")) and mode != "no-usage"
        if mode == "garbage":
            yield b"this is not an event stream, and it says [garbage]"
            return
        words = _words(body, mode)
        for number, word in enumerate(words, 1):
            if mode in {"slow", "endless"}:
                await asyncio.sleep(PAUSE_SECONDS if mode == "slow" else 0.001)
            self.sent_tokens += 1
            usage = _usage(body, number) if running else None
            yield _chunk(body, {"content": f"{word} "}, None, usage, tell=wants)
        if mode == "cut":
            return
        if mode == "silent":
            await asyncio.sleep(600)
        usage = _usage(body, len(words))
        if mode == "with-last":  # as Transformers' server does, which says no [DONE] either
            yield _chunk(body, {}, "stop", usage, tell=True)
            return
        yield _chunk(body, {}, "stop", usage if running else None, tell=wants)
        if wants:
            last = {
                "id": "x",
                "object": "chat.completion.chunk",
                "model": body["model"],
                "choices": [],
                "usage": usage,
            }
            yield b"data: " + json.dumps(last).encode()
        yield b"data: [DONE]"


def _chunk(
    body: dict[str, Any], delta: dict[str, str], finish: str | None, usage: dict[str, int] | None, *, tell: bool
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    said: dict[str, Any] = {
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice],
    }  # fmt: skip
    if tell:
        said["usage"] = usage
    return b"data: " + json.dumps(said, separators=(",", ":")).encode()


def _text(body: dict[str, Any]) -> str:
    if "messages" in body:
        return " ".join(str(message["content"]) for message in body["messages"])
    return str(body.get("prompt", body.get("input", "")))


def _words(body: dict[str, Any], mode: str) -> list[str]:
    most = body.get("max_tokens") or body.get("max_completion_tokens") or 8
    count = 100_000 if mode == "endless" else min(most, 200 if mode == "slow" else 8)
    return [WORDS[number % len(WORDS)] for number in range(count)]


def _usage(body: dict[str, Any], made: int) -> dict[str, int]:
    given = len(_text(body).split())
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


@contextmanager
def upstream(*, is_vllm: bool = False, port: int = 0) -> Iterator[Upstream]:
    """Serve until the end of the block."""
    server = Upstream(is_vllm)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", server.models)
        for path in ("/v1/chat/completions", "/v1/completions"):
            app.router.add_post(path, server.complete)
        app.router.add_post("/v1/embeddings", server.embed)
        app.router.add_post("/v1/responses", server.respond)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.port = runner.addresses[0][1]
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(START_SECONDS), "the upstream did not start"
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
