"""Kernels for the tests of the runtime, written as LLVM IR by hand."""

from __future__ import annotations

import functools

from striate.codegen import jit, target

_SOURCE = """
; Counts its chunk, waits a while, and returns 77 unless all chunks of the phase before are finished.
; operands: counts of this phase, total of this phase, total of the phase before, its number of chunks, turns to wait
define i32 @count(i64 %chunk, i64 %n, ptr %operands, ptr %scratch) {
entry:
  %counts = load ptr, ptr %operands
  %total_at = getelementptr ptr, ptr %operands, i64 1
  %total = load ptr, ptr %total_at
  %before_at = getelementptr ptr, ptr %operands, i64 2
  %before = load ptr, ptr %before_at
  %expected_at = getelementptr ptr, ptr %operands, i64 3
  %expected = load i64, ptr %expected_at
  %turns_at = getelementptr ptr, ptr %operands, i64 4
  %turns = load i64, ptr %turns_at
  %mixed = mul i64 %chunk, 40503
  %short = and i64 %mixed, 7
  %many = mul i64 %short, %turns
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
  store volatile i64 %turn, ptr %scratch
  %next = add i64 %turn, 1
  %go_on = icmp ult i64 %next, %many
  br i1 %go_on, label %loop, label %counting
counting:
  %mine = getelementptr i64, ptr %counts, i64 %chunk
  %a = atomicrmw add ptr %mine, i64 1 monotonic
  %b = atomicrmw add ptr %total, i64 1 monotonic
  %seen = load volatile i64, ptr %before
  %right = icmp eq i64 %seen, %expected
  %status = select i1 %right, i32 0, i32 77
  ret i32 %status
}

; Returns the status that operands[0][chunk] holds.
define i32 @status(i64 %chunk, i64 %n, ptr %operands, ptr %scratch) {
  %statuses = load ptr, ptr %operands
  %mine = getelementptr i32, ptr %statuses, i64 %chunk
  %status = load i32, ptr %mine
  ret i32 %status
}

; operands[0][2 * chunk] *= operands[0][2 * chunk + 1] in float32
define i32 @multiply(i64 %chunk, i64 %n, ptr %operands, ptr %scratch) {
  %all = load ptr, ptr %operands
  %place = mul i64 %chunk, 2
  %values = getelementptr float, ptr %all, i64 %place
  %second = getelementptr float, ptr %values, i64 1
  %a = load float, ptr %values
  %b = load float, ptr %second
  %c = fmul float %a, %b
  store float %c, ptr %values
  ret i32 0
}

; Waits operands[1] turns; operands[0][chunk] = the address of the thread's scratch memory
define i32 @dwell(i64 %chunk, i64 %n, ptr %operands, ptr %scratch) {
entry:
  %turns_at = getelementptr ptr, ptr %operands, i64 1
  %turns = load i64, ptr %turns_at
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
  store volatile i64 %turn, ptr %scratch
  %next = add i64 %turn, 1
  %go_on = icmp ult i64 %next, %turns
  br i1 %go_on, label %loop, label %noting
noting:
  %places = load ptr, ptr %operands
  %mine = getelementptr ptr, ptr %places, i64 %chunk
  store ptr %scratch, ptr %mine
  ret i32 0
}

; operands[0][chunk] = the address of the thread's scratch memory
define i32 @where(i64 %chunk, i64 %n, ptr %operands, ptr %scratch) {
  %places = load ptr, ptr %operands
  %mine = getelementptr ptr, ptr %places, i64 %chunk
  store ptr %scratch, ptr %mine
  ret i32 0
}
"""


@functools.cache
def address(name: str) -> int:
    """Return the address of one of the kernels above."""
    return _library().address(name)


@functools.cache
def _library() -> jit.Library:
    return jit.Library([jit.compile_object(_SOURCE, target.host())], ["count", "status", "multiply", "dwell", "where"])
