"""Python source in this process: a whole program, or request after request in one namespace.

The process is a fork that belongs to the program now. Nothing here guards against it.
"""

from __future__ import annotations

import ast
import atexit
import builtins
import io
import linecache
import os
import pprint
import struct
import sys
import threading
import traceback
import types
from contextlib import suppress
from typing import Any

PACKAGES = "/opt/packages"
"""Where allowed third-party packages are mounted."""
WIDTH = 79


def run(source: bytes, arguments: list[str], env: dict[str, str]) -> int:
    """Run a program as ``python program.py`` would; its exit status."""
    main = _prepare(arguments, env)
    try:
        _remember("program.py", source)
        exec(compile(source, "program.py", "exec"), main.__dict__)
        status = 0
    except SystemExit as error:
        status = _status(error)
    except BaseException:
        _complain("program.py")
        status = 1
    return _leave(status)


def serve(control: int, env: dict[str, str]) -> int:
    """Run sources that come over ``control`` (length, then text) until it closes."""
    main = _prepare([""], env)
    os.set_inheritable(control, False)
    number = 0
    while True:
        head = _read(control, 4)
        if len(head) < 4:
            return _leave(0)
        source = _read(control, *struct.unpack("<I", head))
        number += 1
        try:
            _cell(source, f"cell_{number}.py", main.__dict__)
        except SystemExit:
            pass
        except BaseException:
            _complain(f"cell_{number}.py")
        _flush()
        os.write(control, b"\0")


def _cell(source: bytes, name: str, scope: dict[str, Any]) -> None:
    """Run statements; the value of a last expression is shown unless a semicolon ends it."""
    _remember(name, source)
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), scope)
    if not isinstance(last, ast.Expr):
        return
    value = eval(compile(ast.Expression(last.value), name, "eval"), scope)
    if value is not None and not source.rstrip().endswith(b";"):
        scope["_"] = value
        print(pprint.pformat(value, width=WIDTH, sort_dicts=False))


def _prepare(arguments: list[str], env: dict[str, str]) -> types.ModuleType:
    os.environ.clear()
    os.environ.update(env)
    for name in [name for name in sys.modules if name == "guest" or name.startswith("guest.")]:
        del sys.modules[name]
    sys.path = [place for place in sys.path if place.startswith(sys.base_prefix)]
    sys.path += [PACKAGES] if os.path.isdir(PACKAGES) else []
    sys.argv = ["program.py", *arguments]
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "replace"), _stream(1), _stream(2)
    # The site module, which is not loaded, would bring them.
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main


def _stream(number: int, errors: str = "backslashreplace") -> io.TextIOWrapper:
    # The inherited objects hold the supervisor's buffers.
    kind = io.BufferedWriter if number else io.BufferedReader
    return io.TextIOWrapper(
        kind(io.FileIO(number, "wb" if number else "rb", closefd=False)), "utf-8", errors, line_buffering=number == 2
    )


def _status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _remember(name: str, source: bytes) -> None:
    """Let tracebacks show the lines."""
    text = source.decode(errors="replace")
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)


def _complain(name: str) -> None:
    """The traceback, without the lines of this module."""
    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


def _leave(status: int) -> int:
    """What an interpreter does at its end."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    _flush()
    return status


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data
