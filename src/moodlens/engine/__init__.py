"""What every room stands on: errors, whole files, progress."""

from moodlens.engine.errors import BadInput as BadInput
from moodlens.engine.files import atomic_write as atomic_write
from moodlens.engine.files import digest as digest
from moodlens.engine.files import file_sha256 as file_sha256
from moodlens.engine.files import plain as plain
from moodlens.engine.files import read_json as read_json
from moodlens.engine.files import read_table as read_table
from moodlens.engine.files import write_json as write_json
from moodlens.engine.files import write_table as write_table
from moodlens.engine.progress import Progress as Progress
from moodlens.engine.progress import silent as silent
