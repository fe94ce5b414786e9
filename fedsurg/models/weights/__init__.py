"""The shipped start: `start.safetensors`, made by `fedsurg pretrain studies/start.toml`, and its card `start.md`."""
