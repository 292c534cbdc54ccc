"""Tasks with labels: what a fine-tuning reads, from a source to batches. One example a row, unless it needs windows.

`open_task(data, tokenizer)` of `data.tasks.opened` gives the two parts of a `TaskData` as rows, `data.tasks.batches` their
batches; known tasks are in `data.tasks.known`.
"""
