"""Options that the coordinator's commands have in common."""

from fedsurg.cli.options import folder_option
from server.layout import DIRECTORY

in_folder = folder_option(DIRECTORY, "The coordinator's folder.")
