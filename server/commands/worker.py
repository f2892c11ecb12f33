"""``caclabel worker``: a process that trains and predicts; one more for each GPU or host."""

import argparse

from app.background.shift import StopSignals
from server.command_settings import add_data_arguments, settings_of
from server.logs import tell_uncaught_errors, write_to_file
from server.parent_watch import end_with_parent
from server.stopping import leave

DESCRIPTION = "run a worker that trains, predicts and scans the studies folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders, and the name of the worker."""
    add_data_arguments(parser)
    parser.add_argument("--worker-id", help="fixed name of this worker; one per GPU")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run until the process is asked to stop."""
    settings = settings_of(arguments)
    stop = StopSignals(is_patient=arguments.end_with_parent)
    stop.install()
    if arguments.end_with_parent:
        end_with_parent()
    write_to_file(settings)
    tell_uncaught_errors()
    # Imports the networks, which only this command needs.
    from app import worker

    worker.main(settings, stop)
    leave()
