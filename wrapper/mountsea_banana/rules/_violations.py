"""A violation of a rule, in parts that each interface can phrase for its own users."""

from __future__ import annotations

from attrs import frozen

from mountsea_banana._shared.text import shown


@frozen
class Violation:
    """One rule that a request violates."""

    rule: str
    """The rule's id, such as `edit-needs-image-urls`, or `required`, `type`, `value`, `uri`."""
    field: str
    """The field at fault, such as `image_urls[1]`; empty if it is the whole request."""
    problem: str
    """What is wrong, to be read after the field's name, such as `must be a string, not 5`."""
    hint: str = ""
    """What to do, such as `omit it`; empty if `problem` makes that clear."""

    @property
    def message(self) -> str:
        """The field, the problem and the hint as one sentence."""
        return self.describe(self.field)

    def describe(self, name: str) -> str:
        """Return the message with `name`, your interface's name for the field."""
        if not name.isprintable() or len(name) > 100:
            name = shown(name)
        sentence = f"{name or 'the request'} {self.problem}"
        return f"{sentence}: {self.hint}" if self.hint else sentence
