"""What a verb is to click: options in groups, examples in its help, errors of one line."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from nas.cli.values import Value
from nas.errors import hint, nearest

_NARROW = 60  # columns below which the text of an option stands beneath its name


class _Formatter(click.HelpFormatter):
    """Help as wide as the terminal, at most 80 columns."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(width=min(shutil.get_terminal_size().columns, 80))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 24, col_spacing: int = 2
    ) -> None:
        super().write_dl(rows, 2 if self.width < _NARROW else col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class Option(click.Option):
    """An option: the group of the help that it stands in, its default said in its help."""

    def __init__(self, *names: str, group: str | None = None, **attributes: Any) -> None:
        super().__init__(names, **attributes)
        self.group = group
        if attributes.get("default") is not None:
            self.help = f"{self.help} (default: {attributes['default']})"

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        names = ", ".join(self.opts)
        return names if self.is_flag else f"{names} {self.make_metavar(ctx)}", self.help or ""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        # click takes the option that follows one without its value for that value.
        if isinstance(value, str) and value.startswith("--"):
            raise click.BadOptionUsage(self.opts[-1], "", ctx)
        return super().process_value(ctx, value)


def shown_alone(
    name: str, text_of: Callable[[click.Context], str], help: str, *short: str
) -> Option:
    """An option that prints a text, in place of all else."""

    def show(ctx: click.Context, param: click.Parameter, is_wanted: bool) -> None:
        if is_wanted and not ctx.resilient_parsing:
            print(text_of(ctx))
            ctx.exit()

    return Option(
        *short, name, is_flag=True, is_eager=True, expose_value=False, callback=show, help=help
    )


class ExtraArgument(click.UsageError):
    """A word that the verb does not take."""

    def __init__(self, word: str, ctx: click.Context) -> None:
        super().__init__(word, ctx)
        self.word = word


class Verb(click.Command):
    """A command with examples, whose action returns the exit code."""

    context_class = _Context

    def __init__(self, name: str, *, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(name, **attributes, add_help_option=False)
        self.examples = examples
        # Not click's own, which does not write where `print` does.
        help_option = shown_alone("--help", click.Context.get_help, "show this and exit", "-h")
        self.params.append(help_option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_any, ctx.allow_extra_args = ctx.allow_extra_args, True
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click leaves it out of some
            raise
        if rest and not takes_any and not ctx.resilient_parsing:
            raise ExtraArgument(rest[0], ctx)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        title = "Options"
        for param in self.get_params(ctx):
            if isinstance(param, Option):
                title = param.group or title
                groups.setdefault(title, []).append(param.get_help_record(ctx))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:  # to be copied, so never broken
                    formatter.write(f"  {line}\n")


def verb(
    summary: str, params: Sequence[click.Parameter], examples: Sequence[str]
) -> Callable[[Callable[..., int]], Verb]:
    """Make a verb of the function that is its action, which returns the exit code.

    Args:
        summary: what it does.
        params: its arguments and options, in the order of its help.
        examples: command lines, with the most usual one first.
    """

    def make(action: Callable[..., int]) -> Verb:
        return Verb(
            action.__name__, params=list(params), callback=action, examples=examples,
            help=f"{summary[0].upper()}{summary[1:]}.", short_help=summary,
        )  # fmt: skip

    return make


class Verbs(Verb, click.Group):
    """The command that has the verbs.

    Args:
        begin: command lines to begin with, and what each does.
        environment: variables that the verbs read, and what each says.
    """

    def __init__(
        self, name: str, *, begin: dict[str, str], environment: dict[str, str], **attributes: Any
    ) -> None:
        super().__init__(name, **attributes)
        self.begin, self.environment = begin, environment

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        verbs = {name: command.short_help or "" for name, command in self.commands.items()}
        with formatter.section("Begin with"):
            formatter.write_dl(list(self.begin.items()))
        with formatter.section("Verbs"):
            formatter.write_dl(list(verbs.items()))
        super().format_options(ctx, formatter)
        with formatter.section("Environment variables"):
            formatter.write_dl(list(self.environment.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(self.epilog or "")


def message_of(error: click.UsageError) -> str:
    """What was typed wrong, in a line that begins with the command."""
    if isinstance(error, click.NoSuchOption):
        said = f"there is no option {error.option_name}{_other_option(error)}"
    elif isinstance(error, click.NoSuchCommand):
        verbs = _verbs(error)
        typed = error.command_name
        is_option = typed in ("help", "version")
        meant = f"did you mean nas --{typed}?" if is_option else hint(typed, verbs)
        said = f"there is no verb {typed!r}: {meant}"
    elif isinstance(error, click.BadOptionUsage):
        option = _options_of(error.ctx.command)[error.option_name] if error.ctx else None
        is_flag = isinstance(option, click.Option) and option.is_flag
        said = f"{error.option_name} {'takes no' if is_flag else 'needs a'} value"
    elif isinstance(error, ExtraArgument):
        said = f"there is no argument {error.word!r}{_in_an_option(error)}"
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        example = error.param.type.get_missing_message(param=error.param, ctx=error.ctx)
        if error.ctx and isinstance(error.ctx.command, Verb) and not example:
            example = f"such as {error.ctx.command.examples[0]}"
        said = f"{_name_of(error.param)} is required{f', {example}' if example else ''}"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        said = f"{_name_of(error.param)} {error.message.rstrip('.')}"
    else:
        said = error.message[:1].lower() + error.message[1:].rstrip(".")
    return f"{error.ctx.command_path if error.ctx else 'nas'}: {said}"


def _other_option(error: click.NoSuchOption) -> str:
    """What may have been meant with an option that the verb does not have."""
    assert error.ctx is not None
    typed, known = error.option_name, _options_of(error.ctx.command)
    root = error.ctx.find_root()
    every = {"nas": root.command} | {f"nas {name}": c for name, c in _verbs(error).items()}
    having = [name for name, command in every.items() if typed in _options_of(command)]
    near = [name for name in known if name.startswith(typed)] if len(typed) > 3 else []
    if having and not near:
        return f" (an option of {', '.join(having)})"
    near = near or _values_that_are(typed.lstrip("-"), known)
    if not near and (like := nearest(typed, known)):
        near = [like]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _in_an_option(error: ExtraArgument) -> str:
    """How to give a word with an option that takes it; else where to find those there are."""
    assert error.ctx is not None
    known = _options_of(error.ctx.command)
    if options := _values_that_are(error.word, known):
        return f" (did you mean {' or '.join(options)}?)"
    study = "a study is named with --study; " if "--study" in known else ""
    return f": {study}`{error.ctx.command_path} --help` has all that there is to give"


def _values_that_are(word: str, options: Mapping[str, click.Parameter]) -> list[str]:
    """`--format onnx` for `onnx`: the options that take this word as a value, with it."""
    return [f"{name} {shlex.quote(word)}" for name, p in options.items() if _takes(p, word)]


def _takes(param: click.Parameter, word: str) -> bool:
    suggestions = getattr(param.type, "suggestions", list)
    is_file = isinstance(param.type, Value) and param.type.is_likely_file(word)
    return is_file or word in suggestions()


def _verbs(error: click.UsageError) -> Mapping[str, click.Command]:
    root = error.ctx.find_root().command if error.ctx else None
    return root.commands if isinstance(root, click.Group) else {}


def _options_of(command: click.Command) -> dict[str, click.Parameter]:
    return {name: p for p in command.params if isinstance(p, click.Option) for name in p.opts}


def _name_of(param: click.Parameter) -> str:
    """As it is typed: `--budget`, or `TRIAL`."""
    if isinstance(param, click.Option):
        return param.opts[-1]
    return param.human_readable_name.strip("[].")
