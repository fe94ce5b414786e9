"""The study files that come with fedsurg; `demo.toml` is what `fedsurg simulate` runs without a file."""
