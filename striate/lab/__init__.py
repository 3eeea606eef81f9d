"""The lab: a local web page that follows trainings, shows what networks compute, and starts trainings.

It needs the extra ``lab`` (starlette, uvicorn and websockets), so the command line imports it only on demand.
"""

from striate.lab.server import serve

__all__ = ["serve"]
