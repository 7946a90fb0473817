"""Landlock (Linux 5.13 and later, any user): the program may read the standard library and two devices, and no more.

Rights are masked by the kernel's ABI; from ABI 4 TCP, from ABI 6 signals and abstract sockets are refused as well.
"""

import ctypes
import os
import struct

from . import kernel

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
DEVICES = {"/dev/null": READ_FILE | WRITE_FILE | TRUNCATE, "/dev/urandom": READ_FILE}


def abi() -> int:
    """The kernel's Landlock version. OSError if there is none."""
    return kernel.syscall(CREATE, None, 0, VERSION_FLAG)


def create(version: int, readable: list[str]) -> int:
    """A ruleset's descriptor: reading below ``readable`` and of the devices is allowed, all else is refused."""
    handled = (1 << RIGHTS_BY_ABI.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", handled, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = kernel.syscall(CREATE, attributes, len(attributes), 0)
    for path in readable:
        _allow(ruleset, path, (READ_FILE | READ_DIR) & handled)
    for path, rights in DEVICES.items():
        _allow(ruleset, path, rights & handled)
    return ruleset


def _allow(ruleset: int, path: str, rights: int):
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a rule only ever allows more: a path that is not there needs none
    try:
        if not os.path.isdir(path):
            rights &= ~READ_DIR
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place))
        kernel.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


def restrict(ruleset: int):
    """Bind the calling process to the ruleset, for good; needs NO_NEW_PRIVS."""
    kernel.syscall(RESTRICT, ruleset, 0)
