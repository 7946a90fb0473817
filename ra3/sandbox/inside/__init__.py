"""What runs in the sandbox's own interpreter: the fork-server and its children. It imports the standard library only.

The server is started with this folder's parent on its path, so the package is called ``inside`` there and
``ra3.sandbox.inside`` in the supervisor. No test's expected value ever enters these processes.
"""
