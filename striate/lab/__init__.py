"""The lab: a page on this computer that follows trainings, shows what networks see, and starts new ones.

Needs the extra ``lab`` (starlette and uvicorn); the command line enters it by ``import_module``.
"""

from striate.lab.server import serve

__all__ = ["serve"]
