"""A remote endpoint, looked at before a run begins: what a person can mend is said at once, not by failed rollouts.

One GET of ``/models`` per address. Only what cannot work is an error: nobody listens at any address, the key is not
accepted, a web page answers. Everything else (no such route, a slow answer, a name that is not listed) may work all
the same, and is a note.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gym_ray.models.addresses import Address, environment_proxy
from gym_ray.models.config import ModelConfig
from gym_ray.models.failure import CallFailure
from gym_ray.models.http import Answer, Transport, decode, error_message
from gym_ray.models.remote import MODELS, api_key
from gym_ray.types.errors import UserError

ANSWER_S, AGAIN_S = 10.0, 1.0
"""Longest wait for an answer, and between two tries where nobody listens, in seconds."""


def check_endpoint(setting: str, model: ModelConfig, say: Callable[[str], None]) -> None:
    """Look at the endpoint of ``model``. ``setting``: where it is configured (``model``). ``say``: takes notes.

    An endpoint that is just starting is waited for, ``connect_timeout_s`` at most.

    Raises:
        UserError: it cannot work.
    """
    if model.kind == "openai":
        asyncio.run(_check(setting, model, say))


async def _check(setting: str, model: ModelConfig, say: Callable[[str], None]) -> None:
    bases = [model.base_url] if isinstance(model.base_url, str) else list(model.base_url or ())
    addresses = [Address(base, environment_proxy(base)) for base in bases]
    key = api_key(model)
    headers = {**model.headers, **({"Authorization": f"Bearer {key}"} if key else {})}
    transport = Transport(headers, model.connect_timeout_s)
    try:
        found = await asyncio.gather(*(_knock(transport, address, model, say) for address in addresses))
        if addresses and all(isinstance(one, CallFailure) and one.lost for one in found):
            reason = next(one.reason for one in found if isinstance(one, CallFailure))
            raise UserError(f"{setting}.base_url: {reason}: start the endpoint, or mend the address")
        for address, one in zip(addresses, found, strict=True):
            note = one.reason if isinstance(one, CallFailure) else _read(setting, model, address, one, transport)
            if note:
                say(f"note: {note}")
    finally:
        await transport.close()


async def _knock(
    transport: Transport, address: Address, model: ModelConfig, say: Callable[[str], None]
) -> Answer | CallFailure:
    """The answer; tried again while nobody listens."""
    now = asyncio.get_running_loop().time
    until, waiting = now() + model.connect_timeout_s, False
    while True:
        try:
            return await transport.send(address, MODELS, None, now() + ANSWER_S)
        except CallFailure as failure:
            if not failure.lost or now() + AGAIN_S > until:
                return failure
            if not waiting:
                say(f"{failure.reason}; waiting up to {model.connect_timeout_s:g} s for it")
            waiting = True
            await asyncio.sleep(AGAIN_S)


def _read(setting: str, model: ModelConfig, address: Address, answer: Answer, transport: Transport) -> str:
    """What is worth a note about an answer. Raises UserError."""
    if answer.status == 401:
        said = transport.scrub(error_message(answer.body))
        variable = model.api_key_env
        mend = f"the key in {variable} is not accepted" if variable else "name the variable that holds the key"
        raise UserError(f"{setting}.api_key_env: {mend} (HTTP 401 from {address.shown}: {said})")
    if answer.status == 404 and not address.shown.rstrip("/").endswith("/v1"):
        return f"{address.shown}{MODELS} is not there (HTTP 404): does {setting}.base_url lack /v1?"
    if answer.status != 200:
        return ""
    try:
        listed = decode(answer.body).get("data")
    except CallFailure as failure:
        if answer.body[:100].lstrip().startswith(b"<"):
            raise UserError(f"{setting}.base_url {address.shown}: {failure.reason}") from None
        return ""
    names = [one["id"] for one in listed or () if isinstance(one, dict) and isinstance(one.get("id"), str)]
    if not names or model.name in names:
        return ""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{address.shown} lists no model {model.name!r} ({setting}.name); it has {shown}"
