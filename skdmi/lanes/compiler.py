"""Kernels as files: compiled once by numba, kept as machine code in a cache, and from then on loaded without numba."""

import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from ctypes import CFUNCTYPE, c_double, c_int32, c_ssize_t, c_void_p
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

COMPILATION_SECONDS = 20.0
"""What a compilation may take: nobody waits for one before so much work was done without it."""
_C_TYPES = {"pointer": c_void_p, "integer": c_ssize_t, "number": c_double}


@cache
def processor() -> tuple[str, str]:
    """Return the name and the features of the processor to compile for.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` overrule what is found, as they do in numba.
    """
    import llvmlite.binding as llvm

    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = "" if name else llvm.get_host_cpu_features().flatten()
    return name or llvm.get_host_cpu_name(), features


@cache
def count_lanes() -> int:
    """Return the number of float64 lanes: 8 where registers have 512 bits, else 4."""
    return 8 if "+avx512f" in processor()[1].split(",") else 4


def cache_directory() -> Path:
    """Return where machine code is kept: ``$SKDMI_CACHE_DIR``, or the user's cache."""
    if chosen := os.environ.get("SKDMI_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        home = "~/Library/Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "skdmi"


class Kernel:
    """A compiled function of pointers, integers and numbers, which returns nothing; ready once it is loaded.

    Parameters
    ----------
    name : str
        Of a function in ``skdmi.lanes.<name>``, which numba compiles.
    arguments : str
        What it takes, in words: ``"pointer pointer integer number"``.

    Attributes
    ----------
    trouble : str
        Why there is none, in a sentence; "" if nothing went wrong.
    """

    def __init__(self, name: str, arguments: str) -> None:
        self.name: str = name
        self.trouble: str = ""
        self._arguments = [_C_TYPES[kind] for kind in arguments.split()]
        self._function: Callable[..., int] | None = None
        self._kept_alive: Any = None
        self._sought = False
        self._work_without = 0.0
        self._lock = Lock()

    def __call__(self, *args: Any) -> None:
        """Call the function; the kernel is ready."""
        assert self._function is not None
        if self._function(self._nothing, self._nothing, *args) != 0:
            raise AssertionError(f"The kernel {self.name!r} raised, which it cannot.")

    def is_ready(self, work: float = 0.0) -> bool:
        """Return whether the kernel may be called; look for it in the cache the first time.

        Parameters
        ----------
        work : float
            Seconds that the work in hand takes without the kernel. It is compiled once all the work that it was asked
            for would have taken `COMPILATION_SECONDS`, or at once where that is less than ``work``.
        """
        if self._function is not None:
            return True
        if self.trouble:
            return False
        with self._lock:
            if not self._sought:
                self._sought = True
                self._try(self._load_cached)
            self._work_without += work
            if self._function is None and not self.trouble and self._work_without > COMPILATION_SECONDS:
                self._try(self._compile)
        return self._function is not None

    def compile(self) -> bool:
        """Compile the kernel, if it is neither loaded nor cached; return whether it is ready."""
        return self.is_ready(2 * COMPILATION_SECONDS)

    def file(self) -> Path:
        """Return where the machine code is kept: a name for every source, compiler and processor."""
        import llvmlite

        key = hashlib.sha256(repr((llvmlite.__version__, platform.machine(), processor(), self._arguments)).encode())
        for source in sources(self.name):
            key.update(source.encode())
        return cache_directory() / f"{self.name}-{key.hexdigest()[:32]}.o"

    def _try(self, prepare: Callable[[], None]) -> None:
        """Prepare the kernel; what goes wrong is kept, not raised: there is another route."""
        try:
            prepare()
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}".splitlines()[0]

    def _load_cached(self) -> None:
        path = self.file()
        try:
            mine = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
            content = path.read_bytes() if mine else b""
        except OSError:
            return
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            self._link(content[32:])

    def _compile(self) -> None:
        code = machine_code(self.name)
        self._link(code)
        from skdmi.io.atomic import atomic_path

        path = self.file()
        with suppress(OSError):  # A cache that cannot be written is none.
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(hashlib.sha256(code).digest() + code)

    def _link(self, code: bytes) -> None:
        import llvmlite.binding as llvm

        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        signature = CFUNCTYPE(c_int32, c_void_p, c_void_p, *self._arguments)
        self._nothing = (c_void_p * 8)()
        self._kept_alive = engine
        self._function = signature(engine.get_function_address(self.name))


def sources(name: str) -> list[str]:
    """Return the texts of a module of ``skdmi.lanes`` and of all that it imports there."""
    found: dict[str, str] = {}
    names = {name, "compiler"}
    while names:
        name = names.pop()
        found[name] = (Path(__file__).parent / f"{name}.py").read_text()
        names |= set(re.findall(r"^from skdmi\.lanes\.(\w+) import", found[name], re.MULTILINE)) - set(found)
    return [found[name] for name in sorted(found)]


def machine_code(name: str) -> bytes:
    """Compile the function of a kernel for the `processor`.

    numba would optimize every function with all that it calls, over and over: where LLVM can be asked to do so once,
    it is told not to.
    """
    import llvmlite.binding as llvm

    optimizes_once = hasattr(llvm, "create_pass_builder")
    with _unoptimized() if optimizes_once else nullcontext():
        code = intermediate_code(name)
    parsed, machine = llvm.parse_assembly(code), target_machine()
    if optimizes_once:
        for function in parsed.functions:
            if not function.is_declaration and function.name != name:
                function.linkage = "internal"
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_unrolling = False  # Vectors and tiles of them keep the processor busy.
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(parsed, builder)
    return machine.emit_object(parsed)


def intermediate_code(name: str) -> str:
    """Return what numba makes of the function of a kernel, for LLVM, without its way into Python.

    numba's own function returns a status, takes two pointers before its arguments, for what is returned or raised, and
    is all that is kept.
    """
    from numba import cfunc, types

    module = import_module(f"skdmi.lanes.{name}")
    compiled = cfunc(types.void(*module.SIGNATURE))(getattr(module, name))
    code = re.sub(r"^define [^\n]*@cfunc\..*?^}\n", "", compiled.inspect_llvm(), flags=re.MULTILINE | re.DOTALL)
    entry = compiled.native_name.removeprefix("cfunc.")
    return code.replace(f"@{entry}(", f"@{name}(")


@contextmanager
def _unoptimized() -> Iterator[None]:
    """Let numba compile without optimization; what another thread compiles meanwhile is slower code, no worse."""
    config: Any = import_module("numba.core.config")
    level = config.OPT
    config.OPT = type(level)(0)
    try:
        yield
    finally:
        config.OPT = level


def target_machine() -> Any:
    """Return what LLVM needs to make or to load machine code."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = processor()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=name, features=features, opt=3, codemodel="jitdefault", jit=True)
