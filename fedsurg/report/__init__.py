"""What a run showed: tables in the terminal, HTML that needs no other file, and TensorBoard events.

`run_folder` reads a finished or half-finished run; `tables` makes numbers of it, `story` a paragraph,
`figures` charts; `html`, `terminal` and `tensorboard` are the three ways out. `html` writes two files:
`report.html` for those who hold the data, `report-shareable.html` without frames, case names or paths.
"""
