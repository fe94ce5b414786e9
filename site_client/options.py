"""Options that a hospital's commands have in common."""

from fedsurg.cli.options import folder_option
from site_client.layout import DIRECTORY

in_folder = folder_option(DIRECTORY, "The directory of this site.")
