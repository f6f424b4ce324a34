"""What every room stands on: errors, whole files, progress."""

from moodlens.core.errors import BadInput as BadInput
from moodlens.core.files import atomic_write as atomic_write
from moodlens.core.files import digest as digest
from moodlens.core.files import file_sha256 as file_sha256
from moodlens.core.files import plain as plain
from moodlens.core.files import read_json as read_json
from moodlens.core.files import read_table as read_table
from moodlens.core.files import write_json as write_json
from moodlens.core.files import write_table as write_table
from moodlens.core.progress import Progress as Progress
from moodlens.core.progress import silent as silent
