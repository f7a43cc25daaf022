"""Compiled: two instructions of the processor that Python has no words for."""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of `array[index]`, an index in range; changes nothing but the waiting time."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(array)(context, builder, arguments[0]).data
        where = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        i32 = cgutils.int32_t
        kind = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32])
        name = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # for writing, keep in all levels, data
        builder.call(name, [where, i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), code


@intrinsic
def lowest_bit(typing_context, word):  # type: ignore[no-untyped-def]
    """Index of the lowest bit set in a word that is not 0."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), code
