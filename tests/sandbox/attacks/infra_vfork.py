"""Let the main thread wait in the kernel, uninterruptibly, as one that waits for a disk does: it uses no CPU."""

import ctypes


def f(x):
    libc, stack = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 16)
    top = (ctypes.addressof(stack) + (1 << 16)) & ~63
    thread_and_vfork = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x4000 | 0x40000
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, thread_and_vfork, None)
