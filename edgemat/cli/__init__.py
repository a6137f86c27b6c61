"""The command line: thin, one library call a command.

Each command lives in the module of its group and is listed in `COMMANDS`. Modules here import only `click` and what
is as light at the top, so that ``edgemat --help`` answers at once; everything else is imported by the command that
runs.

Exit codes: 0 pass, 1 a gate failed, 2 usage or unusable input, 3 a back end is missing, 4 an operator is not
supported, 5 inconclusive, 70 an unexpected error (a bug), 130 interrupted.
"""

from __future__ import annotations

import logging
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import click

import edgemat
from edgemat.cli.ablate import ablate
from edgemat.cli.bench import bench
from edgemat.cli.bisect import bisect
from edgemat.cli.candidates import candidates
from edgemat.cli.compare import compare
from edgemat.cli.completion import completion
from edgemat.cli.data import data
from edgemat.cli.evaluate import evaluate
from edgemat.cli.export import export
from edgemat.cli.inspect import inspect
from edgemat.cli.lint import lint
from edgemat.cli.mac_script import mac_script
from edgemat.cli.machine import doctor, targets
from edgemat.cli.parity import parity
from edgemat.cli.quantize import quantize
from edgemat.cli.report import report
from edgemat.cli.train import train
from edgemat.cli.uncertainty import uncertainty
from edgemat.cli.waterfall import waterfall
from edgemat.errors import BackendMissingError, EdgematError

COMMANDS: tuple[click.Command, ...] = (
    export,
    targets,
    inspect,
    doctor,
    data,
    train,
    quantize,
    evaluate,
    compare,
    parity,
    bisect,
    lint,
    waterfall,
    report,
    uncertainty,
    ablate,
    bench,
    mac_script,
    candidates,
    completion,
)
"""Every command, in the order of the help page."""

_EXTRAS = {
    "accelerate": "train",
    "ai_edge_litert": "tflite",
    "coremltools": "coreml",
    "cv2": "data",
    "flatbuffers": "tflite",
    "matplotlib": "eval",
    "nncf": "nncf",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "export",
    "onnxsim": "onnx",
    "scipy": "eval",
    "torch": "export",
}
"""Import name of what an extra brings to the extra."""

BUG = 70
INTERRUPTED = 130


@dataclass
class Settings:
    """What the options before the command say; `main` reads it when a command fails."""

    debug: bool = False


class _InOrder(click.Group):
    """A group whose help lists the commands as they were added, the main job first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgemat.__version__, prog_name="edgemat", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks and what edgemat logs.")
@click.pass_obj
def app(settings: Settings | None, debug: bool) -> None:
    """Take a face-matting network to the phone, and prove what arrives there.

    Start with: edgemat export --target all
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    if debug:  # what the back ends log is of no help to anyone
        logging.getLogger("edgemat").setLevel(logging.DEBUG)
    if settings is not None:  # None when a test or the completion invokes the group itself
        settings.debug = debug


for _command in COMMANDS:
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows ``edgemat``; those of the process by default.

    Returns:
        The exit code.

    Example:
        >>> main(["--version"])
        edgemat 0.1.0
        0
    """
    settings = Settings()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        result = app.main(words, prog_name="edgemat", standalone_mode=False, obj=settings)
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except EdgematError as error:
        if settings.debug:
            logging.getLogger(__name__).debug("raised here", exc_info=error)
        return _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return _missing(error, words, settings.debug)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        return _bug(error, words, settings.debug)
    return result if isinstance(result, int) else 0


def _bug(error: Exception, words: list[str], debug: bool) -> int:
    """Print where an unexpected error arose, or how to see that."""
    if debug:
        traceback.print_exception(error)
    again = shlex.join(["edgemat", "--debug", *words])
    return _fail(f"unexpected {type(error).__name__}: {error}. This is a bug in edgemat; see where with: {again}", BUG)


def _missing(error: ModuleNotFoundError, words: list[str], debug: bool) -> int:
    """Tell a package that an extra installs from a module that should be there."""
    extra = _EXTRAS.get(error.name or "")
    if extra is None:
        return _bug(error, words, debug)
    what = f"{error.name} is not installed; install it with: pip install 'edgemat[{extra}]'"
    return _fail(f"{what}. See all that is missing: edgemat doctor", BackendMissingError.exit_code)


def _usage(error: click.UsageError) -> int:
    """Print how the command is used, what was wrong, and where the help is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    path = "edgemat"
    if error.ctx is not None:
        path = error.ctx.command_path
        print(error.ctx.get_usage(), file=sys.stderr)
    return _fail(f"{error.format_message()} See: {path} --help", error.exit_code)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
