"""`vitsweep cancel DIR`: cancel the jobs of a study that sweep.detach=true has submitted.

Running cells save their states; nothing is deleted. The same command that submitted the study goes on from there.
"""

from vitsweep.commands.command_arguments import parse_directory
from vitsweep.errors import UserError
from vitsweep.run.cluster.book import book_lock, require_book, write_book
from vitsweep.run.cluster.scheduler import cancel, queued_jobs

USAGE = "cancel DIR"


def main(arguments: list[str]) -> int:
    """Cancel all jobs and note it, so that none of them submits others; return 0.

    Raises:
        RecordError: the directory has no jobs.
        SlurmError: Slurm refuses it, such as for jobs of another user.
    """
    directory, words = parse_directory(arguments, USAGE)
    if words:
        raise UserError(f"usage: vitsweep {USAGE}")
    require_book(directory)
    with book_lock(directory):
        book = require_book(directory)
        waiting = sum(map(len, book.waiting))
        book.is_cancelled, book.waiting = True, []
        write_book(directory, book)
        queued = queued_jobs(book.names)
        cancel([job.job_id for job in queued])
    running = sum(job.state == "RUNNING" for job in queued)
    print(f"{book.name}: cancelled {len(queued)} jobs, {running} of which ran and save their states now.")
    if waiting:
        print(f"{waiting} cells that waited for room in the queue are not submitted any more.")
    print("Run the command that started the study again to continue it.")
    return 0
