"""What a comparison says about a register behind the branch that follows it."""

from __future__ import annotations

from torov.rewrite.semantics import MASK, Part, operand, words_of

_FLAGLESS = words_of("mov movabs movzx movsx movsxd lea push pop nop cdqe movups movaps movdqa movdqu movq movd pxor xorps")
_FLAGGED = words_of("sub add and or xor dec inc neg")


def keeps_flags(mnemonic: str) -> bool:
    """Whether an instruction leaves the flags as they are; false also if this table does not know."""
    return mnemonic in _FLAGLESS


def equal(mnemonic: str, operands: str, place: str) -> int | None:
    """What a register holds if an instruction that sets the flags has set ZF.

    Args:
        mnemonic, operands: its text.
        place: the register, after the instruction.
    Returns:
        its value, or None if ZF says nothing about it.
    """
    words = operands.split(", ")
    first = operand(words[0])
    if not isinstance(first, Part) or first.family != place or first.bits < 32:
        return None
    second = operand(words[1]) if len(words) == 2 else None
    if mnemonic == "cmp":
        return second & MASK if isinstance(second, int) else None
    if mnemonic == "test":
        return 0 if first == second else None
    return 0 if mnemonic in _FLAGGED else None
