"""What is recorded of an error: its message and place."""

from stagerun.text import tracebacks


def test_a_group_is_told_by_its_first_members_and_placed_where_the_first_was_raised() -> None:
    def boom() -> None:
        raise ValueError("boom")

    errors: list[Exception] = [ExceptionGroup("inner", [KeyError("a"), OSError()]), TypeError("b"), TypeError("c")]
    try:
        boom()
    except ValueError as error:
        errors.insert(0, error)
    failure = tracebacks.failure(ExceptionGroup("all of it", errors), source=__file__)

    assert (failure.type, failure.message) == (
        "ExceptionGroup",
        "all of it: ValueError: boom; KeyError: 'a'; OSError; and 2 more",
    )
    assert (failure.file, failure.line) == (__file__, boom.__code__.co_firstlineno + 1)
